"""The search for races: interleavings of actors, explored, shrunk, printed, replayed.

    @mmactors.explore(budget=20_000)
    def test_counter(world):
        ...

The package is callable: `mmactors.explore(...)` is
`mmactors.explore.search.decorator.explore(...)`.

The map: `world` is what a test builds; `untimed` the engine it runs on; `execution` runs one
schedule; `dfs`, `pos`, `random_walk` and `pct` say which; `search` gives them a budget; `shrink`,
`report`, `script` and `store` take care of a schedule that breaks something.
"""

import sys
from types import ModuleType
from typing import Any

from mmactors.explore.execution.broken import Broken, Kind
from mmactors.explore.execution.nondeterminism import Nondeterminism
from mmactors.explore.search.budget import Budget
from mmactors.explore.search.decorator import RaceFound, explore, play
from mmactors.explore.search.options import Options
from mmactors.explore.search.search import replay, search
from mmactors.explore.search.verdict import Failure, Outcome, Verdict
from mmactors.explore.world.world import World

__all__ = [
    "Broken",
    "Budget",
    "Failure",
    "Kind",
    "Nondeterminism",
    "Options",
    "Outcome",
    "RaceFound",
    "Verdict",
    "World",
    "explore",
    "play",
    "replay",
    "search",
]


class _CallableModule(ModuleType):
    """Importing any file of it makes `mmactors.explore` the package: so the package is callable."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return explore(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
