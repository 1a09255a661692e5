"""Many operations of a heap trace at once on tcmalloc, in one compiled loop.

Rows are those of malloc/replay_rows.py. The loop stops where the system is needed, in the middle of
a row, and at a thread's first call. Nobody else runs meanwhile, so no locks are asked for.
"""

from typing import Final

from mmactors.arch.column import Column, Words
from mmactors.arch.heap_trace import CALLOC, FREE, MALLOC, MEMALIGN
from mmactors.arch.jit import compiled
from mmactors.malloc.replay_rows import NEEDS_CALL, STOPPED, Texts, block_of, end_row
from mmactors.malloc.tcmalloc.advance import advance
from mmactors.malloc.tcmalloc.cache.thread_cache import free_hit, malloc_hit
from mmactors.malloc.tcmalloc.calls import begin, peek_usable_size
from mmactors.malloc.tcmalloc.task import ASKS_NOTHING, DONE, RESULT
from mmactors.malloc.user_words import NR_FREE, SPARE_SLOTS

_MOST: Final = 1 << 46
"""Sizes from here on are left to calls: half of what a process can map."""
_STOPS: Final = -1


@compiled
def replay_rows(
    words: Words,
    log: Words,
    par: Words,
    task: Words,
    caches: Words,
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

    `caches` has each thread's cache, `task` what has begun of the row at which it stopped; all else
    is that of `Replay` (malloc/replay.py).
    """
    stop[STOPPED] = 0
    wants_usable = usable.shape[0] or live.shape[0]
    while row < end and words[NR_FREE] >= SPARE_SLOTS:
        if touched.shape[0] and touched[0] >= most_accesses:
            break
        thread = threads[tid[row]]
        block = _do_row(
            words,
            log,
            par,
            task,
            int(thread),
            int(caches[thread]),
            int(op[row]),
            block_of(int(op[row]), int(number[row]), objects),
            int(size[row]),
            int(arg[row]),
            stop,
        )
        if block == _STOPS:
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
            peek_usable_size(words, par, block) if wants_usable and block else 0,
            touches,
        )
        row += 1
    return row


@compiled
def _do_row(
    words: Words,
    log: Words,
    par: Words,
    task: Words,
    thread: int,
    cache: int,
    op: int,
    old: int,
    size: int,
    arg: int,
    stop: Words,
) -> int:
    """Return what a row returns; _STOPS: it is not done, `stop` says why."""
    if cache == 0 or size < 0 or size > _MOST or arg < 0 or arg > _MOST or op > MEMALIGN:
        stop[STOPPED] = NEEDS_CALL
        return _STOPS
    if op == MALLOC:
        block = malloc_hit(words, log, par, cache, size)
        if block:
            return block
    elif op == FREE:
        if free_hit(words, log, par, cache, old):
            return 0
    elif op == CALLOC:
        size = size // max(arg, 1) * max(arg, 1)
    begin(task, thread, cache, op, old, size, arg)
    code = advance(words, log, par, task, ASKS_NOTHING)
    if code == DONE:
        return int(task[RESULT])
    stop[STOPPED] = code
    return _STOPS
