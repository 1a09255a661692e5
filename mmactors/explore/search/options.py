"""Options of a search."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import field, frozen

from mmactors.errors import Place, Problem, UserError
from mmactors.explore.search.budget import DEFAULT_BUDGET, Budget, Clock
from mmactors.explore.search.progress import Progress
from mmactors.explore.search.verdict import Verdict


def _at_least(least: int) -> Callable[[Any, Any, Any], None]:
    """Return what raises UserError if an option is smaller."""

    def must_be(_options: Any, option: Any, value: int | None) -> None:
        if value is not None and value < least:
            raise UserError(
                Problem(
                    place=Place("options of the search"),
                    found=f"{option.name} is {value}",
                    legal=f"expected at least {least}",
                    advice=f"leave {option.name} out, or give it another number",
                )
            )

    return must_be


@frozen(kw_only=True)
class Options:
    """How a search is done."""

    scope: tuple[str, ...] | None = None
    """Only steps on these objects are choice points; None: what the world says, else all."""
    budget: Budget = DEFAULT_BUDGET
    """Binds search and shrinking together."""
    bound: int | None = field(default=None, validator=_at_least(0))
    """Look only at schedules with at most so many preemptions, then sample."""
    seed: int = 0
    is_exhaustive: bool = False
    """Go on, whatever the budget, until every schedule was tried."""
    max_steps: int = field(default=1000, validator=_at_least(1))
    """A schedule that is longer is ended in turns."""
    twice_first: int = 100
    """So many schedules at the beginning are run twice, each."""
    twice_every: int = 100
    """After those, every so many schedules one is run twice."""
    jobs: int = field(default=1, validator=_at_least(1))
    """Host processes that search; what comes out does not depend on which is faster."""
    store: Path | None = None
    """Where failing schedules are kept; None: nowhere."""
    on_progress: Callable[[Progress], None] | None = None
    """Called now and then while schedules are run."""
    on_interrupt: Callable[[Verdict, int], None] | None = None
    """Called with the verdict reached, and the number of the signal that ended the search; None:
    the verdict is written to stderr. Unless this raises, the signal is then raised again."""
    clock: Clock = time.monotonic
    """Shows seconds; budgets and progress go by it."""
