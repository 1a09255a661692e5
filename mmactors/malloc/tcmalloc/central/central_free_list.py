"""Free blocks of a class, as lists of its spans (CentralFreeList of src/central_freelist.cc).

A span keeps its free blocks in a list, and counts those that are in use. Spans with free blocks are
in one list of the class, those without in another. Who asks for blocks gets those of the first
span; if none has any, the page heap gives a span, whose blocks are linked by rising address. A span
whose blocks are all free again goes back to the page heap, for which the class's lock is let go.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.central.size_map import batch_of, class_pages, class_size
from mmactors.malloc.tcmalloc.heap.coalesce import ask_delete
from mmactors.malloc.tcmalloc.heap.free_lists import first_in_list
from mmactors.malloc.tcmalloc.heap.page_heap import ask_span
from mmactors.malloc.tcmalloc.heap.page_map import page_of, set_cached_class, set_span, span_of
from mmactors.malloc.tcmalloc.heap.span import (
    CLASS_OF,
    OBJECTS,
    REFCOUNT,
    dll_prepend,
    dll_remove,
    length_of,
    start_of,
)
from mmactors.malloc.tcmalloc.layout import (
    CENTRAL_BYTES,
    CENTRAL_CACHE,
    CENTRAL_LOCK,
    CLASSES_MAX,
    COUNTER,
    EMPTY,
    NONEMPTY,
    NUM_SPANS,
    PAGE_HEAP_LOCK,
    PAGE_SHIFT,
    TC_SLOTS,
    USED_SLOTS,
)
from mmactors.malloc.tcmalloc.steps import (
    CHAIN_DELETE,
    CHAIN_LOCK_HEAP,
    CHAIN_RELEASE,
    CHAIN_RELOCK,
    CHAIN_UNLOCK_HEAP,
    FETCH_AGAIN,
    FETCH_LOCKED,
    FETCHED,
    POPULATE,
    POPULATE_CUT,
    POPULATE_FAILED,
    POPULATE_LINK,
    POPULATE_NEW,
    POPULATE_REGISTER,
)
from mmactors.malloc.tcmalloc.task import (
    AFTER_CHAIN,
    CHAIN,
    CHAIN_CLASS,
    CHAIN_SPAN,
    CIRCLE,
    CLASS,
    FAULT,
    FETCH_COUNT,
    FETCH_END,
    FETCH_START,
    FETCH_WANTED,
    GO_ON,
    NEW_SPAN,
    REQUEST_BYTES,
    SAY_FAILED,
    STEP,
    lock,
    longest_list,
    unlock,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import DATA_AT
from mmactors.malloc.user_words import (
    GOES_ROUND,
    add_to,
    load_bits,
    load_word,
    store_bits,
    store_word,
)


@compiled
def central_of(par: Words, number: int) -> int:
    """Return where the free list of a class is."""
    return int(par[DATA_AT]) + CENTRAL_CACHE + CENTRAL_BYTES * (number & CLASSES_MAX - 1)


@compiled
def central_lock(par: Words, number: int) -> int:
    """Return the word of the lock of a class's list."""
    return central_of(par, number) + CENTRAL_LOCK


@compiled
def heap_lock(par: Words) -> int:
    """Return the word of the page heap's lock."""
    return int(par[DATA_AT]) + PAGE_HEAP_LOCK


@compiled
def ask_chain(task: Words, number: int, chain: int, then: int) -> int:
    """Let the next steps give linked blocks to their spans (ReleaseListToSpans).

    The lock of the class is held, and is when they are done, but not always meanwhile.
    """
    task[CHAIN_CLASS] = number
    task[CHAIN] = chain
    task[AFTER_CHAIN] = then
    task[STEP] = CHAIN_RELEASE
    return GO_ON


