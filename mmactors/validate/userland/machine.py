"""A recorded operation list as the program of a machine, and what each operation gave and counted.

The machine is the one that `mmactors run` wires: memory, CPUs, settings, threads, locks and
interrupts of the guest, quantum 0. The program is the list, and between its operations what the
recordings' interpreter does besides (recorder.py).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from signal import SIGKILL
from typing import Final

from attrs import define, field

from mmactors.actors.program.process import Process, Thread
from mmactors.actors.program.supported import why_not
from mmactors.engine.config import EngineConfig
from mmactors.engine.driver import close_actors
from mmactors.engine.probe import Taken
from mmactors.engine.report import Deadlock, NotSimulated
from mmactors.events import PageFaultUser, SignalGenerate, TlbFlush
from mmactors.hw.config import HardwareConfig
from mmactors.mm.boot.boot import MemoryConfig
from mmactors.scenario.schema import MachineConfig, ProcessConfig, Scenario
from mmactors.scenario.wiring import Wired, make_engine, wire
from mmactors.units import KIB, MIB, PAGE_SIZE
from mmactors.validate.limits import SWITCHES_MAX
from mmactors.validate.result import NotModelled
from mmactors.validate.userland.case import UserlandCase, exact
from mmactors.validate.userland.recorder import (
    Insertion,
    Interpreter,
    prepare_guest,
    settle_guest,
    with_unbound_as_zero,
    written_result,
)
from mmactors.workload.names import FIRST_PROCESS
from mmactors.workload.operation import all as op

_COMM: Final = "wl"
_PAGE_KIB: Final = PAGE_SIZE // KIB
_USER_RESERVE_KBYTES: Final = {
    (128, 1): 2087,
    (128, 2): 2062,
    (144, 1): 2529,
    (160, 1): 3041,
    (176, 1): 3552,
    (192, 1): 4064,
    (224, 1): 5088,
    (256, 1): 6109,
    (256, 2): 6074,
    (256, 4): 6033,
    (256, 8): 5976,
    (512, 1): 14157,
    (512, 4): 14065,
}
"""vm.user_reserve_kbytes of the guests by MiB and CPUs: free memory at boot / 32."""

Signal = tuple[int, int, int]
"""Number, code, address."""


@define(kw_only=True)
class OpRecord:
    """What one operation gave, and what was counted meanwhile on the whole machine."""

    ret: int = 0
    minflt: int = 0
    majflt: int = 0
    signal: Signal | None = None
    child_settle_minflt: int | None = None
    is_dead: bool = False
    """Whoever should have done it had ended."""
    vmstat: "Counter[str]" = field(factory=Counter)
    """Changes of the counters of /proc/vmstat."""
    shootdowns: list[int] = field(factory=list)
    """By CPU: interrupts received (the TLB row of /proc/interrupts)."""
    flushes: list[tuple[int | None, int, int]] = field(factory=list)
    """CPU, reason and pages of each tlb_flush event, in order."""
    start_locking: int = 0
    acquire_returned: int = 0
    released: int = 0
    """Tracepoints of mmap_lock."""
    page_fault_user: int = 0
    """Its tracepoint: faults of programs, not those that the kernel makes for them."""


@define(kw_only=True)
class RecordedMachine:
    """A case on the way: its machine, and who does its operations."""

    case: UserlandCase
    wired: Wired
    first: Process
    is_stopped: bool = False

    def stop(self) -> None:
        """Do no further operation."""
        self.is_stopped = True
        self.wired.kernel.engine.stop_requested = True

    def worker(self, name: str) -> Thread | None:
        """Return a process or thread of the case that has not ended."""
        return self.first.family.members.living(name)


Watch = Callable[[RecordedMachine, int, OpRecord], None]
"""Called after each operation of the list, with its place, while the machine stands still."""
Begin = Callable[[RecordedMachine], None]
"""Called once the machine is as the first operation finds it."""


def run_recorded(
    case: UserlandCase,
    *,
    watch: Watch,
    begin: Begin | None = None,
    is_child_first: bool = False,
) -> None:
    """Run a case; `begin` is called before its first operation.

    Raise NotModelled if it needs what the machine does not have, UserError if it takes too much.
    """
    operations = [op.parse_operation(text) for text in case.op_list]
    for operation in operations:
        reason = why_not(operation)
        if reason is not None:
            raise NotModelled(reason)
    _refuse_used_names(operations)
    interpreter = Interpreter.of_maps(
        case.begin["maps"], nr_cpus=case.vcpus, is_child_first=is_child_first
    )
    insertions = list(interpreter.begin())
    owners: list[int | None] = [None] * len(insertions)
    for nth, operation in enumerate(operations):
        done = list(interpreter.perform(operation))
        insertions += done
        owners += [nth if each.is_counted else None for each in done]
    # Nobody comes to the end of the list before the last operation was looked at.
    insertions.append(Insertion(operation=op.Nop()))
    owners.append(None)
    watcher = _Watcher(
        case=case,
        interpreter=interpreter,
        insertions=insertions,
        owners=owners,
        watch=watch,
        begin=begin,
    )
    scenario = _scenario(case, tuple(each.operation for each in insertions))
    wired = wire(
        scenario,
        engine=make_engine(scenario, None),
        sink=watcher,
        before_exit=lambda _process: None,
    )
    first = wired.processes[0]
    first.image = interpreter.image
    first.watcher = watcher
    watcher.machine = RecordedMachine(case=case, wired=wired, first=first)
    engine = wired.kernel.engine
    try:
        case.budget.run(wired.kernel)
    except NotSimulated as reason:
        raise NotModelled(str(reason)) from reason
    except Deadlock as reason:
        raise NotModelled("somebody waits for what nobody does any more") from reason
    finally:
        close_actors(engine)
    if not (watcher.is_over or watcher.machine.is_stopped):
        raise NotModelled("the interpreter is killed by a signal")


def _refuse_used_names(operations: list[op.Operation]) -> None:
    """Raise NotModelled for a second thread or child of one name.

    The recordings' interpreter goes on asking the first one, also when it has ended.
    """
    names = set()
    for operation in operations:
        plain = operation.operation if isinstance(operation, op.By) else operation
        match plain:
            case op.Fork(child=name) | op.Thread(name=name):
                if name in names:
                    raise NotModelled(f"{name} is the name of two: {plain}")
                names.add(name)


def _scenario(case: UserlandCase, program: tuple[op.Operation, ...]) -> Scenario:
    return Scenario(
        machine=MachineConfig(
            cpus=case.vcpus,
            pku=True,  # All recorded guests have protection keys.
            memory=MemoryConfig(size=case.memory_mib * MIB, machine="q35"),
            # The guests' emulated processor has no PCIDs.
            hardware=HardwareConfig(pcid=False),
        ),
        engine=EngineConfig(quantum_ns=0, driver="inline", step_budget=SWITCHES_MAX),
        # The recordings' interpreter catches signals, and goes on with the next operation.
        processes=(ProcessConfig(name=_COMM, cpu=0, on_signal="continue", program=program),),
    )


@define(eq=False, kw_only=True)
class _Watcher:
    """Takes events, and looks at results and counters between the operations of the program."""

    case: UserlandCase
    interpreter: Interpreter
    insertions: list[Insertion]
    owners: list[int | None]
    """By place in the program: to which operation of the list it belongs."""
    watch: Watch
    begin: Begin | None
    machine: RecordedMachine = field(init=False)
    is_over: bool = field(default=False, init=False)
    _record: OpRecord | None = field(default=None, init=False)
    """Of the operation that is being done."""
    _worker: Thread | None = field(default=None, init=False)
    _faults: tuple[int, int] = field(default=(0, 0), init=False)
    _counts: "Counter[str]" = field(factory=Counter, init=False)
    _flushes: list[tuple[int | None, int, int]] = field(factory=list, init=False)
    _signal: Signal | None = field(default=None, init=False)
    _nr_user_faults: int = field(default=0, init=False)
    _owner: int | None = field(default=None, init=False)
    _is_ready: bool = field(default=False, init=False)

    def take(self, taken: Sequence[Taken]) -> None:
        """Keep flushes and signals, and count faults."""
        for _, _, who, _, _, event in taken:
            if isinstance(event, TlbFlush):
                self._flushes.append((who.cpu, event.reason, event.pages))
            elif isinstance(event, PageFaultUser):
                self._nr_user_faults += 1
            elif isinstance(event, SignalGenerate) and event.sig != SIGKILL:
                self._signal = (event.sig, event.code, event.address)

    def before(self, nth: int, operation: op.Operation) -> op.Operation | None:
        """Finish the operation that was done, and begin the next one."""
        if self.machine.is_stopped:
            return None
        self.machine.wired.kernel.probe.flush()
        # To look at a machine, or to set it up, is no step of anybody's.
        with self.machine.wired.kernel.engine.guard.suspended():
            return self._before(nth, operation)

    def _before(self, nth: int, operation: op.Operation) -> op.Operation | None:
        if not self._is_ready:
            prepare_guest(self.machine.first, self.interpreter)
            self._is_ready = True
        owner = self.owners[nth]
        if owner != self._owner or nth + 1 == len(self.owners):
            self._finish()
            if owner is not None:
                self._begin(owner, self.insertions[nth].operation)
            self._owner = owner
        self.is_over = nth + 1 == len(self.owners)
        child = self.insertions[nth].after_fork
        if child is not None and (self._record is None or self._record.ret < 0):
            return None
        return with_unbound_as_zero(operation, self.machine.first.bindings)

    def after(self, nth: int, result: int) -> None:
        """Keep the result of an operation of the list."""
        self.machine.wired.kernel.probe.flush()
        record, owner = self._record, self._owner
        if record is None or owner is None:
            return
        insertion = self.insertions[nth]
        if insertion.is_call:
            record.ret = written_result(insertion.operation, result)
            record.signal = self._signal
        elif insertion.after_fork is not None and isinstance(insertion.operation, op.By):
            child = self.machine.worker(insertion.after_fork)
            if child is not None and insertion.operation.waits:
                record.child_settle_minflt = child.task.min_flt

    def _begin(self, owner: int, operation: op.Operation) -> None:
        if owner == 0:
            self._set_begin_state()
        name = operation.name if isinstance(operation, op.By) else FIRST_PROCESS
        worker = self._worker = self.machine.worker(name)
        self._record = OpRecord(is_dead=worker is None)
        self._faults = (0, 0) if worker is None else (worker.task.min_flt, worker.task.maj_flt)
        self._flushes.clear()
        self._nr_user_faults = 0
        self._signal = None
        self._counts = self._count()

    def _finish(self) -> None:
        record, owner = self._record, self._owner
        if record is None or owner is None:
            return
        change = self._count()
        change.subtract(self._counts)
        nr_cpus = len(self.machine.wired.kernel.cpus)
        record.vmstat = change
        record.shootdowns = [change.pop(f"TLB of cpu{cpu}") for cpu in range(nr_cpus)]
        record.released = change.pop("released")
        record.start_locking = change.pop("start_locking")
        record.acquire_returned = record.start_locking + change.pop("downgrades")
        record.flushes = self._flushes.copy()
        record.page_fault_user = self._nr_user_faults
        if self._worker is not None:
            task = self._worker.task
            record.minflt = task.min_flt - self._faults[0]
            record.majflt = task.maj_flt - self._faults[1]
        self._record = None
        self.watch(self.machine, owner, record)

    def _set_begin_state(self) -> None:
        """Let the machine be as it was when the case began, where that is recorded."""
        case = self.case
        overcommit = self.machine.wired.kernel.overcommit
        meminfo = case.begin.get("meminfo", {})
        overcommit.totalram_pages = case.mem_total_kb // _PAGE_KIB
        overcommit.total_swap_pages = (exact(meminfo.get("SwapTotal", 0)) or 0) // _PAGE_KIB
        reserve = _USER_RESERVE_KBYTES.get((case.memory_mib, case.vcpus), case.mem_total_kb // 32)
        overcommit.set_reserve(user_reserve_kbytes=reserve)
        committed = exact(meminfo.get("Committed_AS"))
        if committed is not None:
            overcommit.set_committed(committed // _PAGE_KIB)
        settle_guest(self.machine.first, self.interpreter)
        if self.begin is not None:
            self.begin(self.machine)

    def _count(self) -> "Counter[str]":
        kernel = self.machine.wired.kernel
        lock = kernel.mmap_lock_class
        released = lock.read.hold.nr + lock.write.hold.nr - lock.downgrades
        held = sum(
            (space.mmap_lock.writer is not None) + len(space.mmap_lock.readers)
            for space in kernel.spaces.values()
        )
        if self.case.is_refreshed:
            for cpu in kernel.cpus:
                kernel.vmstat.fold(cpu.index)
        counts = Counter(dict(kernel.vmstat.vmstat()))
        counts["released"] = released
        counts["start_locking"] = released + held + lock.trylocks_failed
        counts["downgrades"] = lock.downgrades
        for cpu in kernel.cpus:
            counts[f"TLB of cpu{cpu.index}"] = cpu.interrupts["TLB"]
        return counts
