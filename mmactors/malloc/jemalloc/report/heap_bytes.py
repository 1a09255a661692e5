"""How much memory a process's jemalloc has, for who looks from outside: nothing is accessed."""

from typing import Final

from mmactors.malloc.jemalloc.arenas import BASE, Arenas
from mmactors.malloc.jemalloc.bins.bin import BIN_BYTES, CUR_REGIONS
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.large_block import (
    LARGE_STATS_BYTES,
    NR_DALLOC,
    NR_MALLOC,
    STATS_LARGE,
)
from mmactors.malloc.jemalloc.pages.base_block import MAPPED
from mmactors.malloc.jemalloc.pages.extents import npages_in
from mmactors.malloc.jemalloc.pages.shard import (
    ECACHE_DIRTY,
    ECACHE_MUZZY,
    ECACHE_RETAINED,
    NACTIVE,
)
from mmactors.malloc.jemalloc.par import NR_CACHE_BINS
from mmactors.malloc.jemalloc.size_classes import NR_BINS, NR_SIZES, index2size
from mmactors.malloc.jemalloc.statics import BIN_INFO_BYTES, BIN_INFOS, BIN_OFFSETS, NR_SHARDS
from mmactors.malloc.jemalloc.tcache.cache_bin import cached_in
from mmactors.malloc.jemalloc.tcache.tcache import cache_bin_of
from mmactors.malloc.jemalloc.tsd import STATE, STATE_NOMINAL_MAX, TCACHE_ENABLED
from mmactors.malloc.library import HeapBytes
from mmactors.malloc.user_words import UNWATCHED, load_bits, peek_word
from mmactors.units import PAGE_SIZE

_SHARDS_MOST: Final = 64
"""BIN_SHARDS_MAX."""


def heap_bytes(heap: Heap, arenas: Arenas, tsds: list[int]) -> HeapBytes:
    """Return what a process has by mmap, what of it nobody uses, and what caches of threads have.

    Free are extents in no use, retained ones too, and free regions of slabs.
    """
    system = free = 0
    with heap.words.unwatched():
        for index in range(arenas.nr_total):
            arena = arenas.at(index)
            if arena:
                mapped, unused = _arena_bytes(heap, arena)
                system += mapped
                free += unused
        cached = sum(_cached_bytes(heap, tsd) for tsd in tsds)
    return HeapBytes(system=system, free=free, cached=cached)


def _arena_bytes(heap: Heap, arena: int) -> tuple[int, int]:
    words = heap.words.words
    active = peek_word(words, arena + NACTIVE) * PAGE_SIZE
    idle = sum(
        npages_in(words, UNWATCHED, arena + ecache) * PAGE_SIZE
        for ecache in (ECACHE_DIRTY, ECACHE_MUZZY, ECACHE_RETAINED)
    )
    mapped = active + idle + peek_word(words, peek_word(words, arena + BASE) + MAPPED)
    return mapped, active + idle - _used_bytes(heap, arena)


def _used_bytes(heap: Heap, arena: int) -> int:
    """Return the bytes of blocks that an arena has given, to caches too."""
    words, data_at = heap.words.words, heap.data_at
    used = 0
    for index in range(NR_BINS):
        first = arena + load_bits(words, UNWATCHED, data_at + BIN_OFFSETS + 4 * index, 4)
        info = data_at + BIN_INFOS + BIN_INFO_BYTES * index
        for shard in range(min(load_bits(words, UNWATCHED, info + NR_SHARDS, 4), _SHARDS_MOST)):
            regions = peek_word(words, first + BIN_BYTES * shard + CUR_REGIONS)
            used += regions * index2size(index)
    for index in range(NR_BINS, NR_SIZES):
        stats = arena + STATS_LARGE + LARGE_STATS_BYTES * (index - NR_BINS)
        count = peek_word(words, stats + NR_MALLOC) - peek_word(words, stats + NR_DALLOC)
        used += count * index2size(index)
    return used


def _cached_bytes(heap: Heap, tsd: int) -> int:
    words = heap.words.words
    is_there = load_bits(words, UNWATCHED, tsd + STATE, 1) <= STATE_NOMINAL_MAX
    if not is_there or not load_bits(words, UNWATCHED, tsd + TCACHE_ENABLED, 1):
        return 0
    nr_bins = int(heap.par[NR_CACHE_BINS])
    return sum(
        cached_in(words, UNWATCHED, cache_bin_of(tsd, index)) * index2size(index)
        for index in range(nr_bins)
    )
