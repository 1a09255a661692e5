"""The calls of a program: malloc, calloc, realloc, memalign, free (src/tcmalloc.cc).

A size of up to 256 KiB is served by its class, a larger one by a span of its own. realloc keeps a
block unless the new size is above what it has, or below half of it; a block that grows by less than
a quarter grows by a quarter. An alignment of up to 8 KiB is that of a class's blocks, a larger one
is cut out of a longer span.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.heap_trace import CALLOC, FREE, MEMALIGN, REALLOC
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc import steps
from mmactors.malloc.tcmalloc.cache.scavenge import ask_fetch, too_long
from mmactors.malloc.tcmalloc.cache.thread_cache import (
    add_cached,
    is_over,
    list_at,
    pop,
    push,
)
from mmactors.malloc.tcmalloc.cache.thread_caches import ask_cache
from mmactors.malloc.tcmalloc.central.central_free_list import heap_lock
from mmactors.malloc.tcmalloc.central.size_map import class_for, class_size, peek_class_size
from mmactors.malloc.tcmalloc.central.transfer_cache import ask_insert
from mmactors.malloc.tcmalloc.heap.coalesce import ask_delete
from mmactors.malloc.tcmalloc.heap.page_heap import ask_span
from mmactors.malloc.tcmalloc.heap.page_map import (
    UNKNOWN,
    cached_class,
    forget_cached_class,
    page_of,
    peek_cached_class,
    peek_span_of,
    record_span,
    set_cached_class,
    set_span,
    span_of,
)
from mmactors.malloc.tcmalloc.heap.span import (
    CLASS_OF,
    LENGTH,
    SPAN_BYTES,
    init_span,
    length_of,
    start_of,
)
from mmactors.malloc.tcmalloc.layout import (
    OBJECT_SIZE,
    PAGE_BYTES,
    PAGE_ID_MASK,
    PAGE_SHIFT,
    SPAN_ALLOCATOR,
)
from mmactors.malloc.tcmalloc.system.object_allocator import ask_for_object
from mmactors.malloc.tcmalloc.task import (
    AFTER_FREE,
    AFTER_MALLOC,
    ALIGN_SPAN,
    ARGUMENT,
    BLOCK,
    CACHE,
    CLASS,
    DELETE_SPAN,
    FAULT,
    GO_ON,
    INVALID_FREE,
    INVALID_REALLOC,
    NEW_BYTES,
    NEW_SPAN,
    NR_STEPS,
    OBJ,
    OLD_BYTES,
    REQUEST,
    RESULT,
    SIZE,
    STEP,
    THREAD,
    lock,
    unlock,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import DATA_AT
from mmactors.malloc.user_words import (
    clear_words,
    load_bits,
    load_word,
    note_access,
    peek_word,
    store_word,
    to_word,
)

_SIGN: Final = -(1 << 63)


@compiled
def begin(
    task: Words, thread: int, cache: int, op: int, block: int, size: int, argument: int
) -> None:
    """Let a task be a call: an operation of a heap trace; calloc's `size` is the product."""
    task[THREAD] = thread
    task[CACHE] = cache
    task[BLOCK] = block
    task[SIZE] = size
    task[ARGUMENT] = argument
    task[RESULT] = 0
    task[NR_STEPS] = 0
    task[AFTER_MALLOC] = steps.FINISHED
    task[AFTER_FREE] = steps.FINISHED
    task[STEP] = steps.MALLOC
    if op == CALLOC:
        task[AFTER_MALLOC] = steps.CALLOC_GOT
    elif op == FREE or (op == REALLOC and block and size == 0):
        task[STEP] = steps.FREE
    elif op == REALLOC and block:
        task[NEW_BYTES] = size
        task[STEP] = steps.REALLOC
    elif op == MEMALIGN:
        if 0 <= argument <= PAGE_BYTES:
            task[SIZE] = _align_up(size, argument)
        else:
            task[STEP] = steps.MEMALIGN


@compiled
def _is_above(number: int, other: int) -> bool:
    """Return whether a number without sign is greater than another."""
    return (number ^ _SIGN) > (other ^ _SIGN)


@compiled
def _align_up(size: int, alignment: int) -> int:
    """Return a size as a multiple of an alignment, unless that is too much (align_size_up)."""
    aligned = to_word(size + alignment - 1) & -alignment
    if aligned:
        return aligned
    return size or alignment


@compiled
def pages_for(size: int) -> int:
    """Return how many pages so many bytes need; both have no sign."""
    rest = 1 if size & (PAGE_BYTES - 1) else 0
    return (size >> PAGE_SHIFT & PAGE_ID_MASK) + rest


