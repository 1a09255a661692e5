"""Says what shared objects are called, and what they hold, to people.

Steps, schedules and fingerprints keep the names that the engine knows; only what is shown goes
through a teller. What builds a world may bring one of its own, by a method `teller()`.
"""

from typing import Any, Protocol

from mmactors.engine.actor import Keyed
from mmactors.explore.engine.step import Touches


class Teller(Protocol):
    """What reports ask."""

    def glance(self) -> None:
        """Look where everything is at this moment; what is asked next is about it."""

    def called(self, name: str) -> str:
        """Return what the object is called."""

    def parts(self, name: str, thing: Keyed | None) -> dict[str, str]:
        """Return what the object holds now: by what each part is called, its value."""

    def is_news(self, thing: str, text: str) -> bool:
        """Return whether it is worth a line that a step found a part to be this."""

    def label(self, text: str, touches: Touches) -> str:
        """Return what a step does."""

    def prose(self, text: str) -> str:
        """Return what a check said, with its addresses named."""


class PlainTeller:
    """Calls everything what it is called in the world."""

    def glance(self) -> None:
        """Do nothing: names do not change."""

    def called(self, name: str) -> str:
        """Return the name."""
        return name

    def parts(self, name: str, thing: Keyed | None) -> dict[str, str]:
        """Return what the object shows of itself; nothing if that is empty."""
        text = "" if thing is None else thing.show()
        return {name: text} if text else {}

    def is_news(self, thing: str, text: str) -> bool:
        """Return that everything is."""
        del thing, text
        return True

    def label(self, text: str, touches: Touches) -> str:
        """Return the text."""
        del touches
        return text

    def prose(self, text: str) -> str:
        """Return the text."""
        return text


def teller_of(build: Any) -> Teller:
    """Return the teller of what builds a world."""
    own = getattr(build, "teller", None)
    found: Teller = PlainTeller() if own is None else own()
    return found
