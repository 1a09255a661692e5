"""Spans for who needs pages (PageHeap::New of src/page_heap.cc).

The shortest list that has a span long enough serves, of one length the pages that are there before
those that were given back; then the best fit of both sets. What is left of a span is a free span.
Else the heap grows, but for once in 128 MiB of growth: then all free pages are given back first,
so that those side by side become one span. All of it is done under the page heap's lock.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.heap.coalesce import ask_prepend
from mmactors.malloc.tcmalloc.heap.free_lists import (
    first_in_list,
    list_of,
    remove_from_free_list,
    set_of,
)
from mmactors.malloc.tcmalloc.heap.page_map import record_span, set_span
from mmactors.malloc.tcmalloc.heap.release import ask_limit, ask_release
from mmactors.malloc.tcmalloc.heap.span import (
    IN_USE,
    LENGTH,
    ON_NORMAL_FREELIST,
    ON_RETURNED_FREELIST,
    SPAN_BYTES,
    init_span,
    length_of,
    location_of,
    set_location,
    start_of,
)
from mmactors.malloc.tcmalloc.heap.span_set import best_fit
from mmactors.malloc.tcmalloc.layout import (
    COMMIT_COUNT,
    COMMITTED_BYTES,
    FREE_BYTES,
    MAX_PAGES,
    PAGE_SHIFT,
    SPAN_ALLOCATOR,
    SYSTEM_BYTES,
    TOTAL_COMMIT_BYTES,
    UNMAPPED_BYTES,
)
from mmactors.malloc.tcmalloc.steps import (
    ALLOC_LARGE,
    CARVE,
    CARVE_CUT,
    CARVE_LEFTOVER,
    CARVED,
    COALESCED,
    GROW,
    GROWN,
    HEAP_NEW,
    LARGE_ALLOWED,
    LARGE_RELEASED,
    NOT_FOUND,
    SEARCH,
    SEARCH_RETURNED,
)
from mmactors.malloc.tcmalloc.system.object_allocator import ask_for_object
from mmactors.malloc.tcmalloc.task import (
    AFTER_NEW,
    CARVE_LOCATION,
    GO_ON,
    GROW_PLACE,
    LIMIT_OK,
    NEW_PAGES,
    NEW_ROUND,
    NEW_SPAN,
    OBJ,
    SEARCH_PAGES,
    STEP,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import DATA_AT, HEAP_LIMIT_PAGES
from mmactors.malloc.user_words import add_to, load_word, store_word, to_word

ALL_PAGES: Final = 0x7FFF_FFFF
_FORCED_COALESCE_SHIFT: Final = 27
"""Once for each 128 MiB that the heap grows."""
_BYTES_MASK: Final = (1 << 64 - _FORCED_COALESCE_SHIFT) - 1
_FIRST: Final = 0
_AFTER_RELEASE: Final = 1
_AFTER_GROWTH: Final = 2


@compiled
def ask_span(task: Words, nr_pages: int, then: int) -> int:
    """Let the next steps find a span in NEW_SPAN; 0: there is no memory."""
    task[NEW_PAGES] = nr_pages
    task[AFTER_NEW] = then
    task[STEP] = HEAP_NEW
    return GO_ON


@compiled
def heap_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Do a step of this module's."""
    step = task[STEP]
    if step in (HEAP_NEW, SEARCH):
        if step == HEAP_NEW:
            task[NEW_ROUND] = _FIRST
            task[SEARCH_PAGES] = task[NEW_PAGES]
        return _search(words, log, par, task)
    if step == SEARCH_RETURNED:
        return _search_returned(words, log, par, task)
    if step in (ALLOC_LARGE, LARGE_ALLOWED, LARGE_RELEASED):
        return _alloc_large(words, log, par, task)
    if step == CARVE:
        return _carve(words, log, par, task)
    if step == CARVE_LEFTOVER:
        return _carve_leftover(words, log, par, task)
    if step in (CARVE_CUT, CARVED):
        return _end_carving(words, log, par, task)
    return _not_found(words, log, par, task)


@compiled
def _carve_it(task: Words, span: int) -> int:
    task[NEW_SPAN] = span
    task[STEP] = CARVE
    return GO_ON


@compiled
def _search(words: Words, log: Words, par: Words, task: Words) -> int:
    """Look through the lists from the shortest spans on that are long enough."""
    while 0 < task[SEARCH_PAGES] <= MAX_PAGES:
        nr_pages = int(task[SEARCH_PAGES])
        span = first_in_list(words, log, list_of(par, nr_pages, ON_NORMAL_FREELIST))
        if span:
            return _carve_it(task, span)
        span = first_in_list(words, log, list_of(par, nr_pages, ON_RETURNED_FREELIST))
        if span:
            if par[HEAP_LIMIT_PAGES] == 0:
                return _carve_it(task, span)
            return ask_limit(task, int(task[NEW_PAGES]), 1, SEARCH_RETURNED)
        task[SEARCH_PAGES] += 1
    task[STEP] = ALLOC_LARGE
    return GO_ON


@compiled
def _search_returned(words: Words, log: Words, par: Words, task: Words) -> int:
    """Take a span whose pages were given back, if there may be so many pages, and it is there."""
    head = list_of(par, int(task[SEARCH_PAGES]), ON_RETURNED_FREELIST)
    span = first_in_list(words, log, head) if task[LIMIT_OK] else 0
    if span:
        return _carve_it(task, span)
    task[SEARCH_PAGES] += 1
    task[STEP] = SEARCH
    return GO_ON


