"""What the memory of ptmalloc's heaps holds: each chunk by its place, and its sum by page.

A look from outside: headers are read as they stand (malloc/malloc.c, malloc/arena.c of glibc 2.36),
no access is noted, and where a header cannot be true the walk of that segment ends. A chunk is
cached if a thread's cache or a fastbin has it, though its neighbours take it for used; free if its
neighbour says so. main_arena itself is in libc's data, and not shown.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.heap_map import CACHED, FREE, LIVE, METADATA, TOP_CHUNK, Segment
from mmactors.malloc.library import MallocAbortError
from mmactors.malloc.ptmalloc.arena.arena import all_arenas
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.arena.heap_info import (
    HEAP_INFO,
    HEAP_SIZE,
    PREV,
    heap_for_ptr,
    heap_max_size,
)
from mmactors.malloc.ptmalloc.bins import fastbin_at
from mmactors.malloc.ptmalloc.chunk import (
    ALIGN_MASK,
    CHUNK_HDR_SZ,
    FD,
    IS_MMAPPED,
    PREV_INUSE,
    SIZE,
    SIZE_BITS,
    SIZE_SZ,
    protect_pointer,
)
from mmactors.malloc.ptmalloc.malloc_par import MMAPPED_MEM, TCACHE_MAX_BINS
from mmactors.malloc.ptmalloc.malloc_state import (
    NFASTBINS,
    STATE_SIZE,
    SYSTEM_MEM,
    TOP,
    UNSORTED,
    bin_at,
)
from mmactors.malloc.ptmalloc.system.sysmalloc import SystemMemory
from mmactors.malloc.ptmalloc.tcache import ENTRIES
from mmactors.malloc.user_words import UserWords, longest_walk, peek_word
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_BROKEN: Final = 16
_NOT_THERE: Final = 17
"""Ends a walk: a header that cannot be true; the end of what was to be walked."""
_SEGMENT_MAX: Final = 1 << 34
"""Bytes of a segment that are walked, however much an arena says that it has."""
_CHUNKS_USUAL: Final = 1 << 12


class Heap(Protocol):
    """A process's ptmalloc, as far as it is looked at (`Ptmalloc`)."""

    words: UserWords
    par: NDArray[np.int64]
    tcache: NDArray[np.int64]
    arenas: Arenas
    memory: SystemMemory


@compiled
def _note_list(words: Words, block: int, offset: int, found: Words, nr_found: int) -> int:
    """Note the chunks of a list with hidden links; return how many there are then.

    `offset`: where in a chunk the link is that leads to it.
    """
    nr_seen = 0
    while block and block & ALIGN_MASK == 0 and nr_seen < longest_walk(words):
        chunk = block - offset
        if nr_found < found.shape[0]:
            found[nr_found] = chunk
        nr_found += 1
        nr_seen += 1
        block = protect_pointer(chunk + FD, peek_word(words, chunk + FD))
    return nr_found


@compiled
def note_cached(words: Words, tcaches: Words, arenas: Words, found: Words) -> int:
    """Note the chunks of thread caches and fastbins; return how many, though they be too many."""
    nr_found = 0
    for tcache in tcaches:
        if tcache:
            for index in range(TCACHE_MAX_BINS):
                block = peek_word(words, tcache + ENTRIES + 8 * index)
                nr_found = _note_list(words, block, CHUNK_HDR_SZ, found, nr_found)
    for arena in arenas:
        for index in range(NFASTBINS):
            chunk = peek_word(words, fastbin_at(arena, index))
            nr_found = _note_list(words, chunk, 0, found, nr_found)
    return nr_found


@compiled
def _has(sorted_words: Words, word: int) -> bool:
    low, high = 0, sorted_words.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if sorted_words[middle] < word:
            low = middle + 1
        else:
            high = middle
    return bool(low < sorted_words.shape[0] and sorted_words[low] == word)


@compiled
def walk_chunks(
    words: Words, start: int, end: int, top: int, cached: Words, chunks: Words, kinds: Words
) -> int:
    """Note the chunks from `start` on, as far as there is room; return how many were noted.

    Behind the last one stands where the walk ended, and why: _BROKEN, _NOT_THERE.
    """
    chunk = start
    nr_chunks = 0
    while nr_chunks + 1 < chunks.shape[0]:
        head = peek_word(words, chunk + SIZE)
        size = head & ~SIZE_BITS
        chunks[nr_chunks] = chunk
        if chunk == top and 0 <= size <= end - chunk:
            kinds[nr_chunks] = TOP_CHUNK
            chunks[nr_chunks + 1] = chunk + size
            kinds[nr_chunks + 1] = _NOT_THERE
            return nr_chunks + 1
        if size == CHUNK_HDR_SZ:
            # Fences: two headers, the last ones of memory that does not go on.
            kinds[nr_chunks] = METADATA
            nr_chunks += 1
            chunk += CHUNK_HDR_SZ
            chunks[nr_chunks] = chunk + CHUNK_HDR_SZ
            kinds[nr_chunks] = _NOT_THERE
            return nr_chunks
        if size < CHUNK_HDR_SZ or size & ALIGN_MASK or size > end - chunk or chunk == top:
            kinds[nr_chunks] = _BROKEN if chunk < end else _NOT_THERE
            return nr_chunks
        if not peek_word(words, chunk + size + SIZE) & PREV_INUSE:
            kinds[nr_chunks] = FREE
        elif _has(cached, chunk):
            kinds[nr_chunks] = CACHED
        else:
            kinds[nr_chunks] = LIVE
        nr_chunks += 1
        chunk += size
    chunks[nr_chunks] = chunk
    kinds[nr_chunks] = LIVE
    return nr_chunks


