"""What each actor did and saw; with the values of all shared objects it names a state.

What an actor is about to do is a function of the results of its steps so far. So a state is named
by the history of each actor and the values of all shared objects; a program counter would miss the
actors' locals. Equal names mean equal states, exactly: a history is the number, in a table, of the
history before it, the step, and what the step looked at.

An object that nobody can name, or that has no value to be named by, ends that: states can then not
be told apart, and every one is taken for new.
"""

from collections.abc import Hashable
from typing import Final

from mmactors.explore.step import Step
from mmactors.explore.untimed import SearchActor, SearchEngine

MAX_SPINS: Final = 2
"""After so many looks in a row that showed the same, an actor waits for a change."""

_OBSERVED: Final = Step("observed", ())
Entry = tuple[int, Step, Hashable]
"""The history before, the step, what it saw."""


class Histories:
    """The histories of one search."""

    def __init__(self, engine: SearchEngine) -> None:
        self._objects: Final = engine.objects
        self._party: Final = engine.party
        self._numbers: Final[dict[Entry, int]] = {}

    def key(self) -> Hashable:
        """Return the name of the state."""
        return (
            tuple([actor.history for actor in self._party]),
            tuple([thing.key() for thing in self._objects.values()]),
        )

    def present(self) -> list[int]:
        """Return each actor's history."""
        return [actor.history for actor in self._party]

    def entries(self) -> dict[int, Entry]:
        """Return what each history consists of."""
        return {number: entry for entry, number in self._numbers.items()}

    def note(self, actor: SearchActor, step: Step) -> bool:
        """Note that `actor` takes `step` now; return whether what it sees can be named."""
        objects = self._objects
        looks = step.looks
        seen: Hashable = None
        try:
            if len(looks) == 1:
                seen = objects[looks[0]].key()
            elif looks:
                seen = tuple([objects[name].key() for name in looks])
            entry = (actor.history, step, seen)
            number = self._numbers.get(entry)
        except (KeyError, TypeError):
            return self._find_columns(looks) and self.note(actor, step)
        if number is None:
            number = self._numbers[entry] = len(self._numbers) + 1
        actor.history = number
        if step.is_look:
            saw = (step, seen)
            if actor.saw == saw:
                actor.spins += 1
            else:
                actor.spins = 0
                actor.saw = saw
        elif actor.saw is not None:
            actor.spins = 0
            actor.saw = None
        return True

    def add(self, actor: SearchActor, value: Hashable) -> None:
        """Add what the step that `actor` took last showed besides the values of its objects."""
        entry = (actor.history, _OBSERVED, value)
        actor.history = self._numbers.setdefault(entry, len(self._numbers) + 1)

    def sees_nothing_new(self, actor: SearchActor) -> bool:
        """Return whether looking again would show a spinning actor what it saw last."""
        if actor.saw is None or actor.pending is not actor.saw[0]:
            return False
        looks = actor.pending.looks
        objects = self._objects
        if len(looks) == 1:
            return bool(objects[looks[0]].key() == actor.saw[1])
        return tuple([objects[name].key() for name in looks]) == actor.saw[1]

    def _find_columns(self, looks: tuple[str, ...]) -> bool:
        """Let elements of a known object go under that object; return whether any was missing.

        False also when an object is unknown, or its state has no hash: it cannot be named.
        """
        objects = self._objects
        missing = [name for name in looks if name not in objects]
        for name in missing:
            column = name.partition("[")[0]
            if column not in objects:
                return False
            objects[name] = objects[column]
        return bool(missing)
