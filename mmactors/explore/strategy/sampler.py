"""What samplers have in common: each draws one schedule after another, and takes noise at once."""

from random import Random
from typing import Final

from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy.noise import Noise
from mmactors.explore.strategy.strategy import goes_on


class Sampler:
    """Draws schedules; how it does is said by `_begin` and `_draw`."""

    def __init__(self, name: str, seed: str, noise: Noise | None) -> None:
        self.name: Final = name
        self.is_done = False
        self.max_steps = 1000
        self._random: Final = Random(seed).random
        self._noise: Final = Noise() if noise is None else noise

    def run(self, execution: Execution) -> None:
        """Run one schedule."""
        execution.names_states = False
        noise = self._noise
        execution.begin()
        is_noisy = noise.begin(execution)
        self._begin()
        party = execution.engine.party
        steps = execution.steps
        draw = self._draw
        look_at = min(execution.look_every, self.max_steps)
        while not execution.is_over and execution.broken is None:
            candidates = execution.candidates()
            if not candidates or len(steps) >= look_at:
                if not goes_on(execution, candidates, max_steps=self.max_steps):
                    break
                look_at = min(look_at + execution.look_every, self.max_steps)
            choice = None
            if is_noisy and not (
                # What others are about to do was looked at when they came to it.
                noise.is_quiet
                and execution.was_plain
                and party[execution.current].pending.text not in noise.texts
            ):
                choice = noise.choose(execution, candidates)
            execution.advance(draw(execution, candidates) if choice is None else choice)
        if noise.is_learning:
            noise.end(execution)

    def _begin(self) -> None:
        """Draw what is drawn before the first step."""

    def _draw(self, execution: Execution, candidates: list[int]) -> int:
        """Return one of the choices, none of which is noise."""
        raise NotImplementedError