def heap_map(library: Heap) -> list[Segment]:
    """Return all memory that the library has got from the system, and what it holds."""
    arenas = library.arenas
    with library.words.unwatched():
        numbers: dict[int, int] = {}
        with suppress(MallocAbortError):  # The list of arenas may lead nowhere.
            for arena in all_arenas(arenas):
                if arena in numbers or not arena:
                    break
                numbers[arena] = len(numbers)
        cached = _cached(library, list(numbers))
        segments = [
            segment
            for arena, number in numbers.items()
            for segment in _segments_of(library, arena, number, cached)
        ]
        return sorted(
            [*segments, *_mapped(library, segments)], key=lambda each: (each.arena, each.start)
        )


def _cached(library: Heap, arenas: Sequence[int]) -> NDArray[np.int64]:
    """Return the chunks of thread caches and fastbins, sorted."""
    found = np.zeros(_CHUNKS_USUAL, dtype=np.int64)
    numbers = np.array(arenas, dtype=np.int64)
    while True:
        nr_found = note_cached(library.words.words, library.tcache, numbers, found)
        if nr_found <= len(found):
            return np.sort(found[:nr_found])
        found = np.zeros(nr_found, dtype=np.int64)


def _segments_of(
    library: Heap, arena: int, number: int, cached: NDArray[np.int64]
) -> Iterator[Segment]:
    load, arenas = library.words.peek, library.arenas
    top = load(arena + TOP)
    if not top or top == bin_at(arena, UNSORTED):
        return
    if arena == arenas.main_arena:
        held = min(load(arena + SYSTEM_MEM), _SEGMENT_MAX)
        for start in library.memory.begins:
            yield _walked(library, "main", number, (start, start, start + held), top, cached)
        return
    heap, seen = heap_for_ptr(arenas, top), set[int]()
    while heap > 0 and heap not in seen:
        seen.add(heap)
        first = heap + HEAP_INFO
        if first == arena:
            first = arena + STATE_SIZE + ALIGN_MASK & ~ALIGN_MASK
        end = heap + min(load(heap + HEAP_SIZE), heap_max_size(arenas))
        yield _walked(library, "heap", number, (heap, first, end), top, cached)
        heap = load(heap + PREV)


def _walked(
    library: Heap,
    what: str,
    number: int,
    where: tuple[int, int, int],
    top: int,
    cached: NDArray[np.int64],
) -> Segment:
    """Walk memory that begins at an address, with the first chunk at another, and has an end."""
    start, first, end = where
    parts = []
    while True:
        chunks = np.zeros(_CHUNKS_USUAL + 1, dtype=np.int64)
        kinds = np.zeros(_CHUNKS_USUAL + 1, dtype=np.int64)
        count = walk_chunks(library.words.words, first, end, top, cached, chunks, kinds)
        parts.append(
            np.stack([chunks[:count], np.diff(chunks[: count + 1]), kinds[:count]], axis=1)
        )
        first, why = int(chunks[count]), int(kinds[count])
        if why in (_BROKEN, _NOT_THERE):
            break
    rows = np.concatenate(parts)
    own = np.isin(rows[:, 0] + CHUNK_HDR_SZ, library.tcache[library.tcache != 0])
    rows[own, 2] = METADATA
    tops = rows[rows[:, 2] == TOP_CHUNK]
    used = rows[rows[:, 2] <= CACHED]
    pin = (int(used[-1, 0]) + CHUNK_HDR_SZ, int(used[-1, 1]) - SIZE_SZ) if len(used) else None
    return Segment(
        what=what,
        arena=number,
        start=start,
        end=first,
        pieces=_pieces(start, rows),
        chunks=rows,
        broken_at=first if why == _BROKEN else None,
        top_bytes=int(tops[0, 1]) if len(tops) else None,
        pin=pin if len(tops) else None,
    )


def _pieces(start: int, chunks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what bytes are: the word before each block is its chunk's size."""
    if not len(chunks):
        return np.zeros((0, 3), dtype=np.int64)
    sizes = chunks.copy()
    sizes[:, 0] += SIZE
    sizes[:, 1], sizes[:, 2] = SIZE_SZ, METADATA
    blocks = chunks.copy()
    blocks[:, 0] += CHUNK_HDR_SZ
    blocks[:, 1] -= SIZE_SZ
    # A chunk's last word is the next one's first; the last chunk has none behind it.
    blocks[-1, 1] -= SIZE_SZ
    head = np.array([[start, int(chunks[0, 0]) + SIZE - start, METADATA]], dtype=np.int64)
    both = np.concatenate([head, np.stack([sizes, blocks], axis=1).reshape(-1, 3)])
    return both[both[:, 1] > 0]


def _mapped(library: Heap, segments: Sequence[Segment]) -> Iterator[Segment]:
    """Yield chunks that are mappings: nothing leads to them but that they look like one."""
    end = 0
    for page in library.words.pages():
        start = page << PAGE_SHIFT
        head = library.words.peek(start + SIZE)
        length = head & ~SIZE_BITS
        if (
            start < end
            or library.words.peek(start)
            or head & SIZE_BITS != IS_MMAPPED
            or length % PAGE_SIZE
            or not 0 < length <= library.par[MMAPPED_MEM]
            or any(each.start <= start < each.end for each in segments)
        ):
            continue
        end = start + length
        rows = np.array([[start, length, LIVE]], dtype=np.int64)
        yield Segment(
            what="mapped", arena=0, start=start, end=end, pieces=_pieces(start, rows), chunks=rows
        )
