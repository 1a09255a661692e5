"""A heap trace in its own order: one row at a time, whoever's it is.

Whose row comes next has the turn, does all up to the first row of another, and says whose turn it
is then. So rows of one thread that follow each other run at once, and addresses and system calls
are those of a program that was recorded so.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmactors.actors.program.malloc.caller import PathLeftError
from mmactors.actors.program.malloc.heap_trace_run import HeapTraceRun
from mmactors.actors.program.thread import UserThread
from mmactors.arch.heap_trace import MEMALIGN, THREAD_BEGIN, HeapOperations
from mmactors.malloc.replay import Replay


class TraceOrder(HeapTraceRun):
    """The rows in the order of the trace."""

    _pieces: Iterator[HeapOperations] | None = None
    _replay: Replay | None = None
    _turns: NDArray[np.int64]
    """By row of the piece: who does it."""
    _ends: NDArray[np.int64]
    """Rows of the piece before which somebody else's turn begins, or another kind of call."""

    async def run_part(self, thread: UserThread, tid: int) -> None:
        """Do the rows of a thread as its turns come, up to its end or that of the run."""
        try:
            while not (self.is_over or thread.must_end):
                turn = self._turn()
                if turn == tid:
                    await self._take_turn(thread)
                elif turn is not None:
                    queue = self.queue_of(tid)
                    self.queue_of(turn).wake_all(at_ns=thread.cpu.clock.now)
                    await thread.wait_in(queue, lambda: self.is_over or self._turn() == tid)
                else:
                    self.stop(thread)
        except PathLeftError:
            self.stop(thread)
        if thread.is_exiting and not self.is_over:
            self._pass_on(thread)

    def _pass_on(self, thread: UserThread) -> None:
        turn = self._turn()
        if turn is None:
            self.stop(thread)
        else:
            self.queue_of(turn).wake_all(at_ns=thread.cpu.clock.now)

    def _turn(self) -> int | None:
        """Return whose row comes next; None: there is none."""
        while self._replay is None or self._replay.row == len(self._replay.operations):
            if self._pieces is None:
                self._pieces = self.rows.pieces()
            piece = next(self._pieces, None)
            if piece is None:
                return None
            self._turns = np.where(piece.op == THREAD_BEGIN, 0, piece.tid).astype(np.int64)
            is_other = piece.op > MEMALIGN
            is_new = np.diff(self._turns) != 0
            is_new |= is_other[1:] | is_other[:-1]
            self._ends = np.append(np.flatnonzero(is_new) + 1, len(piece))
            self._replay = self.replay_of(piece)
        return int(self._turns[self._replay.row])

    async def _take_turn(self, thread: UserThread) -> None:
        replay = self._replay
        assert replay is not None, "there is a row"
        row = replay.row
        is_other = replay.operations.op[row] > MEMALIGN
        if is_other or thread.process.kernel.probe.on or not self.is_alone():
            await self.do_row(thread, replay)
        else:
            end = self._ends[np.searchsorted(self._ends, row, side="right")]
            await self.do_rows(thread, replay, int(end))
