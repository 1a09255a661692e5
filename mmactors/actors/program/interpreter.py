"""The interpreter: runs the operations of programs, one `case` a verb."""

import errno
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final, get_args

from attrs import define, field

from mmactors.actors.call.copy_process import copy_thread, exit_files
from mmactors.actors.call.task_struct import (
    attach_task,
    delayed_free_task,
    exit_fs,
    lock_tasklist,
)
from mmactors.actors.call.trace_call import Call, trace_call
from mmactors.actors.program.access_calls import AccessCalls, AccessOperation
from mmactors.actors.program.area_calls import AreaCalls, AreaOperation
from mmactors.actors.program.file_calls import FileCalls, FileOperation
from mmactors.actors.program.futex.futex import Futexes
from mmactors.actors.program.futex.futex_calls import FutexCalls
from mmactors.actors.program.gup import GupCalls, GupOperation
from mmactors.actors.program.kernel_calls import perform_prefetch
from mmactors.actors.program.life.process_calls import perform_process_call
from mmactors.actors.program.malloc.at_first_use import MallocAtFirstUse
from mmactors.actors.program.module.percpu_calls import PercpuCalls
from mmactors.actors.program.module.percpu_ref_calls import PercpuRefCalls
from mmactors.actors.program.module.slab_calls import SlabCalls
from mmactors.actors.program.module.vmalloc_calls import VmallocCalls
from mmactors.actors.program.page_calls import PageCalls, PageOperation
from mmactors.actors.program.proc_calls import ProcCalls, ProcOperation
from mmactors.actors.program.process import Process, Thread
from mmactors.actors.program.store_calls import StoreCalls
from mmactors.actors.program.syscall import TracedOperation, call_of
from mmactors.actors.program.thread import UserThread
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.engine.sched.computing import ENDLESS
from mmactors.engine.timer import Timer
from mmactors.engine.wait_queue import WaitQueue
from mmactors.events import SysEnter
from mmactors.units import MS, ULONG_MAX
from mmactors.workload.names import FIRST_PROCESS
from mmactors.workload.operation import all as op
from mmactors.workload.operation.futex import FutexOperation
from mmactors.workload.operation.malloc import MallocOperation
from mmactors.workload.operation.percpu import PercpuOperation
from mmactors.workload.operation.percpu_ref import PercpuRefOperation
from mmactors.workload.operation.slab import SlabOperation
from mmactors.workload.operation.user_store import StoreOperation
from mmactors.workload.operation.vmalloc import VmallocOperation

_Perform = Callable[[UserThread, Any], Awaitable[int]]
_SPIN_NS: Final = 10_000
_LOOK_NS: Final = 1_000


@define(eq=False)
class _Meeting:
    """A barrier that threads have come to."""

    queue: WaitQueue
    arrived: int = 0
    is_over: bool = False


