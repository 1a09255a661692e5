"""The search for races: schedules a second, schedules needed, and frontrun beside it.

    python -m benchmarks explore
    python benchmarks/explore.py [--repeat N] [--json FILE]

Models are the four toys of the tests (2 to 3 actors, 4 to 16 steps). A rate is schedules run, from
building the world to checking its laws, per second of processor time: the best of N repetitions.
The same rate of four races of whole machines follows, of searches of 1,000 schedules.
"needed" is the number of schedules until the bug is found, "exhausted" the number that proves the
fixed world. frontrun explores threads by tracing bytecode; the examples are the same programs
written for threads. It wants its own launcher, so this script runs itself again under it.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from toys import TOYS, fixed

import mmactors
from mmactors.explore import Budget, Options, Verdict, World, search
from mmactors.explore.execution.execution import Build, Execution
from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.explore.strategy.pct import Pct
from mmactors.explore.strategy.pos import PartialOrderSampling
from mmactors.explore.strategy.random_walk import RandomWalk
from mmactors.explore.strategy.strategy import Strategy
from mmactors.races.machine import ExploredMachine
from mmactors.scenario.load import load_scenario

NR_SCHEDULES = 4000
NR_MACHINE_SCHEDULES = 1000
RACES = ("a1", "a5", "c13", "c7")
"""Entries of the gallery: three of the longest, and one whose threads share files."""
STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "all orders": lambda: DepthFirst(has_sleep_sets=False, has_states=False),
    "sleep sets": lambda: DepthFirst(has_states=False),
    "and states": DepthFirst,
    "2 preempt.": lambda: DepthFirst(bound=2),
    "walk": lambda: RandomWalk(1),
    "POS": lambda: PartialOrderSampling(1),
    "PCT 3": lambda: Pct(1, depth=3),
}


def rate_of(build: Build, make: Callable[[], Strategy], repeat: int) -> float:
    """Return schedules a second; a strategy that is done begins again."""
    best = 0.0
    for _ in range(repeat):
        execution = Execution(build)
        nr_schedules = 0
        began = time.process_time()
        while nr_schedules < NR_SCHEDULES:
            strategy = make()
            while not strategy.is_done and nr_schedules < NR_SCHEDULES:
                strategy.run(execution)
                nr_schedules += 1
        best = max(best, nr_schedules / (time.process_time() - began))
        execution.close()
    return best


def machine_rate(race: str) -> float:
    """Return schedules a second of a race of the gallery, its rules kept; set-up is no part."""
    (path,) = (Path(mmactors.__file__).parent.parent / "configs" / "races").glob(f"{race}-*.yaml")
    machine = ExploredMachine(load_scenario(path, ()))
    machine.warm_up()
    budget = Budget(schedules=NR_MACHINE_SCHEDULES)
    began = time.process_time()
    verdict = search(machine, name=race, options=Options(budget=budget))
    return verdict.nr_schedules / (time.process_time() - began)


# -- the same programs for both tools --------------------------------------------------------------


def lost_update(world: World, *, nr_actors: int = 2) -> None:
    """Each actor reads and writes one counter."""
    count = world.cell("count", 0)

    async def increments() -> None:
        seen = await count.read()
        await count.write(seen + 1)

    for index in range(nr_actors):
        world.actor(f"a{index}", increments)

    @world.at_end
    def no_update_is_lost() -> None:
        assert count.value == nr_actors, f"count is {count.value}"


def lock_order(world: World) -> None:
    """Two locks in two orders."""
    locks = world.lock("a"), world.lock("b")

    async def takes(first: Any, second: Any) -> None:
        async with first, second:
            pass

    world.actor("one", takes, *locks)
    world.actor("two", takes, *reversed(locks))


class Counter:
    """The lost update for threads."""

    def __init__(self) -> None:
        self.value = 0

    def increment(self) -> None:
        """Read, then write."""
        seen = self.value
        self.value = seen + 1


class Locks:
    """The lock order for threads."""

    def __init__(self) -> None:
        self.a = threading.Lock()
        self.b = threading.Lock()

    def one(self) -> None:
        """a, then b."""
        with self.a, self.b:
            pass

    def two(self) -> None:
        """b, then a."""
        with self.b, self.a:
            pass


def figure(nr_schedules: int, seconds: float) -> dict[str, Any]:
    """Return schedules, seconds, and the rate."""
    return {"schedules": nr_schedules, "seconds": seconds, "per_s": nr_schedules / seconds}


def frontrun_figures() -> dict[str, Any]:
    """Return what frontrun needs; called under its launcher."""
    import frontrun  # noqa: PLC0415 - it patches the interpreter

    def explore(**how: Any) -> dict[str, Any]:
        began = time.process_time()
        result = frontrun.explore(reproduce_on_failure=0, **how)
        seconds = time.process_time() - began
        return figure(result.num_explored, seconds)

    def counters(number: int, *, first: bool) -> dict[str, Any]:
        return explore(
            setup=Counter,
            workers=Counter.increment,
            count=number,
            invariant=lambda counter: counter.value == number,
            stop_on_first=first,
            preemption_bound=2 if first else None,
        )

    counters(2, first=True)  # The first call loads what all need.
    return {
        "lost update": counters(2, first=True),
        "lock order": explore(
            setup=Locks, workers=[Locks.one, Locks.two], invariant=lambda _: True
        ),
        "3 counters, all": counters(3, first=False),
    }


def own_figures() -> dict[str, Any]:
    """Return what this search needs for the same."""

    def timed(run: Callable[[], int]) -> dict[str, Any]:
        run()
        began = time.process_time()
        nr_schedules = run()
        return figure(nr_schedules, time.process_time() - began)

    def found(build: Build) -> int:
        verdict = search(build)
        assert verdict.failure is not None, f"{verdict}"
        return verdict.failure.at_schedule

    def everything() -> int:
        execution = Execution(lambda world: lost_update(world, nr_actors=3))
        strategy = DepthFirst(has_states=False)
        nr_schedules = 0
        while not strategy.is_done:
            strategy.run(execution)
            nr_schedules += 1
        execution.close()
        return nr_schedules

    return {
        "lost update": timed(lambda: found(lost_update)),
        "lock order": timed(lambda: found(lock_order)),
        "3 counters, all": timed(everything),
    }


def run_frontrun() -> dict[str, Any] | None:
    """Run this script under frontrun's launcher; None: it is not installed."""
    launcher = Path(sys.executable).parent / "frontrun"
    if not launcher.exists():
        return None
    command = [str(launcher), sys.executable, __file__, "--frontrun"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--frontrun", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.frontrun:
        print(json.dumps(frontrun_figures()))
        return
    figures: dict[str, Any] = {"rates": {}, "verdicts": {}}
    print("schedules a second" + "".join(f"{name:>12}" for name in STRATEGIES))
    for name, build in TOYS.items():
        rates = {
            strategy: rate_of(fixed(build), make, arguments.repeat)
            for strategy, make in STRATEGIES.items()
        }
        figures["rates"][name] = rates
        print(f"  {name:16}" + "".join(f"{rate:12,.0f}" for rate in rates.values()))
    figures["machines"] = {race: machine_rate(race) for race in RACES}
    for race, rate in figures["machines"].items():
        print(f"  machine {race:8}{rate:12,.0f}")
    for name, build in TOYS.items():
        verdicts: list[Verdict] = [search(build), search(fixed(build), options=Options())]
        failure = verdicts[0].failure
        assert failure is not None, f"{name} was not found"
        figures["verdicts"][name] = [failure.at_schedule, verdicts[1].nr_schedules]
        print(
            f"  {name:16} needed {failure.at_schedule:5,} ({failure.nr_preemptions} preemptions, "
            f"{len(failure.script)} steps); fixed: {verdicts[1]}"
        )
    figures["own"] = own_figures()
    figures["frontrun"] = run_frontrun()
    _print_beside(figures)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _print_beside(figures: dict[str, Any]) -> None:
    try:
        title = f"frontrun {version('frontrun')}"
    except PackageNotFoundError:
        title = "frontrun (not installed)"
    print(f"\nsame programs           mmactors                    {title}")
    for name, own in figures["own"].items():
        line = f"  {name:18}{_figure(own)}"
        if figures["frontrun"] is not None:
            line += f"    {_figure(figures['frontrun'][name])}"
        print(line)


def _figure(figure: dict[str, Any]) -> str:
    number, seconds = figure["schedules"], figure["seconds"]
    return f"{number:5,} in {seconds * 1000:7.2f} ms ({number / seconds:8,.0f}/s)"


if __name__ == "__main__":
    main()
