"""The operation `heap_trace`: who runs a heap trace, and who takes part in it."""

from collections.abc import Awaitable, Callable
from typing import Final

from mmactors.actors.program.malloc.caller import LibraryCaller
from mmactors.actors.program.malloc.free_order import FreeOrder
from mmactors.actors.program.malloc.heap_trace_run import Parts, StartThread
from mmactors.actors.program.malloc.trace_order import TraceOrder
from mmactors.actors.program.malloc.user_heap import UserHeap
from mmactors.actors.program.thread import UserThread
from mmactors.workload.operation.malloc import ORDER_TRACE, RunHeapTrace


class HeapTraceCalls:
    """Heap traces of all processes of a machine."""

    def __init__(self, start_thread: StartThread) -> None:
        self._start_thread: Final = start_thread
        self._nr_runs = 0
        self._parts: Final[Parts] = {}

    async def perform(
        self,
        thread: UserThread,
        call: RunHeapTrace,
        heap: UserHeap,
        caller_of: Callable[[UserThread], LibraryCaller],
        end_thread: Callable[[UserThread], Awaitable[None]],
    ) -> int:
        """Run a trace, or take part; return how many of its rows were done. UserError."""
        part = self._parts.pop(thread, None)
        if part is not None:
            run, tid = part
            return await run.take_part(thread, tid)
        self._nr_runs += 1
        kind = TraceOrder if call.order == ORDER_TRACE else FreeOrder
        run = kind(
            call=call,
            leader=thread,
            heap=heap,
            caller_of=caller_of,
            end_thread=end_thread,
            start_thread=self._start_thread,
            parts=self._parts,
            number=self._nr_runs,
        )
        return await run.run()