@define(eq=False, kw_only=True)
class Interpreter:
    """Runs operations for all threads of a machine."""

    kernel: Kernel
    timer: Timer
    areas: AreaCalls
    accesses: AccessCalls
    files: FileCalls
    gup: GupCalls
    pages: PageCalls
    proc: ProcCalls
    slab: SlabCalls
    percpu: PercpuCalls
    percpu_refs: PercpuRefCalls
    vmalloc: VmallocCalls
    race_gate: WaitQueue | None = None
    """Where programs stop when they come to `race`; None: they go on."""
    futexes: Futexes = field(init=False)
    malloc: MallocAtFirstUse = field(init=False)
    _meetings: dict[str, _Meeting] = field(factory=dict, init=False)
    _performers: "dict[type[op.PlainOperation], _Perform]" = field(factory=dict, init=False)
    """Who does an operation that touches memory, by its class."""

    def __attrs_post_init__(self) -> None:
        self.futexes = Futexes(kernel=self.kernel, timer=self.timer)
        self.malloc = MallocAtFirstUse(
            kernel=self.kernel,
            areas=self.areas,
            futexes=self.futexes,
            start_thread=self._start_thread,
        )
        rooms: tuple[tuple[Any, _Perform], ...] = (
            (AreaOperation, self.areas.perform),
            (AccessOperation, self.accesses.perform),
            (FileOperation, self.files.perform),
            (GupOperation, self.gup.perform),
            (PageOperation, self.pages.perform),
            (SlabOperation, self.slab.perform),
            (PercpuOperation, self.percpu.perform),
            (PercpuRefOperation, self.percpu_refs.perform),
            (ProcOperation, self.proc.perform),
            (VmallocOperation, self.vmalloc.perform),
            (FutexOperation, FutexCalls(self.futexes).perform),
            (MallocOperation, self._perform_malloc),
            (StoreOperation, StoreCalls(malloc=self.malloc).perform),
        )
        for operations, perform in rooms:
            self._performers |= dict.fromkeys(get_args(operations), perform)
        self._performers[op.Prefetch] = self._perform_prefetch

    async def begin(self, thread: UserThread) -> None:
        """Do what a thread does in user mode before its first operation."""
        heap = thread.process.heap
        if heap is not None and heap.is_copy:
            await self.malloc.get().begin_child(thread)

    async def perform(self, thread: UserThread, operation: op.Operation) -> int:
        """Do one operation as `thread`; return what came of it."""
        engine = self.kernel.engine
        if engine.turn.is_over():
            await engine.breathe()
        if isinstance(operation, op.By):
            return await self._tell(thread, operation)
        thread.actor.doing = operation
        if self.kernel.probe.on and isinstance(operation, TracedOperation):
            call = call_of(thread, operation)
            if not isinstance(operation, op.Exit):
                return await trace_call(self.kernel, call, self._perform(thread, operation))
            # That does not return.
            self.kernel.probe.open(SysEnter(call=call.text, nr=call.nr, args=call.args))
        return await self._perform(thread, operation)

    async def _perform(self, thread: UserThread, operation: op.PlainOperation) -> int:
        perform = self._performers.get(type(operation))
        if perform is not None:
            return await perform(thread, operation)
        return await self._perform_other(thread, operation) or 0

    def _perform_malloc(self, thread: UserThread, call: MallocOperation) -> Awaitable[int]:
        return self.malloc.get().perform(thread, call)

    def _perform_prefetch(self, thread: UserThread, call: op.Prefetch) -> Awaitable[int]:
        return perform_prefetch(self.kernel, thread, call)

    async def _perform_other(self, thread: UserThread, operation: op.PlainOperation) -> int | None:
        """Do what touches no memory: time, names, threads, processes."""
        match operation:
            case op.Nop():
                await self.kernel.engine.spend(0)
            case op.Compute(duration_ns=duration_ns):
                await self._compute(thread, duration_ns)
            case op.Sleep(duration_ms=duration_ms):
                await self.timer.sleep_ns(thread.cpu, duration_ms * MS)
            case op.Alias(name=name, address=address, length=length):
                start = address.resolve(thread.process.bindings)
                if start is not None:
                    thread.process.names[name] = (start, length)
                return start
            case op.Heap(name=name, length=length):
                start = (thread.space.mm.brk - length) & ULONG_MAX
                thread.process.names[name] = (start, length)
                return start
            case op.Cpu(cpu=cpu):
                await thread.migrate(self.kernel.cpus[cpu])
            case op.Fork() if thread.process.heap is not None:
                forking = partial(perform_process_call, thread, operation)
                return await self.malloc.get().fork(thread, forking)
            case op.Fork() | op.Kill() | op.Reap() | op.Rlimit() | op.SchedSetaffinity():
                return await perform_process_call(thread, operation)
            case op.Thread(name=name, cpu=cpu):
                return await self._start_thread(thread, name, cpu)
            case op.Spin():
                await self._spin(thread)
            case op.Stop(name=name):
                return await self._stop(thread, thread.process.family.members.thread(name))
            case op.Wait():
                await self._wait_for_all(thread)
            case op.Exit():
                if thread.malloc_thread and thread.process.leader is not thread:
                    await self.malloc.get().end_thread(thread)
                thread.is_exiting = True
            case op.Barrier():
                await self._meet(thread, operation)
            case op.Race():
                if self.race_gate is not None:
                    await self.race_gate.sleep()
            case _:
                raise AssertionError(f"{operation} is not simulated: supported.py refuses it")
        return None

    async def _compute(self, thread: UserThread, ns: int) -> None:
        goes_on = False
        while ns > 0 and not thread.must_end:
            thread.enter_user()
            ns = await thread.cpu.compute(ns, goes_on=goes_on)
            thread.leave_user()
            await thread.give_turn()
            goes_on = True

    async def _spin(self, thread: UserThread) -> None:
        """Compute until a stop or a fatal signal comes, which is looked for every _SPIN_NS."""
        ns = _SPIN_NS if self.kernel.engine.is_exploring else ENDLESS
        goes_on, thread.is_spinning = False, True
        while not thread.is_stopping and not thread.must_end:
            thread.enter_user()
            await thread.cpu.compute(ns, goes_on=goes_on, grain_ns=_SPIN_NS)
            thread.leave_user()
            await thread.give_turn()
            goes_on = True
        thread.is_stopping = thread.is_spinning = False

    async def _start_thread(self, thread: UserThread, name: str, cpu: int) -> int:
        """Start a thread; ENOMEM: there is no memory for it, EINTR: the process is to end."""
        assert thread.task_struct is not None, f"{thread.name} has begun"
        number = 0
        if thread.process.malloc is not None:
            number = await self.malloc.get().pthread_create(thread)
            if number < 0:
                return number
        task = await copy_thread(self.kernel, thread.task_struct)
        if task is None:
            return -errno.ENOMEM
        await lock_tasklist(self.kernel, "attach a thread")
        if thread.must_end:
            delayed_free_task(self.kernel, task)
            return -errno.EINTR
        attach_task(task)
        started = UserThread(
            process=thread.process,
            interpreter=self,
            name=name,
            cpu=self.kernel.cpus[cpu],
            program=(),
            is_leader=False,
            task_struct=task,
        )
        started.malloc_thread = number
        started.start(thread.cpu.clock.now)
        return 0

    async def _tell(self, thread: UserThread, call: op.By) -> int:
        """Give another thread or process something to do; wait for it unless it was `NAME&`."""
        if call.name == FIRST_PROCESS:
            return await self.perform(thread, call.operation)
        other = thread.process.family.members.living(call.name)
        if other is None:
            if self.kernel.probe.on:
                return await trace_call(self.kernel, Call(str(call)), _refuse())
            return -errno.ESRCH
        other.inbox.append(call.operation)
        other.is_busy = True
        other.work.wake_all(at_ns=thread.cpu.clock.now)
        if not call.waits:
            if isinstance(call.operation, op.Spin):
                await self._see_spinning(thread, other)
            return 0
        await self._wait_for(thread, other)
        return other.result

    async def _see_spinning(self, thread: UserThread, other: Thread) -> None:
        """Look again and again, without sleeping, until `other` spins."""
        while other.is_busy and not other.is_spinning and not other.must_end:
            await self._compute(thread, _LOOK_NS)

    async def _stop(self, thread: UserThread, other: Thread | None) -> int:
        """End a spin and wait until it has; ESRCH: nobody ever had the name."""
        if other is None:
            return -errno.ESRCH
        if other.is_busy:
            other.is_stopping = True
            other.cpu.signal(other.actor, thread.cpu.clock.now)
            await self._wait_for(thread, other)
            other.is_stopping = False
        return 0

    async def _wait_for(self, thread: UserThread, other: Thread) -> None:
        await thread.wait_in(other.idle, lambda: not other.is_busy)

    async def _wait_for_all(self, thread: UserThread) -> None:
        """Wait until no other thread is busy; those waited for may start threads meanwhile.

        Who is told to wait itself waits for nobody who waits so, too: else both would for ever.
        """
        others = thread.process.family.members
        thread.waits_for_all = thread.is_busy
        while not thread.must_end and (
            busy := [
                each
                for _, each in others.items()
                if each.is_busy and not (each.waits_for_all and thread.is_busy)
            ]
        ):
            await self._wait_for(thread, busy[0])
        thread.waits_for_all = False

    async def _meet(self, thread: UserThread, call: op.Barrier) -> None:
        meeting = self._meetings.get(call.name)
        if meeting is None:
            queue = WaitQueue(self.kernel.engine, f"barrier {call.name} of {call.count} threads")
            meeting = self._meetings[call.name] = _Meeting(queue)
        meeting.arrived += 1
        if meeting.arrived == call.count:
            del self._meetings[call.name]
            meeting.is_over = True
            meeting.queue.wake_all(at_ns=thread.cpu.clock.now)
        while not meeting.is_over and not thread.must_end:
            await meeting.queue.sleep(unless=lambda: meeting.is_over or thread.must_end)
        if not meeting.is_over:
            meeting.arrived -= 1

    async def close_process(self, cpu: Cpu, process: Process) -> None:
        """Close the files of a process that ends, and let devices unpin its pages."""
        task = process.leader.task_struct
        if task is not None:
            await exit_files(self.kernel, cpu, task.signal)
        await self.gup.exit_devices(cpu, process)
        if task is not None:
            await exit_fs(self.kernel, task.signal)

    def wake_sleepers(self, threads: Iterable[Thread], at_ns: int) -> None:
        """Let threads that sleep for a time, at a word or a barrier, look whether they must end."""
        for thread in threads:
            self.timer.cut_short(thread.actor, at_ns)
        self.futexes.wake_killed(threads, at_ns)
        for meeting in self._meetings.values():
            meeting.queue.wake_all(at_ns=at_ns)


async def _refuse() -> int:
    """Find nobody who could do it."""
    return -errno.ESRCH
