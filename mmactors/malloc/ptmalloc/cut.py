"""Cutting a block off a free chunk: what it has too much becomes another (malloc/malloc.c)."""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.bins import in_smallbin_range, link_unsorted, unlink_chunk
from mmactors.malloc.ptmalloc.chunk import (
    MINSIZE,
    NON_MAIN_ARENA,
    PREV_INUSE,
    head_of,
    is_above,
    set_foot,
    set_head,
    set_inuse,
)
from mmactors.malloc.ptmalloc.malloc_par import MAIN_ARENA
from mmactors.malloc.ptmalloc.malloc_state import LAST_REMAINDER, set_top
from mmactors.malloc.ptmalloc.messages import block_of
from mmactors.malloc.user_words import store_word, to_word


@compiled
def use_whole(words: Words, log: Words, par: Words, av: int, chunk: int, size: int) -> None:
    """Mark a chunk that was free as used."""
    set_inuse(words, log, chunk + size)
    if av != par[MAIN_ARENA]:
        head = head_of(words, log, chunk)
        set_head(words, log, chunk, head | NON_MAIN_ARENA)


@compiled
def set_heads(
    words: Words, log: Words, par: Words, av: int, chunk: int, size: int, found: int
) -> None:
    """Cut a chunk of `found` bytes: `size` of them are used, what is behind is free."""
    flags = PREV_INUSE if av == par[MAIN_ARENA] else PREV_INUSE | NON_MAIN_ARENA
    set_head(words, log, chunk, size | flags)
    set_head(words, log, chunk + size, (found - size) | PREV_INUSE)


@compiled
def cut(words: Words, log: Words, par: Words, av: int, chunk: int, size: int, found: int) -> int:
    """Take a chunk of `found` bytes out of its bin, and what it has too much into the unsorted one.

    Return its block, 0 if the unsorted bin is broken, or what else is wrong.
    """
    wrong = unlink_chunk(words, log, chunk)
    if wrong:
        return wrong
    rest = to_word(found - size)
    if is_above(MINSIZE, rest):
        use_whole(words, log, par, av, chunk, found)
        return block_of(chunk)
    if not link_unsorted(words, log, av, chunk + size, rest):
        return 0
    if in_smallbin_range(size):
        store_word(words, log, av + LAST_REMAINDER, chunk + size)
    set_heads(words, log, par, av, chunk, size, found)
    set_foot(words, log, chunk + size, rest)
    return block_of(chunk)


@compiled
def cut_top(
    words: Words, log: Words, par: Words, av: int, chunk: int, size: int, found: int
) -> int:
    """Return the block at the begin of a top chunk of `found` bytes, which is large enough."""
    set_top(words, log, av, chunk + size)
    set_heads(words, log, par, av, chunk, size, found)
    return block_of(chunk)
