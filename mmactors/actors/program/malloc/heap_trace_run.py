"""A heap trace on a process's heap: its threads, and what each of its rows does.

Thread 0 of the trace is who runs it. The others are threads of the process, made as pthread_create
makes them; each is told to do the same operation, in which it takes its part. What is common to
both orders of rows is here; `trace_order.py` and `free_order.py` say whose row comes next.

What a program does with a block that it gets is noted where the library's own accesses are, and
goes the same way. Without `metadata_in_memory` it is noted alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.actors.call.trace_call import Call, trace_call
from mmactors.actors.program.malloc.caller import LibraryCaller, PathLeftError
from mmactors.actors.program.malloc.heap_trace_rows import HeapTraceRows, text_of_row
from mmactors.actors.program.malloc.user_heap import UserHeap
from mmactors.actors.program.thread import UserThread
from mmactors.arch.heap_trace import (
    MALLOC_TRIM,
    MEMALIGN,
    THREAD_BEGIN,
    THREAD_END,
    HeapOperations,
)
from mmactors.engine.wait_queue import WaitQueue
from mmactors.malloc.ptmalloc.ptmalloc import Ptmalloc
from mmactors.malloc.ptmalloc.replay import Replay
from mmactors.malloc.ptmalloc.replay_rows import TOUCH_ALL, TOUCH_FIRST, TOUCH_NONE
from mmactors.malloc.user_words import UserWords
from mmactors.units import ULONG_MAX
from mmactors.workload.operation.malloc import RunHeapTrace

StartThread = Callable[[UserThread, str, int], Awaitable[int]]
"""Makes a thread of a name on a CPU; 0, or minus the errno."""
_TOUCHES: Final = {"none": TOUCH_NONE, "first": TOUCH_FIRST, "all": TOUCH_ALL}
_BATCH_ACCESSES: Final = 1 << 12
"""So many accesses of a batch are noted before they are made."""


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
        number: int,
    ) -> None:
        """Read the trace; raise UserError for what is none. `number`: of the runs of a machine."""
        assert isinstance(heap.library, Ptmalloc), f"{heap.library} has no compiled rows"
        self.call: Final = call
        self.leader: Final = leader
        self.members: Final[dict[int, UserThread]] = {0: leader}
        """By the trace's number of a thread."""
        self.rows: Final = HeapTraceRows(call)
        self.nr_done = 0
        self.is_over = False
        self._heap: Final = heap
        self._caller_of: Final = caller_of
        self._end_thread: Final = end_thread
        self._start_thread: Final = start_thread
        self._number: Final = number
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
            await self.run_part(leader, 0)
        self.stop(leader)
        for tid, member in list(self.members.items()):
            if tid:
                await leader.wait_in(member.idle, lambda it=member: not it.is_busy)
        return self._error or self.nr_done

    async def take_part(self, thread: UserThread, tid: int) -> int:
        """Do the part of a thread that the trace has; it ends afterwards."""
        await self.run_part(thread, tid)
        if not thread.is_exiting:
            await self._end_member(thread)
        return 0

    def stop(self, thread: UserThread) -> None:
        """Let everybody see that nothing more is done."""
        self.is_over = True
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

    async def do_rows(self, thread: UserThread, replay: Replay, end: int) -> None:
        """Do rows of one thread as far as `end`, many at once; PathLeftError.

        Their accesses follow in one trace. Nobody else may call the library meanwhile.
        """
        caller, malloc_ns = self._caller_at(thread, replay), _malloc_ns(thread)
        engine = thread.process.kernel.engine
        while replay.row < end:
            begin = replay.row
            is_stopped = replay.run(end)
            self._count(thread, replay.row - begin, malloc_ns)
            await self._access(caller)
            if is_stopped:
                await self._finish(thread, caller, replay)
            if thread.must_end:
                raise PathLeftError
            if thread.cpu.clock.now > engine.limit:
                await thread.yield_cpu()

    async def do_row(self, thread: UserThread, replay: Replay, *, alone: bool) -> None:
        """Do one row, as a call that the log shows; PathLeftError.

        `alone`: nobody else calls the library meanwhile.
        """
        kernel = thread.process.kernel
        work = self._do_row(thread, replay, alone=alone)
        if kernel.probe.on:
            text = text_of_row(replay.operations, replay.row)
            await trace_call(kernel, Call(text), work)
        else:
            await work
        if thread.must_end:
            raise PathLeftError

    async def _do_row(self, thread: UserThread, replay: Replay, *, alone: bool) -> int:
        row, rows = replay.row, replay.operations
        try:
            if rows.op[row] > MEMALIGN:
                return await self._do_other(thread, replay)
            if alone:
                await self.do_rows(thread, replay, row + 1)
            else:
                caller = self._caller_at(thread, replay)
                await caller.perform(replay.call())
                await self._end_row(thread, caller, replay)
        except PathLeftError:
            return -_EFAULT
        return int(replay.address[row])

    async def _finish(self, thread: UserThread, caller: LibraryCaller, replay: Replay) -> None:
        await caller.perform(replay.finish())
        self._count(thread, 1, _malloc_ns(thread))
        await self._access(caller)
