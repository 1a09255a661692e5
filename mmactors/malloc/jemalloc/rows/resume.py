"""What goes on where a row's compiled path has stopped."""

import numpy as np
from attrs import define
from numpy.typing import NDArray

from mmactors.arch.heap_trace import CALLOC
from mmactors.malloc.jemalloc.calls import Calls
from mmactors.malloc.jemalloc.par import ZERO_ALL
from mmactors.malloc.jemalloc.rows.phases import (
    ALLOCATED_EVENTS,
    BLOCK,
    COUNT,
    DUE,
    GET,
    GIVE,
    INDEX,
    NEEDS_DALLOC,
    OLD_USABLE,
    PHASE,
    USABLE,
)
from mmactors.malloc.jemalloc.size_classes import NR_BINS, size2index
from mmactors.malloc.jemalloc.tcache.cache_bin import push_block
from mmactors.malloc.jemalloc.tcache.flush import FIRST_EDATA
from mmactors.malloc.jemalloc.tcache.tcache import cache_bin_of, end_collection
from mmactors.malloc.replay_rows import STOPPED
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import note_access


@define(eq=False)
class RowEnds:
    """The ends of rows that have begun."""

    calls: Calls
    stack: NDArray[np.int64]
    """What the compiled path of a flush has left."""

    def resume(self, stop: NDArray[np.int64], tsd: int, op: int, old: int) -> MallocSteps[int]:
        """Do the rest of a row; return its block."""
        code, phase = int(stop[STOPPED]), int(stop[PHASE])
        usable, old_usable = int(stop[USABLE]), int(stop[OLD_USABLE])
        index, count, due = int(stop[INDEX]), int(stop[COUNT]), int(stop[DUE])
        block = int(stop[BLOCK])
        stack = self.stack.copy() if code == NEEDS_DALLOC else self.stack
        if phase == GET:
            block = yield from self._end_get(tsd, index, count, is_zero=op == CALLOC)
            if not block:
                return 0
            if old_usable:
                _, log, _ = self.calls.heap.arrays()
                note_access(log, old, min(usable, old_usable), 0)
                note_access(log, block, min(usable, old_usable), 1)
        if phase == GIVE and code == NEEDS_DALLOC:
            yield from self._end_give(tsd, old, index, count, stack)
        elif phase <= GIVE and old_usable:
            old_index = size2index(old_usable)
            yield from self.calls.give(tsd, old, old_index, is_slab=old_index < NR_BINS)
        if phase == ALLOCATED_EVENTS:
            yield from self._end_events(tsd, code, due, index, count, stack)
        elif phase < ALLOCATED_EVENTS and usable:
            yield from self.calls.count_allocated(tsd, usable)
        if phase > ALLOCATED_EVENTS:
            yield from self._end_events(tsd, code, due, index, count, stack)
        elif old_usable:
            yield from self.calls.count_deallocated(tsd, old_usable)
        return block

    def _end_get(self, tsd: int, index: int, filled: int, *, is_zero: bool) -> MallocSteps[int]:
        """Return the block of a bin that needs a new slab."""
        calls = self.calls
        zero = is_zero or bool(calls.heap.par[ZERO_ALL])
        return (yield from calls.get_with_slab(tsd, index, filled, zero=zero))

    def _end_give(
        self, tsd: int, old: int, index: int, count: int, stack: NDArray[np.int64]
    ) -> MallocSteps[None]:
        """Give back the slabs that a free, or the flush before it, has made empty."""
        small = self.calls.small
        if not count:
            yield from small.end_free(tsd, int(stack[FIRST_EDATA]))
            return
        yield from small.end_flush(tsd, index, count, stack)
        words, log, _ = self.calls.heap.arrays()
        push_block(words, log, cache_bin_of(tsd, index), old)

    def _end_events(
        self, tsd: int, code: int, due: int, index: int, count: int, stack: NDArray[np.int64]
    ) -> MallocSteps[None]:
        """End the flush of a collection, and do what else is due."""
        calls = self.calls
        if code == NEEDS_DALLOC:
            yield from calls.small.end_flush(tsd, index, count, stack)
        else:
            yield from calls.flush(tsd, index, count)
        words, log, par = calls.heap.arrays()
        end_collection(words, log, par, tsd, index, count)
        calls.note_peak(tsd, due)
