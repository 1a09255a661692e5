"""How a thread's cache gets blocks and gives them up (src/thread_cache.cc).

A list that is empty gets 1 block, then 2, and so on up to a batch (slow start); its greatest length
grows alike, then by a batch each time. A list that has grown too long gives up a batch. A cache
with more bytes than it may have is looked through: each list gives up half of what it did not need
since the last time; then the cache may have more, which is taken from what no cache has claimed,
or from the caches of other threads in turn.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.cache.thread_cache import (
    add_cached,
    is_over,
    list_at,
    load_int,
    shorten,
)
from mmactors.malloc.tcmalloc.central.central_free_list import central_lock, heap_lock
from mmactors.malloc.tcmalloc.central.size_map import batch_of, class_size, nr_classes
from mmactors.malloc.tcmalloc.central.transfer_cache import ask_insert
from mmactors.malloc.tcmalloc.layout import (
    LENGTH,
    LIST,
    LOWATER,
    MAX_CACHED_BYTES,
    MAX_LENGTH,
    NEXT_CACHE,
    NEXT_MEMORY_STEAL,
    OBJECT_SIZE,
    OVERAGES,
    THREAD_HEAPS,
    UNCLAIMED_CACHE_SPACE,
)
from mmactors.malloc.tcmalloc.steps import (
    CLEAN_LIST,
    CLEAN_UP,
    DELETE_CACHE,
    DROP,
    DROP_BATCH,
    DROPPED,
    FETCH_LOCKED,
    FETCHED,
    INCREASE_LIMIT,
    SCAVENGE,
    SCAVENGE_DROPPED,
    TOO_LONG_DROPPED,
)
from mmactors.malloc.tcmalloc.task import (
    AFTER_DROP,
    AFTER_FREE,
    AFTER_MALLOC,
    CACHE,
    CIRCLE,
    CLASS,
    DROP_BYTES,
    DROP_CLASS,
    DROP_LEFT,
    FETCH_COUNT,
    FETCH_END,
    FETCH_START,
    FETCH_WANTED,
    GO_ON,
    RESULT,
    SCAVENGE_CLASS,
    STEP,
    lock,
    longest_list,
    unlock,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import (
    DATA_AT,
    MIN_THREAD_CACHE_SIZE,
    STEAL_AMOUNT,
)
from mmactors.malloc.user_words import add_to, load_bits, load_word, store_bits, store_word

MAX_LIST_LENGTH: Final = 8192
"""kMaxDynamicFreeListLength."""
MAX_OVERAGES: Final = 3
_CACHES_ASKED: Final = 10


@compiled
def ask_fetch(words: Words, log: Words, par: Words, task: Words) -> int:
    """Let the next steps get blocks of CLASS, the first of them as RESULT (0: no memory)."""
    number = int(task[CLASS])
    longest = load_bits(words, log, list_at(int(task[CACHE]), number) + MAX_LENGTH, 4)
    task[FETCH_WANTED] = min(longest, batch_of(words, log, par, number))
    return lock(task, central_lock(par, number), FETCH_LOCKED)


@compiled
def ask_drop(task: Words, number: int, count: int, then: int) -> int:
    """Let the next steps give up blocks of a list (ReleaseToCentralCache)."""
    task[DROP_CLASS] = number
    task[DROP_LEFT] = count
    task[AFTER_DROP] = then
    task[STEP] = DROP
    return GO_ON


@compiled
def too_long(words: Words, log: Words, par: Words, task: Words) -> int:
    """Begin to give up a batch of a list that has grown too long (ListTooLong)."""
    number, cache = int(task[CLASS]), int(task[CACHE])
    size = load_bits(words, log, list_at(cache, number) + OBJECT_SIZE, 4)
    add_cached(words, log, cache, size)
    return ask_drop(task, number, batch_of(words, log, par, number), TOO_LONG_DROPPED)


@compiled
def cache_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Do a step of this module's."""
    step = task[STEP]
    if step == FETCHED:
        return _fetched(words, log, par, task)
    if step in (DROP, DROP_BATCH):
        return _drop(words, log, par, task)
    if step == DROPPED:
        add_cached(words, log, int(task[CACHE]), -int(task[DROP_BYTES]))
        task[STEP] = task[AFTER_DROP]
        return GO_ON
    if step == TOO_LONG_DROPPED:
        _adapt(words, log, par, int(task[CACHE]), int(task[CLASS]))
        is_full = is_over(words, log, int(task[CACHE]))
        task[STEP] = SCAVENGE if is_full else task[AFTER_FREE]
        return GO_ON
    if step in (CLEAN_UP, CLEAN_LIST):
        return _clean_up(words, log, par, task)
    if step == INCREASE_LIMIT:
        increase_limit(words, log, par, int(task[CACHE]))
        return unlock(task, heap_lock(par), int(task[AFTER_FREE]))
    return _scavenge(words, log, par, task)


