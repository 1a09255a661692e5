"""How long a machine may keep the host's thread to itself, by the clock on the wall.

Among other trio code a machine has the thread for a turn; then other tasks are stepped, deadlines
and signals are looked at, and the machine goes on as if nothing had been. Drivers look between
switches. An actor that may do much without parking, because nobody else is ready or nothing costs
time, asks `Engine.turn.is_over` at places where it could be left alone, and then awaits
`Engine.breathe`. No virtual time passes, nobody else gets the baton, nothing is recorded: the run
is the same wherever turns end, so this clock may be read though runs are repeatable.
"""

from math import inf
from time import perf_counter
from typing import Final

TURN_S: Final = 0.012
"""More than twice the switch interval of the interpreter (5 ms): another thread asks for it
after such an interval in which nobody let go of it. Turns as long as that would let go of it just
before, and take it again, so that the thread would starve until the run ends."""


class Turn:
    """The present turn of one machine; it has no end while no driver shares the thread."""

    def __init__(self) -> None:
        self.is_cut = False
        """Somebody wants the machine to stand still, even where the running actor does not park."""
        self._ends_s = inf

    def begin(self) -> None:
        """Begin a turn: others have just been stepped."""
        self._ends_s = perf_counter() + TURN_S

    def end(self) -> None:
        """Note that the machine stands still, or nobody else wants the thread."""
        self._ends_s = inf

    def cut(self) -> None:
        """End the turn now, and with it the run; callable from any thread."""
        self.is_cut = True
        self._ends_s = -inf

    def is_over(self) -> bool:
        """Whether it is time to let others have the thread."""
        return perf_counter() >= self._ends_s
