"""How long a search may take: so many schedules, or so many seconds, whichever comes first.

A budget binds the search and the shrinking together; shrinking gets at most half of it, of what the
search has left. The clock starts when the machine that all schedules begin with has come
to its race, if there is one: making it is not counted. It is looked at between schedules and within
them (`Execution.look_up`): a schedule that is cut short counts as not tried.

Which part of a search may still begin is decided by the schedules that are used up, so that the
same search does the same on a slow host. Only where schedules take so long that the seconds will be
gone first by far do the seconds decide.
"""

import re
import time
from collections.abc import Callable
from typing import Final

from attrs import frozen

from mmactors.errors import Place, Problem, UserError

Clock = Callable[[], float]

_PART: Final = re.compile(r"(\d+(?:_\d+)*(?:\.\d+)?)\s*(ms|s|min)?")
_PART_CHARS_MAX: Final = 40
"""Nothing lasts so many digits of schedules or seconds, and Python reads 4,300 at most."""
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0}
_FAR: Final = 4.0
"""Seconds count for the shares of strategies when they are used up so many times faster."""
_NEVER: Final = float("inf")


class OutOfTime(Exception):  # noqa: N818 - it says what happened
    """A schedule was cut short: there is no time left, or somebody wants the search to end."""


@frozen(kw_only=True)
class Budget:
    """Limits, of which the first that is reached binds; None: there is none of this kind."""

    schedules: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, value: "int | str | Budget") -> "Budget":
        """Return the budget of `20_000`, `"20000"`, `"10s"`, `"500ms"`, `"2min"`, `"20000,10s"`."""
        if isinstance(value, Budget):
            return value
        schedules: int | None = None
        seconds: float | None = None
        for part in str(value).split(","):
            match = _PART.fullmatch(part.strip()) if len(part) <= _PART_CHARS_MAX else None
            if match is None or (match[2] is None and "." in match[1]):
                raise _refused(f"the budget is {value!r}")
            if match[2] is None and schedules is None:
                schedules = int(match[1])
            elif match[2] is not None and seconds is None:
                seconds = float(match[1]) * _SECONDS[match[2]]
            else:
                raise _refused(f"the budget {value!r} says the same kind of limit twice")
        if 0 in (schedules, seconds):
            raise _refused(f"the budget {value!r} leaves nothing to search with")
        return cls(schedules=schedules, seconds=seconds)

    def __str__(self) -> str:
        limits = []
        if self.schedules is not None:
            limits.append(f"{self.schedules:,} schedule{'' if self.schedules == 1 else 's'}")
        if self.seconds is not None:
            limits.append(f"{self.seconds:g} s")
        return " or ".join(limits) or "without end"


DEFAULT_BUDGET: Final = Budget(schedules=20_000, seconds=10.0)


def _refused(found: str) -> UserError:
    return UserError(
        Problem(
            place=Place("budget"),
            found=found,
            legal="expected a number of schedules, a time such as 10s, 500ms, 2min, or both",
            advice="try 20000 or 10s or 20000,10s",
        )
    )


class Meter:
    """What of a budget is used up."""

    def __init__(
        self, budget: Budget, *, is_exhaustive: bool = False, clock: Clock = time.monotonic
    ) -> None:
        self.nr_schedules = 0
        """Run by the search."""
        self.nr_shrinking = 0
        """Played to shrink what was found."""
        self.stopped_by: int | None = None
        """The number of the signal that wants the search to end."""
        self.budget: Final = budget
        self.is_exhaustive: Final = is_exhaustive
        """The budget is not looked at, only who wants the search to end."""
        self.clock: Final = clock
        self._began = clock()

    def start(self) -> None:
        """Count seconds from now on."""
        self._began = self.clock()

    @property
    def seconds(self) -> float:
        """How long it took so far."""
        return self.clock() - self._began

    def used(self) -> float:
        """Return the part of the budget that is used up; 1 and more: all of it."""
        budget = self.budget
        by_schedules = _part(self.nr_schedules, budget.schedules)
        if budget.seconds is None:
            return by_schedules
        by_seconds = _part(self.seconds, budget.seconds)
        if budget.schedules is None or by_seconds >= 1.0 or by_seconds > _FAR * by_schedules:
            return max(by_schedules, by_seconds)
        return by_schedules

    def used_at_most(self, nr_elsewhere: int = 0) -> float:
        """Return the part used up of what is used up first, schedules run by others included."""
        by_schedules = _part(self.nr_schedules + nr_elsewhere, self.budget.schedules)
        return max(by_schedules, _part(self.seconds, self.budget.seconds))

    def stop(self, signal: int) -> None:
        """Let the search end soon, with what it has."""
        self.stopped_by = signal

    def look_up(self) -> None:
        """Raise OutOfTime if the search has to end at once."""
        if self.stopped_by is not None:
            raise OutOfTime
        seconds = self.budget.seconds
        if seconds is not None and not self.is_exhaustive and self.seconds >= seconds:
            raise OutOfTime

    def left(self) -> Budget:
        """Return what is left of the budget."""
        schedules = self.budget.schedules
        seconds = self.budget.seconds
        return Budget(
            schedules=None if schedules is None else max(schedules - self.nr_schedules, 0),
            seconds=None if seconds is None else max(seconds - self.seconds, 0.0),
        )

    def for_shrinking(self, *, reserve: int, reserve_seconds: float) -> "Allowance":
        """Return what may be used to shrink; so many schedules and seconds stay for the report."""
        schedules = seconds = _NEVER
        if not self.is_exhaustive:
            left = self.left()
            if self.budget.schedules is not None and left.schedules is not None:
                schedules = min(left.schedules - reserve, self.budget.schedules / 2)
            if self.budget.seconds is not None and left.seconds is not None:
                seconds = min(left.seconds, self.budget.seconds / 2) - reserve_seconds
        return Allowance(self, schedules=schedules, until=self.seconds + seconds)


class Allowance:
    """The part of a budget that shrinking may use."""

    def __init__(self, meter: Meter, *, schedules: float, until: float) -> None:
        self._meter: Final = meter
        self._schedules: Final = schedules
        self._until: Final = until

    def is_spent(self) -> bool:
        """Return whether no further schedule may be played."""
        meter = self._meter
        return (
            meter.stopped_by is not None
            or meter.nr_shrinking >= self._schedules
            or meter.seconds >= self._until
        )

    def begin(self) -> None:
        """Count a schedule that will be played now; raise OutOfTime if none is left."""
        if self.is_spent():
            raise OutOfTime
        self._meter.nr_shrinking += 1

    def look_up(self) -> None:
        """Raise OutOfTime if shrinking has to end at once."""
        if self._meter.stopped_by is not None or self._meter.seconds >= self._until:
            raise OutOfTime


def _part(used: float, limit: float | None) -> float:
    if limit is None:
        return 0.0
    return used / limit if limit else 1.0
