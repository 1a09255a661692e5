"""User threads: they run a program's operations on the CPU they are scheduled on.

The accesses of an operation go through the hardware's access path in batches; a batch ends at a
page fault, at the end of what the CPU may run ahead, or with the trace. A hit is never a message.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from attrs import define, field

from mmactors.actors.call.copy_process import copy_first_process
from mmactors.actors.call.mm_alloc import mm_alloc
from mmactors.actors.fault.fault import handle_page_fault
from mmactors.actors.program.life.signal import fatal_signal, tell_signal
from mmactors.actors.program.loader import alloc_areas
from mmactors.actors.program.malloc.libc_data import first_stores
from mmactors.actors.program.memory import TransferLines
from mmactors.actors.program.process import Process
from mmactors.actors.program.user_access import run_access, run_and_tell
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.fatal_signal import FATAL_SIGNAL_SEEN
from mmactors.actors.state.task_struct import TaskStruct
from mmactors.arch.trace import Trace
from mmactors.engine.actor import Actor
from mmactors.engine.cpu import Cpu
from mmactors.engine.trace.tracer import EXIT_DEAD, EXIT_ZOMBIE, TASK_RUNNING
from mmactors.engine.wait_queue import WaitQueue
from mmactors.events import SchedMigrateTask, SchedProcessFork, SysEnter
from mmactors.events.thread import DEFAULT_PRIO
from mmactors.hw.hardware import (
    ELAPSED_NS,
    END,
    ERROR_CODE,
    FAULT,
    FAULT_ADDRESS,
    MEMORY_READS,
    MEMORY_WRITES,
    REASON,
    STALE,
)
from mmactors.mm.area.task import Task
from mmactors.mm.fault.siginfo import SIGABRT, SIGKILL, FaultSignal
from mmactors.workload.names import FIRST_PROCESS
from mmactors.workload.operation.all import Operation

BATCH_NS: Final = 100_000
"""A batch ends after so much time even if nobody else wants to run."""
EXIT_GROUP: Final = SysEnter(call="exit_group", nr=231, args=(0,) * 6)
"""What a program ends with that says nothing about it."""
_NO_MEMORY: Final = FaultSignal(number=SIGKILL, code=0, address=0)
_NOT_CAUGHT: Final = (SIGABRT, SIGKILL)
_FAULTS_BETWEEN_BREATHS: Final = 16
"""How often one trace faults before the clock on the wall is looked at."""


class Performer(Protocol):
    """Who does the operations of threads (`Interpreter`)."""

    async def begin(self, thread: "UserThread") -> None:
        """Do what a thread does in user mode before its first operation."""

    async def perform(self, thread: "UserThread", operation: Operation) -> int:
        """Do one operation as `thread`; return what came of it."""


@define(eq=False, kw_only=True, repr=False)
class UserThread:
    """One thread of a process."""

    process: Process
    interpreter: Performer
    name: str
    cpu: Cpu
    tid: int = field(init=False)
    """The number of the thread; a process has that of its leader."""
    task: Task = field(factory=Task, init=False)
    task_struct: TaskStruct | None = None
    """Its objects; None: init has not forked it yet, or had no memory."""
    program: tuple[Operation, ...]
    """What it does on its own; a thread without a program takes operations from `inbox`."""
    is_leader: bool
    actor: Actor = field(init=False)
    comm: str = field(init=False)
    """The process and its own name; no other thread of the machine ever had it."""
    started_ns: int = field(init=False)
    inbox: deque[Operation] = field(factory=deque, init=False)
    work: WaitQueue = field(init=False)
    """Where it sleeps when its inbox is empty."""
    idle: WaitQueue = field(init=False)
    """Where others sleep until it has done its operations."""
    _asleep_in: WaitQueue | None = field(default=None, init=False)
    """Where it waits for others."""
    is_busy: bool = field(default=False, init=False)
    is_spinning: bool = field(default=False, init=False)
    is_stopping: bool = field(default=False, init=False)
    """A `spin` ends."""
    waits_for_all: bool = field(default=False, init=False)
    """It was told to wait for all others."""
    is_exiting: bool = field(default=False, init=False)
    """It ends before its next operation."""
    next_operation: int = field(default=0, init=False)
    """The place in its program: where a leader goes on."""
    result: int = field(default=0, init=False)
    """What came of the last operation that it was told to do."""
    moves_to: Cpu | None = field(default=None, init=False)
    """Where it goes on as soon as it can: somebody has said so."""
    is_in_library: bool = field(default=False, init=False)
    """The accesses that it makes are its C library's own."""
    malloc_thread: int = field(default=0, init=False)
    """Its number for the C library; 0: main() runs in it."""
    accesses_done: int = field(default=0, init=False)
    """How many accesses of the last trace were done."""
    _batch_began_ns: int = field(default=0, init=False)
    _lines: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        engine = self.process.kernel.engine
        self.work = WaitQueue(engine, f"an operation for {self.name}", hands_over=True)
        self.idle = WaitQueue(engine, f"{self.name} to be done", hands_over=True)

    def start(self, at_ns: int) -> None:
        """Let the thread run on its CPU."""
        process = self.process
        is_first = not process.threads
        self.tid = process.pid if is_first else process.table.new_pid()
        name = FIRST_PROCESS if self.is_leader else self.name
        process.threads[name] = self
        self.comm = f"{process.comm}/{process.family.members.enter(name, self)}"
        if self.is_leader:
            self.comm = process.comm
        self.started_ns = at_ns
        process.tasks.append(self.task)
        process.live_threads.append(self)
        process.core.quick_threads += 1
        process.nr_mm_users += 1
        if process.space is not None:
            self.task.enter_mm(process.space.mm)
            if not self.is_leader:
                process.space.mm.mm_users += 1
        self.resume(at_ns)

    def resume(self, at_ns: int) -> None:
        """Let an actor do what the thread has left to do."""
        process = self.process
        self._tell_fork()
        self.actor = process.switcher.spawn(
            process, self.cpu, name=self.comm, tid=self.tid, coro=self._run(), at_ns=at_ns
        )
        process.actors.append(self.actor)
        self._enter_cpu()

    def _tell_fork(self) -> None:
        """Emit who has made the thread; those that the machine begins with nobody has."""
        kernel = self.process.kernel
        parent = kernel.engine.running
        if kernel.probe.on and parent is not None:
            kernel.probe.emit(
                SchedProcessFork(
                    parent_comm=parent.name,
                    parent_pid=parent.tid or 0,
                    child_comm=self.comm,
                    child_pid=self.tid,
                )
            )

    def _enter_cpu(self) -> None:
        """Let faults count on the CPU that the thread is on now."""
        kernel = self.process.kernel
        kernel.fault_contexts[self.actor.index] = kernel.new_fault_context(self.cpu, self.task)

    async def _run(self) -> None:
        process = self.process
        await self._begin()
        if self.is_leader:
            await self._lead()
        else:
            await self.interpreter.begin(self)
            await self._serve()
            # A process is known to end before it does, a thread when it has.
            if process.leader is self or process.outlives_threads:
                self._become_idle()
            if process.leader is self and not process.outlives_threads:
                process.exit_group(self.cpu.clock.now)
        if self._lines:
            await self.yield_cpu()
        await process.end_thread(self)
        if self.is_busy:
            self._become_idle()
        self.cpu.exit_thread(EXIT_ZOMBIE if process.leader is self else EXIT_DEAD)

    async def _lead(self) -> None:
        """Do the program, then let the process end."""
        process = self.process
        if process.space is None:
            await self._exec()
        while self.next_operation < len(self.program) and not self.must_end:
            if self.moves_to is not None:
                await self.go_where_told()
                continue
            nth = self.next_operation
            self.next_operation += 1
            await self._do(nth, self.program[nth])
        if not process.outlives_threads:
            if process.kernel.probe.on and not self.must_end:
                process.kernel.probe.open(EXIT_GROUP)
            process.exit_group(self.cpu.clock.now)

    async def _do(self, nth: int, operation: Operation) -> None:
        """Do an operation of the program, as its watcher wants it if there is one."""
        watcher = self.process.watcher
        if watcher is None:
            await self.interpreter.perform(self, operation)
            return
        given = watcher.before(nth, operation)
        if given is not None:
            watcher.after(nth, await self.interpreter.perform(self, given))

    async def _exec(self) -> None:
        process = self.process
        kernel = process.kernel
        process.started_ns = self.cpu.clock.now
        made = None
        self.task_struct = await copy_first_process(kernel, self.cpu)
        if self.task_struct is not None:
            process.files = self.task_struct.signal.files
            made = await mm_alloc(kernel, self.cpu, "mm_alloc")
        if made is None:
            self.receive_signal(_NO_MEMORY)
            return
        mm = process.exec(*made).mm
        self.task.enter_mm(mm)
        await process.switcher.on_run(self.cpu, self.actor)
        if not await alloc_areas(kernel, mm):
            self.receive_signal(_NO_MEMORY)
        elif process.malloc is not None and process.malloc.metadata_in_memory:
            await self.access(first_stores(mm))

    @property
    def space(self) -> AddressSpace:
        """The address space, which the thread's process has while the thread runs operations."""
        space = self.process.space
        assert space is not None, f"{self.name} has no address space"
        return space

    @property
    def is_child(self) -> bool:
        """Whether it is the first of a process that was forked."""
        return self.process.parent is not None and self.process.leader is self

    @property
    def must_end(self) -> bool:
        """Whether the thread has nothing more to do in user mode: exit, or a fatal signal."""
        if self.task.fatal_signal_pending or self.process.killed_by is not None:
            self.process.kernel.engine.observe(FATAL_SIGNAL_SEEN)
            return True
        return self.is_exiting

    async def _serve(self) -> None:
        """Do what the inbox says until the thread has to end, or nothing more can come."""
        process = self.process
        while not self.must_end:
            if self.moves_to is not None:
                await self.go_where_told()
            elif self.inbox:
                self.result = await self.interpreter.perform(self, self.inbox.popleft())
            elif process.outlives_threads and not process.has_work_for(self):
                break
            else:
                self._become_idle()
                await self.work.sleep(unless=lambda: bool(self.inbox) or self.must_end)
        self.is_exiting = True
        self.inbox.clear()

    def _become_idle(self) -> None:
        self.is_busy = False
        self.idle.wake_all(at_ns=self.cpu.clock.now)

    def end(self, at_ns: int) -> None:
        """Let the thread end at its next return to user mode, awake or asleep."""
        self.is_exiting = self.task.fatal_signal_pending = True
        self.work.wake_all(at_ns=at_ns)
        self.cpu.signal(self.actor, at_ns)
        if self._asleep_in is not None:
            self._asleep_in.wake_all(at_ns=at_ns)

    async def wait_in(self, queue: WaitQueue, is_over: Callable[[], bool]) -> None:
        """Sleep until others have come so far, or the thread has to end."""
        while not (is_over() or self.must_end):
            self._asleep_in = queue
            await queue.sleep(unless=lambda: is_over() or self.must_end)
            self._asleep_in = None

    async def _begin(self) -> None:
        """Do what every thread does first on a CPU that is new to it."""
        await self.process.switcher.on_run(self.cpu, self.actor)

    async def migrate(self, cpu: Cpu) -> None:
        """Go on on another CPU (sched_setaffinity)."""
        old = self.cpu
        if cpu is old:
            return
        kernel = self.process.kernel
        if kernel.probe.on:
            kernel.probe.emit(
                SchedMigrateTask(
                    comm=self.comm,
                    task_pid=self.tid,
                    prio=DEFAULT_PRIO,
                    orig_cpu=old.index,
                    dest_cpu=cpu.index,
                )
            )
        old.exit_thread(TASK_RUNNING)
        self.cpu = cpu
        self.actor.cpu = cpu
        self.actor.clock = cpu.clock
        self._enter_cpu()
        await cpu.accept(self.actor, old.clock.now)
        await self._begin()

    async def go_where_told(self) -> None:
        """Go on on the CPU that somebody has chosen for it since, if anybody has."""
        cpu, self.moves_to = self.moves_to, None
        if cpu is not None:
            self.process.kernel.engine.observe(cpu.index)
            await self.migrate(cpu)

    def receive_signal(
        self, signal: FaultSignal, *, killer: str | None = None, message: str | None = None
    ) -> None:
        """Take a signal: it ends the process, or, if it is caught, the operation that caused it.

        SIGKILL is never caught, nor is that of abort(), before which the C library said `message`.
        A process that is ending already takes no more (prepare_signal).
        """
        process = self.process
        tell_signal(self, signal)
        if self.must_end or (process.catches_signals and signal.number not in _NOT_CAUGHT):
            return
        process.die(fatal_signal(self, signal, killer=killer, message=message), self)

    async def access(
        self, trace: Trace, done: Callable[[], None] | None = None
    ) -> FaultSignal | None:
        """Run all accesses of a trace; return the signal that stopped them, None: none did.

        `done` is called in the same instant as the last of them is made.
        """
        kernel = self.process.kernel
        engine = kernel.engine
        hardware = kernel.hardware
        stop = hardware.stop
        cpu = self.cpu
        clock = cpu.clock
        cpu_times, times = cpu.times, self.actor.times
        space = self.space
        if clock.now > engine.limit:
            await self.yield_cpu()
        if not self._lines:
            self._batch_began_ns = clock.now
        row = nr_faults = 0
        self.accesses_done = 0
        while not self.must_end:
            if engine.is_exploring and row < len(trace):
                row = await run_access(kernel, space, cpu, trace, row)
            else:
                budget_ns = max(min(engine.limit - clock.now, BATCH_NS), 1)
                if kernel.checks is not None and kernel.checks.wants_accesses:
                    row = await run_and_tell(kernel, space, cpu, trace, row, budget_ns)
                else:
                    row = hardware.run(cpu.index, trace, row, budget_ns, now_ns=clock.now)
            if kernel.heap_checks is not None and not self.is_in_library:
                made = slice(self.accesses_done, row)
                addresses, meta = trace.address[made], trace.meta[made]
                kernel.heap_checks.accessed(space.mm.ctx_id, self.actor.doing, addresses, meta)
            self.accesses_done = row
            if done is not None and row == len(trace):
                done()
                done = None
            elapsed_ns = stop[ELAPSED_NS]
            clock.now += elapsed_ns
            cpu_times.user_ns += elapsed_ns
            times.user_ns += elapsed_ns
            self._lines += stop[MEMORY_READS] + stop[MEMORY_WRITES]
            reason = stop[REASON]
            if reason == FAULT:
                nr_faults += 1
                if nr_faults % _FAULTS_BETWEEN_BREATHS == 0 and engine.turn.is_over():
                    await engine.breathe()
                signal = await handle_page_fault(
                    kernel, cpu, space, stop[FAULT_ADDRESS], stop[ERROR_CODE]
                )
                if signal is not None:
                    self.receive_signal(signal)
                    return signal
            elif reason == END:
                return None
            elif reason == STALE:
                assert kernel.checks is not None, "somebody watches translations"
                kernel.checks.stale_translation(cpu.index)
            else:
                await self.yield_cpu()
        return FaultSignal(number=SIGKILL, code=0, address=0)

    def run_instructions(self, ns: int) -> None:
        """Let a short time pass in user mode that touches no memory."""
        self.cpu.clock.now += ns
        self.cpu.times.user_ns += ns
        self.actor.times.user_ns += ns

    async def yield_cpu(self) -> None:
        """Let the others catch up: account the batch's memory transfers, then take turns."""
        kernel = self.process.kernel
        clock = self.cpu.clock
        if self._lines:
            self.enter_user()  # An access that waits for memory waits in user mode.
            delay_ns = await kernel.dram.ask(
                TransferLines(
                    nr_lines=self._lines, since_ns=self._batch_began_ns, until_ns=clock.now
                )
            )
            self._lines = 0
            await kernel.engine.spend(delay_ns)
            self.leave_user()
        else:
            await kernel.engine.pause("run")
        await self.give_turn()
        self._batch_began_ns = clock.now

    def enter_user(self) -> None:
        """Let the time that follows be user time; faults and calls come after `leave_user`."""
        self.cpu.times.enter_user(self.cpu.clock.now)

    def leave_user(self) -> None:
        """Let the time that follows be system time."""
        self.cpu.times.leave_user(self.actor.times, self.cpu.clock.now)

    async def give_turn(self) -> None:
        """Let the next thread of the CPU run if this one's slice is used up."""
        await self.cpu.cond_resched()