@compiled
def central_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Do a step of this module's; those before FETCHED get FETCH_COUNT blocks of CLASS."""
    step = task[STEP]
    if step >= CHAIN_RELEASE:
        return _chain_step(words, log, par, task)
    number = int(task[CLASS])
    if step == FETCH_LOCKED:
        return _fetch(words, log, par, task)
    if step == FETCH_AGAIN:
        task[FETCH_COUNT] = _fetch_from_one_span(words, log, par, task, int(task[FETCH_WANTED]))
        return _fetch_more(words, log, par, task)
    if step == POPULATE:
        return lock(task, heap_lock(par), POPULATE_NEW)
    if step == POPULATE_NEW:
        return ask_span(task, class_pages(words, log, par, number), POPULATE_REGISTER)
    if step == POPULATE_REGISTER:
        span = int(task[NEW_SPAN])
        if span:
            _register(words, log, par, span, number)
        return unlock(task, heap_lock(par), POPULATE_CUT)
    if step == POPULATE_CUT:
        span = int(task[NEW_SPAN])
        if span == 0:
            task[REQUEST_BYTES] = class_pages(words, log, par, number) << PAGE_SHIFT
            task[STEP] = POPULATE_FAILED
            return SAY_FAILED
        if not _cut(words, log, par, span, number):
            return CIRCLE
        return lock(task, central_lock(par, number), POPULATE_LINK)
    if step == POPULATE_FAILED:
        return lock(task, central_lock(par, number), FETCH_AGAIN)
    return _link(words, log, par, task)


@compiled
def _register(words: Words, log: Words, par: Words, span: int, number: int) -> None:
    """Let a span be of a class, and the map have it for each of its pages (RegisterSizeClass)."""
    store_bits(words, log, span + CLASS_OF, 1, number)
    start = start_of(words, log, span)
    for page in range(start + 1, start + length_of(words, log, span) - 1):
        set_span(words, log, par, page, span)
        if words[GOES_ROUND]:
            return


@compiled
def _cut(words: Words, log: Words, par: Words, span: int, number: int) -> bool:
    """Cut a span into blocks, and link them; False: there would be no end of it."""
    nr_pages = class_pages(words, log, par, number)
    start = start_of(words, log, span)
    if nr_pages > longest_list(words):
        return False
    for page in range(start, start + nr_pages):
        set_cached_class(words, log, par, page, number)
    place = start << PAGE_SHIFT
    limit = place + (nr_pages << PAGE_SHIFT)
    size = class_size(words, log, par, number)
    if size <= 0 or (limit - place) // size > longest_list(words):
        return False
    link = span + OBJECTS
    while place + size <= limit:
        store_word(words, log, link, place)
        link = place
        place += size
    store_word(words, log, link, 0)
    store_bits(words, log, span + REFCOUNT, 2, 0)
    return True


@compiled
def _link(words: Words, log: Words, par: Words, task: Words) -> int:
    """Let the class have a span that was cut."""
    number, span = int(task[CLASS]), int(task[NEW_SPAN])
    central = central_of(par, number)
    dll_prepend(words, log, central + NONEMPTY, span)
    add_to(words, log, central + NUM_SPANS, 1)
    nr_bytes = class_pages(words, log, par, number) << PAGE_SHIFT
    nr_blocks = nr_bytes // max(class_size(words, log, par, number), 1)
    add_to(words, log, central + COUNTER, nr_blocks)
    task[STEP] = FETCH_AGAIN
    return GO_ON


@compiled
def _fetch(words: Words, log: Words, par: Words, task: Words) -> int:
    """Take a chain in transfer, if a whole one is wanted, else blocks of spans (RemoveRange)."""
    number = int(task[CLASS])
    central = central_of(par, number)
    if task[FETCH_WANTED] == batch_of(words, log, par, number):
        used = load_bits(words, log, central + USED_SLOTS, 4)
        if used > 0:
            used -= 1
            store_bits(words, log, central + USED_SLOTS, 4, used)
            entry = central + TC_SLOTS + 16 * used
            task[FETCH_START] = load_word(words, log, entry)
            task[FETCH_END] = load_word(words, log, entry + 8)
            task[FETCH_COUNT] = task[FETCH_WANTED]
            return unlock(task, central_lock(par, number), FETCHED)
    task[FETCH_COUNT] = _fetch_from_one_span(words, log, par, task, int(task[FETCH_WANTED]))
    if task[FETCH_COUNT] == 0:
        return unlock(task, central_lock(par, number), POPULATE)
    return _fetch_more(words, log, par, task)


