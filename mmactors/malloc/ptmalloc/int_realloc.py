"""Changing the size of a chunk of an arena (_int_realloc of malloc/malloc.c).

It grows into the top or the next chunk if that is free, else into a new chunk; what is too much is
freed. `int_realloc` may need memory from the system for a new chunk, after which `copied` goes on.
Both may need a trim at last; the block is in RESULT then.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.bins import unlink_chunk
from mmactors.malloc.ptmalloc.chunk import (
    ALIGN_MASK,
    CHUNK_HDR_SZ,
    MINSIZE,
    NON_MAIN_ARENA,
    PREV_INUSE,
    SIZE_SZ,
    chunksize,
    head_of,
    is_above,
    set_head,
    set_head_size,
    set_inuse,
)
from mmactors.malloc.ptmalloc.int_free import int_free
from mmactors.malloc.ptmalloc.int_malloc import int_malloc
from mmactors.malloc.ptmalloc.malloc_par import MAIN_ARENA, RESULT
from mmactors.malloc.ptmalloc.malloc_state import set_top, system_mem_of, top_of
from mmactors.malloc.ptmalloc.messages import number_of
from mmactors.malloc.user_words import note_access, to_word

_OLD_SIZE: Final = number_of("realloc(): invalid old size")
_NEXT_SIZE: Final = number_of("realloc(): invalid next size")


@compiled
def int_realloc(
    words: Words, log: Words, par: Words, tcache: int, av: int, chunk: int, size: int
) -> int:
    """Let a chunk have `size` bytes; its block, 0, NEEDS_SYSMALLOC, NEEDS_TRIM or a message."""
    system_mem = system_mem_of(words, log, av)
    head = head_of(words, log, chunk)
    old_size = head & ~7
    if is_above(CHUNK_HDR_SZ + 1, head) or not is_above(system_mem, old_size):
        return _OLD_SIZE
    behind = to_word(chunk + old_size)
    next_head = head_of(words, log, behind)
    next_size = next_head & ~7
    if is_above(CHUNK_HDR_SZ + 1, next_head) or not is_above(system_mem, next_size):
        return _NEXT_SIZE
    if not is_above(size, old_size):
        return _give_back_rest(words, log, par, tcache, av, chunk, size, old_size)
    both = to_word(old_size + next_size)
    is_next_top = behind == top_of(words, log, av)
    if is_next_top and not is_above(size + MINSIZE, both):
        set_head_size(words, log, chunk, size | _arena_bit(par, av))
        set_top(words, log, av, chunk + size)
        set_head(words, log, chunk + size, to_word(both - size) | PREV_INUSE)
        return chunk + CHUNK_HDR_SZ
    if (
        not is_next_top
        and head_of(words, log, behind + next_size) & PREV_INUSE == 0
        and not is_above(size, both)
    ):
        wrong = unlink_chunk(words, log, behind)
        if wrong:
            return wrong
        return _give_back_rest(words, log, par, tcache, av, chunk, size, both)
    block = int_malloc(words, log, par, tcache, av, to_word(size - ALIGN_MASK))
    if block <= 0:
        return block
    return copied(words, log, par, tcache, av, chunk, size, block)


@compiled
def copied(
    words: Words, log: Words, par: Words, tcache: int, av: int, chunk: int, size: int, block: int
) -> int:
    """Let the new block take the chunk's place; return a block, NEEDS_TRIM, or what is wrong."""
    old_size = chunksize(words, log, chunk)
    if block - CHUNK_HDR_SZ == to_word(chunk + old_size):
        # It is the next chunk: nothing need be copied.
        both = to_word(old_size + chunksize(words, log, block - CHUNK_HDR_SZ))
        return _give_back_rest(words, log, par, tcache, av, chunk, size, both)
    note_access(log, chunk + CHUNK_HDR_SZ, old_size - SIZE_SZ, 0)
    note_access(log, block, old_size - SIZE_SZ, 1)
    return _freed(par, int_free(words, log, par, tcache, av, chunk, 1), block)


@compiled
def _freed(par: Words, result: int, block: int) -> int:
    """Return a block after something else was freed, unless that asks for more."""
    par[RESULT] = block
    return result or block


@compiled
def _arena_bit(par: Words, av: int) -> int:
    return 0 if av == par[MAIN_ARENA] else NON_MAIN_ARENA


@compiled
def _give_back_rest(
    words: Words, log: Words, par: Words, tcache: int, av: int, chunk: int, size: int, found: int
) -> int:
    """Free what a chunk has behind `size` bytes of the `found` ones."""
    rest = to_word(found - size)
    bit = _arena_bit(par, av)
    if is_above(MINSIZE, rest):
        set_head_size(words, log, chunk, found | bit)
        set_inuse(words, log, chunk + found)
        return chunk + CHUNK_HDR_SZ
    remainder = to_word(chunk + size)
    set_head_size(words, log, chunk, size | bit)
    set_head(words, log, remainder, rest | PREV_INUSE | bit)
    set_inuse(words, log, remainder + rest)
    freed = int_free(words, log, par, tcache, av, remainder, 1)
    return _freed(par, freed, chunk + CHUNK_HDR_SZ)
