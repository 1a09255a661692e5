"""One of the two commits of a comparison: measures its figures, one for each line it reads.

    python benchmarks/side.py ROOT BENCHMARK

ROOT is a checkout. Its own package and its own benchmark modules are measured, so each commit is
called as it wants to be; what has to stay from commit to commit is only what FIGURES calls: a few
functions of the modules in benchmarks/, by name, and the command line of `mmactors explore`. For
each name on standard input a line of JSON comes back: the value, or the error that stands in its
place in the table (an older commit may lack what is asked for).

All times are processor time, and each value is of one run of a part of a second to a few seconds:
it is the comparison that repeats.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from attrs import frozen

NR_PAGES: Final = 4096
GALLERY_TIMEOUT_S: Final = 3600
RACES: Final = ("c6-gup-fast-fork", "c7-dirty-cow")
"""Of the gallery: a few hundred schedules each until the right kernel is exhausted."""
MACHINE: Final = """
machine: {{cpus: {cpus}, memory: {{size: 1G}}}}
processes: [{{name: worker, copies: {cpus}, program: [{program}]}}]
"""
LOCAL: Final = "mmap A 128K, generate sequential A count=4000000"
RANDOM: Final = "mmap A 1M, generate uniform A count=400000 write_percent=30"


@frozen(kw_only=True)
class Figure:
    """Something measured of both commits."""

    name: str
    unit: str
    """With "/s" at its end, more is better; less with any other."""
    measure: Callable[[ModuleType], float]
    """Gives the value, called with the benchmark's module."""
    at_least: float | None = None
    """The speed that has to be kept, as a share of the base's."""
    warm_ups: int | None = None
    """In how many pairs a run goes before the one that counts; None: in all, for each is cold.

    What runs in a process of its own is warm as soon as its code has been compiled.
    """


@frozen(kw_only=True)
class Compared:
    """A benchmark: its module, and what is compared of it."""

    module: str
    figures: tuple[Figure, ...]
    pairs_max: int | None = None
    """Where a pair takes long; None: as many as are asked for."""


def faults_logged(faults: ModuleType) -> float:
    """Return page faults a second that are written to a file."""
    with tempfile.TemporaryDirectory() as folder:
        return float(faults.faults_per_s_logged("64M", Path(folder)))


def references(access_path: ModuleType, *, collapsed: bool) -> float:
    """Return million references a second on the recorded traces."""
    traces = _traces(access_path, collapsed=collapsed)
    spent = sum(access_path.seconds(partial(access_path.Machine().run, trace)) for trace in traces)
    return float(sum(trace.nr_accesses for trace in traces) / spent / 1e6)


def _traces(access_path: ModuleType, *, collapsed: bool) -> list[Any]:
    traces = [access_path.read_npz(path) for path in sorted(access_path.TRACES.glob("*.npz"))]
    return [trace.collapse(64) for trace in traces] if collapsed else traces


def accesses(measure: ModuleType, program: str, *, nr_cpus: int = 1) -> float:
    """Return million accesses a second of a whole machine, patterns of addresses included."""
    run = measure.run_machine(measure.scenario_of(MACHINE.format(cpus=nr_cpus, program=program)))
    return float(run.summary.accesses / run.seconds / 1e6)


def forks(measure: ModuleType, nr_forks: int = 60) -> float:
    """Return forks a second of a parent with sixteen areas, the children's ends included."""
    program = []
    for area in range(16):
        program += [f"mmap A{area} 16K prot={'rw' if area % 2 else 'rwx'}", f"touch A{area} write"]
    for nth in range(nr_forks):
        program += [f"fork C{nth}", f"'C{nth}: touch A0 write'", f"'C{nth}: exit'", "reap"]
    text = MACHINE.format(cpus=1, program=", ".join(program))
    return float(nr_forks / measure.run_machine(measure.scenario_of(text)).seconds)


