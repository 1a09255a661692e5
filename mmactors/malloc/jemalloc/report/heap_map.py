"""What jemalloc's memory holds: each block, each free region and each unused extent by its place.

A look from outside: the map of extents, the slabs' bits and the caches are read as they stand
(rtree.h, edata.h, cache_bin.h of jemalloc 5.3.0), no access is noted. Extents of an arena that
border on each other are one segment; blocks of the library's own memory (base.c) are others. What
an extent has beside its block, to place it in, and what is behind a slab's last region nobody can
get, so it counts as the library's own, as the stacks of threads' caches do. Extents in no use are
free as long as they are dirty; muzzy ones were given back, as retained ones were. Where the map has
an extent for a page that does not begin it, the walk ends.
"""

from typing import Final

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.heap_map import (
    CACHED,
    FREE,
    LIVE,
    METADATA,
    RETURNED,
    Segment,
    noted_rows,
    segment_of_chunks,
)
from mmactors.malloc.jemalloc.arenas import BASE, Arenas
from mmactors.malloc.jemalloc.bins.slab import BITMAP, arena_index_of, class_of
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.pages.base_block import BLOCK_EDATA, BLOCK_NEXT, BLOCKS
from mmactors.malloc.jemalloc.pages.edata import (
    ACTIVE,
    ADDRESS,
    DIRTY,
    SIZE_ESN,
    SLAB,
    base_of,
    bytes_of,
    has_bit,
    state_of,
)
from mmactors.malloc.jemalloc.pages.emap import LEAF_SHIFT, NR_ROOT_ELEMENTS, edata_of, root_element
from mmactors.malloc.jemalloc.par import NR_CACHE_BINS
from mmactors.malloc.jemalloc.size_classes import NR_BINS, NR_SIZES, index2size
from mmactors.malloc.jemalloc.tcache.cache_bin import STACK_HEAD, cached_in
from mmactors.malloc.jemalloc.tcache.tcache import DYN_ALLOC, cache_bin_of
from mmactors.malloc.jemalloc.tsd import STATE, STATE_NOMINAL_MAX, TCACHE_ENABLED
from mmactors.malloc.user_words import UNWATCHED, load_bits, longest_walk, peek_word
from mmactors.units import PAGE_SIZE

_ADDRESS: Final = 0
_BYTES: Final = 1
_EDATA: Final = 2
_NR_COLUMNS: Final = 3
_GROUP: Final = 64
_REGIONS_MOST: Final = 512
_ADDRESS_MOST: Final = 1 << 47


@compiled
def walk_extents(words: Words, log: Words, par: Words, extents: Words) -> tuple[int, int]:
    """Note all extents by address, as far as there is room; return how many there are.

    And the address where the map cannot be true; -1: nowhere.
    """
    nr_extents = 0
    behind = 0
    for number in range(NR_ROOT_ELEMENTS >> 1):
        if peek_word(words, root_element(par, number << LEAF_SHIFT)) == 0:
            continue
        # An extent may have begun in the leaf before.
        address = max(number << LEAF_SHIFT, behind)
        while address < (number + 1) << LEAF_SHIFT:
            edata = edata_of(words, log, par, 0, address)
            if edata == 0:
                address += PAGE_SIZE
                continue
            nr_bytes = bytes_of(words, log, edata)
            if base_of(words, log, edata) != address or not 0 < nr_bytes <= _ADDRESS_MOST - address:
                return nr_extents, address
            if nr_extents < extents.shape[0] // _NR_COLUMNS:
                extents[_NR_COLUMNS * nr_extents + _ADDRESS] = address
                extents[_NR_COLUMNS * nr_extents + _BYTES] = nr_bytes
                extents[_NR_COLUMNS * nr_extents + _EDATA] = edata
            nr_extents += 1
            address += nr_bytes
            behind = address
    return nr_extents, -1


@compiled
def note_cached(words: Words, log: Words, par: Words, tsds: Words, found: Words) -> int:
    """Note the blocks that threads' caches have; return how many, though they be too many."""
    nr_found = 0
    for thread in range(tsds.shape[0]):
        tsd = int(tsds[thread])
        is_there = load_bits(words, log, tsd + STATE, 1) <= STATE_NOMINAL_MAX
        if not is_there or load_bits(words, log, tsd + TCACHE_ENABLED, 1) == 0:
            continue
        for index in range(int(par[NR_CACHE_BINS])):
            cache_bin = cache_bin_of(tsd, index)
            head = peek_word(words, cache_bin + STACK_HEAD)
            for place in range(cached_in(words, log, cache_bin)):
                if nr_found < found.shape[0]:
                    found[nr_found] = peek_word(words, head + 8 * place)
                nr_found += 1
    return nr_found


@compiled
def _has(sorted_words: Words, word: int) -> bool:
    at = np.searchsorted(sorted_words, word)
    return bool(at < sorted_words.shape[0] and sorted_words[at] == word)


@compiled
def _add(chunks: Words, nr_chunks: int, address: int, nr_bytes: int, kind: int) -> int:
    """Note a chunk if it has bytes and there is room; return how many there are then."""
    if nr_bytes <= 0:
        return nr_chunks
    if nr_chunks < chunks.shape[0] // _NR_COLUMNS:
        chunks[_NR_COLUMNS * nr_chunks] = address
        chunks[_NR_COLUMNS * nr_chunks + 1] = nr_bytes
        chunks[_NR_COLUMNS * nr_chunks + 2] = kind
    return nr_chunks + 1


