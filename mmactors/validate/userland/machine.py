"""A recorded operation list as the program of a machine, and what each operation counted.

The machine is the one that `mmactors run` wires: CPUs, threads, locks and interrupts of the guest,
quantum 0. The program is the list, and around it what the recordings' interpreter does besides: its
own address space when it begins, waiting until a new thread is there, and what a fork makes parent
and child write.
"""

from collections import Counter
from typing import Final

from attrs import define, field, frozen

from mmactors.actors.program.supported import why_not
from mmactors.engine.config import EngineConfig
from mmactors.engine.driver import InlineDriver, close_actors
from mmactors.events import Event, TlbFlush
from mmactors.hw.config import HardwareConfig
from mmactors.mm.boot.boot import MemoryConfig
from mmactors.mm.vmstat import PGFAULT
from mmactors.scenario.precompile import precompile_machine
from mmactors.scenario.schema import MachineConfig, ProcessConfig, Scenario
from mmactors.scenario.wiring import Wired, make_engine, wire
from mmactors.units import MIB, PAGE_SIZE
from mmactors.validate.userland.case import UserlandCase
from mmactors.validate.userland.layout import MapsLine
from mmactors.workload.operation import all as op
from mmactors.workload.operation.all import parse_operation

_STACK_PAGES: Final = 3
"""How much of its stack the interpreter touches."""
_COMM: Final = "wl"


@define(kw_only=True)
class OpCounts:
    """What was counted while one operation was executed, on the whole machine."""

    shootdowns: list[int]
    """By CPU: interrupts received (the TLB row of /proc/interrupts)."""
    flushes: list[tuple[int | None, int, int]] = field(factory=list)
    """CPU, reason and pages of each tlb_flush event, in order."""
    start_locking: int = 0
    acquire_returned: int = 0
    released: int = 0
    """Tracepoints of mmap_lock."""
    pgfault: int = 0


@frozen
class RecordedRun:
    """What came of a case."""

    ops: dict[int, OpCounts]
    not_modelled: str | None
    """Why it cannot be run."""


def run_recorded(case: UserlandCase) -> RecordedRun:
    """Run a case to its end, and count."""
    program: list[op.Operation] = []
    owners: list[int | None] = []

    def add(owner: int | None, *texts: str) -> None:
        for text in texts:
            program.append(parse_operation(text))
            owners.append(owner)

    interpreter = _Interpreter.of_maps(case.begin["maps"])
    add(None, *interpreter.begin())
    for nth, text in enumerate(case.op_list):
        add(nth, *interpreter.surround(text))
    add(None, "nop")
    for operation in program:
        reason = why_not(operation)
        if reason is not None:
            return RecordedRun({}, reason)
    counting = _Counting(owners)
    wired = wire(
        _scenario(case, tuple(program)),
        engine=make_engine(_scenario(case, tuple(program)), None),
        sink=counting,
        before_exit=lambda _process: None,
    )
    counting.begin(wired)
    engine = wired.kernel.engine
    InlineDriver(engine).run_to_end()
    close_actors(engine)
    return RecordedRun(counting.ops, None)


def _scenario(case: UserlandCase, program: tuple[op.Operation, ...]) -> Scenario:
    precompile_machine()
    return Scenario(
        machine=MachineConfig(
            cpus=case.vcpus,
            memory=MemoryConfig(size=case.memory_mib * MIB, machine="q35"),
            # The guests' emulated processor has no PCIDs.
            hardware=HardwareConfig(pcid=False),
        ),
        engine=EngineConfig(quantum_ns=0, driver="inline"),
        processes=(ProcessConfig(name=_COMM, cpu=0, program=program),),
    )


