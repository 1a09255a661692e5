"""Emptying the fastbins: their chunks join free neighbours (malloc_consolidate of malloc.c)."""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.bins import (
    fastbin_at,
    fastbin_index,
    forget_nextsize,
    unlink_chunk,
)
from mmactors.malloc.ptmalloc.chunk import (
    ALIGN_MASK,
    BK,
    FD,
    PREV_INUSE,
    chunksize,
    clear_inuse,
    head_of,
    reveal,
    set_foot,
    set_head,
)
from mmactors.malloc.ptmalloc.malloc_state import (
    NFASTBINS,
    UNSORTED,
    bin_at,
    set_have_fastchunks,
    set_top,
    top_of,
)
from mmactors.malloc.ptmalloc.messages import CIRCLE, number_of
from mmactors.malloc.user_words import load_word, longest_walk, store_word, to_word

_UNALIGNED: Final = number_of("malloc_consolidate(): unaligned fastbin chunk detected")
_SIZE: Final = number_of("malloc_consolidate(): invalid chunk size")
_PREV_SIZE: Final = number_of("corrupted size vs. prev_size in fastbins")


@compiled
def malloc_consolidate(words: Words, log: Words, av: int) -> int:
    """Move the chunks of all fastbins to the unsorted bin or the top; 0, or what is wrong."""
    set_have_fastchunks(words, log, av, 0)
    for index in range(NFASTBINS):
        fastbin = fastbin_at(av, index)
        chunk = load_word(words, log, fastbin)
        store_word(words, log, fastbin, 0)
        nr_steps = 0
        while chunk:
            nr_steps += 1
            if nr_steps > longest_walk(words):
                return CIRCLE
            if chunk & ALIGN_MASK:
                return _UNALIGNED
            if fastbin_index(chunksize(words, log, chunk)) != index:
                return _SIZE
            behind = reveal(words, log, chunk + FD)
            wrong = _consolidate(words, log, av, chunk)
            if wrong:
                return wrong
            chunk = behind
    return 0


@compiled
def _consolidate(words: Words, log: Words, av: int, chunk: int) -> int:
    head = head_of(words, log, chunk)
    size = head & ~7
    next_chunk = to_word(chunk + size)
    next_size = chunksize(words, log, next_chunk)
    if head & PREV_INUSE == 0:
        before = load_word(words, log, chunk)
        size = to_word(size + before)
        chunk = to_word(chunk - before)
        if chunksize(words, log, chunk) != before:
            return _PREV_SIZE
        wrong = unlink_chunk(words, log, chunk)
        if wrong:
            return wrong
    if next_chunk == top_of(words, log, av):
        set_head(words, log, chunk, (size + next_size) | PREV_INUSE)
        set_top(words, log, av, chunk)
        return 0
    if head_of(words, log, next_chunk + next_size) & PREV_INUSE:
        clear_inuse(words, log, next_chunk)
    else:
        size = to_word(size + next_size)
        wrong = unlink_chunk(words, log, next_chunk)
        if wrong:
            return wrong
    unsorted = bin_at(av, UNSORTED)
    front = load_word(words, log, unsorted + FD)
    store_word(words, log, unsorted + FD, chunk)
    store_word(words, log, front + BK, chunk)
    forget_nextsize(words, log, chunk, size)
    set_head(words, log, chunk, size | PREV_INUSE)
    store_word(words, log, chunk + BK, unsorted)
    store_word(words, log, chunk + FD, front)
    set_foot(words, log, chunk, size)
    return 0
