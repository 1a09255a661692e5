"""Small blocks: what a cache gets from bins and gives to them (jemalloc 5.3.0, arena.c, tcache.c).

A bin's lock is held while its slabs change. New slabs come from the pages, without it.
"""

from typing import Final

import numpy as np
from attrs import define
from numpy.typing import NDArray

from mmactors.malloc.jemalloc.bins.bin import (
    LOCK,
    count_fill,
    count_given,
    fill_blocks,
    give_block,
    take_block,
)
from mmactors.malloc.jemalloc.bins.slab import init_slab
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.mutex import lock_mutex, unlock_mutex
from mmactors.malloc.jemalloc.pages.edata import arena_index_of, class_of
from mmactors.malloc.jemalloc.pages.emap import edata_of
from mmactors.malloc.jemalloc.size_classes import index2size
from mmactors.malloc.jemalloc.tcache.cache_bin import (
    cached_in,
    empty_position,
    finish_fill,
    finish_flush,
    take_requests,
)
from mmactors.malloc.jemalloc.tcache.flush import (
    FIRST_EDATA,
    IS_MERGED,
    NR_EMPTY,
    arena_at,
    bin_at,
    bin_of_slab,
    binshard_of,
    count_flush,
    flush_small_pass,
    inverse_of,
    look_up_edatas,
    nr_regions_of,
    region_bytes_of,
    slab_bytes_of,
)
from mmactors.malloc.jemalloc.tcache.tcache import (
    BIN_REFILLED,
    SLOW_ARENA,
    cache_bin_of,
    fill_count,
)
from mmactors.malloc.library import MallocFaultError
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import clear_words, load_word, store_bits
from mmactors.units import PAGE_SIZE

NOT_BEGUN: Final = -1
"""How many blocks a fill has got that has not begun."""

_BIN: Final = "bin"


