"""What arenas count, as a program has it counted (arena_stats_merge, src/arena.c, jemalloc 5.3.0).

A look from outside, at one moment: the library takes one lock after the other for it.
"""

from collections.abc import Iterator
from typing import Final, Self

import numpy as np
from attrs import astuple, frozen
from numpy.typing import NDArray

from mmactors.malloc.jemalloc.arenas import (
    BASE,
    CREATE_TIME,
    DESCRIPTOR_QL,
    NR_THREADS,
    STATS_INTERNAL,
    Arenas,
)
from mmactors.malloc.jemalloc.bins.bin import (
    BIN_BYTES,
    CUR_REGIONS,
    CUR_SLABS,
    NONFULL_SLABS,
    NR_DALLOC,
    NR_FILLS,
    NR_FLUSHES,
    NR_MALLOC,
    NR_REQUESTS,
    NR_SLABS,
    RE_SLABS,
)
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.large_block import LARGE_COLUMNS, LARGE_STATS_BYTES, STATS_LARGE
from mmactors.malloc.jemalloc.pages.base_block import ALLOCATED, CACHE_COUNT, MAPPED, RESIDENT
from mmactors.malloc.jemalloc.pages.eset import BIN_STATS
from mmactors.malloc.jemalloc.pages.extents import ESET, GUARDED_ESET, npages_in
from mmactors.malloc.jemalloc.pages.page_classes import NR_PAGE_CLASSES
from mmactors.malloc.jemalloc.pages.shard import (
    ECACHE_DIRTY,
    ECACHE_MUZZY,
    ECACHE_RETAINED,
    EDATA_CACHE,
    NACTIVE,
    NMADVISE,
    NPURGE,
    PAC_MAPPED,
    PAC_STATS,
    PURGED,
    STATS_BYTES,
)
from mmactors.malloc.jemalloc.par import NR_CACHE_BINS
from mmactors.malloc.jemalloc.size_classes import NR_BINS, NR_SIZES, index2size
from mmactors.malloc.jemalloc.statics import BIN_INFO_BYTES, BIN_INFOS, BIN_OFFSETS, NR_SHARDS
from mmactors.malloc.jemalloc.tcache.cache_bin import CACHE_BIN_BYTES, cached_in
from mmactors.malloc.user_words import UNWATCHED, load_bits
from mmactors.units import PAGE_SIZE

Table = NDArray[np.int64]
BIN_COLUMNS: Final = (
    *(NR_MALLOC, NR_DALLOC, NR_REQUESTS, CUR_REGIONS, NR_FILLS, NR_FLUSHES),
    *(NR_SLABS, RE_SLABS, CUR_SLABS, NONFULL_SLABS),
)
"""Of a small class: fields of its bins in their order."""
_CACHES: Final = (ECACHE_DIRTY, ECACHE_MUZZY, ECACHE_RETAINED)
_NUMBER_AND_BYTES: Final = 16
_SHARDS_MOST: Final = 64


@frozen(eq=False, kw_only=True)
class ArenaStats:
    """Of an arena, or the sums of all; bytes if nothing else is said."""

    nr_threads: int = 0
    nr_active: int = 0
    """Pages in blocks and slabs."""
    nr_dirty: int = 0
    """Pages."""
    nr_muzzy: int = 0
    """Pages."""
    purges: Table
    """Of dirty pages how many sweeps, calls of madvise, pages; then of muzzy ones."""
    mapped: int = 0
    retained: int = 0
    base: int = 0
    """In the library's own memory."""
    internal: int = 0
    """In blocks that the library has for itself."""
    cached: int = 0
    """In caches of threads."""
    resident: int = 0
    nr_edatas: int = 0
    """That wait to be used."""
    bins: Table
    """Rows for the small classes, of BIN_COLUMNS."""
    large: Table
    """Rows for the large classes: given, taken back, asked for, flushes of caches' bins."""
    extents: Table
    """Rows for the classes of pages: dirty ones and their bytes, muzzy ones, retained ones."""

    def __add__(self, other: Self) -> Self:
        """Return the sums."""
        both = zip(astuple(self, recurse=False), astuple(other, recurse=False), strict=True)
        names = (each.name for each in type(self).__attrs_attrs__)
        return type(self)(**dict(zip(names, (mine + its for mine, its in both), strict=True)))


