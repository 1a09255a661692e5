"""What jemalloc's memory holds: each region, large block and free extent by its place.

A look from outside: the map of extents is read as it stands, no access is noted. Extents of an
arena that border on each other are one segment, blocks of base memory are others. A block is cached
if a thread's cache has it. What an extent has more than its block is the library's own.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.malloc.heap_map import CACHED, FREE, LIVE, METADATA, RETURNED, Segment
from mmactors.malloc.jemalloc.arenas import BASE, Arenas
from mmactors.malloc.jemalloc.bins.slab import BITMAP
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.pages.base_block import BLOCK_NEXT, BLOCKS
from mmactors.malloc.jemalloc.pages.edata import (
    ACTIVE,
    ADDRESS,
    ARENA_MASK,
    BITS,
    RETAINED,
    SIZE_ESN,
    SLAB,
    STATE_MASK,
    STATE_SHIFT,
    SZIND_MASK,
    SZIND_SHIFT,
)
from mmactors.malloc.jemalloc.pages.emap import LEAF_BYTES, LEAF_SHIFT, edata_of
from mmactors.malloc.jemalloc.par import NR_CACHE_BINS
from mmactors.malloc.jemalloc.size_classes import NR_BINS, index2size
from mmactors.malloc.jemalloc.statics import EMAP_ROOT
from mmactors.malloc.jemalloc.tcache.cache_bin import STACK_HEAD, cached_in
from mmactors.malloc.jemalloc.tcache.tcache import cache_bin_of, stacks_of
from mmactors.malloc.jemalloc.tsd import STATE, STATE_NOMINAL_MAX, TCACHE_ENABLED
from mmactors.malloc.user_words import UNWATCHED, UserWords, load_bits
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

Pieces = list[tuple[int, int, int]]

_ROOT_BYTES: Final = 1 << 21
_WORDS: Final = PAGE_SIZE // 8
_BLOCKS_MOST: Final = 1 << 16
_REGIONS_MOST: Final = 512
_EXTENT_MOST: Final = 1 << 46
"""Bytes: half of what a process can map. What says more of itself was overwritten."""


@frozen
class Extent:
    """Pages that the map has as one."""

    start: int
    nr_bytes: int
    edata: int
    bits: int

    @property
    def arena(self) -> int:
        """The number of the arena that has it."""
        return self.bits & ARENA_MASK

    @property
    def state(self) -> int:
        """What the library says that it is."""
        return self.bits >> STATE_SHIFT & STATE_MASK


def heap_map(heap: Heap, arenas: Arenas, tsds: list[int]) -> list[Segment]:
    """Return all memory that a process's jemalloc has got from the system, and what it holds."""
    with heap.words.unwatched():
        cached, own = _cached_blocks(heap, tsds)
        segments = [
            _segment(row, [_pieces(heap, extent, cached, own) for extent in row])
            for row in _rows(list(_extents(heap)))
        ]
        for index in range(arenas.nr_total):
            arena = arenas.at(index)
            if arena:
                segments += _base_blocks(heap.words, heap.words.peek(arena + BASE), index)
    return sorted(segments, key=lambda segment: segment.start)


