"""Rows of a heap trace that run on a library: which, for which threads and objects, how far."""

from typing import Final

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.arch.column import Column, Words
from mmactors.arch.heap_trace import HeapOperations
from mmactors.malloc.replay_rows import NR_STOPS, TOUCH_NONE, Texts

NOT_WANTED: Final[NDArray[np.int64]] = np.zeros(0, dtype=np.int64)


@define(eq=False, kw_only=True)
class HeapRows:
    """Operations on a heap, and what is kept of those that are done."""

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

    def arrays(
        self,
    ) -> tuple[
        Words, Texts, Column, Words, Words, Words, Words, Words, Words, Words, Words, Words, Words
    ]:
        """Return what each library's `replay_rows` takes of it, in that order."""
        of = self.operations
        return (
            self.threads,
            of.op,
            of.tid,
            of.id,
            of.size,
            of.arg,
            self.objects,
            self.address,
            self.usable,
            self.touched,
            self.live,
            self.lives,
            self.stop,
        )
