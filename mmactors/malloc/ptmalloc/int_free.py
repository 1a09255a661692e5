"""Where a chunk goes that is freed (_int_free of malloc/malloc.c).

Into the thread's cache, a fastbin, or, joined with free neighbours, the unsorted bin or the top.
The first two need no lock; a large chunk that was joined lets the top be given back.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.bins import fastbin_at, fastbin_index, link_unsorted, unlink_chunk
from mmactors.malloc.ptmalloc.chunk import (
    ALIGN_MASK,
    CHUNK_HDR_SZ,
    FD,
    IS_MMAPPED,
    MINSIZE,
    NON_MAIN_ARENA,
    PREV_INUSE,
    chunksize,
    clear_inuse,
    head_of,
    is_above,
    protect_pointer,
    set_foot,
    set_head,
)
from mmactors.malloc.ptmalloc.malloc_consolidate import malloc_consolidate
from mmactors.malloc.ptmalloc.malloc_par import (
    GLOBAL_MAX_FAST,
    HEAP_MAX_SIZE,
    HP_PAGESIZE,
    MAIN_ARENA,
    PERTURB_BYTE,
    TRIM_THRESHOLD,
)
from mmactors.malloc.ptmalloc.malloc_state import (
    have_fastchunks,
    is_contiguous,
    set_have_fastchunks,
    set_top,
    system_mem_of,
    top_of,
)
from mmactors.malloc.ptmalloc.messages import (
    NEEDS_FASTBIN,
    NEEDS_LOCK,
    NEEDS_TRIM,
    number_of,
)
from mmactors.malloc.ptmalloc.tcache import tcache_free
from mmactors.malloc.user_words import load_word, note_access, store_word, to_word

FASTBIN_CONSOLIDATION_THRESHOLD: Final = 65536

_POINTER: Final = number_of("free(): invalid pointer")
_SIZE: Final = number_of("free(): invalid size")
NEXT_FAST: Final = number_of("free(): invalid next size (fast)")
_FASTTOP: Final = number_of("double free or corruption (fasttop)")
_FASTBIN: Final = number_of("invalid fastbin entry (free)")
_TOP: Final = number_of("double free or corruption (top)")
_OUT: Final = number_of("double free or corruption (out)")
_PREV: Final = number_of("double free or corruption (!prev)")
_NEXT_NORMAL: Final = number_of("free(): invalid next size (normal)")
_PREV_SIZE: Final = number_of("corrupted size vs. prev_size while consolidating")
_UNSORTED: Final = number_of("free(): corrupted unsorted chunks")


@compiled
def int_free(
    words: Words, log: Words, par: Words, tcache: int, av: int, chunk: int, have_lock: int
) -> int:
    """Free a chunk of an arena that nobody else uses; return 0, NEEDS_TRIM, or what is wrong.

    `have_lock` is 1 for what malloc itself frees: a fastbin is looked at once more then.
    """
    result = free_to_tcache(words, log, par, tcache, chunk)
    if result == NEEDS_LOCK:
        return free_with_lock(words, log, par, av, chunk)
    if result != NEEDS_FASTBIN:
        return result
    if next_fast_is_wrong(words, log, av, chunk):
        return NEXT_FAST
    old = push_fastbin(words, log, par, av, chunk)
    if old <= 0 or not have_lock:
        return min(old, 0)
    return old_head_is_right(words, log, chunk, old)


@compiled
def free_to_tcache(words: Words, log: Words, par: Words, tcache: int, chunk: int) -> int:
    """Let the thread's cache have a chunk; 0, NEEDS_FASTBIN, NEEDS_LOCK, or what is wrong."""
    size = chunksize(words, log, chunk)
    if size == 0 or is_above(chunk - 1, ~size) or (chunk & ALIGN_MASK) != 0:
        return _POINTER
    if is_above(MINSIZE, size) or (size & ALIGN_MASK) != 0:
        return _SIZE
    cached = tcache_free(words, log, par, tcache, chunk, size)
    if cached:
        return min(cached, 0)
    return NEEDS_FASTBIN if 0 < size <= par[GLOBAL_MAX_FAST] else NEEDS_LOCK


@compiled
def next_fast_is_wrong(words: Words, log: Words, av: int, chunk: int) -> bool:
    """Return whether the chunk behind one for a fastbin has a size that cannot be."""
    next_head = head_of(words, log, chunk + chunksize(words, log, chunk))
    system_mem = system_mem_of(words, log, av)
    return is_above(CHUNK_HDR_SZ + 1, next_head) or not is_above(system_mem, next_head & ~7)


