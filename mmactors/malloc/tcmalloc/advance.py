"""Steps of a call one after the other, until something is needed that others have to do."""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.cache.scavenge import cache_step
from mmactors.malloc.tcmalloc.cache.thread_caches import caches_step
from mmactors.malloc.tcmalloc.calls import call_step
from mmactors.malloc.tcmalloc.central.central_free_list import central_step
from mmactors.malloc.tcmalloc.central.transfer_cache import transfer_step
from mmactors.malloc.tcmalloc.heap.coalesce import coalesce_step
from mmactors.malloc.tcmalloc.heap.grow import grow_step
from mmactors.malloc.tcmalloc.heap.page_heap import heap_step
from mmactors.malloc.tcmalloc.heap.release import release_step
from mmactors.malloc.tcmalloc.steps import (
    END_OF_CACHES,
    END_OF_CENTRAL,
    END_OF_COALESCE,
    END_OF_GROW,
    END_OF_NEW,
    END_OF_RELEASE,
    END_OF_SCAVENGE,
    END_OF_SYSTEM,
    END_OF_TRANSFER,
    FINISHED,
)
from mmactors.malloc.tcmalloc.system.system_alloc import system_step
from mmactors.malloc.tcmalloc.task import (
    ASKS_LOCKS,
    ASKS_STEPS,
    CIRCLE,
    DONE,
    GO_ON,
    LOCK,
    LOOK,
    NR_STEPS,
    STEP,
    UNLOCK,
    longest_list,
)
from mmactors.malloc.user_words import GOES_ROUND


@compiled
def advance(words: Words, log: Words, par: Words, task: Words, asks: int) -> int:
    """Do steps of a task; return what it needs, that it is DONE, or what is wrong.

    `asks` says what is wanted of it besides what the system has to do (ASKS_NOTHING and on).
    """
    while task[STEP] != FINISHED:
        code = _step(words, log, par, task)
        if words[GOES_ROUND]:
            code = int(words[GOES_ROUND])
            words[GOES_ROUND] = 0
            return code
        task[NR_STEPS] += 1
        if task[NR_STEPS] > longest_list(words):
            return CIRCLE
        if code in (LOCK, UNLOCK):
            if asks >= ASKS_LOCKS:
                return code
        elif code == LOOK:
            if asks >= ASKS_STEPS:
                return code
        elif code != GO_ON:
            return code
    return DONE


@compiled
def _step(words: Words, log: Words, par: Words, task: Words) -> int:
    step = task[STEP]
    if step <= END_OF_SYSTEM:
        return system_step(words, log, par, task)
    if step <= END_OF_NEW:
        return heap_step(words, log, par, task)
    if step <= END_OF_GROW:
        return grow_step(words, log, par, task)
    if step <= END_OF_COALESCE:
        return coalesce_step(words, log, par, task)
    if step <= END_OF_RELEASE:
        return release_step(words, log, par, task)
    if step <= END_OF_CENTRAL:
        return central_step(words, log, par, task)
    if step <= END_OF_TRANSFER:
        return transfer_step(words, log, par, task)
    if step <= END_OF_SCAVENGE:
        return cache_step(words, log, par, task)
    if step <= END_OF_CACHES:
        return caches_step(words, log, par, task)
    return call_step(words, log, par, task)
