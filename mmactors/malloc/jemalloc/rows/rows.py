"""Many operations of a heap trace at once (rows of arch/heap_trace.py), in one compiled loop."""

# ruff: noqa: FBT001 -- compiled functions take their arguments by place.

from typing import Final

from mmactors.arch.column import Column, Words
from mmactors.arch.heap_trace import CALLOC, FREE, MEMALIGN, REALLOC
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.pages.emap import class_at
from mmactors.malloc.jemalloc.par import IS_PLAIN_REALLOC, ZERO_ALL
from mmactors.malloc.jemalloc.rows.phases import (
    ALLOCATED_EVENTS,
    BLOCK,
    DEALLOCATED_EVENTS,
    GIVE,
    NOT_DONE,
    OLD_USABLE,
    PHASE,
    USABLE,
    do_events,
    get_block,
    give_block_back,
)
from mmactors.malloc.jemalloc.size_classes import (
    NR_BINS,
    NR_SIZES,
    SMALL_MAXCLASS,
    index2size,
    size2index,
    usable_aligned,
)
from mmactors.malloc.jemalloc.tcache.events import advance_allocated, advance_deallocated
from mmactors.malloc.jemalloc.tcache.ticker import tick, ticks_left
from mmactors.malloc.jemalloc.tsd import (
    REENTRANCY_LEVEL,
    STATE,
    STATE_NOMINAL_SLOW,
    TCACHE_ENABLED,
)
from mmactors.malloc.jemalloc.zero_realloc import count_zero_realloc
from mmactors.malloc.replay_rows import NEEDS_CALL, STOPPED, Texts, block_of, end_row
from mmactors.malloc.user_words import NR_FREE, SPARE_SLOTS, load_bits, note_access

_MOST: Final = 1 << 46
"""Sizes from here on are left to calls: half of what a process can map."""
_NONE: Final = -1
"""The class of a block that a row does not get, or does not give."""


@compiled
def replay_rows(
    words: Words,
    log: Words,
    par: Words,
    tsds: Words,
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
    stack: Words,
    row: int,
    end: int,
    most_accesses: int,
    touches: int,
) -> int:
    """Do rows from `row` to before `end`; return where it stopped, and in `stop` why.

    `threads` has the library's number of each `tid`, `objects` the block of each object. What
    rows return goes to `address` and, if that has room, `usable`. `touched`, `live`, `lives`:
    see `end_row`. `stack` is what a flush needs (tcache/flush.py).
    """
    stop[STOPPED] = 0
    while row < end and words[NR_FREE] >= SPARE_SLOTS:
        if touched.shape[0] and touched[0] >= most_accesses:
            break
        nr_accesses = log[0] if log.shape[0] else 0
        block = _do_row(
            words,
            log,
            par,
            int(tsds[threads[tid[row]]]),
            int(op[row]),
            block_of(int(op[row]), int(number[row]), objects),
            int(size[row]),
            int(arg[row]),
            stop,
            stack,
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
            int(stop[USABLE]) if block else 0,
            touches,
        )
        row += 1
    return row


@compiled
def _class_of_request(op: int, size: int, arg: int) -> int:
    """Return the class of what a row asks for; NR_SIZES: it is left to a call."""
    if op == CALLOC:
        members = max(arg, 1)
        return size2index(size // members * members)
    if op == MEMALIGN:
        if arg <= 0 or arg & (arg - 1):
            return NR_SIZES
        aligned = usable_aligned(size, arg)
        return size2index(aligned) if 0 < aligned <= SMALL_MAXCLASS else NR_SIZES
    return size2index(size)


@compiled
def _do_row(
    words: Words,
    log: Words,
    par: Words,
    tsd: int,
    op: int,
    old: int,
    size: int,
    arg: int,
    stop: Words,
    stack: Words,
) -> int:
    """Do a row; return its block, or why it stops."""
    if (
        op > MEMALIGN
        or not 0 <= size <= _MOST
        or not 0 <= arg <= _MOST
        or load_bits(words, log, tsd + STATE, 1) > STATE_NOMINAL_SLOW
        or load_bits(words, log, tsd + REENTRANCY_LEVEL, 1)
    ):
        return NEEDS_CALL
    has_cache = load_bits(words, log, tsd + TCACHE_ENABLED, 1) != 0
    old_index = _NONE
    index = _NONE
    if op == FREE or (op == REALLOC and old):
        if old == 0:
            stop[USABLE] = 0
            return 0
        old_index = class_at(words, log, par, tsd, old)
        if old_index >= NR_SIZES or (op == REALLOC and size == 0 and not par[IS_PLAIN_REALLOC]):
            return NEEDS_CALL
    if op != FREE and (op != REALLOC or old == 0 or size):
        index = _class_of_request(op, size, arg)
        if index >= NR_SIZES:
            return NEEDS_CALL
    if old_index >= NR_BINS and index >= NR_BINS and old_index != index:
        return NEEDS_CALL
    stop[USABLE] = index2size(index) if index >= 0 else 0
    stop[OLD_USABLE] = index2size(old_index) if old_index >= 0 else 0
    block = 0
    if old_index == index:
        if ticks_left(words, log, tsd) < 1:
            return NEEDS_CALL
        tick(words, log, par, tsd, 1)
        block = old
    else:
        zero = op == CALLOC or par[ZERO_ALL] != 0
        if index >= 0:
            block = get_block(words, log, par, tsd, index, has_cache, zero, stop)
            if block < 0:
                return NEEDS_CALL if block == NOT_DONE else block
        stop[BLOCK] = block
        if old_index >= 0:
            if block:
                count = min(index2size(index), index2size(old_index))
                note_access(log, old, count, 0)
                note_access(log, block, count, 1)
            code = give_block_back(words, log, par, tsd, old, old_index, has_cache, stop, stack)
            if op == REALLOC and size == 0 and code != NOT_DONE:
                count_zero_realloc(words, log, par)
            if code:
                stop[PHASE] = GIVE
                return NEEDS_CALL if code == NOT_DONE and block == 0 else code
    return _end_row_with_events(
        words, log, par, tsd, block, index, old_index, has_cache, stop, stack
    )


@compiled
def _end_row_with_events(
    words: Words,
    log: Words,
    par: Words,
    tsd: int,
    block: int,
    index: int,
    old_index: int,
    has_cache: bool,
    stop: Words,
    stack: Words,
) -> int:
    """Count the bytes got and given, and do what is due; return the block, or why it stops."""
    stop[BLOCK] = block
    if index >= 0:
        due = advance_allocated(words, log, par, tsd, index2size(index))
        code = do_events(words, log, par, tsd, due, has_cache, stop, stack) if due else 0
        if code:
            stop[PHASE] = ALLOCATED_EVENTS
            return code
    if old_index >= 0:
        due = advance_deallocated(words, log, par, tsd, index2size(old_index))
        code = do_events(words, log, par, tsd, due, has_cache, stop, stack) if due else 0
        if code:
            stop[PHASE] = DEALLOCATED_EVENTS
            return code
    return block
