"""Large blocks: an extent each (jemalloc 5.3.0, src/large.c).

A block begins in the first page of its extent, at a random multiple of 64 (cache-oblivious), if
it need not be aligned to pages.
"""

from typing import Final

import numpy as np
from attrs import define

from mmactors.malloc.jemalloc.arenas import CACHELINE, Arenas
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.large_block import (
    count_large_dalloc,
    count_large_flush,
    count_large_malloc,
    place_block,
)
from mmactors.malloc.jemalloc.pages.edata import arena_index_of, class_of
from mmactors.malloc.jemalloc.pages.emap import edata_of
from mmactors.malloc.jemalloc.par import LARGE_PAD
from mmactors.malloc.jemalloc.size_classes import (
    index2size,
    size2index,
    usable_aligned,
)
from mmactors.malloc.jemalloc.tcache.cache_bin import (
    cached_in,
    empty_position,
    finish_flush,
    take_requests,
)
from mmactors.malloc.jemalloc.tcache.flush import FIRST_EDATA, arena_at, look_up_edatas
from mmactors.malloc.jemalloc.tcache.tcache import SLOW_ARENA, cache_bin_of
from mmactors.malloc.library import MallocFaultError
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import load_word
from mmactors.units import PAGE_SIZE

_LG_PAGE: Final = PAGE_SIZE.bit_length() - 1


@define(eq=False)
class LargeBlocks:
    """The large blocks of a process's heap."""

    heap: Heap
    arenas: Arenas

    def palloc(
        self, tsd: int, arena: int, usable: int, alignment: int, *, zero: bool
    ) -> MallocSteps[int]:
        """Return a large block; 0: there is no memory (large_palloc). `arena` 0: the thread's."""
        usable = usable_aligned(usable, alignment)
        if not usable:
            return 0
        if not arena:
            arena = yield from self.arenas.choose_for(tsd, usable)
        words, log, par = self.heap.arrays()
        extent_bytes = usable + int(par[LARGE_PAD])
        edata = yield from self.heap.pages.alloc(
            tsd, arena, extent_bytes, alignment, is_slab=False, index=size2index(usable), zero=zero
        )
        if not edata:
            return 0
        words, log, par = self.heap.arrays()
        count_large_malloc(words, log, arena, usable)
        address = place_block(words, log, par, tsd, edata, alignment)
        yield from self.heap.tick(tsd, arena)
        return address

    def malloc(self, tsd: int, arena: int, usable: int, *, zero: bool) -> MallocSteps[int]:
        """Return a large block that is aligned to a cache line (large_malloc)."""
        return (yield from self.palloc(tsd, arena, usable, CACHELINE, zero=zero))

    def free(self, tsd: int, block: int) -> MallocSteps[None]:
        """Give a large block's extent back (arena_dalloc_large_no_tcache, large_dalloc)."""
        words, log, par = self.heap.arrays()
        edata = edata_of(words, log, par, tsd, block)
        if not edata:
            raise MallocFaultError
        arena = arena_at(words, log, par, arena_index_of(words, log, edata))
        count_large_dalloc(words, log, arena, index2size(class_of(words, log, edata)))
        yield from self.heap.pages.dalloc(tsd, arena, edata)
        yield from self.heap.tick(tsd, arena)

    def flush(self, tsd: int, index: int, nr_blocks: int) -> MallocSteps[None]:
        """Give the oldest blocks of a cache's bin back (tcache_bin_flush_large)."""
        words, log, par = self.heap.arrays()
        cache_bin = cache_bin_of(tsd, index)
        nr_blocks = min(nr_blocks, cached_in(words, log, cache_bin))
        blocks = empty_position(words, log, cache_bin) - 8 * nr_blocks
        stack = np.zeros(FIRST_EDATA + nr_blocks, dtype=np.int64)
        look_up_edatas(words, log, par, tsd, blocks, nr_blocks, stack)
        edatas = stack[FIRST_EDATA:].tolist()
        own = load_word(words, log, tsd + SLOW_ARENA)
        is_merged = False
        while edatas:
            words, log, par = self.heap.arrays()
            if not edatas[0]:
                raise MallocFaultError
            number = arena_index_of(words, log, edatas[0])
            arena = arena_at(words, log, par, number)
            if arena == own and not is_merged:
                is_merged = True
                count_large_flush(words, log, own, index, take_requests(words, log, cache_bin))
            mine = [each for each in edatas if arena_index_of(words, log, each) == number]
            for edata in mine:
                count_large_dalloc(words, log, arena, index2size(class_of(words, log, edata)))
            for edata in mine:
                yield from self.heap.pages.dalloc(tsd, arena, edata)
            yield from self.heap.tick(tsd, arena, len(mine))
            edatas = [each for each in edatas if each not in mine]
        words, log, par = self.heap.arrays()
        if not is_merged:
            count_large_flush(words, log, own, index, take_requests(words, log, cache_bin))
        finish_flush(words, log, cache_bin, nr_blocks)

    def resize(self, tsd: int, edata: int, usable: int, *, zero: bool) -> MallocSteps[bool]:
        """Let a large block have another size where it is; say whether (large_ralloc_no_move)."""
        words, log, par = self.heap.arrays()
        arena = arena_at(words, log, par, arena_index_of(words, log, edata))
        old_usable = index2size(class_of(words, log, edata))
        if usable != old_usable:
            done = yield from self.heap.pages.resize(
                tsd,
                arena,
                edata,
                usable + int(par[LARGE_PAD]),
                index=size2index(usable),
                zero=zero,
            )
            if not done:
                return False
            words, log, par = self.heap.arrays()
            count_large_malloc(words, log, arena, usable)
            count_large_dalloc(words, log, arena, old_usable)
        yield from self.heap.tick(tsd, arena)
        return True
