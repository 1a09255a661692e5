"""Many operations of a heap trace at once (rows of arch/heap_trace.py), in one compiled loop.

The loop stops where the system is needed, or a call that has no compiled path: a thread's first
use of the heap, a chunk that is a mapping. Nobody locks an arena: nobody else runs meanwhile.
"""

from typing import Final

from mmactors.arch.column import Column, Words
from mmactors.arch.heap_trace import CALLOC, FREE, MEMALIGN, REALLOC
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.chunk import (
    ALIGN_MASK,
    CHUNK_HDR_SZ,
    IS_MMAPPED,
    MINSIZE,
    NON_MAIN_ARENA,
    PREV_INUSE,
    SIZE,
    SIZE_SZ,
    head_of,
    is_above,
    request2size,
)
from mmactors.malloc.ptmalloc.int_calloc import heap_of, int_calloc
from mmactors.malloc.ptmalloc.int_free import int_free
from mmactors.malloc.ptmalloc.int_malloc import int_malloc
from mmactors.malloc.ptmalloc.int_memalign import int_memalign
from mmactors.malloc.ptmalloc.int_realloc import int_realloc
from mmactors.malloc.ptmalloc.malloc_par import MAIN_ARENA, SINGLE_THREAD
from mmactors.malloc.ptmalloc.tcache import tcache_malloc
from mmactors.malloc.replay_rows import NEEDS_CALL, STOPPED, Texts, block_of, end_row
from mmactors.malloc.user_words import NR_FREE, SPARE_SLOTS, load_word, peek_word

ARENA: Final = 1
CHUNK: Final = 2
"""Of the row that began: its arena, and the chunk that is freed or changed."""

_MOST: Final = 1 << 46
"""Sizes from here on are left to calls: half of what a process can map."""


@compiled
def replay_rows(
    words: Words,
    log: Words,
    par: Words,
    tcaches: Words,
    arenas: Words,
    threads: Words,
    op: Texts,
    tid: Column,
    number: Words,
    size: Words,
    arg: Words,
    objects: Words,
    address: Words,
    usable: Words,
    touched: Words,
    live: Words,
    lives: Words,
    stop: Words,
    row: int,
    end: int,
    most_accesses: int,
    touches: int,
) -> int:
    """Do rows from `row` to before `end`; return where it stopped, and in `stop` why.

    `threads` has the library's number of each `tid`, `objects` the block of each object. What
    rows return goes to `address` and, if that has room, `usable`. `touched`, `live`, `lives`:
    see `end_row`.
    """
    stop[STOPPED] = 0
    while row < end and words[NR_FREE] >= SPARE_SLOTS:
        if touched.shape[0] and touched[0] >= most_accesses:
            break
        nr_accesses = log[0] if log.shape[0] else 0
        thread = threads[tid[row]]
        block = _do_row(
            words,
            log,
            par,
            int(tcaches[thread]),
            int(arenas[thread]),
            int(op[row]),
            block_of(int(op[row]), int(number[row]), objects),
            int(size[row]),
            int(arg[row]),
            stop,
        )
        if block < 0:
            stop[STOPPED] = block
            if block == NEEDS_CALL and log.shape[0]:
                log[0] = nr_accesses
            break
        end_row(
            number,
            size,
            op,
            objects,
            address,
            usable,
            touched,
            live,
            lives,
            row,
            block,
            usable_size_of(words, block) if block and (usable.shape[0] or live.shape[0]) else 0,
            touches,
        )
        row += 1
    return row


@compiled
def usable_size_of(words: Words, block: int) -> int:
    """Return the usable size of a block, which nobody accesses (musable)."""
    chunk = block - CHUNK_HDR_SZ
    head = peek_word(words, chunk + SIZE)
    if head & IS_MMAPPED:
        return (head & ~7) - CHUNK_HDR_SZ
    is_used = peek_word(words, chunk + (head & ~7) + SIZE) & PREV_INUSE
    return (head & ~7) - SIZE_SZ if is_used else 0


@compiled
def _do_row(
    words: Words,
    log: Words,
    par: Words,
    tcache: int,
    arena: int,
    op: int,
    old: int,
    size: int,
    arg: int,
    stop: Words,
) -> int:
    if par[SINGLE_THREAD]:
        arena = int(par[MAIN_ARENA])
    if tcache == 0 or arena == 0 or size < 0 or size > _MOST or arg < 0 or op > MEMALIGN:
        return NEEDS_CALL
    if op == FREE or (op == REALLOC and old):
        return _free_or_realloc(words, log, par, tcache, op, old, size, stop)
    stop[ARENA] = arena
    if op == CALLOC:
        members = max(arg, 1)
        return int_calloc(words, log, par, tcache, arena, size // members * members)
    if op == MEMALIGN and arg > ALIGN_MASK + 1:
        if arg > _MOST or arg & (arg - 1):
            return NEEDS_CALL
        return int_memalign(words, log, par, tcache, arena, max(arg, MINSIZE), size)
    block = tcache_malloc(words, log, par, tcache, request2size(size))
    return block or int_malloc(words, log, par, tcache, arena, size)


@compiled
def _free_or_realloc(
    words: Words, log: Words, par: Words, tcache: int, op: int, old: int, size: int, stop: Words
) -> int:
    if old == 0:
        return 0
    chunk = old - CHUNK_HDR_SZ
    head = head_of(words, log, chunk)
    old_size = head & ~7
    if head & IS_MMAPPED or is_above(chunk, -old_size) or chunk & ALIGN_MASK:
        return NEEDS_CALL
    arena = int(par[MAIN_ARENA])
    if head & NON_MAIN_ARENA:
        arena = load_word(words, log, heap_of(par, chunk))
        if arena <= 0:
            return NEEDS_CALL
    stop[ARENA] = arena
    stop[CHUNK] = chunk
    if op == FREE or size == 0:
        return int_free(words, log, par, tcache, arena, chunk, 0)
    return int_realloc(words, log, par, tcache, arena, chunk, request2size(size))
