"""Random walk: at each step, anybody who can go on, with equal chances."""

from random import Random
from typing import Final

from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy.strategy import goes_on


class RandomWalk:
    """Draws each choice."""

    def __init__(self, seed: int) -> None:
        self.name: Final = "random walk"
        self.is_done = False
        self.max_steps = 1000
        self._random: Final = Random(f"walk {seed}")

    def run(self, execution: Execution) -> None:
        """Run one schedule."""
        draw = self._random.random
        execution.names_states = False
        execution.begin()
        while not execution.is_over and execution.broken is None:
            candidates = execution.candidates()
            if not goes_on(execution, candidates, max_steps=self.max_steps):
                return
            execution.advance(candidates[int(draw() * len(candidates))])