def arenas_with_stats(heap: Heap, arenas: Arenas) -> Iterator[tuple[int, ArenaStats]]:
    """Yield the arenas that there are by their numbers, with what they count."""
    look = _Look(heap)
    for index in range(arenas.nr_total):
        arena = arenas.at(index)
        if arena:
            yield index, look.stats_of(arena)


def made_at(heap: Heap, arena: int) -> int:
    """Return when an arena was made, ns (create_time)."""
    return heap.words.peek(arena + CREATE_TIME)


class _Look:
    """Reads the library's structures."""

    def __init__(self, heap: Heap) -> None:
        self._heap = heap
        self._words = heap.words
        self._peek = heap.words.peek

    def stats_of(self, arena: int) -> ArenaStats:
        """Return what an arena counts."""
        words, peek = self._words.words, self._peek
        base = peek(arena + BASE)
        nr_active = peek(arena + NACTIVE)
        dirty, muzzy, retained = (npages_in(words, UNWATCHED, arena + each) for each in _CACHES)
        purges = [
            peek(arena + PAC_STATS + STATS_BYTES * which + number)
            for which in range(2)
            for number in (NPURGE, NMADVISE, PURGED)
        ]
        return ArenaStats(
            nr_threads=load_bits(words, UNWATCHED, arena + NR_THREADS, 4),
            nr_active=nr_active,
            nr_dirty=dirty,
            nr_muzzy=muzzy,
            purges=np.array(purges, dtype=np.int64),
            mapped=peek(base + MAPPED) + peek(arena + PAC_MAPPED),
            retained=retained * PAGE_SIZE,
            base=peek(base + ALLOCATED),
            internal=peek(arena + STATS_INTERNAL),
            cached=self._cached_of(arena),
            resident=peek(base + RESIDENT) + (nr_active + dirty) * PAGE_SIZE,
            nr_edatas=peek(arena + EDATA_CACHE + CACHE_COUNT),
            bins=np.stack([self._bin(arena, index) for index in range(NR_BINS)]),
            large=np.stack([self._large(arena, index) for index in range(NR_BINS, NR_SIZES)]),
            extents=np.stack([self._extents(arena, index) for index in range(NR_PAGE_CLASSES)]),
        )

    def _bin(self, arena: int, index: int) -> Table:
        """Return the sums of the bins that an arena has for a class."""
        words, data_at = self._words.words, self._heap.data_at
        first = arena + load_bits(words, UNWATCHED, data_at + BIN_OFFSETS + 4 * index, 4)
        info = data_at + BIN_INFOS + BIN_INFO_BYTES * index
        nr_shards = min(load_bits(words, UNWATCHED, info + NR_SHARDS, 4), _SHARDS_MOST)
        sums = np.zeros(len(BIN_COLUMNS), dtype=np.int64)
        for shard in range(nr_shards):
            sums += [self._peek(first + BIN_BYTES * shard + column) for column in BIN_COLUMNS]
        return sums

    def _large(self, arena: int, index: int) -> Table:
        """Return what is counted of a class: each block that is given was asked for, too."""
        at = arena + STATS_LARGE + LARGE_STATS_BYTES * (index - NR_BINS)
        row = np.array([self._peek(at + column) for column in LARGE_COLUMNS], dtype=np.int64)
        row[2] += row[0]
        return row

    def _extents(self, arena: int, index: int) -> Table:
        """Return numbers and bytes of the sets' extents; those with guard pages are sets, too."""
        at = arena + BIN_STATS + _NUMBER_AND_BYTES * index
        return np.concatenate(
            [
                self._pair(at + cache + ESET) + self._pair(at + cache + GUARDED_ESET)
                for cache in _CACHES
            ]
        )

    def _pair(self, at: int) -> Table:
        return np.array([self._peek(at), self._peek(at + 8)], dtype=np.int64)

    def _cached_of(self, arena: int) -> int:
        """Return the bytes in the caches that are an arena's."""
        words, total = self._words.words, 0
        descriptor = self._peek(arena + DESCRIPTOR_QL)
        seen: set[int] = set()
        while descriptor and descriptor not in seen:
            seen.add(descriptor)
            bins = self._peek(descriptor + 16)
            total += sum(
                cached_in(words, UNWATCHED, bins + CACHE_BIN_BYTES * index) * index2size(index)
                for index in range(int(self._heap.par[NR_CACHE_BINS]))
            )
            descriptor = self._peek(descriptor)
        return total
