"""Partial-order sampling: priorities for steps, drawn anew where order matters (CAV 2018).

Every pending step has a random priority; the highest goes first. After a step, those that depend on
it draw again. So each order of dependent steps has a fair chance, however many other steps lie
between them (Yuan, Yang, Gu: Partial Order Aware Concurrency Sampling). Steps that nobody else's
depend on draw none and go first (`noise`): they would only hold up the one that comes after them.
"""

from random import Random
from typing import Final

from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy.noise import Noise
from mmactors.explore.strategy.strategy import goes_on


class PartialOrderSampling:
    """Draws a priority for each pending step."""

    def __init__(self, seed: int, noise: Noise | None = None) -> None:
        self.name: Final = "partial-order sampling"
        self.is_done = False
        self.max_steps = 1000
        self._random: Final = Random(f"pos {seed}")
        self._noise: Final = Noise() if noise is None else noise

    def run(self, execution: Execution) -> None:
        """Run one schedule."""
        draw = self._random.random
        priorities: dict[int, float] = {}
        execution.names_states = False
        noise = self._noise
        execution.begin()
        is_noisy = noise.begin(execution)
        actors = execution.engine.party
        while not execution.is_over and execution.broken is None:
            candidates = execution.candidates()
            if not goes_on(execution, candidates, max_steps=self.max_steps):
                break
            noisy = noise.choose(execution, candidates) if is_noisy else None
            if noisy is None:
                for choice in candidates:
                    if choice not in priorities:
                        priorities[choice] = draw()
                choice = max(candidates, key=priorities.__getitem__)
            else:
                choice = noisy
            execution.advance(choice)
            step = execution.steps[-1]
            index = choice & INDEX_MASK
            for other in list(priorities):
                at = other & INDEX_MASK
                if at == index or actors[at].pending.depends_on(step):
                    del priorities[other]
        noise.end(execution)