@compiled
def _fetch_more(words: Words, log: Words, par: Words, task: Words) -> int:
    """Take blocks of further spans, as long as there are any and more are wanted."""
    start, end = int(task[FETCH_START]), int(task[FETCH_END])
    left = longest_list(words)
    while 0 < task[FETCH_COUNT] < task[FETCH_WANTED]:
        wanted = int(task[FETCH_WANTED] - task[FETCH_COUNT])
        count = _fetch_from_one_span(words, log, par, task, wanted)
        if count == 0:
            break
        left -= count
        if count < 0 or left < 0:
            return CIRCLE
        store_word(words, log, int(task[FETCH_END]), start)
        start = int(task[FETCH_START])
        task[FETCH_COUNT] += count
    if task[FETCH_COUNT] < 0:
        return CIRCLE
    task[FETCH_START] = start
    task[FETCH_END] = end
    return unlock(task, central_lock(par, int(task[CLASS])), FETCHED)


@compiled
def _fetch_from_one_span(words: Words, log: Words, par: Words, task: Words, wanted: int) -> int:
    """Take blocks of the first span that has some: how many, in FETCH_START to FETCH_END.

    0: no span has any; -1: they are linked in a circle.
    """
    central = central_of(par, int(task[CLASS]))
    span = first_in_list(words, log, central + NONEMPTY)
    if span == 0:
        return 0
    first = load_word(words, log, span + OBJECTS)
    block = first
    last = first
    count = 0
    most = longest_list(words)
    while count == 0 or (count < wanted and block):
        last = block
        block = load_word(words, log, block)
        count += 1
        if count > most:
            return -1
    if block == 0:
        dll_remove(words, log, span)
        dll_prepend(words, log, central + EMPTY, span)
    task[FETCH_START] = first
    task[FETCH_END] = last
    store_word(words, log, span + OBJECTS, block)
    store_word(words, log, last, 0)
    count_in_use = load_bits(words, log, span + REFCOUNT, 2)
    store_bits(words, log, span + REFCOUNT, 2, count_in_use + count)
    add_to(words, log, central + COUNTER, -count)
    return count


@compiled
def _chain_step(words: Words, log: Words, par: Words, task: Words) -> int:
    number, step = int(task[CHAIN_CLASS]), task[STEP]
    if step == CHAIN_LOCK_HEAP:
        return lock(task, heap_lock(par), CHAIN_DELETE)
    if step == CHAIN_DELETE:
        return ask_delete(task, int(task[CHAIN_SPAN]), CHAIN_UNLOCK_HEAP)
    if step == CHAIN_UNLOCK_HEAP:
        return unlock(task, heap_lock(par), CHAIN_RELOCK)
    if step == CHAIN_RELOCK:
        return lock(task, central_lock(par, number), CHAIN_RELEASE)
    left = longest_list(words)
    block = int(task[CHAIN])
    while block:
        left -= 1
        if left < 0:
            return CIRCLE
        behind = load_word(words, log, block)
        span = span_of(words, log, par, page_of(block))
        if span == 0:
            load_word(words, log, OBJECTS)
            return FAULT
        if _release_to_span(words, log, par, block, span, number):
            task[CHAIN] = behind
            task[CHAIN_SPAN] = span
            return unlock(task, central_lock(par, number), CHAIN_LOCK_HEAP)
        block = behind
    task[STEP] = task[AFTER_CHAIN]
    return GO_ON


@compiled
def _release_to_span(
    words: Words, log: Words, par: Words, block: int, span: int, number: int
) -> bool:
    """Give a block to its span; True: all of them are free, so that it goes to the page heap."""
    central = central_of(par, number)
    objects = load_word(words, log, span + OBJECTS)
    if objects == 0:
        dll_remove(words, log, span)
        dll_prepend(words, log, central + NONEMPTY, span)
    add_to(words, log, central + COUNTER, 1)
    count = load_bits(words, log, span + REFCOUNT, 2) - 1
    store_bits(words, log, span + REFCOUNT, 2, count)
    if count == 0:
        size = class_size(words, log, par, load_bits(words, log, span + CLASS_OF, 1))
        nr_blocks = (length_of(words, log, span) << PAGE_SHIFT) // max(size, 1)
        add_to(words, log, central + COUNTER, -nr_blocks)
        dll_remove(words, log, span)
        add_to(words, log, central + NUM_SPANS, -1)
        return True
    store_word(words, log, block, objects)
    store_word(words, log, span + OBJECTS, block)
    return False
