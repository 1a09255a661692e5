"""A heap trace on a process's heap: its threads, and what each of its rows does.

Thread 0 of the trace is who runs it. The others are threads of the process, made as pthread_create
makes them; each is told to do the same operation, in which it takes its part. What is common to
both orders of rows is here; `trace_order.py` and `free_order.py` say whose row comes next.

What a program does with a block that it gets is noted where the library's own accesses are, and
goes the same way. Without `metadata_in_memory` it is noted alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from errno import EFAULT, ENOMEM
from typing import Final

import numpy as np

from mmactors.actors.program.malloc.caller import LibraryCaller, PathLeftError, access_noted
from mmactors.actors.program.malloc.heap_trace_rows import HeapTraceRows, text_of_row
from mmactors.actors.program.malloc.user_heap import UserHeap
from mmactors.actors.program.thread import UserThread
from mmactors.arch.heap_trace import (
    FREE,
    MALLOC_TRIM,
    MALLOPT,
    MEMALIGN,
    REALLOC,
    THREAD_BEGIN,
    THREAD_END,
    HeapOperations,
)
from mmactors.engine.wait_queue import WaitQueue
from mmactors.events import SysEnter, SysExit
from mmactors.malloc.replay import Replay
from mmactors.malloc.replay_rows import TOUCH_ALL, TOUCH_FIRST, TOUCH_NONE
from mmactors.malloc.user_words import UserWords
from mmactors.units import ULONG_MAX
from mmactors.workload.operation.malloc import RunHeapTrace

StartThread = Callable[[UserThread, str, int], Awaitable[int]]
"""Makes a thread of a name on a CPU; 0, or minus the errno."""
Parts = dict[UserThread, tuple["HeapTraceRun", int]]
"""By thread that a trace has: its run, and its number there."""
_TOUCHES: Final = {"none": TOUCH_NONE, "first": TOUCH_FIRST, "all": TOUCH_ALL}
_BATCH_ACCESSES: Final = 1 << 12
"""So many accesses of a batch are noted before they are made."""
_BATCH_ROWS: Final = 1 << 9
"""So many calls are made at most before the clock is looked at."""
_NEAR_NS: Final = 100_000
"""One at a time if somebody else comes so soon, so that he finds what he would find with a log."""


class HeapTraceRun(ABC):
    """A heap trace that is run."""

    def __init__(
        self,
        *,
        call: RunHeapTrace,
        leader: UserThread,
        heap: UserHeap,
        caller_of: Callable[[UserThread], LibraryCaller],
        end_thread: Callable[[UserThread], Awaitable[None]],
        start_thread: StartThread,
        parts: "Parts",
        number: int,
    ) -> None:
        """Read the trace; raise UserError for what is none.

        `parts`: where threads find theirs; `number`: that of the run on this machine.
        """
        self.call: Final = call
        self.leader: Final = leader
        self.members: Final[dict[int, UserThread]] = {0: leader}
        """By the trace's number of a thread."""
        self.rows: Final = HeapTraceRows(call)
        self.nr_done = 0
        self.is_over = False
        self._has_begun = False
        """All threads are there that the trace does not begin."""
        self._heap: Final = heap
        self._caller_of: Final = caller_of
        self._end_thread: Final = end_thread
        self._start_thread: Final = start_thread
        self._parts: Final = parts
        self._number: Final = number
        self._malloc_ns: Final = leader.process.kernel.costs.malloc_ns
        self._error = 0
        self._library: Final = heap.library
        self._numbers: Final = np.zeros(self.rows.nr_threads, np.int64)
        """By the trace's number of a thread the library's."""
        self._numbers[0] = leader.malloc_thread
        self._objects: Final = np.zeros(self.rows.nr_objects, np.int64)
        self._lives: Final = np.zeros(2 * self.rows.nr_objects, np.int64)
        self._touched: Final = heap.library.words if heap.metadata_in_memory else UserWords()
        if not heap.metadata_in_memory:
            self._touched.watch(on=True)
        self._queues: Final[dict[int, WaitQueue]] = {}

    @abstractmethod
    async def run_part(self, thread: UserThread, tid: int) -> None:
        """Do the rows of a thread, up to its end or that of the run."""

    async def run(self) -> int:
        """Do all; return how many rows were done, or minus the errno of what has no thread."""
        rows, leader = self.rows, self.leader
        for tid in range(1, rows.nr_threads):
            if tid not in rows.begin_later and not self._error:
                await self._begin_thread(tid)
        if not self._error:
            self._has_begun = True
            self._wake_all(leader)
            await self.run_part(leader, 0)
        if self._error:
            self.stop(leader)
        for member in list(self.members.values()):
            if member is not leader:
                await _wait_for(leader, member)
        return self._error or self.nr_done

    async def take_part(self, thread: UserThread, tid: int) -> int:
        """Do the part of a thread that the trace has; it ends afterwards."""
        await thread.wait_in(self.queue_of(tid), lambda: self._has_begun or self.is_over)
        await self.run_part(thread, tid)
        if not thread.is_exiting:
            await self._end_member(thread)
        return 0

    def stop(self, thread: UserThread) -> None:
        """Let everybody see that nothing more is done."""
        self.is_over = True
        self._wake_all(thread)

    def _wake_all(self, thread: UserThread) -> None:
        for queue in self._queues.values():
            queue.wake_all(at_ns=thread.cpu.clock.now)

    def queue_of(self, tid: int) -> WaitQueue:
        """Return where a thread sleeps until it is its turn."""
        queue = self._queues.get(tid)
        if queue is None:
            what = f"the turn of thread {tid} of heap trace {self._number}"
            engine = self.leader.process.kernel.engine
            queue = self._queues[tid] = WaitQueue(engine, what, hands_over=True)
        return queue

    def replay_of(self, operations: HeapOperations) -> Replay:
        """Return the rows of a piece on the heap."""
        return Replay(
            library=self._library,
            operations=operations,
            threads=self._numbers,
            objects=self._objects,
            address=np.zeros(len(operations), np.int64),
            live=self._heap.live,
            lives=self._lives,
            touches=_TOUCHES[self.call.touch],
            touched=self._touched.log,
            most_accesses=_BATCH_ACCESSES,
        )

    def is_alone(self) -> bool:
        """Return whether all threads of the process take part, and nobody interrupts a row."""
        process = self.leader.process
        has_others = len(process.live_threads) > len(self.members)
        return not has_others and not process.kernel.engine.wants_step()

    async def do_rows(self, thread: UserThread, replay: Replay, end: int) -> None:
        """Do rows of one thread as far as `end`, many at once; raise PathLeftError.

        Their accesses follow in one trace. Nobody else may call the library meanwhile: no lock of
        it is taken.
        """
        caller, malloc_ns = self._caller_at(thread, replay), self._malloc_ns
        caller.takes_locks = False
        engine = thread.process.kernel.engine
        noted_alone = self._touched is not self._library.words
        while replay.row < end:
            begin = replay.row
            is_near = engine.policy.next_ns < thread.cpu.clock.now + _NEAR_NS
            is_stopped = replay.run(min(end, begin + (1 if is_near else _BATCH_ROWS)))
            self._count(replay.row - begin)
            thread.run_instructions(malloc_ns * (replay.row - begin + is_stopped))
            if noted_alone or not is_stopped:
                await access_noted(thread, self._heap, self._touched)
            if is_stopped:
                await caller.perform(replay.finish())
                if noted_alone:
                    await access_noted(thread, self._heap, self._touched)
                self._count(1)
            if thread.must_end:
                raise PathLeftError
            if thread.cpu.clock.now > engine.limit:
                await thread.yield_cpu()

    async def do_row(self, thread: UserThread, replay: Replay) -> None:
        """Do one row, as a call that the log shows; raise PathLeftError."""
        probe = thread.process.kernel.probe
        if probe.on:
            text = text_of_row(replay.operations, replay.row)
            probe.open(SysEnter(call=text, nr=None, args=()))
        is_end = replay.operations.op[replay.row] == THREAD_END
        result = await self._result_of(thread, replay)
        if probe.on:
            probe.close(SysExit(call=text, nr=None, ret=result))
        if self._error:
            self.stop(thread)
        if result == -EFAULT or (thread.must_end and not is_end):
            raise PathLeftError

    async def _result_of(self, thread: UserThread, replay: Replay) -> int:
        row = replay.row
        try:
            if replay.operations.op[row] > MEMALIGN:
                return await self._do_other(thread, replay)
            if self.is_alone():
                await self.do_rows(thread, replay, row + 1)
            else:
                thread.run_instructions(self._malloc_ns)
                await self._caller_at(thread, replay).perform(replay.call())
                await access_noted(thread, self._heap, self._touched)
                self._count(1)
        except PathLeftError:
            return -EFAULT
        is_null = not replay.address[row] and replay.operations.op[row] != FREE
        if is_null and (replay.operations.op[row] != REALLOC or replay.operations.size[row]):
            return -ENOMEM
        return int(replay.address[row])

    async def _do_other(self, thread: UserThread, replay: Replay) -> int:
        """Do a row that is no call of malloc's; its result."""
        row, rows = replay.row, replay.operations
        op, tid, library = int(rows.op[row]), int(rows.tid[row]), self._library
        number = int(self._numbers[tid])
        size = int(rows.size[row])
        caller = self._caller_at(thread, replay)
        if op == THREAD_BEGIN:
            result = await self._begin_thread(tid)
        elif op == THREAD_END and tid:
            del self.members[tid]
            result = await self._end_member(thread)
        elif op == THREAD_END:
            await caller.perform(library.end_thread(number))
            result = 0
        elif op == MALLOC_TRIM:
            result = await caller.perform(library.malloc_trim(number, size & ULONG_MAX))
        else:
            assert op == MALLOPT, f"there is no operation {op}"
            parameter = int(rows.arg[row])
            result = await caller.perform(library.mallopt(number, parameter, size))
        replay.row += 1
        self._count(1)
        return result

    async def _begin_thread(self, tid: int) -> int:
        """Let a thread begin, as thread 0 makes it; 0, or minus the errno."""
        leader, process = self.leader, self.leader.process
        cpus = process.kernel.cpus
        cpu = (leader.cpu.index + tid) % len(cpus)
        name = f"trace{self._number}.{tid}"
        stacks = self._heap.stacks
        usual, stacks.stack_bytes = stacks.stack_bytes, self.call.stack
        result = await self._start_thread(leader, name, cpu)
        stacks.stack_bytes = usual
        if result < 0:
            self._error = result
            return result
        member = process.threads[name]
        assert isinstance(member, UserThread), f"{member} runs no program"
        self.members[tid] = member
        self._numbers[tid] = member.malloc_thread
        self._parts[member] = (self, tid)
        member.inbox.append(self.call)
        member.is_busy = True
        member.work.wake_all(at_ns=leader.cpu.clock.now)
        return 0

    async def _end_member(self, thread: UserThread) -> int:
        """Let a thread that the trace has end as pthread_exit does."""
        await self._end_thread(thread)
        thread.is_exiting = True
        return 0

    def _count(self, nr_rows: int) -> None:
        self.nr_done += nr_rows
        self._heap.nr_calls += nr_rows

    def _caller_at(self, thread: UserThread, replay: Replay) -> LibraryCaller:
        caller = self._caller_of(thread)
        caller.place = lambda: self.rows.where(replay.operations, replay.row)
        return caller


async def _wait_for(leader: UserThread, member: UserThread) -> None:
    await leader.wait_in(member.idle, lambda: not member.is_busy)