def _extents(heap: Heap) -> Iterator[Extent]:
    """Yield the extents in the map by address."""
    words, pages = heap.words, heap.words.pages()
    root = heap.data_at + EMAP_ROOT
    for page in pages:
        if not root >> PAGE_SHIFT <= page <= (root + _ROOT_BYTES - 1) >> PAGE_SHIFT:
            continue
        for word in range(_WORDS):
            at = page * PAGE_SIZE + 8 * word
            leaf = words.peek(at) if root <= at < root + _ROOT_BYTES else 0
            if leaf > 0:
                yield from _extents_of_leaf(heap, leaf, (at - root) // 8 << LEAF_SHIFT, pages)


def _extents_of_leaf(heap: Heap, leaf: int, first: int, pages: list[int]) -> Iterator[Extent]:
    words, behind = heap.words, first
    for page in pages:
        if not leaf >> PAGE_SHIFT <= page <= (leaf + LEAF_BYTES - 1) >> PAGE_SHIFT:
            continue
        for word in range(_WORDS):
            element = page * PAGE_SIZE + 8 * word
            address = first + ((element - leaf) // 8 << PAGE_SHIFT)
            if not leaf <= element < leaf + LEAF_BYTES or address < behind:
                continue
            edata = edata_of(words.words, UNWATCHED, heap.par, 0, address)
            if not edata or words.peek(edata + ADDRESS) & -PAGE_SIZE != address:
                continue
            nr_bytes = words.peek(edata + SIZE_ESN) & -PAGE_SIZE
            if 0 < nr_bytes <= _EXTENT_MOST:
                yield Extent(address, nr_bytes, edata, words.peek(edata + BITS))
                behind = address + nr_bytes


def _rows(extents: list[Extent]) -> Iterator[list[Extent]]:
    """Yield extents of one arena that border on each other."""
    row: list[Extent] = []
    for extent in extents:
        last = row[-1] if row else extent
        if row and (last.start + last.nr_bytes != extent.start or last.arena != extent.arena):
            yield row
            row = []
        row.append(extent)
    if row:
        yield row


def _cached_blocks(heap: Heap, tsds: list[int]) -> tuple[set[int], set[int]]:
    """Return the blocks that caches have, and those that caches are in."""
    words, cached, own = heap.words, set[int](), set[int]()
    for tsd in tsds:
        is_there = load_bits(words.words, UNWATCHED, tsd + STATE, 1) <= STATE_NOMINAL_MAX
        if not is_there or not load_bits(words.words, UNWATCHED, tsd + TCACHE_ENABLED, 1):
            continue
        own.add(stacks_of(words.words, UNWATCHED, tsd))
        for index in range(int(heap.par[NR_CACHE_BINS])):
            at = cache_bin_of(tsd, index)
            head = words.peek(at + STACK_HEAD)
            count = cached_in(words.words, UNWATCHED, at)
            cached.update(words.peek(head + 8 * place) for place in range(count))
    return cached, own


def _pieces(heap: Heap, extent: Extent, cached: set[int], own: set[int]) -> Pieces:
    """Return what an extent holds, without gaps."""
    start, nr_bytes = extent.start, extent.nr_bytes
    if extent.state == RETAINED:
        return [(start, nr_bytes, RETURNED)]
    if extent.state != ACTIVE:
        return [(start, nr_bytes, FREE)]
    index = extent.bits >> SZIND_SHIFT & SZIND_MASK
    block_bytes = index2size(index)
    if extent.bits & SLAB and index < NR_BINS and nr_bytes // block_bytes <= _REGIONS_MOST:
        return _regions(heap, extent, block_bytes, cached)
    block = heap.words.peek(extent.edata + ADDRESS)
    kind = CACHED if block in cached else METADATA if block in own else LIVE
    end = min(block + block_bytes, start + nr_bytes)
    pieces = [
        (start, block - start, METADATA),
        (block, end - block, kind),
        (end, start + nr_bytes - end, METADATA),
    ]
    return [piece for piece in pieces if piece[1] > 0]


def _regions(heap: Heap, slab: Extent, region_bytes: int, cached: set[int]) -> Pieces:
    words = heap.words
    pieces = []
    for region in range(slab.nr_bytes // region_bytes):
        block = slab.start + region * region_bytes
        is_free = words.peek(slab.edata + BITMAP + 8 * (region >> 6)) >> (region & 63) & 1
        pieces.append(
            (block, region_bytes, FREE if is_free else CACHED if block in cached else LIVE)
        )
    used = slab.nr_bytes // region_bytes * region_bytes
    if used < slab.nr_bytes:
        pieces.append((slab.start + used, slab.nr_bytes - used, METADATA))
    return pieces


def _base_blocks(words: UserWords, base: int, arena: int) -> Iterator[Segment]:
    """Yield the blocks of an arena's base, which are the library's own."""
    block = words.peek(base + BLOCKS)
    for _ in range(_BLOCKS_MOST):
        nr_bytes = words.peek(block) if block else 0
        if not 0 < nr_bytes <= _EXTENT_MOST:
            return
        pieces = np.array([[block, nr_bytes, METADATA]], dtype=np.int64)
        yield Segment(
            what="base",
            arena=arena,
            start=block,
            end=block + nr_bytes,
            pieces=pieces,
            chunks=pieces,
        )
        block = words.peek(block + BLOCK_NEXT)


def _segment(row: list[Extent], pieces: list[Pieces]) -> Segment:
    """Return extents as a segment: what is the same and borders on each other is one piece."""
    chunks = np.array([piece for each in pieces for piece in each], dtype=np.int64)
    return Segment(
        what="extents",
        arena=row[0].arena,
        start=row[0].start,
        end=row[-1].start + row[-1].nr_bytes,
        pieces=_joined(chunks),
        chunks=chunks,
    )


def _joined(chunks: NDArray[np.int64]) -> NDArray[np.int64]:
    begins = np.flatnonzero(np.diff(chunks[:, 2], prepend=-1))
    sums = np.add.reduceat(chunks[:, 1], begins)
    return np.stack([chunks[begins, 0], sums, chunks[begins, 2]], axis=1)