@frozen(kw_only=True)
class _Interpreter:
    """The recordings' interpreter, as far as flushes, faults and locks show it."""

    lines: tuple[MapsLine, ...]
    text: str
    data: str
    control: str
    stack: str
    """Its own pages, as ranges of the operation language."""
    stack_top_page: str

    @classmethod
    def of_maps(cls, maps: str) -> "_Interpreter":
        lines = tuple(MapsLine.parse(line) for line in maps.splitlines())
        by_name = {line.name: line for line in lines}
        program = [line for line in lines if line.name == lines[0].name]
        stack_end = by_name["[stack]"].end
        control = next(line for line in lines if line.permissions.endswith("s"))
        return cls(
            lines=lines,
            text=_range(program[0].start, program[-1].start),
            data=_range(program[-1].start, by_name["[heap]"].end),
            control=_range(control.start, control.end),
            stack=_range(stack_end - _STACK_PAGES * PAGE_SIZE, stack_end),
            stack_top_page=_range(stack_end - PAGE_SIZE, stack_end),
        )

    def begin(self) -> list[str]:
        """Return what makes its address space: every area, and all pages that it ever touches."""
        texts = []
        for number, line in enumerate(self.lines):
            flags = "shared,anon" if line.permissions.endswith("s") else "private,anon"
            prot = line.permissions[:3].replace("-", "")
            length = line.end - line.start
            texts.append(
                f"mmap own{number} {length:#x} addr={line.start:#x} prot={prot} flags={flags},fixed"
            )
        return [
            *texts,
            f"touch {self.text} read",
            f"touch {self.control} write",
            f"touch {self.data} write",
            f"touch {self.stack} write",
        ]

    def surround(self, text: str) -> list[str]:
        """Return an operation with what the interpreter does to bring it about."""
        operation = parse_operation(text)
        if isinstance(operation, op.Thread):
            return [text, f"{operation.name}: nop"]
        if isinstance(operation, op.Fork):
            child = operation.child
            return [
                text,
                f"touch {self.stack_top_page} write",
                f"{child}& touch {self.control} write",
                f"{child}& touch {self.text} read",
                f"{child}& touch {self.data} write",
                f"{child}& touch {self.stack} write",
                f"{child}: nop",
                f"touch {self.data} write",
                f"touch {self.stack} write",
            ]
        return [text]


def _range(start: int, end: int) -> str:
    return f"@{start:#x}:{end - start:#x}"


@define(eq=False)
class _Counting:
    """Takes events, and looks at the counters whenever the program comes to an operation."""

    owners: list[int | None]
    ops: dict[int, OpCounts] = field(factory=dict, init=False)
    _wired: Wired = field(init=False)
    _flushes: list[tuple[int | None, int, int]] = field(factory=list, init=False)
    _before: "Counter[str]" = field(factory=Counter, init=False)
    _owner: int | None = field(default=None, init=False)

    def record(
        self, event: Event, *, seq: int, t_ns: int, actor: str, cpu: int | None, pid: int | None
    ) -> None:
        """Keep flushes."""
        del seq, t_ns, actor, pid
        if isinstance(event, TlbFlush):
            self._flushes.append((cpu, event.reason, event.pages))

    def begin(self, wired: Wired) -> None:
        """Count on this machine from now on."""
        self._wired = wired
        wired.processes[0].before_operation = self.look

    def look(self, nth: int) -> None:
        """Give what was counted since the last time to the operation that it belongs to."""
        now = self._now()
        if self._owner is not None:
            self._add(self._owner, now - self._before)
        self._flushes.clear()
        self._before = now
        self._owner = self.owners[nth]

    def _add(self, owner: int, change: "Counter[str]") -> None:
        nr_cpus = len(self._wired.kernel.cpus)
        counts = self.ops.setdefault(owner, OpCounts(shootdowns=[0] * nr_cpus))
        for cpu in range(nr_cpus):
            counts.shootdowns[cpu] += change[f"cpu{cpu}"]
        counts.flushes += self._flushes
        counts.start_locking += change["acquired"] + change["trylocks_failed"]
        counts.acquire_returned += (
            change["acquired"] + change["trylocks_failed"] + change["downgrades"]
        )
        counts.released += change["released"]
        counts.pgfault += change["pgfault"]

    def _now(self) -> "Counter[str]":
        kernel = self._wired.kernel
        lock = kernel.mmap_lock_class
        released = lock.read.hold.nr + lock.write.hold.nr - lock.downgrades
        held = sum(
            (space.mmap_lock.writer is not None) + len(space.mmap_lock.readers)
            for space in kernel.spaces.values()
        )
        counts = Counter(
            released=released,
            acquired=released + held,
            downgrades=lock.downgrades,
            trylocks_failed=lock.trylocks_failed,
            pgfault=kernel.vmstat.event(PGFAULT),
        )
        for cpu in kernel.cpus:
            counts[f"cpu{cpu.index}"] = cpu.interrupts["TLB"]
        return counts
