"""Probabilistic concurrency testing: few changes of priority, at random places (ASPLOS 2010).

Each actor has a random priority; the highest that can go on goes on. At depth - 1 steps, drawn
beforehand, who runs drops below all others. A bug that needs `depth` ordered steps is found with a
chance of at least 1 / (n k^(depth - 1)), for n actors and k steps (Burckhardt et al.).
"""

from random import Random
from typing import Final

from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy.strategy import goes_on


class Pct:
    """Draws priorities and change points."""

    def __init__(self, seed: int, *, depth: int) -> None:
        assert depth >= 1, f"depth is {depth}"
        self.name: Final = f"priorities, depth {depth}"
        self.is_done = False
        self.max_steps = 1000
        self._depth: Final = depth
        self._random: Final = Random(f"pct {depth} {seed}")
        self._nr_steps = 8
        """The longest schedule so far."""

    def run(self, execution: Execution) -> None:
        """Run one schedule."""
        draw = self._random.random
        changes = {int(draw() * self._nr_steps) for _ in range(self._depth - 1)}
        priorities: dict[int, float] = {}
        execution.names_states = False
        execution.begin()
        while not execution.is_over and execution.broken is None:
            candidates = execution.candidates()
            if not goes_on(execution, candidates, max_steps=self.max_steps):
                break
            for choice in candidates:
                if choice & INDEX_MASK not in priorities:
                    priorities[choice & INDEX_MASK] = 1 + draw()
            best = max(priorities[choice & INDEX_MASK] for choice in candidates)
            ways = [choice for choice in candidates if priorities[choice & INDEX_MASK] == best]
            if len(execution.steps) in changes:
                priorities[ways[0] & INDEX_MASK] = -len(execution.steps)
            execution.advance(ways[int(draw() * len(ways))])
        self._nr_steps = max(self._nr_steps, min(len(execution.steps), self.max_steps))