@define(eq=False)
class SmallBlocks:
    """The small blocks of a process's heap."""

    heap: Heap

    def _new_slab(self, tsd: int, arena: int, index: int, shard: int) -> MallocSteps[int]:
        """Return a slab from the pages; 0: there is no memory (arena_slab_alloc)."""
        words, log, par = self.heap.arrays()
        slab_bytes = slab_bytes_of(words, log, par, index)
        slab = yield from self.heap.pages.alloc(
            tsd, arena, slab_bytes, PAGE_SIZE, is_slab=True, index=index, zero=False
        )
        if slab:
            words, log, par = self.heap.arrays()
            init_slab(words, log, slab, nr_regions_of(words, log, par, index), shard)
        return slab

    def fill(self, tsd: int, arena: int, index: int, filled: int = NOT_BEGUN) -> MallocSteps[None]:
        """Let a bin of a thread's cache, which is empty, have blocks.

        arena_cache_bin_fill_small; `filled`: how many are there, and a new slab is needed.
        """
        words, log, par = self.heap.arrays()
        cache_bin = cache_bin_of(tsd, index)
        wanted = fill_count(words, log, par, tsd, index)
        target = empty_position(words, log, cache_bin) - 8 * wanted
        shard = binshard_of(words, log, tsd, index)
        arena_bin = bin_at(words, log, par, arena, index, shard)
        region_bytes = region_bytes_of(words, log, par, index)
        fresh = 0
        needs_slab = filled != NOT_BEGUN
        filled = max(filled, 0)
        while True:
            if needs_slab:
                fresh = yield from self._new_slab(tsd, arena, index, shard)
            yield from lock_mutex(self.heap, arena_bin + LOCK, tsd, _BIN)
            words, log, par = self.heap.arrays()
            before = filled
            filled, fresh = fill_blocks(
                words, log, arena_bin, region_bytes, target, filled, wanted, fresh
            )
            has_failed = needs_slab and filled == before
            needs_slab = filled < wanted and not has_failed
            if not needs_slab:
                requests = take_requests(words, log, cache_bin)
                count_fill(words, log, arena_bin, filled, requests)
            yield from unlock_mutex(self.heap, arena_bin + LOCK, _BIN)
            if not needs_slab:
                break
        if fresh:
            yield from self.heap.pages.dalloc(tsd, arena, fresh)
        words, log, par = self.heap.arrays()
        finish_fill(words, log, cache_bin, wanted, filled)
        yield from self.heap.tick(tsd, arena)
        words, log, par = self.heap.arrays()
        store_bits(words, log, tsd + BIN_REFILLED + index, 1, 1)

    def malloc(
        self, tsd: int, arena: int, index: int, *, zero: bool, has_begun: bool = False
    ) -> MallocSteps[int]:
        """Return a block of a bin, for nobody's cache; 0: no memory (arena_malloc_small).

        `has_begun`: the bin was looked at, and has none.
        """
        words, log, par = self.heap.arrays()
        shard = binshard_of(words, log, tsd, index)
        arena_bin = bin_at(words, log, par, arena, index, shard)
        region_bytes = region_bytes_of(words, log, par, index)
        block = 0
        if not has_begun:
            yield from lock_mutex(self.heap, arena_bin + LOCK, tsd, _BIN)
            words, log, par = self.heap.arrays()
            block = take_block(words, log, arena_bin, region_bytes, 0)
            yield from unlock_mutex(self.heap, arena_bin + LOCK, _BIN)
        if not block:
            fresh = yield from self._new_slab(tsd, arena, index, shard)
            yield from lock_mutex(self.heap, arena_bin + LOCK, tsd, _BIN)
            words, log, par = self.heap.arrays()
            block = take_block(words, log, arena_bin, region_bytes, 0)
            if not block and fresh:
                block = take_block(words, log, arena_bin, region_bytes, fresh)
                fresh = 0
            yield from unlock_mutex(self.heap, arena_bin + LOCK, _BIN)
            if not block:
                return 0
            if fresh:
                yield from self.heap.pages.dalloc(tsd, arena, fresh)
        if zero:
            words, log, par = self.heap.arrays()
            clear_words(words, log, block, index2size(index))
        yield from self.heap.tick(tsd, arena)
        return block

    def free(self, tsd: int, block: int) -> MallocSteps[None]:
        """Give a block to its bin (arena_dalloc_small)."""
        words, log, par = self.heap.arrays()
        slab = edata_of(words, log, par, tsd, block)
        if not slab:
            raise MallocFaultError
        index = class_of(words, log, slab)
        arena_bin = bin_of_slab(words, log, par, index, slab)
        yield from lock_mutex(self.heap, arena_bin + LOCK, tsd, _BIN)
        words, log, par = self.heap.arrays()
        is_empty = give_block(
            words,
            log,
            arena_bin,
            inverse_of(words, log, par, index),
            nr_regions_of(words, log, par, index),
            slab,
            block,
        )
        count_given(words, log, arena_bin, 1)
        yield from unlock_mutex(self.heap, arena_bin + LOCK, _BIN)
        if is_empty:
            yield from self.end_free(tsd, slab)
            return
        words, log, par = self.heap.arrays()
        arena = arena_at(words, log, par, arena_index_of(words, log, slab))
        yield from self.heap.tick(tsd, arena)

    def flush(self, tsd: int, index: int, nr_blocks: int) -> MallocSteps[None]:
        """Give the oldest blocks of a cache's bin to their bins (tcache_bin_flush_small)."""
        words, log, par = self.heap.arrays()
        cache_bin = cache_bin_of(tsd, index)
        nr_blocks = min(nr_blocks, cached_in(words, log, cache_bin))
        blocks = empty_position(words, log, cache_bin) - 8 * nr_blocks
        first_empty = FIRST_EDATA + nr_blocks
        stack = np.zeros(first_empty + nr_blocks + 1, dtype=np.int64)
        look_up_edatas(words, log, par, tsd, blocks, nr_blocks, stack)
        nr_left = nr_blocks
        while nr_left:
            if not stack[FIRST_EDATA]:
                raise MallocFaultError
            words, log, par = self.heap.arrays()
            slab = int(stack[FIRST_EDATA])
            arena_bin = bin_of_slab(words, log, par, index, slab)
            yield from lock_mutex(self.heap, arena_bin + LOCK, tsd, _BIN)
            words, log, par = self.heap.arrays()
            rest = flush_small_pass(
                words, log, par, tsd, index, blocks, nr_left, first_empty, stack
            )
            yield from unlock_mutex(self.heap, arena_bin + LOCK, _BIN)
            arena = arena_at(words, log, par, arena_index_of(words, log, slab))
            yield from self.heap.tick(tsd, arena, nr_left - rest)
            nr_left = rest
        yield from self.end_flush(tsd, index, nr_blocks, stack)

    def end_flush(
        self, tsd: int, index: int, nr_blocks: int, stack: NDArray[np.int64]
    ) -> MallocSteps[None]:
        """Give back the slabs that a flush of so many blocks has made empty, and close the gap."""
        first_empty = FIRST_EDATA + nr_blocks
        cache_bin = cache_bin_of(tsd, index)
        for slab in stack[first_empty : first_empty + int(stack[NR_EMPTY])].tolist():
            yield from self._give_slab(tsd, slab)
        words, log, par = self.heap.arrays()
        if not stack[IS_MERGED]:
            arena = load_word(words, log, tsd + SLOW_ARENA)
            arena_bin = bin_at(words, log, par, arena, index, binshard_of(words, log, tsd, index))
            yield from lock_mutex(self.heap, arena_bin + LOCK, tsd, _BIN)
            words, log, par = self.heap.arrays()
            count_flush(words, log, tsd, index, arena_bin)
            yield from unlock_mutex(self.heap, arena_bin + LOCK, _BIN)
            words, log, par = self.heap.arrays()
        finish_flush(words, log, cache_bin, nr_blocks)

    def _give_slab(self, tsd: int, slab: int) -> MallocSteps[int]:
        """Give an empty slab back; return its arena (arena_slab_dalloc)."""
        words, log, par = self.heap.arrays()
        arena = arena_at(words, log, par, arena_index_of(words, log, slab))
        yield from self.heap.pages.dalloc(tsd, arena, slab)
        return arena

    def end_free(self, tsd: int, slab: int) -> MallocSteps[None]:
        """Give back a slab that a free has made empty (arena_dalloc_small)."""
        arena = yield from self._give_slab(tsd, slab)
        yield from self.heap.tick(tsd, arena)
