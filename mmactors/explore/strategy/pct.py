"""Probabilistic concurrency testing: few changes of priority, at random places (ASPLOS 2010).

Each actor has a random priority; the highest that can go on goes on. At depth - 1 steps, drawn
beforehand, who runs drops below all others. A bug that needs `depth` ordered steps is found with a
chance of at least 1 / (n k^(depth - 1)), for n actors and k steps (Burckhardt et al.). Steps that
nobody else's depend on are none of the k (`noise`).
"""

from random import Random
from typing import Final

from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy.noise import Noise
from mmactors.explore.strategy.strategy import goes_on

_NR_STEPS_AT_FIRST: Final = 8
"""How long schedules are expected to be before one was run."""


class Pct:
    """Draws priorities and change points."""

    def __init__(self, seed: int, noise: Noise | None = None, *, depth: int) -> None:
        assert depth >= 1, f"depth is {depth}"
        self.name: Final = f"priorities, depth {depth}"
        self.is_done = False
        self.max_steps = 1000
        self._depth: Final = depth
        self._random: Final = Random(f"pct {depth} {seed}")
        self._noise: Final = Noise() if noise is None else noise
        self._nr_steps: Final = {True: 0, False: 0}
        """The longest schedule so far, with its noise and without."""

    def run(self, execution: Execution) -> None:
        """Run one schedule."""
        draw = self._random.random
        priorities: dict[int, float] = {}
        execution.names_states = False
        noise = self._noise
        nr_steps = 0
        execution.begin()
        is_noisy = noise.begin(execution)
        longest = self._nr_steps[noise.is_off]
        expected = longest or _NR_STEPS_AT_FIRST
        changes = {int(draw() * expected) for _ in range(self._depth - 1)}
        while not execution.is_over and execution.broken is None:
            candidates = execution.candidates()
            if not goes_on(execution, candidates, max_steps=self.max_steps):
                break
            noisy = noise.choose(execution, candidates) if is_noisy else None
            if noisy is not None:
                execution.advance(noisy)
                continue
            for choice in candidates:
                if choice & INDEX_MASK not in priorities:
                    priorities[choice & INDEX_MASK] = 1 + draw()
            best = max(priorities[choice & INDEX_MASK] for choice in candidates)
            ways = [choice for choice in candidates if priorities[choice & INDEX_MASK] == best]
            if nr_steps in changes:
                priorities[ways[0] & INDEX_MASK] = -nr_steps
            nr_steps += 1
            execution.advance(ways[int(draw() * len(ways))])
        noise.end(execution)
        self._nr_steps[noise.is_off] = max(longest, min(nr_steps, self.max_steps))
