"""Random walk: at each step that is no noise, anybody who can go on, with equal chances."""

from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy.noise import Noise
from mmactors.explore.strategy.sampler import Sampler


class RandomWalk(Sampler):
    """Draws each choice."""

    def __init__(self, seed: int, noise: Noise | None = None) -> None:
        super().__init__("random walk", f"walk {seed}", noise)

    def _draw(self, _execution: Execution, candidates: list[int]) -> int:
        return candidates[int(self._random() * len(candidates))]
