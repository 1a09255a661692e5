"""Chains of blocks in transfer between threads (the slots of src/central_freelist.cc).

A class keeps some chains of exactly a batch, as they came, in slots. It begins with 16 slots at
most, and may get more, 1 MiB of blocks in all, of another class that does not use all of its own,
or else has to give a chain to its spans. Which class is asked goes round. No two classes' locks are
ever held at once.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.central.central_free_list import (
    ask_chain,
    central_lock,
    central_of,
)
from mmactors.malloc.tcmalloc.central.size_map import batch_of, class_size, nr_classes
from mmactors.malloc.tcmalloc.heap.span import dll_init
from mmactors.malloc.tcmalloc.layout import (
    CACHE_SIZE,
    COUNTER,
    EMPTY,
    MAX_CACHE_SIZE,
    NONEMPTY,
    NUM_SPANS,
    RACE_COUNTER,
    SIZE_CLASS,
    TC_SLOTS,
    TRANSFER_ENTRIES_MAX,
    USED_SLOTS,
)
from mmactors.malloc.tcmalloc.steps import (
    EVICT,
    EVICT_CHOOSE,
    EVICT_DONE,
    EVICT_LOCKED,
    EVICT_RELOCK,
    EVICT_RESULT,
    EVICT_SWAP,
    INSERT,
    INSERT_LOCKED,
    INSERT_RELEASE,
    INSERT_STORE,
    INSERT_UNLOCK,
)
from mmactors.malloc.tcmalloc.task import (
    AFTER_INSERT,
    EVICT_CLASS,
    EVICT_FORCE,
    EVICTED,
    GO_ON,
    INSERT_CLASS,
    INSERT_COUNT,
    INSERT_END,
    INSERT_START,
    LOOK,
    STEP,
    lock,
    unlock,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import DATA_AT
from mmactors.malloc.user_words import load_bits, load_word, store_bits, store_word

SLOTS_AT_FIRST: Final = 16
_BYTES_MAX: Final = 1024 * 1024


@compiled
def init_central(words: Words, log: Words, par: Words, number: int) -> None:
    """Make the free list of a class, which has nothing yet (CentralFreeList::Init)."""
    central = central_of(par, number)
    store_word(words, log, central + SIZE_CLASS, number)
    dll_init(words, log, central + EMPTY)
    dll_init(words, log, central + NONEMPTY)
    store_word(words, log, central + NUM_SPANS, 0)
    store_word(words, log, central + COUNTER, 0)
    most = TRANSFER_ENTRIES_MAX
    if number > 0:
        size = class_size(words, log, par, number)
        batch = batch_of(words, log, par, number)
        most = min(most, max(1, _BYTES_MAX // max(size * batch, 1)))
    store_bits(words, log, central + MAX_CACHE_SIZE, 4, most)
    store_bits(words, log, central + CACHE_SIZE, 4, min(SLOTS_AT_FIRST, most))
    store_bits(words, log, central + USED_SLOTS, 4, 0)


@compiled
def ask_insert(task: Words, number: int, start: int, end: int, count: int, then: int) -> int:
    """Let the next steps give linked blocks to the free list of their class (InsertRange)."""
    task[INSERT_CLASS] = number
    task[INSERT_START] = start
    task[INSERT_END] = end
    task[INSERT_COUNT] = count
    task[AFTER_INSERT] = then
    task[STEP] = INSERT
    return GO_ON


@compiled
def transfer_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Do a step of this module's."""
    step, number = task[STEP], int(task[INSERT_CLASS])
    central = central_of(par, number)
    if step == INSERT:
        return lock(task, central_lock(par, number), INSERT_LOCKED)
    if step == INSERT_LOCKED:
        task[STEP] = INSERT_RELEASE
        if task[INSERT_COUNT] == batch_of(words, log, par, number):
            _make_space(words, log, task, central)
        return GO_ON
    if step == INSERT_STORE:
        used = load_bits(words, log, central + USED_SLOTS, 4)
        store_bits(words, log, central + USED_SLOTS, 4, used + 1)
        entry = central + TC_SLOTS + 16 * (used & TRANSFER_ENTRIES_MAX - 1)
        store_word(words, log, entry, int(task[INSERT_START]))
        store_word(words, log, entry + 8, int(task[INSERT_END]))
        step = INSERT_UNLOCK
    if step == INSERT_RELEASE:
        return ask_chain(task, number, int(task[INSERT_START]), INSERT_UNLOCK)
    if step == INSERT_UNLOCK:
        return unlock(task, central_lock(par, number), int(task[AFTER_INSERT]))
    return _evict_step(words, log, par, task)