@compiled
def _alloc_large(words: Words, log: Words, par: Words, task: Words) -> int:
    """Take the best fit of both sets (AllocLarge)."""
    nr_pages = int(task[NEW_PAGES])
    if task[STEP] == LARGE_RELEASED and not task[LIMIT_OK]:
        task[STEP] = NOT_FOUND
        return GO_ON
    normal = best_fit(words, log, set_of(par, ON_NORMAL_FREELIST), nr_pages)
    best = normal
    other = best_fit(words, log, set_of(par, ON_RETURNED_FREELIST), nr_pages)
    if other:
        if normal == 0:
            best = other
        else:
            length = length_of(words, log, normal)
            others = length_of(words, log, other)
            if others < length or (
                others == length and start_of(words, log, other) < start_of(words, log, normal)
            ):
                best = other
    if best == 0:
        task[STEP] = NOT_FOUND
        return GO_ON
    if best == normal or par[HEAP_LIMIT_PAGES] == 0:
        return _carve_it(task, best)
    if task[STEP] == LARGE_ALLOWED:
        if task[LIMIT_OK]:
            return _carve_it(task, best)
        return ask_limit(task, nr_pages, 1, LARGE_RELEASED)
    return ask_limit(task, nr_pages, 0, LARGE_ALLOWED)


@compiled
def _carve(words: Words, log: Words, par: Words, task: Words) -> int:
    """Let a free span be in use; if it is too long, its end becomes another one."""
    span, nr_pages = int(task[NEW_SPAN]), int(task[NEW_PAGES])
    task[CARVE_LOCATION] = location_of(words, log, span)
    remove_from_free_list(words, log, par, span)
    set_location(words, log, span, IN_USE)
    if length_of(words, log, span) > nr_pages:
        return ask_for_object(task, int(par[DATA_AT]) + SPAN_ALLOCATOR, SPAN_BYTES, CARVE_LEFTOVER)
    task[STEP] = CARVED
    return GO_ON


@compiled
def _carve_leftover(words: Words, log: Words, par: Words, task: Words) -> int:
    span, nr_pages, leftover = int(task[NEW_SPAN]), int(task[NEW_PAGES]), int(task[OBJ])
    start = start_of(words, log, span) + nr_pages
    length = length_of(words, log, span) - nr_pages
    init_span(words, log, leftover, start, length)
    set_location(words, log, leftover, int(task[CARVE_LOCATION]))
    record_span(words, log, par, start, length, leftover)
    return ask_prepend(task, leftover, CARVE_CUT)


@compiled
def _end_carving(words: Words, log: Words, par: Words, task: Words) -> int:
    span, nr_pages = int(task[NEW_SPAN]), int(task[NEW_PAGES])
    if task[STEP] == CARVE_CUT:
        store_word(words, log, span + LENGTH, nr_pages)
        set_span(words, log, par, start_of(words, log, span) + nr_pages - 1, span)
    if task[CARVE_LOCATION] == ON_RETURNED_FREELIST:
        data, nr_bytes = int(par[DATA_AT]), nr_pages << PAGE_SHIFT
        add_to(words, log, data + COMMIT_COUNT, 1)
        add_to(words, log, data + COMMITTED_BYTES, nr_bytes)
        add_to(words, log, data + TOTAL_COMMIT_BYTES, nr_bytes)
    task[STEP] = task[AFTER_NEW]
    return GO_ON


@compiled
def _not_found(words: Words, log: Words, par: Words, task: Words) -> int:
    """Give back what is free and look again, or let the heap grow; or there is no memory."""
    step = task[STEP]
    is_first = step == NOT_FOUND and task[NEW_ROUND] == _FIRST
    if is_first and _should_coalesce(words, log, par, int(task[NEW_PAGES])):
        return ask_release(task, ALL_PAGES, COALESCED)
    if step == COALESCED or (step == GROWN and task[GROW_PLACE]):
        task[NEW_ROUND] = _AFTER_RELEASE if step == COALESCED else _AFTER_GROWTH
        task[SEARCH_PAGES] = task[NEW_PAGES]
        task[STEP] = SEARCH
    elif step == NOT_FOUND and task[NEW_ROUND] != _AFTER_GROWTH:
        task[STEP] = GROW
    else:
        task[NEW_SPAN] = 0
        task[STEP] = task[AFTER_NEW]
    return GO_ON


@compiled
def _should_coalesce(words: Words, log: Words, par: Words, nr_pages: int) -> bool:
    """Return whether a quarter of the heap is free, and it is to grow over a border of 128 MiB."""
    data = int(par[DATA_AT])
    free = load_word(words, log, data + FREE_BYTES)
    unmapped = load_word(words, log, data + UNMAPPED_BYTES)
    system = load_word(words, log, data + SYSTEM_BYTES)
    if free == 0 or unmapped == 0 or free + unmapped < system >> 2:
        return False
    grown = to_word(system + (nr_pages << PAGE_SHIFT))
    before = system >> _FORCED_COALESCE_SHIFT & _BYTES_MASK
    return before != (grown >> _FORCED_COALESCE_SHIFT & _BYTES_MASK)