@compiled
def _lay_out_slab(
    words: Words, log: Words, edata: int, cached: Words, chunks: Words, nr_chunks: int
) -> int:
    address = base_of(words, log, edata)
    end = address + bytes_of(words, log, edata)
    size = index2size(min(class_of(words, log, edata), NR_BINS - 1))
    region = 0
    while address + size <= end and region < _REGIONS_MOST:
        bits = peek_word(words, edata + BITMAP + 8 * (region // _GROUP))
        kind = CACHED if _has(cached, address) else LIVE
        if bits >> region % _GROUP & 1:
            kind = FREE
        nr_chunks = _add(chunks, nr_chunks, address, size, kind)
        address += size
        region += 1
    return _add(chunks, nr_chunks, address, end - address, METADATA)


@compiled
def _lay_out_block(
    words: Words,
    log: Words,
    edata: int,
    cached: Words,
    own: Words,
    chunks: Words,
    nr_chunks: int,
) -> int:
    """Note what an extent has that is one block."""
    base = base_of(words, log, edata)
    end = base + bytes_of(words, log, edata)
    block = min(max(peek_word(words, edata + ADDRESS), base), end)
    index = class_of(words, log, edata)
    size = min(index2size(index), end - block) if index < NR_SIZES else end - block
    kind = CACHED if _has(cached, block) else METADATA if _has(own, block) else LIVE
    nr_chunks = _add(chunks, nr_chunks, base, block - base, METADATA)
    nr_chunks = _add(chunks, nr_chunks, block, size, kind)
    return _add(chunks, nr_chunks, block + size, end - block - size, METADATA)


@compiled
def lay_out(
    words: Words, log: Words, extents: Words, cached: Words, own: Words, chunks: Words
) -> int:
    """Note each block, rest and unused extent of some extents; return how many, though too many.

    `cached` and `own`, blocks of the library's own, are sorted.
    """
    nr_chunks = 0
    for row in range(0, extents.shape[0], _NR_COLUMNS):
        edata = extents[row + _EDATA]
        state = state_of(words, log, edata)
        if state != ACTIVE:
            kind = FREE if state == DIRTY else RETURNED
            address, nr_bytes = extents[row + _ADDRESS], extents[row + _BYTES]
            nr_chunks = _add(chunks, nr_chunks, address, nr_bytes, kind)
        elif has_bit(words, log, edata, SLAB):
            nr_chunks = _lay_out_slab(words, log, edata, cached, chunks, nr_chunks)
        else:
            nr_chunks = _lay_out_block(words, log, edata, cached, own, chunks, nr_chunks)
    return nr_chunks


def heap_map(heap: Heap, arenas: Arenas, tsds: NDArray[np.int64]) -> list[Segment]:
    """Return all memory that the library has, by address."""
    with heap.words.unwatched():
        segments = [*_bases(heap, arenas), *_extents(heap, tsds)]
    return sorted(segments, key=lambda segment: segment.start)


def _extents(heap: Heap, tsds: NDArray[np.int64]) -> list[Segment]:
    words = heap.words.words
    broken_at = -1

    def walk(rows: Words) -> int:
        nonlocal broken_at
        nr_extents, broken_at = walk_extents(words, UNWATCHED, heap.par, rows)
        return nr_extents

    extents = noted_rows(walk, _NR_COLUMNS)
    threads = tsds[tsds != 0]
    blocks = noted_rows(lambda rows: note_cached(words, UNWATCHED, heap.par, threads, rows), 1)
    cached = np.sort(blocks.ravel())
    own = np.sort([peek_word(words, tsd + DYN_ALLOC) for tsd in threads.tolist()])
    own = own.astype(np.int64)
    edatas = extents[:, _EDATA].tolist()
    owners = np.array([arena_index_of(words, UNWATCHED, edata) for edata in edatas], dtype=np.int64)
    ends = extents[:, _ADDRESS] + extents[:, _BYTES]
    borders = np.flatnonzero((extents[1:, _ADDRESS] != ends[:-1]) | (owners[1:] != owners[:-1]))
    segments = []
    for first, part in zip(
        [0, *(borders + 1).tolist()], np.split(extents, borders + 1), strict=True
    ):
        if not len(part):
            continue
        rows = part.ravel()

        def note(chunks: Words, rows: Words = rows) -> int:
            return lay_out(words, UNWATCHED, rows, cached, own, chunks)

        chunks = noted_rows(note, _NR_COLUMNS)
        segments.append(segment_of_chunks("extents", chunks, arena=int(owners[first])))
    if broken_at >= 0 and segments:
        segments[-1] = evolve(segments[-1], broken_at=broken_at)
    return segments


def _bases(heap: Heap, arenas: Arenas) -> list[Segment]:
    """Return the blocks of the library's own memory; what is behind the last piece is not used."""
    words = heap.words.words
    segments = []
    for index in range(arenas.nr_total):
        arena = arenas.at(index)
        block = peek_word(words, peek_word(words, arena + BASE) + BLOCKS) if arena else 0
        left = longest_walk(words)
        while block and left:
            left -= 1
            size = peek_word(words, block)
            if size <= 0:
                break
            unused = block + BLOCK_EDATA
            free = min(max(peek_word(words, unused + ADDRESS), block), block + size)
            rest = min(max(peek_word(words, unused + SIZE_ESN), 0), block + size - free)
            rows = [
                (block, free - block, METADATA),
                (free, rest, RETURNED),
                (free + rest, block + size - free - rest, METADATA),
            ]
            chunks = np.array([row for row in rows if row[1]], dtype=np.int64)
            segments.append(segment_of_chunks("base", chunks, arena=index))
            block = peek_word(words, block + BLOCK_NEXT)
    return segments