@compiled
def _fetched(words: Words, log: Words, par: Words, task: Words) -> int:
    """Let a list have what was fetched but for one block, and be longer the next time."""
    number, cache = int(task[CLASS]), int(task[CACHE])
    place = list_at(cache, number)
    block, count = int(task[FETCH_START]), int(task[FETCH_COUNT])
    task[STEP] = task[AFTER_MALLOC]
    task[RESULT] = block if count else 0
    if count == 0:
        return GO_ON
    size = load_bits(words, log, place + OBJECT_SIZE, 4)
    add_cached(words, log, cache, size * (count - 1))
    others = load_word(words, log, block)
    if others:
        store_word(words, log, int(task[FETCH_END]), load_word(words, log, place + LIST))
        store_word(words, log, place + LIST, others)
    length = load_bits(words, log, place + LENGTH, 4)
    store_bits(words, log, place + LENGTH, 4, length + count - 1)
    batch = max(batch_of(words, log, par, number), 1)
    longest = load_bits(words, log, place + MAX_LENGTH, 4)
    if longest < batch:
        longest += 1
    else:
        longest = min(longest + batch, MAX_LIST_LENGTH)
        longest -= longest % batch
    store_bits(words, log, place + MAX_LENGTH, 4, longest)
    return GO_ON


@compiled
def _drop(words: Words, log: Words, par: Words, task: Words) -> int:
    """Give up blocks from the front of a list, a batch at a time."""
    number = int(task[DROP_CLASS])
    place = list_at(int(task[CACHE]), number)
    if task[STEP] == DROP:
        length = load_bits(words, log, place + LENGTH, 4)
        task[DROP_LEFT] = min(int(task[DROP_LEFT]), length)
        task[DROP_BYTES] = task[DROP_LEFT] * class_size(words, log, par, number)
    count = min(int(task[DROP_LEFT]), batch_of(words, log, par, number))
    first, last = 0, 0
    if count > 0:
        if count > longest_list(words):
            return CIRCLE
        first = load_word(words, log, place + LIST)
        last = first
        for _ in range(1, count):
            last = load_word(words, log, last)
        store_word(words, log, place + LIST, load_word(words, log, last))
        store_word(words, log, last, 0)
        shorten(words, log, place, count)
    task[DROP_LEFT] -= count
    then = DROP_BATCH if count > 0 and task[DROP_LEFT] else DROPPED
    return ask_insert(task, number, first, last, count, then)


@compiled
def _adapt(words: Words, log: Words, par: Words, cache: int, number: int) -> None:
    """Let a list that was too long be longer in future, or shorter if it often was."""
    place = list_at(cache, number)
    batch = batch_of(words, log, par, number)
    longest = load_bits(words, log, place + MAX_LENGTH, 4)
    if longest < batch:
        store_bits(words, log, place + MAX_LENGTH, 4, longest + 1)
    elif longest > batch:
        overages = load_bits(words, log, place + OVERAGES, 4) + 1
        if overages > MAX_OVERAGES:
            store_bits(words, log, place + MAX_LENGTH, 4, longest - batch)
            overages = 0
        store_bits(words, log, place + OVERAGES, 4, overages)


