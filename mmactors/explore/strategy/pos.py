"""Partial-order sampling: priorities for steps, drawn anew where order matters (CAV 2018).

Every pending step has a random priority; the highest goes first. After a step, those that depend on
it draw again. So each order of dependent steps has a fair chance, however many other steps lie
between them (Yuan, Yang, Gu: Partial Order Aware Concurrency Sampling). Steps that nobody else's
depend on draw none and go first (`noise`): they would only hold up the one that comes after them.
"""

from typing import Final

from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy.noise import Noise
from mmactors.explore.strategy.sampler import Sampler


class PartialOrderSampling(Sampler):
    """Draws a priority for each pending step."""

    def __init__(self, seed: int, noise: Noise | None = None) -> None:
        super().__init__("partial-order sampling", f"pos {seed}", noise)
        self._priorities: Final[dict[int, float]] = {}
        self._nr_taken = 0
        """How many steps had been taken when priorities were drawn last."""

    def _begin(self) -> None:
        self._priorities.clear()
        self._nr_taken = 0

    def _draw(self, execution: Execution, candidates: list[int]) -> int:
        priorities = self._priorities
        if priorities:
            self._drop(execution)
        best = -1.0
        chosen = -1
        for choice in candidates:
            priority = priorities.get(choice)
            if priority is None:
                priority = priorities[choice] = self._random()
            if priority > best:
                best = priority
                chosen = choice
        return chosen

    def _drop(self, execution: Execution) -> None:
        """Forget the priorities of who took a step, and of what depends on the step."""
        priorities = self._priorities
        actors = execution.engine.party
        steps = execution.steps
        for at in range(self._nr_taken, len(steps)):
            step = steps[at]
            index = execution.choices[at] & INDEX_MASK
            for choice in list(priorities):
                other = choice & INDEX_MASK
                if other == index or actors[other].pending.depends_on(step):
                    del priorities[choice]
        self._nr_taken = len(steps)
