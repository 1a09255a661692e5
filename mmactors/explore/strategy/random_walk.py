"""Random walk: at each step that is no noise, anybody who can go on, with equal chances."""

from random import Random
from typing import Final

from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy.noise import Noise
from mmactors.explore.strategy.strategy import goes_on


class RandomWalk:
    """Draws each choice."""

    def __init__(self, seed: int, noise: Noise | None = None) -> None:
        self.name: Final = "random walk"
        self.is_done = False
        self.max_steps = 1000
        self._random: Final = Random(f"walk {seed}")
        self._noise: Final = Noise() if noise is None else noise

    def run(self, execution: Execution) -> None:
        """Run one schedule."""
        draw = self._random.random
        execution.names_states = False
        noise = self._noise
        execution.begin()
        is_noisy = noise.begin(execution)
        while not execution.is_over and execution.broken is None:
            candidates = execution.candidates()
            if not goes_on(execution, candidates, max_steps=self.max_steps):
                break
            choice = noise.choose(execution, candidates) if is_noisy else None
            if choice is None:
                choice = candidates[int(draw() * len(candidates))]
            execution.advance(choice)
        noise.end(execution)
