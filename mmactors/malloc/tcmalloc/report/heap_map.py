"""What tcmalloc's memory holds: each block and each free span by its place.

A look from outside: the page map and the lists are read as they stand (src/pagemap.h, src/span.h of
gperftools 2.10), no access is noted. Spans that border on each other are one segment, the chunks
for the library's own structures are others. A block is cached if a thread's cache or a transfer
list has it, free if its span has; what is left behind the last block of a span nobody can get, so
it counts as the library's own. Where the map has a span for a page that does not begin it, the walk
ends.
"""

from collections.abc import Iterator
from functools import partial
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
from mmactors.malloc.tcmalloc.cache.thread_cache import list_at, load_int
from mmactors.malloc.tcmalloc.central.size_map import nr_classes, peek_class_size
from mmactors.malloc.tcmalloc.heap.page_map import (
    LEAF_BITS,
    PAGE_BITS,
    ROOT_LENGTH,
    peek_span_of,
)
from mmactors.malloc.tcmalloc.heap.span import (
    CLASS_OF,
    IN_USE,
    LENGTH,
    OBJECTS,
    ON_NORMAL_FREELIST,
    START,
    location_of,
)
from mmactors.malloc.tcmalloc.layout import (
    CENTRAL_BYTES,
    CENTRAL_CACHE,
    CLASSES_MAX,
    LIST,
    NEXT_CACHE,
    PAGE_BYTES,
    PAGE_SHIFT,
    PAGEMAP_ROOT,
    TC_SLOTS,
    THREAD_HEAPS,
    TRANSFER_ENTRIES_MAX,
    USED_SLOTS,
)
from mmactors.malloc.tcmalloc.system.system_alloc import METADATA_CHUNK
from mmactors.malloc.tcmalloc.task import longest_list
from mmactors.malloc.tcmalloc.tcmalloc_par import (
    DATA_AT,
    METADATA_AT,
    METADATA_CHUNKS,
    NR_METADATA_CHUNKS,
)
from mmactors.malloc.user_words import UNWATCHED, UserWords, load_bits, peek_word

_MOST_PAGES: Final = 1 << PAGE_BITS
_ADDRESS: Final = 0
_PAGES: Final = 1
_SPAN: Final = 2
_NR_COLUMNS: Final = 3


@compiled
def walk_spans(words: Words, par: Words, spans: Words) -> tuple[int, int]:
    """Note all spans by address, as far as there is room; return how many there are.

    And the address where the map cannot be true; -1: nowhere.
    """
    nr_spans = 0
    behind = 0
    for number in range(ROOT_LENGTH):
        if peek_word(words, par[DATA_AT] + PAGEMAP_ROOT + 8 * number) == 0:
            continue
        # A span may have begun in the leaf before.
        page = max(number << LEAF_BITS, behind)
        while page < (number + 1) << LEAF_BITS:
            span = peek_span_of(words, par, page)
            if span == 0:
                page += 1
                continue
            length = peek_word(words, span + LENGTH)
            if peek_word(words, span + START) != page or not 0 < length <= _MOST_PAGES:
                return nr_spans, page << PAGE_SHIFT
            if nr_spans < spans.shape[0] // _NR_COLUMNS:
                spans[_NR_COLUMNS * nr_spans + _ADDRESS] = page << PAGE_SHIFT
                spans[_NR_COLUMNS * nr_spans + _PAGES] = length
                spans[_NR_COLUMNS * nr_spans + _SPAN] = span
            nr_spans += 1
            page += length
            behind = page
    return nr_spans, -1


@compiled
def _note_list(words: Words, block: int, found: Words, nr_found: int) -> int:
    """Note the blocks of a list; return how many there are then."""
    left = longest_list(words)
    while block and left:
        left -= 1
        if nr_found < found.shape[0]:
            found[nr_found] = block
        nr_found += 1
        block = peek_word(words, block)
    return nr_found


@compiled
def note_cached(words: Words, log: Words, par: Words, found: Words) -> int:
    """Note the blocks of caches and transfer lists; return how many, though they be too many."""
    data = int(par[DATA_AT])
    nr_found = 0
    classes = nr_classes(words, log, par)
    cache = peek_word(words, data + THREAD_HEAPS)
    left = longest_list(words)
    while cache and left:
        left -= 1
        for number in range(1, classes):
            block = peek_word(words, list_at(cache, number) + LIST)
            nr_found = _note_list(words, block, found, nr_found)
        cache = peek_word(words, cache + NEXT_CACHE)
    for number in range(1, classes):
        central = data + CENTRAL_CACHE + CENTRAL_BYTES * number
        slots = min(load_int(words, log, central + USED_SLOTS), TRANSFER_ENTRIES_MAX)
        for slot in range(slots):
            block = peek_word(words, central + TC_SLOTS + 16 * slot)
            nr_found = _note_list(words, block, found, nr_found)
    return nr_found


