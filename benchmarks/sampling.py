"""How often samples find what they are drawn for: hits per schedule, beside the published bounds.

    python -m benchmarks sampling
    python benchmarks/sampling.py [--schedules N] [--json FILE]

The four toys of the tests, alone and with 20 steps of noise before and after what each actor does:
steps on an object of its own. A rate is the part of N schedules that break a law, beside its
standard error. Bounds are of the worst program of that size, for n actors, k steps and a bug that
d - 1 changes of priority reveal: PCT at least 1 / (n k^(d - 1)) (Burckhardt et al., ASPLOS 2010);
random walk at least n^-k, and partial-order sampling at least n^-k R^U with R = n k / (n + k - 1)
and U = (k - ceil(sqrt k)) / (2 ceil(sqrt k)) (Yuan, Yang, Gu, CAV 2018). Here k are the steps
without noise: what noise costs is what the rate falls behind that of no noise.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from toys import TOYS

from mmactors.explore import World
from mmactors.explore.execution.execution import Build, Execution
from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.explore.strategy.pct import Pct
from mmactors.explore.strategy.pos import PartialOrderSampling
from mmactors.explore.strategy.random_walk import RandomWalk
from mmactors.explore.strategy.strategy import Strategy

NR_NOISE = 20
DEPTHS = {"lost update": 2, "order": 1, "ABA": 2, "stale TLB": 4}
"""How many ordered steps each bug needs."""
SAMPLERS: dict[str, Callable[[], Strategy]] = {
    "POS": lambda: PartialOrderSampling(1),
    "walk": lambda: RandomWalk(1),
    **{f"PCT {depth}": lambda depth=depth: Pct(1, depth=depth) for depth in (1, 2, 3, 4)},  # type: ignore[misc]
}


class NoisyWorld:
    """A world whose actors do as many steps on objects of their own before and after their work."""

    def __init__(self, world: World, nr_noise: int) -> None:
        self._world = world
        self._nr_noise = nr_noise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def actor(self, name: str, function: Callable[..., Any], *args: Any, **how: Any) -> Any:
        """Add an actor."""
        own = self._world.cell(f"own of {name}", 0)

        async def noise() -> None:
            for _ in range(self._nr_noise):
                await own.write(1)

        async def works(*given: Any) -> Any:
            await noise()
            result = await function(*given)
            await noise()
            return result

        return self._world.actor(name, works, *args, **how)


def noisy(build: Callable[[Any], object], nr_noise: int) -> Build:
    """Return the world with noise."""
    return lambda world: build(NoisyWorld(world, nr_noise))


def size_of(build: Build) -> tuple[int, int]:
    """Return how many actors a world has, and how many steps its longest schedule so far."""
    execution = Execution(build)
    strategy = DepthFirst(bound=1)
    nr_steps = 0
    while not strategy.is_done:
        strategy.run(execution)
        nr_steps = max(nr_steps, len(execution.steps))
    nr_actors = len(execution.engine.party)
    execution.close()
    return nr_actors, nr_steps


def rate_of(build: Build, strategy: Strategy, nr_schedules: int) -> float:
    """Return the part of the schedules that break something."""
    execution = Execution(build)
    nr_hits = 0
    for _ in range(nr_schedules):
        strategy.run(execution)
        nr_hits += execution.broken is not None
    execution.close()
    return nr_hits / nr_schedules


def bound_of(sampler: str, *, n: int, k: int, depth: int) -> float:
    """Return the least chance that the papers promise for a bug of this depth."""
    if sampler.startswith("PCT"):
        given = int(sampler.removeprefix("PCT "))
        return 0.0 if given < depth else 1 / (n * k ** (given - 1))
    walk = float(n) ** -k
    if sampler == "walk":
        return walk
    root = math.ceil(math.sqrt(k))
    return walk * float(n * k / (n + k - 1)) ** ((k - root) / (2 * root))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=5000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    columns = [f"{name:>18}" for name in SAMPLERS]
    print(f"{'hits per schedule (at least)':34}" + "".join(columns))
    for name, build in TOYS.items():
        nr_actors, nr_steps = size_of(build)
        for nr_noise in (0, NR_NOISE):
            cells = {}
            for sampler, make in SAMPLERS.items():
                rate = rate_of(noisy(build, nr_noise), make(), arguments.schedules)
                error = math.sqrt(rate * (1 - rate) / arguments.schedules)
                least = bound_of(sampler, n=nr_actors, k=nr_steps, depth=DEPTHS[name])
                cells[sampler] = {"rate": rate, "error": error, "bound": least}
            figures[f"{name}, noise {nr_noise}"] = {"n": nr_actors, "k": nr_steps, **cells}
            what = f"  {name}, n {nr_actors}, k {nr_steps}, noise {nr_noise}"
            texts = (f"{cell['rate']:.4f} ({cell['bound']:.2g})" for cell in cells.values())
            print(f"{what:34}" + "".join(f"{text:>18}" for text in texts))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
