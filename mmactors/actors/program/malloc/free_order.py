"""A heap trace whose threads go on as fast as they can.

A row waits for the row before it that is about the same object, if that is another thread's: who
frees a block waits until it was allocated. The begin of a thread waits for the end of the one that
had its number. So the order of a trace is kept where it matters, and nobody waits for ever.
All rows are in memory.
"""

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.actors.program.malloc.caller import PathLeftError
from mmactors.actors.program.malloc.heap_trace_run import HeapTraceRun
from mmactors.actors.program.thread import UserThread
from mmactors.arch.heap_trace import MEMALIGN, THREAD_BEGIN, THREAD_END, HeapOperations


class _Plan:
    """Which rows each thread does, and for which other one each of them waits."""

    def __init__(self, pieces: list[HeapOperations]) -> None:
        names = ("op", "tid", "id", "size", "arg", "line")
        self.rows: Final = HeapOperations(
            first=0,
            **{name: np.concatenate([getattr(it, name) for it in pieces]) for name in names},
        )
        rows = self.rows
        who = np.where(rows.op == THREAD_BEGIN, 0, rows.tid)
        self.rows_of: Final = {
            int(tid): deque(np.flatnonzero(who == tid).tolist()) for tid in np.unique(who)
        }
        self.is_done: Final = np.zeros(len(rows), np.bool_)
        self.waits_for: Final = _rows_before(rows)
        self.awaited: Final[dict[int, list[int]]] = {}
        """By row: threads that wait for it."""


class FreeOrder(HeapTraceRun):
    """The rows of each thread in the order of the trace, those of several at once."""

    _planned: _Plan | None = None

    def is_alone(self) -> bool:
        """Return whether there is one thread: of several each takes the library's locks."""
        return len(self.members) == 1 and super().is_alone()

    async def run_part(self, thread: UserThread, tid: int) -> None:
        """Do the rows of a thread, up to its end or that of the run."""
        if self._planned is None:
            self._planned = _Plan(list(self.rows.pieces()))
        plan = self._planned
        mine = plan.rows_of.get(tid, deque())
        replay = self.replay_of(plan.rows)
        try:
            while mine and not (self.is_over or thread.is_exiting):
                row = mine.popleft()
                await self._wait_for(thread, tid, plan, int(plan.waits_for[row]))
                if self.is_over or thread.must_end:
                    break
                replay.row = row
                await self.do_row(thread, replay)
                plan.is_done[row] = True
                for other in plan.awaited.pop(row, ()):
                    self.queue_of(other).wake_all(at_ns=thread.cpu.clock.now)
                await thread.give_turn()
        except PathLeftError:
            self.stop(thread)

    async def _wait_for(self, thread: UserThread, tid: int, plan: _Plan, row: int) -> None:
        if row < 0 or plan.is_done[row]:
            return
        plan.awaited.setdefault(row, []).append(tid)
        queue = self.queue_of(tid)
        await thread.wait_in(queue, lambda: self.is_over or bool(plan.is_done[row]))


def _rows_before(rows: HeapOperations) -> NDArray[np.int64]:
    """Return for each row the one before it about the same object or thread; -1: there is none."""
    is_object = (rows.op <= MEMALIGN) & (rows.id >= 0)
    is_thread = (rows.op == THREAD_BEGIN) | (rows.op == THREAD_END)
    before = np.full(len(rows), -1, np.int64)
    for which, number in ((is_object, rows.id), (is_thread, rows.tid)):
        nth = np.flatnonzero(which)
        order = nth[np.argsort(number[nth], kind="stable")]
        is_same = number[order][1:] == number[order][:-1]
        before[order[1:][is_same]] = order[:-1][is_same]
    return before
