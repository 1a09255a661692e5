"""Machines for tests: scenarios from a few words, and runs with all that came of them."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import orjson
import trio
from attrs import define, evolve, field, frozen

from mmactors.actors.program.life.watcher import ProgramWatcher
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.actor import NEVER
from mmactors.engine.config import EngineConfig
from mmactors.engine.driver import InlineDriver, close_actors
from mmactors.engine.schedule import Schedule
from mmactors.hw.config import HardwareConfig
from mmactors.mm.area.overcommit import OVERCOMMIT_ALWAYS, OvercommitPolicy
from mmactors.mm.boot.boot import MemoryConfig
from mmactors.observe.log import EventLog
from mmactors.observe.run_dir import create_run_dir
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.machine import Machine
from mmactors.scenario.schema import KernelConfig, MachineConfig, ProcessConfig, Scenario
from mmactors.scenario.wiring import Wired, make_engine, wire
from mmactors.units import MIB
from mmactors.workload.operation.all import parse_operation

TRACES = Path(__file__).parent / "reference" / "traces"
SANITIZE_VARIABLE = "MMACTORS_SANITIZE"
EXACT = {"quantum_ns": 0}
"""Options of the engine: no CPU runs ahead of another."""


PROMISES_ALWAYS: Final = KernelConfig(overcommit=OvercommitPolicy(memory=OVERCOMMIT_ALWAYS))
"""For programs that map more than the machine has."""


def scenario_of(
    *programs: list[str],
    cpus: int = 1,
    size: int = 64 * MIB,
    nr_nodes: int = 1,
    pku: bool = False,
    hardware: HardwareConfig | None = None,
    kernel: KernelConfig | None = None,
    on_signal: str = "die",
    **engine: Any,
) -> Scenario:
    """Return a scenario in which process `p0` runs the first program on CPU 0, and so on.

    What is named besides goes to EngineConfig.
    """
    return Scenario(
        machine=MachineConfig(
            cpus=cpus,
            pku=pku,
            memory=MemoryConfig(
                size=size, nr_nodes=nr_nodes, kernel_image=4 * MIB, initramfs=4 * MIB
            ),
            hardware=hardware if hardware is not None else HardwareConfig(),
        ),
        kernel=kernel if kernel is not None else KernelConfig(),
        engine=EngineConfig(**engine),
        processes=tuple(
            ProcessConfig(
                name=f"p{number}",
                cpu=number % cpus,
                on_signal=on_signal,
                program=tuple(map(parse_operation, program)),
            )
            for number, program in enumerate(programs)
        ),
    )


@define(eq=False)
class Lines:
    """A file of the log in memory."""

    lines: list[bytes] = field(factory=list)

    def write(self, lines: bytes) -> None:
        self.lines += lines.splitlines(keepends=True)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


@frozen(eq=False, repr=False)
class Ran:
    """A machine that has run, and its log."""

    machine: Machine
    log: bytes
    """events.jsonl."""

    @cached_property
    def counters(self) -> dict[str, int]:
        return self.machine.counters()

    @property
    def messages(self) -> dict[str, int]:
        return self.machine.messages()

    @property
    def schedule(self) -> Schedule:
        return self.machine.schedule()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of one name, in order."""
        return events_of(self.log, name)

    def results(self) -> dict[str, int]:
        """Return the result of each system call by its text; of equal ones the last."""
        return {event["call"]: event["ret"] for event in self.events("sys_exit")}


def run(
    scenario: Scenario,
    *,
    schedule: Schedule | None = None,
    until_ns: int | None = None,
    is_logged: bool = True,
    before: Callable[[Machine], None] | None = None,
) -> Ran:
    """Run a scenario to its end, or to a time; `before` sees the machine before it moves.

    With MMACTORS_SANITIZE=1 in the environment, all sanitizers are on, and have to be silent.
    """
    if is_sanitized := os.environ.get(SANITIZE_VARIABLE) == "1" and not scenario.sanitize.is_on:
        scenario = evolve(scenario, sanitize=SanitizeConfig.everything())
    file = Lines()
    machine = Machine(
        scenario,
        sink=EventLog(file, scenario.record.events) if is_logged else None,
        schedule=schedule,
    )

    async def move() -> None:
        async with machine:
            if before is not None:
                before(machine)
            await machine.run(until_ns=until_ns)

    trio.run(move)
    if is_sanitized:
        assert () == machine.findings()
    return Ran(machine, b"".join(file.lines))


