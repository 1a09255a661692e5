"""Probabilistic concurrency testing: few changes of priority, at random places (ASPLOS 2010).

Each actor has a random priority; the highest that can go on goes on. At depth - 1 steps, drawn
beforehand, who runs drops below all others. A bug that needs `depth` ordered steps is found with a
chance of at least 1 / (n k^(depth - 1)), for n actors and k steps (Burckhardt et al.). Steps that
nobody else's depend on are none of the k (`noise`).
"""

from typing import Final

from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy.noise import Noise
from mmactors.explore.strategy.sampler import Sampler

_NR_STEPS_AT_FIRST: Final = 8
"""How long schedules are expected to be before one was run."""


class Pct(Sampler):
    """Draws priorities and change points."""

    def __init__(self, seed: int, noise: Noise | None = None, *, depth: int) -> None:
        assert depth >= 1, f"depth is {depth}"
        super().__init__(f"priorities, depth {depth}", f"pct {depth} {seed}", noise)
        self._depth: Final = depth
        self._longest: Final = {True: 0, False: 0}
        """The longest schedule so far, with its noise and without."""
        self._priorities: Final[dict[int, float]] = {}
        self._changes: set[int] = set()
        self._nr_steps = 0
        """Of the present schedule, or of the one before."""
        self._was_off = True

    def _begin(self) -> None:
        draw = self._random
        longest = self._longest
        longest[self._was_off] = max(longest[self._was_off], min(self._nr_steps, self.max_steps))
        self._was_off = self._noise.is_off
        expected = longest[self._was_off] or _NR_STEPS_AT_FIRST
        self._changes = {int(draw() * expected) for _ in range(self._depth - 1)}
        self._priorities.clear()
        self._nr_steps = 0

    def _draw(self, _execution: Execution, candidates: list[int]) -> int:
        draw = self._random
        priorities = self._priorities
        best: float | None = None
        ways = candidates
        for choice in candidates:
            index = choice & INDEX_MASK
            priority = priorities.get(index)
            if priority is None:
                priority = priorities[index] = 1 + draw()
            if best is None or priority > best:
                best = priority
                ways = [choice]
            elif priority == best:
                ways.append(choice)
        nr_steps = self._nr_steps
        if nr_steps in self._changes:
            priorities[ways[0] & INDEX_MASK] = -nr_steps
        self._nr_steps = nr_steps + 1
        return ways[int(draw() * len(ways))]
