"""How long a search may take: so many schedules, or so many seconds."""

import re
import time
from typing import Final

from attrs import frozen

from mmactors.errors import Place, Problem, UserError

_TEXT: Final = re.compile(r"(\d[\d_]*(?:\.\d+)?)\s*(ms|s|min)?")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0}


@frozen(kw_only=True)
class Budget:
    """A limit; None: there is none."""

    schedules: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, value: "int | str | Budget") -> "Budget":
        """Return the budget of `20_000`, `"20000"`, `"10s"`, `"500ms"`, or `"2min"`."""
        if isinstance(value, Budget):
            return value
        match = _TEXT.fullmatch(str(value).strip())
        if match is None or (match[2] is None and "." in match[1]):
            raise UserError(
                Problem(
                    place=Place("budget"),
                    found=f"the budget is {value!r}",
                    legal="expected a number of schedules, or a time such as 10s, 500ms, 2min",
                    advice="try 20000 or 10s",
                )
            )
        if match[2] is None:
            return cls(schedules=int(match[1]))
        return cls(seconds=float(match[1]) * _SECONDS[match[2]])


class Meter:
    """What of a budget is used up."""

    def __init__(self, budget: Budget) -> None:
        self.nr_schedules = 0
        self._budget: Final = budget
        self._began: Final = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it took so far."""
        return time.monotonic() - self._began

    def used(self) -> float:
        """Return the part of the budget that is used up; 1 and more: all of it."""
        budget = self._budget
        used = 0.0
        if budget.schedules is not None:
            used = self.nr_schedules / budget.schedules if budget.schedules else 1.0
        if budget.seconds is not None:
            used = max(used, self.seconds / budget.seconds if budget.seconds else 1.0)
        return used