@frozen(eq=False, repr=False)
class Driven:
    """All parts of a machine that was wired and moved by hand, and its log."""

    wired: Wired
    log: bytes
    """events.jsonl."""
    looks: ExitStack
    """While it stands, to look is no step of anybody's (guard mode)."""

    @property
    def kernel(self) -> Kernel:
        return self.wired.kernel

    @property
    def messages(self) -> dict[str, int]:
        return self.kernel.engine.statistics().messages

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of one name, in order."""
        return events_of(self.log, name)


def drive(
    scenario: Scenario,
    *,
    until_ns: int | None = None,
    before: Callable[[Kernel], None] | None = None,
    watch: Callable[[Kernel], ProgramWatcher] | None = None,
) -> Driven:
    """Wire a scenario and move it to its end, or to a time, then let go of its actors.

    For tests that break by hand what kernel paths keep, or bring an actor of their own: who only
    looks at a machine runs it and inspects it.
    """
    file = Lines()
    engine = make_engine(scenario, None)
    sink = EventLog(file, scenario.record.events)
    wired = wire(scenario, engine=engine, sink=sink, before_exit=lambda _process: None)
    if before is not None:
        before(wired.kernel)
    if watch is not None:
        wired.processes[0].watcher = watch(wired.kernel)
    engine.until_ns = NEVER if until_ns is None else until_ns
    InlineDriver(engine).run_to_end()
    close_actors(engine)
    looks = ExitStack()
    looks.enter_context(engine.guard.suspended())
    return Driven(wired, b"".join(file.lines), looks)


def events_of(log: bytes, name: str) -> list[dict[str, Any]]:
    """Return the events of one name in an events.jsonl, in order."""
    events = map(orjson.loads, log.splitlines()[1:])
    return [event for event in events if event["event"] == name]


SLAB = ("reclaimable", "unreclaimable")


def nr_free(machine: Machine) -> int:
    """Return all free pages, those on the CPUs' own lists included, as the lists have them."""
    zones = machine.inspect().zones
    return sum(zone.free_pages + sum(pcp.count for pcp in zone.pcps) for zone in zones)


def nr_waiting(machine: Machine) -> int:
    """Return the pages that only wait for their LRU lists: nobody but batches holds them."""
    seen = machine.inspect()
    held = Counter(pfn for cpu in seen.cpus for pfn in cpu.lru_batch_pfns)
    return sum(count == seen.page(pfn).refcount for pfn, count in held.items())


def nr_slab(machine: Machine) -> int:
    """Return the pages of the kernel's objects: caches keep some, though they are empty."""
    counters = [
        node.counters[f"nr_slab_{kind}"] for node in machine.inspect().nodes for kind in SLAB
    ]
    return sum(counter.value + sum(counter.deltas) for counter in counters)


OBJECT_SITES: Final = frozenset(
    {
        *("dup_task_struct", "prepare_creds", "dup_fd", "copy_fs_struct", "copy_process"),
        *("alloc_pid", "mm_alloc", "dup_mm", "vm_area_alloc", "vm_area_dup", "__alloc_file"),
        *("__anon_vma_prepare", "anon_vma_clone", "anon_vma_fork"),
    }
)
"""Who asks for objects that are gone when all processes have ended."""


def objects_left(ran: Ran) -> dict[int, str | None]:
    """Return the objects of processes and open files that the log saw no end of, and who asked."""
    live: dict[int, str | None] = {}
    for event in map(orjson.loads, ran.log.splitlines()[1:]):
        if event["event"] == "kmem_cache_alloc" and event["ptr"]:
            assert event["ptr"] not in live, f"handed out twice: {event}"
            live[event["ptr"]] = event["call_site"]
        elif event["event"] == "kmem_cache_free":
            live.pop(event["ptr"], None)
    return {thing: site for thing, site in live.items() if site in OBJECT_SITES}


def assert_nothing_is_left(ran: Ran, nr_free_before: int) -> None:
    """All processes have ended: every page and table is back, and every counter says so."""
    seen = ran.machine.inspect()
    nr_kept = nr_waiting(ran.machine) + nr_slab(ran.machine)

    assert nr_free_before == nr_free(ran.machine) + nr_kept
    assert 1 == seen.nr_page_tables, "that of the kernel itself"
    assert () == seen.mapped_pfns
    for name in ("nr_anon_pages", "nr_page_table_pages"):
        counters = [node.counters[name] for node in seen.nodes]
        assert not any(counter.value + sum(counter.deltas) for counter in counters), name
    for zone in seen.zones:
        assert zone.free_pages == zone.counters["nr_free_pages"].snapshot


def run_to_nothing(scenario: Scenario, **options: Any) -> Ran:
    """Run a scenario to its end; assert that nothing is left of its processes."""
    before: list[int] = []
    ran = run(scenario, before=lambda machine: before.append(nr_free(machine)), **options)
    assert_nothing_is_left(ran, before[0])
    return ran


def final_status(ran: Ran, pid: int = 1) -> dict[str, str]:
    """Return /proc/PID/status as it was before the process gave its address space back."""
    lines = ran.machine.proc()[f"{pid}/status"].splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def write_proc(folder: Path, texts: Mapping[str, str]) -> None:
    """Write /proc of a machine where tools look for it, as a run does."""
    run_dir = create_run_dir(out=folder, name="proc")
    for name, text in texts.items():
        run_dir.write(name, text)
    run_dir.close()
