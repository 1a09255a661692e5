"""Blocks at addresses that are multiples of more than 16 (_int_memalign of malloc/malloc.c).

A chunk large enough for any case is taken, and what is before and behind the block is freed. Each
step may need something from the system, after which the next goes on: `int_memalign` memory, then
`without_lead` a trim, then `without_tail` another.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.chunk import (
    CHUNK_HDR_SZ,
    IS_MMAPPED,
    MINSIZE,
    NON_MAIN_ARENA,
    PREV_INUSE,
    PTRDIFF_MAX,
    chunksize,
    head_of,
    is_above,
    request2size,
    set_head,
    set_head_size,
    set_inuse,
)
from mmactors.malloc.ptmalloc.int_free import int_free
from mmactors.malloc.ptmalloc.int_malloc import int_malloc
from mmactors.malloc.ptmalloc.malloc_par import MAIN_ARENA, RESULT
from mmactors.malloc.ptmalloc.messages import LOST, NEEDS_TRIM, NEEDS_TRIM_THEN_TAIL
from mmactors.malloc.user_words import load_word, store_word, to_word


@compiled
def padded_request(alignment: int, request: int) -> int:
    """Return the bytes with which a block can be cut out; 0: they are over PTRDIFF_MAX."""
    size = request2size(request)
    if size <= 0 or size > PTRDIFF_MAX - MINSIZE - alignment:
        return 0
    return size + alignment + MINSIZE


@compiled
def int_memalign(
    words: Words, log: Words, par: Words, tcache: int, av: int, alignment: int, request: int
) -> int:
    """Return a block of an arena; 0, NEEDS_SYSMALLOC, or what `without_lead` returns."""
    padded = padded_request(alignment, request)
    if padded == 0:
        return 0
    block = int_malloc(words, log, par, tcache, av, padded)
    if block <= 0:
        return block
    return without_lead(words, log, par, tcache, av, alignment, request2size(request), block)


@compiled
def without_lead(
    words: Words,
    log: Words,
    par: Words,
    tcache: int,
    av: int,
    alignment: int,
    size: int,
    block: int,
) -> int:
    """Free what is before the aligned block; NEEDS_TRIM_THEN_TAIL, or as `without_tail`."""
    chunk = block - CHUNK_HDR_SZ
    if block & (alignment - 1):
        aligned = to_word((block + alignment - 1) & -alignment) - CHUNK_HDR_SZ
        if aligned - chunk < MINSIZE:
            aligned = to_word(aligned + alignment)
        if aligned <= 0:
            return LOST
        lead = aligned - chunk
        head = head_of(words, log, chunk)
        rest = to_word((head & ~7) - lead)
        if head & IS_MMAPPED:
            store_word(words, log, aligned, load_word(words, log, chunk) + lead)
            set_head(words, log, aligned, rest | IS_MMAPPED)
            return aligned + CHUNK_HDR_SZ
        bit = 0 if av == par[MAIN_ARENA] else NON_MAIN_ARENA
        set_head(words, log, aligned, rest | PREV_INUSE | bit)
        set_inuse(words, log, aligned + rest)
        set_head_size(words, log, chunk, lead | bit)
        par[RESULT] = aligned + CHUNK_HDR_SZ
        freed = int_free(words, log, par, tcache, av, chunk, 1)
        if freed:
            return NEEDS_TRIM_THEN_TAIL if freed == NEEDS_TRIM else freed
        chunk = aligned
    return without_tail(words, log, par, tcache, av, size, chunk + CHUNK_HDR_SZ)


@compiled
def without_tail(
    words: Words, log: Words, par: Words, tcache: int, av: int, size: int, block: int
) -> int:
    """Free what is behind the block; return it, NEEDS_TRIM with it in RESULT, or what is wrong."""
    chunk = block - CHUNK_HDR_SZ
    if head_of(words, log, chunk) & IS_MMAPPED:
        return block
    found = chunksize(words, log, chunk)
    if not is_above(found, size + MINSIZE):
        return block
    bit = 0 if av == par[MAIN_ARENA] else NON_MAIN_ARENA
    tail = to_word(chunk + size)
    set_head(words, log, tail, (found - size) | PREV_INUSE | bit)
    set_head_size(words, log, chunk, size)
    par[RESULT] = block
    return int_free(words, log, par, tcache, av, tail, 1) or block
