"""What all strategies have in common: each runs one schedule at a time, while there are any."""

from typing import Protocol

from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.fair import finish_fairly


class Strategy(Protocol):
    """Decides who goes next. Whoever calls it looks at the execution after each schedule."""

    is_done: bool
    """There is no schedule left that this strategy would try."""
    max_steps: int
    """A schedule that is longer is ended in turns."""

    @property
    def name(self) -> str:
        """Say who found something."""

    def run(self, execution: Execution) -> None:
        """Run one schedule to its end, or to what it breaks."""


def goes_on(execution: Execution, candidates: list[int], *, max_steps: int) -> bool:
    """Return whether somebody can take a step; else say what became of the schedule."""
    if not candidates:
        if execution.is_spinning():
            finish_fairly(execution, max_steps=max_steps)
        else:
            execution.give_up()
        return False
    if len(execution.steps) >= max_steps:
        execution.is_long = True
        finish_fairly(execution, max_steps=max_steps)
        return False
    if execution.steps and len(execution.steps) % execution.look_every == 0:
        execution.look_up()
    return True