@compiled
def call_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Do a step of this module's."""
    step = task[STEP]
    if step == steps.MALLOC:
        return _malloc(words, log, par, task)
    if step == steps.MALLOC_PAGES:
        return ask_span(task, pages_for(int(task[SIZE])), steps.MALLOC_SPAN)
    if step == steps.MALLOC_SPAN:
        task[RESULT] = _block_of(words, log, par, int(task[NEW_SPAN]))
        return unlock(task, heap_lock(par), int(task[AFTER_MALLOC]))
    if step == steps.FREE:
        return _free(words, log, par, task)
    if step == steps.FREE_PAGES:
        return ask_delete(task, int(task[DELETE_SPAN]), steps.FREE_DELETED)
    if step == steps.FREE_DELETED:
        return unlock(task, heap_lock(par), int(task[AFTER_FREE]))
    if step == steps.CALLOC_GOT:
        return _clear(words, log, par, task)
    if step <= steps.REALLOC_GOT:
        return _realloc_step(words, log, par, task)
    return _memalign_step(words, log, par, task)


@compiled
def _block_of(words: Words, log: Words, par: Words, span: int) -> int:
    """Return the block that a span is (SpanToMallocResult); 0: there is no span."""
    if span == 0:
        return 0
    start = start_of(words, log, span)
    forget_cached_class(words, log, par, start)
    return start << PAGE_SHIFT


@compiled
def _malloc(words: Words, log: Words, par: Words, task: Words) -> int:
    if task[CACHE] == 0:
        return ask_cache(task, steps.MALLOC)
    number = class_for(words, log, par, int(task[SIZE]))
    if number < 0:
        return lock(task, heap_lock(par), steps.MALLOC_PAGES)
    task[CLASS] = number
    block = pop(words, log, int(task[CACHE]), number)
    if block < 0:
        load_word(words, log, block)
        return FAULT
    if block == 0:
        return ask_fetch(words, log, par, task)
    task[RESULT] = block
    task[STEP] = task[AFTER_MALLOC]
    return GO_ON


@compiled
def _free(words: Words, log: Words, par: Words, task: Words) -> int:
    """Free a block: a span of its own, or one of a class, for the thread's cache if it has one."""
    block = int(task[BLOCK])
    page = page_of(block)
    number = cached_class(words, log, par, page)
    if number == UNKNOWN:
        span = span_of(words, log, par, page)
        if span == 0:
            task[REQUEST] = block
            task[STEP] = task[AFTER_FREE]
            return INVALID_FREE if block else GO_ON
        number = load_bits(words, log, span + CLASS_OF, 1)
        if number == 0:
            task[DELETE_SPAN] = span
            return lock(task, heap_lock(par), steps.FREE_PAGES)
        set_cached_class(words, log, par, page, number)
    task[CLASS] = number
    cache = int(task[CACHE])
    if cache == 0:
        store_word(words, log, block, 0)
        return ask_insert(task, number, block, block, 1, int(task[AFTER_FREE]))
    if push(words, log, cache, number, block):
        return too_long(words, log, par, task)
    size = load_bits(words, log, list_at(cache, number) + OBJECT_SIZE, 4)
    add_cached(words, log, cache, size)
    is_full = is_over(words, log, cache)
    task[STEP] = steps.SCAVENGE if is_full else task[AFTER_FREE]
    return GO_ON


@compiled
def _usable_size(words: Words, log: Words, par: Words, block: int) -> int:
    """Return the bytes that a block has (GetSizeWithCallback); -1: it is none."""
    page = page_of(block)
    number = cached_class(words, log, par, page)
    if number == UNKNOWN:
        span = span_of(words, log, par, page)
        if span == 0:
            return -1
        number = load_bits(words, log, span + CLASS_OF, 1)
        if number == 0:
            return length_of(words, log, span) << PAGE_SHIFT
    return class_size(words, log, par, number)


@compiled
def peek_usable_size(words: Words, par: Words, block: int) -> int:
    """Return the bytes that a block has, without an access; 0: it is none."""
    page = page_of(block)
    number = peek_cached_class(words, par, page)
    if number == UNKNOWN:
        span = peek_span_of(words, par, page)
        if span == 0:
            return 0
        number = peek_word(words, span + CLASS_OF) >> 16 & 0xFF
        if number == 0:
            return peek_word(words, span + LENGTH) << PAGE_SHIFT
    return peek_class_size(words, par, number)


@compiled
def _clear(words: Words, log: Words, par: Words, task: Words) -> int:
    """Write zeros to all bytes of a block, whatever was asked for (calloc)."""
    if task[RESULT]:
        size = int(task[SIZE])
        number = class_for(words, log, par, size)
        nr_bytes = pages_for(size) << PAGE_SHIFT
        if number >= 0:
            nr_bytes = class_size(words, log, par, number)
        clear_words(words, log, int(task[RESULT]), nr_bytes)
    task[STEP] = steps.FINISHED
    return GO_ON


