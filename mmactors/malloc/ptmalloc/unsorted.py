"""The unsorted chunks: each has one chance to be used before it goes to its bin (_int_malloc)."""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.bins import forget_nextsize, in_smallbin_range, put_in_bin
from mmactors.malloc.ptmalloc.chunk import (
    BK,
    CHUNK_HDR_SZ,
    FD,
    MINSIZE,
    PREV_INUSE,
    chunksize,
    head_of,
    is_above,
    set_foot,
)
from mmactors.malloc.ptmalloc.cut import set_heads, use_whole
from mmactors.malloc.ptmalloc.malloc_par import TCACHE_UNSORTED_LIMIT
from mmactors.malloc.ptmalloc.malloc_state import (
    LAST_REMAINDER,
    UNSORTED,
    bin_at,
    system_mem_of,
)
from mmactors.malloc.ptmalloc.messages import CIRCLE, block_of, number_of
from mmactors.malloc.ptmalloc.tcache import (
    csize2tidx,
    has_list,
    has_place,
    tcache_get,
    tcache_put,
)
from mmactors.malloc.user_words import load_word, longest_walk, store_word, to_word

MAX_ITERS: Final = 10000
"""Unsorted chunks that one request sorts at most."""

_SIZE: Final = number_of("malloc(): invalid size (unsorted)")
_NEXT_SIZE: Final = number_of("malloc(): invalid next size (unsorted)")
_PREV_SIZE: Final = number_of("malloc(): mismatching next->prev_size (unsorted)")
_LINKS: Final = number_of("malloc(): unsorted double linked list corrupted")
_PREV_INUSE: Final = number_of("malloc(): invalid next->prev_inuse (unsorted)")

_BINNED: Final = -8
_CACHED: Final = -9
"""What became of an unsorted chunk, if it is not the block that is returned."""


@compiled
def _check_unsorted(words: Words, log: Words, av: int, chunk: int, back: int, size: int) -> int:
    """Return 0, or what is wrong with the oldest unsorted chunk."""
    system_mem = system_mem_of(words, log, av)
    head = bin_at(av, UNSORTED)
    if is_above(CHUNK_HDR_SZ + 1, size) or is_above(size, system_mem):
        return _SIZE
    behind = chunk + size
    next_head = head_of(words, log, behind)
    if is_above(CHUNK_HDR_SZ, next_head) or is_above(next_head, system_mem):
        return _NEXT_SIZE
    if load_word(words, log, behind) & ~7 != size:
        return _PREV_SIZE
    if load_word(words, log, back + FD) != chunk or load_word(words, log, chunk + FD) != head:
        return _LINKS
    if next_head & PREV_INUSE:
        return _PREV_INUSE
    return 0


@compiled
def from_unsorted(
    words: Words, log: Words, par: Words, tcache: int, av: int, size: int, nr_sorted: int
) -> tuple[int, int]:
    """Put the unsorted chunks into their bins, oldest first, until one fits.

    Return a block, 0 or what is wrong, and how many chunks this request has binned.
    """
    head = bin_at(av, UNSORTED)
    is_cached = False
    nr_binned = nr_steps = 0
    while nr_binned < MAX_ITERS:
        chunk = load_word(words, log, head + BK)
        if chunk == head:
            break
        nr_steps += 1
        if nr_steps > longest_walk(words) + MAX_ITERS:
            return CIRCLE, nr_sorted
        result = _use_or_bin(words, log, par, tcache, av, size, chunk)
        if result == _CACHED:
            is_cached = True
        elif result == _BINNED:
            nr_binned += 1
            nr_sorted += 1
            if is_cached and 0 < par[TCACHE_UNSORTED_LIMIT] < nr_sorted:
                break
        else:
            return result, nr_sorted
    if is_cached:
        return tcache_get(words, log, tcache, csize2tidx(size)), nr_sorted
    return 0, nr_sorted


@compiled
def _use_or_bin(
    words: Words, log: Words, par: Words, tcache: int, av: int, size: int, chunk: int
) -> int:
    """Return the block of the oldest unsorted chunk, if it fits, else what became of it."""
    head = bin_at(av, UNSORTED)
    back = load_word(words, log, chunk + BK)
    found = chunksize(words, log, chunk)
    wrong = _check_unsorted(words, log, av, chunk, back, found)
    if wrong:
        return wrong
    if (
        in_smallbin_range(size)
        and back == head
        and chunk == load_word(words, log, av + LAST_REMAINDER)
        and is_above(found, size + MINSIZE)
    ):
        remainder, rest = to_word(chunk + size), to_word(found - size)
        store_word(words, log, head + BK, remainder)
        store_word(words, log, head + FD, remainder)
        store_word(words, log, av + LAST_REMAINDER, remainder)
        store_word(words, log, remainder + BK, head)
        store_word(words, log, remainder + FD, head)
        forget_nextsize(words, log, remainder, rest)
        set_heads(words, log, par, av, chunk, size, found)
        set_foot(words, log, remainder, rest)
        return block_of(chunk)
    store_word(words, log, head + BK, back)
    store_word(words, log, back + FD, head)
    if found != size:
        wrong = put_in_bin(words, log, av, chunk, found)
        return wrong or _BINNED
    use_whole(words, log, par, av, chunk, size)
    place = csize2tidx(size)
    if has_list(par, tcache, place) and has_place(words, log, par, tcache, place):
        tcache_put(words, log, par, tcache, chunk, place)
        return _CACHED
    return block_of(chunk)
