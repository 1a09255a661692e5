"""A piece of a heap trace that runs on a process's library, in its own order, with nobody else."""

from collections.abc import Callable
from typing import Final

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.arch.heap_trace import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, HeapOperations
from mmactors.malloc.library import MallocLibrary
from mmactors.malloc.replay_rows import NEEDS_CALL, NR_STOPS, STOPPED, TOUCH_NONE, end_row
from mmactors.malloc.request import MallocSteps
from mmactors.units import ULONG_MAX

NOT_WANTED: Final[NDArray[np.int64]] = np.zeros(0, dtype=np.int64)


@define(eq=False, kw_only=True)
class Replay:
    """Operations, done as far as possible without a request: `run`, then `finish` where it stops.

    Rows that are no calls of malloc's (a thread's begin and end, malloc_trim, mallopt) stop it,
    too: who runs it does them.
    """

    library: MallocLibrary
    operations: HeapOperations
    threads: NDArray[np.int64]
    """By the trace's number of a thread the library's."""
    objects: NDArray[np.int64]
    """By number of an object its block, 0: it has none; for all numbers in the trace."""
    address: NDArray[np.int64]
    """What each operation returned; 0: NULL or nothing."""
    usable: NDArray[np.int64] = NOT_WANTED
    """Usable sizes of what they returned; empty: nobody wants to know."""
    touches: int = TOUCH_NONE
    """What a program writes of each block that it gets: TOUCH_NONE, TOUCH_FIRST, TOUCH_ALL."""
    touched: NDArray[np.int64] = NOT_WANTED
    """The log in which that is noted, as `UserWords.log` is one; empty: none."""
    live: NDArray[np.int64] = NOT_WANTED
    """What of the heap is in use (NR_LIVE); empty: nobody wants to know."""
    lives: NDArray[np.int64] = NOT_WANTED
    """Two numbers for each object: its bytes as asked for, and as usable."""
    most_accesses: int = 1 << 16
    """With so many accesses in `touched`, `run` stops before a row, for them to be taken."""
    row: int = 0
    """The row that comes next."""
    stop: NDArray[np.int64] = field(factory=lambda: np.zeros(NR_STOPS, dtype=np.int64), init=False)
    """For who does rows: at STOPPED why it stopped at one, behind it what it keeps of it."""

    def run(self, end: int) -> bool:
        """Do rows to before `end`, or to one that `finish` must do: say whether it stopped at one.

        It also stops before a row if enough accesses are noted.
        """
        while True:
            self.library.words.make_room()
            self.library.run_rows(self, end)
            if self.stop[STOPPED]:
                return True
            if self.row >= end or (self.touched.size and self.touched[0] >= self.most_accesses):
                return False

    def finish(self) -> MallocSteps[None]:
        """Do the rest of the row at which `run` stopped, or all of it. MallocAbortError."""
        is_whole = self.stop[STOPPED] == NEEDS_CALL
        yield from self._do_row(self._call if is_whole else self._resume)

    def call(self) -> MallocSteps[None]:
        """Do all of a row by the library's call, which others may disturb. MallocAbortError."""
        yield from self._do_row(self._call)

    def _do_row(
        self, run: Callable[[int, int, int, int, int], MallocSteps[int]]
    ) -> MallocSteps[None]:
        of, row = self.operations, self.row
        op, number = int(of.op[row]), int(of.id[row])
        size, arg = int(of.size[row]) & ULONG_MAX, int(of.arg[row]) & ULONG_MAX
        thread = int(self.threads[of.tid[row]])
        old = int(self.objects[number]) if number >= 0 else -number
        block = yield from run(thread, op, old, size, arg)
        end_row(
            of.id,
            of.size,
            of.op,
            self.objects,
            self.address,
            self.usable,
            self.touched,
            self.live,
            self.lives,
            row,
            block,
            self.library.peek_usable_size(block) if block else 0,
            self.touches,
        )
        self.row += 1

    def _call(self, thread: int, op: int, old: int, size: int, arg: int) -> MallocSteps[int]:
        """Do a row that no compiled path can do."""
        library = self.library
        if op == FREE:
            yield from library.free(thread, old)
            return 0
        if op == CALLOC:
            members = arg or 1
            return (yield from library.calloc(thread, members, size // members))
        if op == REALLOC:
            return (yield from library.realloc(thread, old, size))
        if op == MEMALIGN:
            return (yield from library.memalign(thread, arg, size))
        assert op == MALLOC, f"operation {op} is not one of malloc's calls"
        return (yield from library.malloc(thread, size))

    def _resume(self, thread: int, op: int, old: int, size: int, arg: int) -> MallocSteps[int]:
        """Go on with a row where its compiled path has stopped."""
        return (yield from self.library.resume_row(self, thread, op, old, size, arg))
