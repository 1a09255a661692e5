"""malloc's calls of a thread that is set up: cache, bins, large blocks (jemalloc.c, arena.c)."""

from typing import Final

from attrs import define

from mmactors.malloc.jemalloc.arenas import CACHELINE, Arenas
from mmactors.malloc.jemalloc.bins.small import SmallBlocks
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.large import LargeBlocks
from mmactors.malloc.jemalloc.pages.emap import class_at, edata_of, is_slab_at
from mmactors.malloc.jemalloc.par import (
    LG_FLUSH_LARGE_DIV,
    LG_FLUSH_SMALL_DIV,
    NR_CACHE_BINS,
    ZERO_ALL,
)
from mmactors.malloc.jemalloc.size_classes import (
    LARGE_MINCLASS,
    NR_BINS,
    NR_SIZES,
    SMALL_MAXCLASS,
    index2size,
    size2index,
    usable_aligned,
)
from mmactors.malloc.jemalloc.tcache.cache_bin import count_request, pop_block, push_block
from mmactors.malloc.jemalloc.tcache.events import (
    COLLECTION_IS_DUE,
    PEAK_IS_DUE,
    advance_allocated,
    advance_deallocated,
    update_peak,
)
from mmactors.malloc.jemalloc.tcache.tcache import (
    cache_bin_of,
    end_collection,
    most_cached,
    plan_collection,
)
from mmactors.malloc.jemalloc.tsd import REENTRANCY_LEVEL, TCACHE_ENABLED
from mmactors.malloc.library import MallocFaultError
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import clear_words, load_bits, note_access

_ALL: Final = 0
"""An arena: the thread's own, chosen as late as can be."""