@compiled
def _realloc_step(words: Words, log: Words, par: Words, task: Words) -> int:
    step, size = task[STEP], int(task[NEW_BYTES])
    if step == steps.REALLOC:
        old = _usable_size(words, log, par, int(task[BLOCK]))
        if old < 0:
            task[REQUEST] = task[BLOCK]
            return INVALID_REALLOC
        task[OLD_BYTES] = old
        if not _is_above(size, old) and not _is_above(old // 2, size):
            task[RESULT] = task[BLOCK]
            task[STEP] = steps.FINISHED
            return GO_ON
        task[STEP] = steps.MALLOC
        task[AFTER_MALLOC] = steps.REALLOC_GOT
        task[SIZE] = size
        if _is_above(size, old) and _is_above(old + old // 4, size):
            task[SIZE] = old + old // 4
            task[AFTER_MALLOC] = steps.REALLOC_GREW
        return GO_ON
    if step == steps.REALLOC_GREW and task[RESULT] == 0:
        task[SIZE] = size
        task[AFTER_MALLOC] = steps.REALLOC_GOT
        task[STEP] = steps.MALLOC
        return GO_ON
    task[STEP] = steps.FINISHED
    if task[RESULT]:
        nr_bytes = size if _is_above(int(task[OLD_BYTES]), size) else int(task[OLD_BYTES])
        note_access(log, int(task[BLOCK]), nr_bytes, 0)
        note_access(log, int(task[RESULT]), nr_bytes, 1)
        task[STEP] = steps.FREE
    return GO_ON


@compiled
def _memalign_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Cut an aligned span out of one that is longer by the alignment (do_memalign_pages)."""
    step = task[STEP]
    if step == steps.MEMALIGN:
        if _is_above(int(task[SIZE]), to_word(int(task[SIZE]) + int(task[ARGUMENT]))):
            task[STEP] = steps.FINISHED
            return GO_ON
        task[SIZE] = task[SIZE] or 1
        return lock(task, heap_lock(par), steps.MEMALIGN_PAGES)
    if step == steps.MEMALIGN_PAGES:
        nr_pages = pages_for(to_word(int(task[SIZE]) + int(task[ARGUMENT])))
        return ask_span(task, nr_pages, steps.MEMALIGN_GOT)
    if step == steps.MEMALIGN_GOT:
        return _skip(words, log, par, task)
    if step == steps.MEMALIGN_LEAD:
        lead = int(task[NEW_SPAN])
        task[ALIGN_SPAN] = task[OBJ]
        _split(words, log, par, lead, int(task[OBJ]), _pages_before(words, log, task, lead))
        return ask_delete(task, lead, steps.MEMALIGN_LEAD_DELETED)
    span, nr_pages = int(task[ALIGN_SPAN]), pages_for(int(task[SIZE]))
    if step == steps.MEMALIGN_LEAD_DELETED:
        if length_of(words, log, span) > nr_pages:
            return ask_for_object(
                task, int(par[DATA_AT]) + SPAN_ALLOCATOR, SPAN_BYTES, steps.MEMALIGN_TRAILER
            )
    elif step == steps.MEMALIGN_TRAILER:
        _split(words, log, par, span, int(task[OBJ]), nr_pages)
        return ask_delete(task, int(task[OBJ]), steps.MEMALIGN_DONE)
    task[RESULT] = _block_of(words, log, par, span)
    return unlock(task, heap_lock(par), steps.FINISHED)


@compiled
def _pages_before(words: Words, log: Words, task: Words, span: int) -> int:
    """Return how many pages of a span lie before the first that is aligned."""
    start = start_of(words, log, span)
    page, mask = start, int(task[ARGUMENT] - 1) >> PAGE_SHIFT
    while page & mask:
        # The bits below are no matter: this one changes when they have gone through all.
        bit = 1
        while page & mask & ~(2 * bit - 1):
            bit *= 2
        page = to_word((page & -bit) + bit)
    return to_word(page - start)


@compiled
def _skip(words: Words, log: Words, par: Words, task: Words) -> int:
    """Begin to cut off what lies before the first aligned page."""
    span = int(task[NEW_SPAN])
    if span == 0:
        return unlock(task, heap_lock(par), steps.FINISHED)
    task[ALIGN_SPAN] = span
    skip = _pages_before(words, log, task, span)
    if not 0 <= skip < length_of(words, log, span):
        # Only if the alignment is no power of two.
        return FAULT
    if skip:
        allocator = int(par[DATA_AT]) + SPAN_ALLOCATOR
        return ask_for_object(task, allocator, SPAN_BYTES, steps.MEMALIGN_LEAD)
    task[STEP] = steps.MEMALIGN_LEAD_DELETED
    return GO_ON


@compiled
def _split(words: Words, log: Words, par: Words, span: int, rest: int, nr_pages: int) -> None:
    """Let a span in use end after so many pages, and another have the rest (PageHeap::Split)."""
    start, length = start_of(words, log, span), length_of(words, log, span)
    init_span(words, log, rest, start + nr_pages, length - nr_pages)
    record_span(words, log, par, start + nr_pages, length - nr_pages, rest)
    set_span(words, log, par, start + nr_pages - 1, span)
    store_word(words, log, span + LENGTH, nr_pages)