@compiled
def _class_of(words: Words, log: Words, span: int) -> int:
    """Return the class of a span's blocks; 0: it is one block, or free."""
    if location_of(words, log, span) != IN_USE:
        return 0
    return load_bits(words, log, span + CLASS_OF, 1) & (CLASSES_MAX - 1)


@compiled
def note_free(words: Words, log: Words, spans: Words, found: Words) -> int:
    """Note the free blocks that spans have; return how many, though they be too many."""
    nr_found = 0
    for row in range(0, spans.shape[0], _NR_COLUMNS):
        span = spans[row + _SPAN]
        if _class_of(words, log, span):
            nr_found = _note_list(words, peek_word(words, span + OBJECTS), found, nr_found)
    return nr_found


@compiled
def _has(sorted_words: Words, word: int) -> bool:
    at = np.searchsorted(sorted_words, word)
    return bool(at < sorted_words.shape[0] and sorted_words[at] == word)


@compiled
def lay_out(
    words: Words,
    log: Words,
    par: Words,
    spans: Words,
    cached: Words,
    free: Words,
    chunks: Words,
) -> int:
    """Note each block, rest and free span of some spans; return how many, though too many."""
    nr_chunks = 0
    for row in range(0, spans.shape[0], _NR_COLUMNS):
        address, span = spans[row + _ADDRESS], spans[row + _SPAN]
        end = address + spans[row + _PAGES] * PAGE_BYTES
        number = _class_of(words, log, span)
        size = peek_class_size(words, par, number) if number else end - address
        if size <= 0 or (end - address) // size > longest_list(words):
            # More blocks than there is room for: what says so cannot be true.
            size = end - address
        location = location_of(words, log, span)
        whole = FREE if location == ON_NORMAL_FREELIST else RETURNED
        while address < end:
            kind = whole if location != IN_USE else LIVE
            if size <= 0 or size > end - address:
                size = end - address
                kind = METADATA
            elif number and _has(cached, address):
                kind = CACHED
            elif number and _has(free, address):
                kind = FREE
            if nr_chunks < chunks.shape[0] // _NR_COLUMNS:
                chunks[_NR_COLUMNS * nr_chunks] = address
                chunks[_NR_COLUMNS * nr_chunks + 1] = size
                chunks[_NR_COLUMNS * nr_chunks + 2] = kind
            nr_chunks += 1
            address += size
    return nr_chunks


def heap_map(user: UserWords, par: NDArray[np.int64]) -> list[Segment]:
    """Return all memory that the library has, by address."""
    words = user.words
    broken_at = -1

    def walk(rows: Words) -> int:
        nonlocal broken_at
        nr_spans, broken_at = walk_spans(words, par, rows)
        return nr_spans

    spans = noted_rows(walk, _NR_COLUMNS)
    cached = np.sort(noted_rows(partial(note_cached, words, UNWATCHED, par), 1).ravel())
    free = np.sort(noted_rows(partial(note_free, words, UNWATCHED, spans.ravel()), 1).ravel())
    segments = [*_metadata(par)]
    ends = spans[:, _ADDRESS] + spans[:, _PAGES] * PAGE_BYTES
    borders = np.flatnonzero(spans[1:, _ADDRESS] != ends[:-1]) + 1
    for part in np.split(spans, borders) if len(spans) else []:
        chunks = partial(lay_out, words, UNWATCHED, par, part.ravel(), cached, free)
        segments.append(segment_of_chunks("spans", noted_rows(chunks, _NR_COLUMNS)))
    if broken_at >= 0 and len(spans):
        segments[-1] = evolve(segments[-1], broken_at=broken_at)
    return sorted(segments, key=lambda segment: segment.start)


def _metadata(par: NDArray[np.int64]) -> Iterator[Segment]:
    """Yield the chunks of the library's own memory; the end of the last one is not used yet."""
    nr_chunks = int(par[NR_METADATA_CHUNKS])
    for number, start in enumerate(par[METADATA_CHUNKS:][:nr_chunks].tolist(), 1):
        used = int(par[METADATA_AT]) - start if number == nr_chunks else METADATA_CHUNK
        rows = [(start, used, METADATA), (start + used, METADATA_CHUNK - used, RETURNED)]
        chunks = np.array([row for row in rows if row[1]], dtype=np.int64)
        yield segment_of_chunks("metadata", chunks)