@compiled
def _make_space(words: Words, log: Words, task: Words, central: int) -> None:
    """See whether a slot is free, or could be had from another class (MakeCacheSpace)."""
    size = load_bits(words, log, central + CACHE_SIZE, 4)
    if load_bits(words, log, central + USED_SLOTS, 4) < size:
        task[STEP] = INSERT_STORE
    elif size != load_bits(words, log, central + MAX_CACHE_SIZE, 4):
        task[EVICT_FORCE] = 0
        task[STEP] = EVICT


@compiled
def _evict_step(words: Words, log: Words, par: Words, task: Words) -> int:
    step, number = task[STEP], int(task[INSERT_CLASS])
    if step == EVICT:
        task[STEP] = EVICT_CHOOSE
        return LOOK
    if step == EVICT_CHOOSE:
        task[EVICTED] = 0
        task[STEP] = EVICT_RESULT
        if _choose(words, log, par, task):
            return unlock(task, central_lock(par, number), EVICT_SWAP)
        return GO_ON
    other = int(task[EVICT_CLASS])
    if step == EVICT_SWAP:
        return lock(task, central_lock(par, other), EVICT_LOCKED)
    if step == EVICT_LOCKED:
        return _shrink(words, log, par, task)
    if step == EVICT_DONE:
        return unlock(task, central_lock(par, other), EVICT_RELOCK)
    if step == EVICT_RELOCK:
        return lock(task, central_lock(par, number), EVICT_RESULT)
    if task[EVICTED]:
        central = central_of(par, number)
        size = load_bits(words, log, central + CACHE_SIZE, 4)
        task[STEP] = INSERT_RELEASE
        if size < load_bits(words, log, central + MAX_CACHE_SIZE, 4):
            store_bits(words, log, central + CACHE_SIZE, 4, size + 1)
            task[STEP] = INSERT_STORE
    elif task[EVICT_FORCE]:
        task[STEP] = INSERT_RELEASE
    else:
        task[EVICT_FORCE] = 1
        task[STEP] = EVICT
    return GO_ON


@compiled
def _choose(words: Words, log: Words, par: Words, task: Words) -> bool:
    """Choose the class that is next in turn (EvictRandomSizeClass); False: it gives nothing."""
    place = int(par[DATA_AT]) + RACE_COUNTER
    classes = max(nr_classes(words, log, par), 1)
    turn = load_bits(words, log, place, 4)
    store_bits(words, log, place, 4, turn + 1)
    if turn >= classes:
        turn %= classes
        # The class that has its turn now has it once more.
        store_bits(words, log, place, 4, turn)
    task[EVICT_CLASS] = turn
    if turn == task[INSERT_CLASS]:
        return False
    central = central_of(par, turn)
    size = load_bits(words, log, central + CACHE_SIZE, 4)
    if size == 0:
        return False
    return bool(task[EVICT_FORCE] != 0 or load_bits(words, log, central + USED_SLOTS, 4) != size)


@compiled
def _shrink(words: Words, log: Words, par: Words, task: Words) -> int:
    """Take a slot away from a class; one in use only if it must be (ShrinkCache)."""
    other = int(task[EVICT_CLASS])
    central = central_of(par, other)
    size = load_bits(words, log, central + CACHE_SIZE, 4)
    used = load_bits(words, log, central + USED_SLOTS, 4)
    task[STEP] = EVICT_DONE
    if size == 0 or (used == size and not task[EVICT_FORCE]):
        return GO_ON
    task[EVICTED] = 1
    store_bits(words, log, central + CACHE_SIZE, 4, size - 1)
    if used == size:
        store_bits(words, log, central + USED_SLOTS, 4, used - 1)
        entry = central + TC_SLOTS + 16 * (used - 1 & TRANSFER_ENTRIES_MAX - 1)
        return ask_chain(task, other, load_word(words, log, entry), EVICT_DONE)
    return GO_ON