@define(eq=False)
class Calls:
    """What a process's threads do with its heap; a thread is named by its tsd."""

    heap: Heap
    arenas: Arenas
    small: SmallBlocks
    large: LargeBlocks

    def has_cache(self, tsd: int) -> bool:
        """Return whether a thread has a cache for what it asks for (tcache_get)."""
        words, log, _ = self.heap.arrays()
        return bool(load_bits(words, log, tsd + TCACHE_ENABLED, 1))

    def _takes_back(self, tsd: int) -> bool:
        """Return whether a thread has a cache for what it frees."""
        words, log, _ = self.heap.arrays()
        return not load_bits(words, log, tsd + REENTRANCY_LEVEL, 1) and self.has_cache(tsd)

    def malloc(self, tsd: int, size: int, *, zero: bool = False) -> MallocSteps[int]:
        """Return a block of `size` bytes; 0: there is none (imalloc)."""
        index = size2index(size)
        if index >= NR_SIZES:
            return 0
        zero = zero or bool(self.heap.par[ZERO_ALL])
        block = yield from self.get(tsd, index, size, zero=zero)
        if block:
            yield from self.count_allocated(tsd, index2size(index))
        return block

    def get(self, tsd: int, index: int, size: int, *, zero: bool) -> MallocSteps[int]:
        """Return a block of a class, of which `size` is asked for; 0: no memory (arena_malloc)."""
        words, log, par = self.heap.arrays()
        if not self.has_cache(tsd) or index >= max(int(par[NR_CACHE_BINS]), NR_BINS):
            return (yield from self._get_hard(tsd, index, size, zero=zero))
        block = self._take_filled(tsd, index, zero=zero)
        if block:
            return block
        arena = yield from self.arenas.choose(tsd)
        if index >= NR_BINS:
            return (yield from self.large.malloc(tsd, arena, index2size(index), zero=zero))
        words, log, par = self.heap.arrays()
        if not most_cached(words, log, par, index):
            return (yield from self.small.malloc(tsd, arena, index, zero=zero))
        yield from self.small.fill(tsd, arena, index)
        return self._take_filled(tsd, index, zero=zero)

    def get_with_slab(self, tsd: int, index: int, filled: int, *, zero: bool) -> MallocSteps[int]:
        """Return a block of a small class whose bin needs a new slab.

        `filled`: how many blocks the thread's cache has got already, if it has one.
        """
        arena = yield from self.arenas.choose(tsd)
        words, log, par = self.heap.arrays()
        if not self.has_cache(tsd) or not most_cached(words, log, par, index):
            return (yield from self.small.malloc(tsd, arena, index, zero=zero, has_begun=True))
        yield from self.small.fill(tsd, arena, index, filled)
        return self._take_filled(tsd, index, zero=zero)

    def _take_filled(self, tsd: int, index: int, *, zero: bool) -> int:
        """Return a block of a bin of the cache; 0: it has none."""
        words, log, _ = self.heap.arrays()
        cache_bin = cache_bin_of(tsd, index)
        block = pop_block(words, log, cache_bin)
        if block:
            if zero:
                clear_words(words, log, block, index2size(index))
            count_request(words, log, cache_bin)
        return block

    def _get_hard(self, tsd: int, index: int, size: int, *, zero: bool) -> MallocSteps[int]:
        """Return a block of a class without a cache (arena_malloc_hard)."""
        usable = index2size(index)
        arena = yield from self.arenas.choose_for(tsd, size)
        if not arena:
            return 0
        if index < NR_BINS:
            return (yield from self.small.malloc(tsd, arena, index, zero=zero))
        return (yield from self.large.malloc(tsd, arena, usable, zero=zero))

    def memalign(self, tsd: int, alignment: int, size: int) -> MallocSteps[int]:
        """Return a block that is aligned to a power of two; 0: there is none (ipalloct)."""
        usable = usable_aligned(size, alignment)
        if not usable:
            return 0
        zero = bool(self.heap.par[ZERO_ALL])
        if usable <= SMALL_MAXCLASS:
            block = yield from self.get(tsd, size2index(usable), usable, zero=zero)
        elif alignment <= CACHELINE:
            block = yield from self.large.malloc(tsd, _ALL, usable, zero=zero)
        else:
            block = yield from self.large.palloc(tsd, _ALL, usable, alignment, zero=zero)
        if block:
            yield from self.count_allocated(tsd, usable)
        return block

    def free(self, tsd: int, block: int) -> MallocSteps[None]:
        """Take a block back (ifree)."""
        words, log, par = self.heap.arrays()
        index = class_at(words, log, par, tsd, block)
        if index >= NR_SIZES:
            raise MallocFaultError
        yield from self.give(tsd, block, index, is_slab=is_slab_at(words, log, par, tsd, block))
        yield from self.count_deallocated(tsd, index2size(index))

    def give(
        self, tsd: int, block: int, index: int, *, is_slab: bool, may_cache: bool = True
    ) -> MallocSteps[None]:
        """Let the cache have a block, or who it is of (arena_dalloc)."""
        if not may_cache or not self._takes_back(tsd):
            if is_slab:
                yield from self.small.free(tsd, block)
            else:
                yield from self.large.free(tsd, block)
            return
        words, log, par = self.heap.arrays()
        if not is_slab and index >= par[NR_CACHE_BINS]:
            yield from self.large.free(tsd, block)
            return
        cache_bin = cache_bin_of(tsd, index)
        if push_block(words, log, cache_bin, block):
            return
        most = most_cached(words, log, par, index)
        if not most:
            yield from self.small.free(tsd, block)
        elif is_slab:
            yield from self.small.flush(tsd, index, most - (most >> int(par[LG_FLUSH_SMALL_DIV])))
        else:
            yield from self.large.flush(tsd, index, most - (most >> int(par[LG_FLUSH_LARGE_DIV])))
        if most:
            words, log, par = self.heap.arrays()
            push_block(words, log, cache_bin, block)

    def realloc(
        self, tsd: int, block: int, size: int, *, may_cache: bool = True
    ) -> MallocSteps[int]:
        """Return a block of another size with the bytes of an old one; 0: none (do_rallocx).

        Without the thread's cache if it is not `may_cache`.
        """
        words, log, par = self.heap.arrays()
        old_index, index = class_at(words, log, par, tsd, block), size2index(size)
        if old_index >= NR_SIZES:
            raise MallocFaultError
        if index >= NR_SIZES:
            return 0
        old_usable, usable = index2size(old_index), index2size(index)
        new = yield from self._reallocate(tsd, block, old_index, index, may_cache=may_cache)
        if new:
            yield from self.count_allocated(tsd, usable)
            yield from self.count_deallocated(tsd, old_usable)
        return new

    def _reallocate(
        self, tsd: int, block: int, old_index: int, index: int, *, may_cache: bool
    ) -> MallocSteps[int]:
        """Return a block of another class, which may be the old one (arena_ralloc)."""
        words, log, par = self.heap.arrays()
        old_usable, usable = index2size(old_index), index2size(index)
        zero = bool(par[ZERO_ALL])
        edata = edata_of(words, log, par, tsd, block)
        if not edata:
            raise MallocFaultError
        if old_usable <= SMALL_MAXCLASS and old_index == index:
            yield from self.heap.tick(tsd, self.arenas.of_extent(edata))
            return block
        if old_usable >= LARGE_MINCLASS and usable >= LARGE_MINCLASS:
            if (yield from self.large.resize(tsd, edata, usable, zero=zero)):
                return block
            new = yield from self.large.malloc(tsd, _ALL, usable, zero=zero)
        elif may_cache:
            new = yield from self.get(tsd, index, usable, zero=zero)
        else:
            new = yield from self._get_hard(tsd, index, usable, zero=zero)
        if not new:
            return 0
        words, log, par = self.heap.arrays()
        note_access(log, block, min(usable, old_usable), 0)
        note_access(log, new, min(usable, old_usable), 1)
        is_slab = old_index < NR_BINS
        yield from self.give(tsd, block, old_index, is_slab=is_slab, may_cache=may_cache)
        return new

    def count_allocated(self, tsd: int, usable: int) -> MallocSteps[None]:
        """Count bytes that a thread got, and do what is due (thread_alloc_event)."""
        words, log, par = self.heap.arrays()
        yield from self._do_events(tsd, advance_allocated(words, log, par, tsd, usable))

    def count_deallocated(self, tsd: int, usable: int) -> MallocSteps[None]:
        """Count bytes that a thread gave back, and do what is due (thread_dalloc_event)."""
        words, log, par = self.heap.arrays()
        yield from self._do_events(tsd, advance_deallocated(words, log, par, tsd, usable))

    def _do_events(self, tsd: int, due: int) -> MallocSteps[None]:
        if due & COLLECTION_IS_DUE and self.has_cache(tsd):
            yield from self.collect(tsd)
        self.note_peak(tsd, due)

    def note_peak(self, tsd: int, due: int) -> None:
        """Look at the peak, if it is due."""
        if due & PEAK_IS_DUE:
            words, log, _ = self.heap.arrays()
            update_peak(words, log, tsd)

    def collect(self, tsd: int) -> MallocSteps[None]:
        """Let a bin of a thread's cache give back what nobody needs (tcache_event)."""
        words, log, par = self.heap.arrays()
        index, nr_blocks = plan_collection(words, log, par, tsd)
        if nr_blocks:
            yield from self.flush(tsd, index, nr_blocks)
        words, log, par = self.heap.arrays()
        end_collection(words, log, par, tsd, index, nr_blocks)

    def flush(self, tsd: int, index: int, nr_blocks: int) -> MallocSteps[None]:
        """Give back the oldest blocks of a bin of a thread's cache."""
        if index < NR_BINS:
            yield from self.small.flush(tsd, index, nr_blocks)
        else:
            yield from self.large.flush(tsd, index, nr_blocks)