@compiled
def push_fastbin(words: Words, log: Words, par: Words, av: int, chunk: int) -> int:
    """Put a chunk first into its fastbin; return which was first before, or what is wrong."""
    size = chunksize(words, log, chunk)
    _perturb_free(log, par, chunk, size)
    set_have_fastchunks(words, log, av, 1)
    fastbin = fastbin_at(av, fastbin_index(size))
    old = load_word(words, log, fastbin)
    if old == chunk:
        return _FASTTOP
    store_word(words, log, chunk + FD, protect_pointer(chunk + FD, old))
    store_word(words, log, fastbin, chunk)
    return max(old, 0)


@compiled
def old_head_is_right(words: Words, log: Words, chunk: int, old: int) -> int:
    """Return 0, or that the chunk that was first in a fastbin is of another size."""
    index = fastbin_index(chunksize(words, log, chunk))
    return 0 if fastbin_index(chunksize(words, log, old)) == index else _FASTBIN


@compiled
def _perturb_free(log: Words, par: Words, chunk: int, size: int) -> None:
    """Note that a block is filled, if glibc.malloc.perturb asks for it (free_perturb)."""
    if par[PERTURB_BYTE]:
        note_access(log, chunk + CHUNK_HDR_SZ, size - CHUNK_HDR_SZ, 1)


@compiled
def free_with_lock(words: Words, log: Words, par: Words, av: int, chunk: int) -> int:
    """Join a chunk with its free neighbours; return 0, NEEDS_TRIM, or what is wrong."""
    head = head_of(words, log, chunk)
    size = head & ~7
    next_chunk = to_word(chunk + size)
    top = top_of(words, log, av)
    if chunk == top:
        return _TOP
    if is_contiguous(words, log, av):
        end = top + chunksize(words, log, top)
        if not is_above(end, next_chunk):
            return _OUT
    next_head = head_of(words, log, next_chunk)
    if next_head & PREV_INUSE == 0:
        return _PREV
    next_size = next_head & ~7
    if is_above(CHUNK_HDR_SZ + 1, next_head) or not is_above(
        system_mem_of(words, log, av), next_size
    ):
        return _NEXT_NORMAL
    _perturb_free(log, par, chunk, size)
    if head & PREV_INUSE == 0:
        before = load_word(words, log, chunk)
        size = to_word(size + before)
        chunk = to_word(chunk - before)
        if chunksize(words, log, chunk) != before:
            return _PREV_SIZE
        wrong = unlink_chunk(words, log, chunk)
        if wrong:
            return wrong
    if next_chunk == top:
        size = to_word(size + next_size)
        set_head(words, log, chunk, size | PREV_INUSE)
        set_top(words, log, av, chunk)
    else:
        if head_of(words, log, next_chunk + next_size) & PREV_INUSE:
            clear_inuse(words, log, next_chunk)
        else:
            wrong = unlink_chunk(words, log, next_chunk)
            if wrong:
                return wrong
            size = to_word(size + next_size)
        if not link_unsorted(words, log, av, chunk, size):
            return _UNSORTED
        set_head(words, log, chunk, size | PREV_INUSE)
        set_foot(words, log, chunk, size)
    if is_above(FASTBIN_CONSOLIDATION_THRESHOLD, size):
        return 0
    return _after_large_free(words, log, par, av)


@compiled
def _after_large_free(words: Words, log: Words, par: Words, av: int) -> int:
    """Empty the fastbins; return NEEDS_TRIM if the top may be given back."""
    if have_fastchunks(words, log, av):
        wrong = malloc_consolidate(words, log, av)
        if wrong:
            return wrong
    if av != par[MAIN_ARENA]:
        return NEEDS_TRIM
    top_size = chunksize(words, log, top_of(words, log, av))
    return 0 if is_above(int(par[TRIM_THRESHOLD]), top_size) else NEEDS_TRIM


@compiled
def free_hit(words: Words, log: Words, par: Words, tcache: int, chunk: int) -> int:
    """Put a chunk into the thread's cache (1); 0: it is none for it, or wrong, nothing was done."""
    noted = log[0] if log.shape[0] else 0
    head = head_of(words, log, chunk)
    if head & IS_MMAPPED == 0:
        if head & NON_MAIN_ARENA:
            heap_bytes = 4 * par[HP_PAGESIZE] if par[HP_PAGESIZE] else HEAP_MAX_SIZE
            load_word(words, log, chunk & -heap_bytes)
        if free_to_tcache(words, log, par, tcache, chunk) == 0:
            return 1
    if log.shape[0]:
        log[0] = noted
    return 0
