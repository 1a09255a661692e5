"""Whether a budget of seconds binds: asked so many, took so many, search and shrinking together.

    python -m benchmarks budgets
    python benchmarks/budgets.py [--seconds S] [--gallery-seconds S] [--json FILE]

Three kinds of searches that would take much longer: Peterson's lock under late stores (long
schedules of short steps), a machine of four CPUs with all sanitizers and no scope (few schedules,
of hundreds of steps), and both kernels of each race of the gallery, replays included. What was
taken is the wall time around the search, without that of bringing a machine to its race, which no
budget counts. `worst` is the largest ratio of what was taken to what was asked, among the searches
that the budget ended.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve

from mmactors.engine.chance import STORE_IS_LATE
from mmactors.explore import Budget, Options, Outcome, Verdict, World, search
from mmactors.races.machine import ExploredMachine
from mmactors.races.pair import explore_broken, explore_right
from mmactors.scenario.load import load_scenario, parse_scenario

GALLERY = Path(__file__).parent.parent / "configs/races"
MACHINE = """
machine: {cpus: 4, memory: {size: 256M}}
sanitize: {lockdep: true}    # A search has all others on anyway.
race: {}
processes:
  - name: app
    on_signal: continue
    program:
      - thread T1 cpu=1
      - thread T2 cpu=2
      - thread T3 cpu=3
      - mmap A 64K
      - touch A write
      - T1: touch A read
      - T2: touch A read
      - T3: touch A read
      - race
      - T1& touch A write
      - T2& touch A write
      - T3& touch A read
      - munmap A
"""
"""Loads and stores on three CPUs against an munmap on the fourth."""


def peterson(world: World) -> None:
    """Two threads enter Peterson's lock again and again; their stores come late."""
    world.allow(STORE_IS_LATE)
    flags = [world.cell(f"flag{index}", 0) for index in range(2)]
    turn = world.cell("turn", 0)
    inside = world.cell("inside", 0)

    async def enters(own: int) -> None:
        other = 1 - own
        for _ in range(6):
            await flags[own].write(1)
            await turn.write(other)
            await world.fence()
            while await flags[other].read() and await turn.read() == other:
                pass
            assert await inside.add_return(1) == 1, "two are inside"
            await inside.add_return(-1)
            await flags[own].write(0)

    for index in range(2):
        world.actor(f"p{index}", enters, index)


@contextmanager
def set_up_timed() -> Iterator[list[float]]:
    """Count the seconds in which machines come to their race."""
    prepare = ExploredMachine.prepare
    seconds: list[float] = []

    def timed(machine: ExploredMachine, engine: Any) -> None:
        began = time.perf_counter()
        prepare(machine, engine)
        seconds.append(time.perf_counter() - began)

    ExploredMachine.prepare = timed  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        ExploredMachine.prepare = prepare  # type: ignore[method-assign]


def measure(asked_s: float, run: Callable[[Budget], Verdict]) -> dict[str, Any]:
    """Return what a search took that was asked to take so many seconds."""
    with set_up_timed() as set_up:
        began = time.perf_counter()
        verdict = run(Budget(seconds=asked_s))
        took_s = time.perf_counter() - began - sum(set_up)
    is_cut = verdict.outcome in (Outcome.SAMPLED, Outcome.BOUNDED)
    return {
        "asked_s": asked_s,
        "took_s": round(took_s, 3),
        "set_up_s": round(sum(set_up), 3),
        "ratio": round(took_s / asked_s, 3),
        "is_cut": is_cut or took_s >= 0.9 * asked_s,
        "verdict": str(verdict),
    }


def gallery(asked_s: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return what both kernels of each entry took."""
    for path in sorted(GALLERY.glob("*.yaml")):
        scenario = load_scenario(path)

        def broken(budget: Budget, scenario: Any = scenario) -> Verdict:
            half, _ = explore_broken(scenario, name="b", options=Options(), budget=budget)
            return half.verdict

        def right(budget: Budget, scenario: Any = scenario) -> Verdict:
            return explore_right(scenario, name="r", options=Options(), budget=budget).verdict

        yield f"{path.stem}, buggy", measure(asked_s, broken)
        yield f"{path.stem}, right", measure(asked_s, right)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--gallery-seconds", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}

    def note(name: str, figure: dict[str, Any]) -> None:
        figures[name] = figure
        print(
            f"{name:34} asked {figure['asked_s']:4.1f} s, took {figure['took_s']:6.3f} s "
            f"({figure['ratio']:.3f}; set-up {figure['set_up_s']:.2f} s): {figure['verdict'][:99]}",
            flush=True,
        )

    for jobs in (1, 2):
        options = Options(jobs=jobs)
        for name, build in (
            ("Peterson, late stores", peterson),
            (
                "4 CPUs, all sanitizers",
                ExploredMachine(parse_scenario(MACHINE, file="machine.yaml", folder=Path())),
            ),
        ):
            note(
                f"{name}, {jobs} job{'s' if jobs > 1 else ''}",
                measure(
                    arguments.seconds,
                    lambda budget, build=build, options=options: search(  # type: ignore[misc]
                        build, name="b", options=_with(options, budget)
                    ),
                ),
            )
    for name, figure in gallery(arguments.gallery_seconds):
        note(name, figure)
    figures["worst"] = max(figure["ratio"] for figure in figures.values() if figure["is_cut"])
    print(f"worst of those that the budget ended: {figures['worst']:.3f}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _with(options: Options, budget: Budget) -> Options:
    return evolve(options, budget=budget)


if __name__ == "__main__":
    main()
