"""Code between two steps that touches what others may see, and so is a step of its own.

Nobody knows it before it runs; then all that was explored so far is void, and the search begins
again. Whether such code touches something may depend on what others did before.
"""

from typing import Final, NoReturn

from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step


class BecameVisible(Exception):  # noqa: N818 - it says what happened
    """Code that was taken for local touched something; all that was explored so far is void."""


class Loud:
    """What was found out so far, by the actor's name and what it does next."""

    def __init__(self) -> None:
        self.names: Final[set[tuple[str, str]]] = set()

    def is_loud(self, actor: SearchActor, step: Step) -> bool:
        """Return whether what `actor` does next needs a turn."""
        return bool(self.names) and (actor.name, step.text) in self.names

    def add(self, actor: str, what: str) -> NoReturn:
        """Take down that this needs a turn: raise BecameVisible."""
        self.names.add((actor, what))
        raise BecameVisible

    def is_named(self, actor: str, what: str) -> bool:
        """Return whether this was found out."""
        return (actor, what) in self.names

    def require(self, entry: tuple[str, str]) -> None:
        """Let what a schedule names be a step: raise BecameVisible, unless it is one already."""
        if entry not in self.names:
            self.add(*entry)

    def take_over(self, names: frozenset[tuple[str, str]]) -> NoReturn:
        """Take what another process found out: raise BecameVisible."""
        self.names.update(names)
        raise BecameVisible
