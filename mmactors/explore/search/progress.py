"""What a search that is still going on says of itself, now and then.

Whoever listens gets a `Progress` ten times a second at most, between schedules and within long
ones. `Teller` makes lines of them: none in the first ten seconds, so that what is fast stays
silent, then one every so many seconds.
"""

import time
from collections.abc import Callable
from typing import Final

from attrs import frozen

from mmactors.explore.search.budget import Clock, Meter

_EVERY_SECONDS: Final = 0.1
SILENT_SECONDS: Final = 10.0
"""How long a search may take without a word."""
LOG_SECONDS: Final = 10.0
"""How often a search says something where lines stay."""
TERMINAL_SECONDS: Final = 2.0
"""How often it says something where a line replaces the one before."""


@frozen(kw_only=True)
class Progress:
    """How far a search is."""

    nr_schedules: int
    seconds: float
    strategy: str
    """Who explores now."""
    bound: int | None = None
    """All schedules with so many preemptions were tried."""
    budget: str = ""
    """What there is to use up."""
    used: float | None = None
    """The part of the budget that is used up; None: the search goes on whatever the budget."""
    nr_shrinking: int | None = None
    """How many schedules were played to make the one that failed simpler; None: none failed."""

    def __str__(self) -> str:
        rate = self.nr_schedules / self.seconds if self.seconds > 0 else 0.0
        per_second = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        parts = [f"{_schedules(self.nr_schedules)} in {self.seconds:.0f} s ({per_second}/s)"]
        if self.used is None:
            parts.append("whatever the budget, until all are tried")
        elif self.budget:
            parts.append(f"{min(self.used, 1.0):.0%} of {self.budget}")
        if self.nr_shrinking is not None:
            played = f"{_schedules(self.nr_shrinking)} played"
            parts.append(f"one failed, and is made as short as it can be: {played}")
            return ", ".join(parts)
        if self.bound is not None:
            plural = "" if self.bound == 1 else "s"
            parts.append(f"all with up to {self.bound} preemption{plural} tried")
        return f"{', '.join(parts)}, now {self.strategy}"


class Reporter:
    """Tells somebody how far a search is, not too often."""

    def __init__(self, tell: Callable[[Progress], None] | None, meter: Meter) -> None:
        self._tell: Final = tell
        self._meter: Final = meter
        self._next = 0.0
        self.bound: int | None = None
        """All schedules with so many preemptions were tried."""
        self.strategy = "begins"
        """Who explores now."""
        self.is_shrinking = False

    def note(self, nr_elsewhere: int = 0) -> None:
        """Say how far the search is, if that was not said just now.

        `nr_elsewhere` schedules were run by others.
        """
        if self._tell is None:
            return
        meter = self._meter
        seconds = meter.seconds
        if seconds >= self._next:
            self._next = seconds + _EVERY_SECONDS
            self._tell(
                Progress(
                    nr_schedules=meter.nr_schedules + nr_elsewhere,
                    seconds=seconds,
                    strategy=self.strategy,
                    bound=self.bound,
                    budget=str(meter.budget),
                    used=None if meter.is_exhaustive else meter.used_at_most(nr_elsewhere),
                    nr_shrinking=meter.nr_shrinking if self.is_shrinking else None,
                )
            )


class Teller:
    """Says how far a search is, as lines, if it takes long."""

    def __init__(
        self, write: Callable[[str], None], *, every_s: float, clock: Clock = time.monotonic
    ) -> None:
        self._write: Final = write
        self._every_s: Final = every_s
        self._clock: Final = clock
        self._next = clock() + SILENT_SECONDS

    def __call__(self, progress: Progress) -> None:
        """Write a line if it is time for one."""
        now = self._clock()
        if now >= self._next:
            self._next = now + self._every_s
            self._write(str(progress))


def _schedules(number: int) -> str:
    return f"{number:,} schedule{'' if number == 1 else 's'}"
