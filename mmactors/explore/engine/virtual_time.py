"""The clock of actors that run on no CPU, as a shared object: who reads it depends on who spends.

Time moves with what the engine is told to spend and decides nothing, so a search that nobody asks
for the time need not know it. As soon as an actor of a test reads the clock, the value is something
that it saw, and each spending is a step that its reading depends on.

The engine and the objects of this package read the clock to keep time, and are not meant; whoever
else reads it is told apart by the module that the code is of.
"""

import sys
from collections.abc import Callable
from typing import Final

from mmactors.engine.actor import Clock

TIME: Final = "time"
"""What steps that read or move the clock call it."""
_PACKAGE: Final = "mmactors."


def is_asked_by_a_test(depth: int) -> bool:
    """Return whether the code `depth` frames above the caller is not of this package."""
    module = sys._getframe(depth + 1).f_globals.get("__name__", "")  # noqa: SLF001 - the one way
    return not module.startswith(_PACKAGE)


class VirtualTime(Clock):
    """A clock that notices who reads it."""

    __slots__ = ("_on_read", "at")

    def __init__(self, on_read: Callable[[], object]) -> None:
        self.at = 0
        """The time, for the engine."""
        self._on_read: Final = on_read

    @property
    def now(self) -> int:
        """The time in nanoseconds."""
        if is_asked_by_a_test(1):
            self._on_read()
        return self.at

    @now.setter
    def now(self, value: int) -> None:
        self.at = value

    def key(self) -> int:
        """Return the time."""
        return self.at

    def show(self) -> str:
        """Return the time as text."""
        return f"{self.at} ns"