def toy_schedules(explore: ModuleType, strategy: str) -> float:
    """Return schedules a second of all toys."""
    rates = [
        explore.rate_of(explore.fixed(build), explore.STRATEGIES[strategy], 1)
        for build in explore.TOYS.values()
    ]
    return float(len(rates) / sum(1 / rate for rate in rates))


def machine_schedules(explore: ModuleType) -> float:
    """Return schedules a second of whole machines, as `mmactors explore` counts and times them."""
    root = Path(explore.__file__ or "").parent.parent
    halves = [race["right"] for race in explored(root, RACES)]
    spent = sum(half["cpu_seconds"] for half in halves)
    return float(sum(half["nr_schedules"] for half in halves) / spent)


def one_machine_schedules(explore: ModuleType, race: str) -> float:
    """Return schedules a second of one race of the gallery."""
    return float(explore.machine_rate(race))


def explored(
    root: Path, races: tuple[str, ...] = (), environment: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Explore races of a checkout's gallery, or all of it, with its package; return the results.

    The search finds no failures stored by an earlier one: counts are those of a first run.
    """
    folder = root / "configs" / "races"
    paths = [folder / f"{race}.yaml" for race in races] or sorted(folder.glob("*.yaml"))
    command = [sys.executable, "-m", "mmactors.cli", "explore", *map(str, paths), "--json"]
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            command,
            cwd=empty,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=GALLERY_TIMEOUT_S,
        )
    if done.returncode not in (0, 1):
        raise ChildProcessError(done.stderr.strip() or f"exit code {done.returncode}")
    found: list[dict[str, Any]] = json.loads(done.stdout)["races"]
    return found


def allocations_ns(page_allocator: ModuleType) -> float:
    """Return nanoseconds for a page from the allocator and back, refills and drains included."""
    allocator, _ = page_allocator.boot(1 << 30, 4)
    gfp = page_allocator.GFP_HIGHUSER_MOVABLE
    began = time.process_time()
    for _ in range(8):
        for pfn in [page_allocator.allocate(allocator, 0, gfp) for _ in range(NR_PAGES)]:
            page_allocator.free(allocator, pfn, 0)
    return (time.process_time() - began) / (8 * NR_PAGES) * 1e9


def events(event_log: ModuleType) -> float:
    """Return events a second, to a file."""
    with tempfile.TemporaryDirectory() as folder:
        return float(event_log.ours(Path(folder)))


def megabytes(memory: ModuleType) -> float:
    """Return what a machine of 64 GiB takes of the host, built in a process of its own."""
    return float(memory.in_own_process("--build", "64")["mb"])


def command_seconds(startup: ModuleType, *arguments: str, is_first: bool = False) -> float:
    """Return the seconds of a command on the quickstart; the first has to compile everything."""
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "cache") if is_first else None
        out = ["-q", "--out", str(Path(folder) / "run")] if "run" in arguments else []
        _, cpu = startup.timed([*arguments, startup.QUICKSTART, *out], cache=cache)
    return float(cpu)


def _switches(driver: str) -> Figure:
    return Figure(
        name=f"switches, {driver}, depth 6",
        unit="1/s",
        measure=lambda engine: engine.switches(driver, 6, fresh=False, policy="fifo"),
        at_least=0.97,
    )


COMPARED: Final = {
    "fork": Compared(
        module="measure",
        figures=(Figure(name="a storm of forks", unit="1/s", measure=forks, at_least=0.9),),
    ),
    "faults": Compared(
        module="faults",
        figures=(
            Figure(
                name="without log",
                unit="1/s",
                measure=lambda faults: faults.faults_per_s("128M"),
                at_least=0.95,
            ),
            Figure(
                name="without log, inline",
                unit="1/s",
                measure=lambda faults: faults.faults_per_s("128M", driver="inline"),
                at_least=0.95,
            ),
            Figure(name="with log", unit="1/s", measure=faults_logged, at_least=0.9),
        ),
    ),
    "access_path": Compared(
        module="access_path",
        figures=(
            Figure(
                name="references",
                unit="M/s",
                measure=partial(references, collapsed=False),
                at_least=0.97,
            ),
            Figure(
                name="references, by line",
                unit="M/s",
                measure=partial(references, collapsed=True),
                at_least=0.97,
            ),
        ),
    ),
    "machine": Compared(
        module="measure",
        figures=(
            Figure(name="accesses, local", unit="M/s", measure=partial(accesses, program=LOCAL)),
            Figure(name="accesses, random", unit="M/s", measure=partial(accesses, program=RANDOM)),
        ),
    ),
    "engine": Compared(
        module="engine",
        figures=(
            _switches("trio"),
            _switches("inline"),
            Figure(
                name="round trips, inline",
                unit="1/s",
                measure=lambda engine: engine.round_trips("inline"),
                at_least=0.97,
            ),
            Figure(name="run-ahead", unit="ns", measure=lambda engine: engine.run_ahead_ns()),
            Figure(name="spinlock", unit="ns", measure=lambda engine: engine.spinlock_ns()),
        ),
    ),
    "explore": Compared(
        module="explore",
        figures=(
            Figure(
                name="toys, all orders",
                unit="1/s",
                measure=partial(toy_schedules, strategy="all orders"),
                at_least=0.97,
            ),
            Figure(
                name="toys, states",
                unit="1/s",
                measure=partial(toy_schedules, strategy="and states"),
                at_least=0.97,
            ),
            Figure(
                name="machines",
                unit="1/s",
                measure=machine_schedules,
                at_least=0.97,
                warm_ups=1,
            ),
            *(
                Figure(
                    name=f"machine {race}",
                    unit="1/s",
                    measure=partial(one_machine_schedules, race=race),
                    at_least=0.97,
                )
                for race in ("a1", "a5", "c13", "c7")
            ),
        ),
    ),
    "startup": Compared(
        module="startup",
        pairs_max=2,
        figures=(
            Figure(
                name="check",
                unit="s",
                measure=lambda startup: command_seconds(startup, "check"),
                warm_ups=1,
            ),
            Figure(
                name="first run",
                unit="s",
                measure=lambda startup: command_seconds(startup, "run", is_first=True),
                warm_ups=0,
            ),
            Figure(
                name="later run",
                unit="s",
                measure=lambda startup: command_seconds(startup, "run"),
                warm_ups=1,
            ),
        ),
    ),
    "event_log": Compared(
        module="event_log", figures=(Figure(name="events", unit="1/s", measure=events),)
    ),
    "memory": Compared(
        module="memory",
        pairs_max=3,
        figures=(Figure(name="machine of 64 GiB", unit="MB", measure=megabytes, warm_ups=1),),
    ),
    "page_allocator": Compared(
        module="page_allocator",
        figures=(Figure(name="a page and back", unit="ns", measure=allocations_ns),),
    ),
}


def main() -> int:
    """Answer each line of standard input until it ends."""
    root, compared = Path(sys.argv[1]).resolve(), COMPARED[sys.argv[2]]
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    sys.stdout = sys.stderr  # Where a module that prints does not disturb.
    sys.path[0] = str(root / "benchmarks")
    figures = {figure.name: figure for figure in compared.figures}
    for line in sys.stdin:
        try:
            module = _module_of(root, compared.module)
            gc.collect()  # Or what one commit has left would be collected in the other's time.
            reply: dict[str, Any] = {"value": figures[line.strip()].measure(module)}
        except Exception as error:  # noqa: BLE001 - whatever a commit lacks is told in its place
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
    return 0


def _module_of(root: Path, name: str) -> ModuleType:
    """Import a benchmark; assert that it and the package are the checkout's."""
    module = importlib.import_module(name)
    for each in (module, importlib.import_module("mmactors")):
        assert Path(each.__file__ or "").is_relative_to(root), f"{each.__file__} is not in {root}"
    return module


if __name__ == "__main__":
    sys.exit(main())