@compiled
def _scavenge(words: Words, log: Words, par: Words, task: Words) -> int:
    """Look through all lists of a cache (Scavenge)."""
    cache = int(task[CACHE])
    if task[STEP] == SCAVENGE:
        task[SCAVENGE_CLASS] = 0
    elif task[STEP] == SCAVENGE_DROPPED:
        place = list_at(cache, int(task[SCAVENGE_CLASS]))
        batch = batch_of(words, log, par, int(task[SCAVENGE_CLASS]))
        longest = load_bits(words, log, place + MAX_LENGTH, 4)
        if longest > batch:
            store_bits(words, log, place + MAX_LENGTH, 4, max(longest - batch, batch))
        _end_list(words, log, task, place)
    while task[SCAVENGE_CLASS] < nr_classes(words, log, par):
        place = list_at(cache, int(task[SCAVENGE_CLASS]))
        lowmark = load_int(words, log, place + LOWATER)
        if lowmark > 0:
            drop = lowmark // 2 if lowmark > 1 else 1
            return ask_drop(task, int(task[SCAVENGE_CLASS]), drop, SCAVENGE_DROPPED)
        _end_list(words, log, task, place)
    return lock(task, heap_lock(par), INCREASE_LIMIT)


@compiled
def _end_list(words: Words, log: Words, task: Words, place: int) -> None:
    """Begin to count anew how short a list gets, and go on with the next."""
    store_bits(words, log, place + LOWATER, 4, load_bits(words, log, place + LENGTH, 4))
    task[SCAVENGE_CLASS] += 1


@compiled
def increase_limit(words: Words, log: Words, par: Words, cache: int) -> None:
    """Let a cache have more bytes, if anybody can spare them (IncreaseCacheLimitLocked)."""
    data = int(par[DATA_AT])
    most = load_int(words, log, cache + MAX_CACHED_BYTES)
    if load_word(words, log, data + UNCLAIMED_CACHE_SPACE) > 0:
        add_to(words, log, data + UNCLAIMED_CACHE_SPACE, -STEAL_AMOUNT)
        store_bits(words, log, cache + MAX_CACHED_BYTES, 4, most + STEAL_AMOUNT)
        return
    other = load_word(words, log, data + NEXT_MEMORY_STEAL)
    for _ in range(_CACHES_ASKED):
        if other == 0:
            other = load_word(words, log, data + THREAD_HEAPS)
        behind = load_word(words, log, other + NEXT_CACHE)
        if other != cache:
            its = load_int(words, log, other + MAX_CACHED_BYTES)
            if its > MIN_THREAD_CACHE_SIZE:
                store_bits(words, log, other + MAX_CACHED_BYTES, 4, its - STEAL_AMOUNT)
                store_bits(words, log, cache + MAX_CACHED_BYTES, 4, most + STEAL_AMOUNT)
                other = behind
                break
        other = behind
    store_word(words, log, data + NEXT_MEMORY_STEAL, other)


@compiled
def _clean_up(words: Words, log: Words, par: Words, task: Words) -> int:
    """Give up all blocks of a cache whose thread ends (Cleanup)."""
    if task[STEP] == CLEAN_UP:
        task[SCAVENGE_CLASS] = 0
        task[STEP] = CLEAN_LIST
    while task[SCAVENGE_CLASS] < nr_classes(words, log, par):
        number = int(task[SCAVENGE_CLASS])
        task[SCAVENGE_CLASS] += 1
        length = load_bits(words, log, list_at(int(task[CACHE]), number) + LENGTH, 4)
        if length > 0:
            return ask_drop(task, number, length, CLEAN_LIST)
    task[STEP] = DELETE_CACHE
    return GO_ON
