"""Spans that are free again (PageHeap::Delete, MergeIntoFreeList of src/page_heap.cc).

A span that becomes free joins the free ones beside it, if their pages are there, too, or were given
back like its own, and goes to the front of its list, or into its set. With aggressive decommit its
pages are given back first, and those of a neighbour that would be joined.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.heap.free_lists import (
    count_free,
    list_of,
    remove_from_free_list,
    set_of,
)
from mmactors.malloc.tcmalloc.heap.page_map import set_span, span_of
from mmactors.malloc.tcmalloc.heap.release import ask_decommit, ask_release
from mmactors.malloc.tcmalloc.heap.span import (
    LENGTH,
    ON_NORMAL_FREELIST,
    ON_RETURNED_FREELIST,
    START,
    clear_use,
    dll_prepend,
    length_of,
    location_of,
    set_iterator,
    set_location,
    start_of,
)
from mmactors.malloc.tcmalloc.heap.span_set import (
    NODE_BYTES,
    VALUE_LENGTH,
    VALUE_SPAN,
    insert_node,
    place_for,
)
from mmactors.malloc.tcmalloc.layout import (
    AGGRESSIVE_DECOMMIT,
    MAX_PAGES,
    NODE_ALLOCATOR,
    NODES_INITIALIZED,
    PAGE_ID_MASK,
    SCAVENGE_COUNT,
    SCAVENGE_COUNTER,
    SPAN_ALLOCATOR,
)
from mmactors.malloc.tcmalloc.steps import (
    DELETE_MERGED,
    DELETE_SCAVENGED,
    HEAP_DELETE,
    MERGE,
    MERGE_DECOMMITTED,
    MERGE_NEXT,
    MERGE_PREV,
    NEXT_DECOMMITTED,
    PREPEND,
    PREPEND_INIT,
    PREPEND_NODE,
    PREV_DECOMMITTED,
)
from mmactors.malloc.tcmalloc.system.object_allocator import (
    ask_for_object,
    give_object,
    init_allocator,
)
from mmactors.malloc.tcmalloc.task import (
    AFTER_DELETE,
    AFTER_MERGE,
    AFTER_PREPEND,
    DECOMMITTED,
    DELETE_PAGES,
    DELETE_SPAN,
    GO_ON,
    MERGE_OTHER,
    MERGE_SPAN,
    OBJ,
    PREPEND_LEFT,
    PREPEND_PARENT,
    PREPEND_SPAN,
    RELEASED,
    STEP,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import (
    DATA_AT,
    DEFAULT_RELEASE_DELAY,
    MAX_RELEASE_DELAY,
    RELEASE_EXPONENT,
    RELEASE_MANTISSA,
)
from mmactors.malloc.user_words import add_to, load_bits, load_word, store_bits, store_word


@compiled
def ask_delete(task: Words, span: int, then: int) -> int:
    """Let the next steps free a span that is in use."""
    task[DELETE_SPAN] = span
    task[AFTER_DELETE] = then
    task[STEP] = HEAP_DELETE
    return GO_ON


@compiled
def ask_merge(task: Words, span: int, then: int) -> int:
    """Let the next steps join a free span, of no list, with those beside it, and list it."""
    task[MERGE_SPAN] = span
    task[AFTER_MERGE] = then
    task[STEP] = MERGE
    return GO_ON


@compiled
def ask_prepend(task: Words, span: int, then: int) -> int:
    """Let the next steps put a free span into its list or set."""
    task[PREPEND_SPAN] = span
    task[AFTER_PREPEND] = then
    task[STEP] = PREPEND
    return GO_ON


@compiled
def coalesce_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Do a step of this module's."""
    step = task[STEP]
    if step == HEAP_DELETE:
        task[DELETE_PAGES] = length_of(words, log, int(task[DELETE_SPAN]))
        clear_use(words, log, int(task[DELETE_SPAN]))
        return ask_merge(task, int(task[DELETE_SPAN]), DELETE_MERGED)
    if step in (DELETE_MERGED, DELETE_SCAVENGED):
        return _incremental_scavenge(words, log, par, task)
    if step in (MERGE, MERGE_DECOMMITTED):
        return _merge(words, log, par, task)
    if step == MERGE_PREV:
        page = (start_of(words, log, int(task[MERGE_SPAN])) - 1) & PAGE_ID_MASK
        task[MERGE_OTHER] = span_of(words, log, par, page)
        return _pre_merge(words, log, par, task, PREV_DECOMMITTED, MERGE_NEXT)
    if step == PREV_DECOMMITTED:
        if task[DECOMMITTED]:
            _join_prev(words, log, par, task)
        task[STEP] = MERGE_NEXT
        return GO_ON
    if step == MERGE_NEXT:
        span = int(task[MERGE_SPAN])
        page = start_of(words, log, span) + length_of(words, log, span)
        task[MERGE_OTHER] = span_of(words, log, par, page & PAGE_ID_MASK)
        task[PREPEND_SPAN] = span
        task[AFTER_PREPEND] = task[AFTER_MERGE]
        return _pre_merge(words, log, par, task, NEXT_DECOMMITTED, PREPEND)
    if step == NEXT_DECOMMITTED:
        if task[DECOMMITTED]:
            _join_next(words, log, par, task)
        task[STEP] = PREPEND
        return GO_ON
    return _prepend(words, log, par, task)


@compiled
def _is_aggressive(words: Words, log: Words, par: Words) -> bool:
    return load_bits(words, log, int(par[DATA_AT]) + AGGRESSIVE_DECOMMIT, 1) != 0


@compiled
def _merge(words: Words, log: Words, par: Words, task: Words) -> int:
    """Give a span's pages back first, with aggressive decommit."""
    span = int(task[MERGE_SPAN])
    if task[STEP] == MERGE_DECOMMITTED:
        if task[DECOMMITTED]:
            set_location(words, log, span, ON_RETURNED_FREELIST)
    elif _is_aggressive(words, log, par) and location_of(words, log, span) == ON_NORMAL_FREELIST:
        return ask_decommit(task, span, MERGE_DECOMMITTED)
    task[STEP] = MERGE_PREV
    return GO_ON


@compiled
def _pre_merge(
    words: Words, log: Words, par: Words, task: Words, decommitted: int, otherwise: int
) -> int:
    """See whether a neighbour joins a span (CheckAndHandlePreMerge): DECOMMITTED says so."""
    other = int(task[MERGE_OTHER])
    task[DECOMMITTED] = 0
    task[STEP] = otherwise
    if other == 0:
        return GO_ON
    mine = location_of(words, log, int(task[MERGE_SPAN]))
    its = location_of(words, log, other)
    if (
        its == ON_NORMAL_FREELIST
        and mine == ON_RETURNED_FREELIST
        and _is_aggressive(words, log, par)
    ):
        return ask_decommit(task, other, decommitted)
    if its == mine:
        task[DECOMMITTED] = 1
        task[STEP] = decommitted
    return GO_ON


@compiled
def _join_prev(words: Words, log: Words, par: Words, task: Words) -> None:
    span, other = int(task[MERGE_SPAN]), int(task[MERGE_OTHER])
    remove_from_free_list(words, log, par, other)
    length = length_of(words, log, other)
    give_object(words, log, int(par[DATA_AT]) + SPAN_ALLOCATOR, other)
    start = start_of(words, log, span) - length
    store_word(words, log, span + START, start)
    add_to(words, log, span + LENGTH, length)
    set_span(words, log, par, start, span)


@compiled
def _join_next(words: Words, log: Words, par: Words, task: Words) -> None:
    span, other = int(task[MERGE_SPAN]), int(task[MERGE_OTHER])
    remove_from_free_list(words, log, par, other)
    length = length_of(words, log, other)
    give_object(words, log, int(par[DATA_AT]) + SPAN_ALLOCATOR, other)
    add_to(words, log, span + LENGTH, length)
    last = start_of(words, log, span) + length_of(words, log, span) - 1
    set_span(words, log, par, last, span)


@compiled
def _prepend(words: Words, log: Words, par: Words, task: Words) -> int:
    """Put a span at the front of its list, or into its set, for which a node is made."""
    span, data = int(task[PREPEND_SPAN]), int(par[DATA_AT])
    location = location_of(words, log, span)
    header = set_of(par, location)
    step = task[STEP]
    if step == PREPEND:
        length = length_of(words, log, span)
        count_free(words, log, par, location, length)
        if length <= MAX_PAGES:
            dll_prepend(words, log, list_of(par, length, location), span)
            task[STEP] = task[AFTER_PREPEND]
            return GO_ON
        parent, left = place_for(words, log, header, length, start_of(words, log, span))
        task[PREPEND_PARENT] = parent
        task[PREPEND_LEFT] = left
        then = PREPEND_NODE
        if load_bits(words, log, data + NODES_INITIALIZED, 1) == 0:
            init_allocator(words, log, data + NODE_ALLOCATOR)
            then = PREPEND_INIT
        return ask_for_object(task, data + NODE_ALLOCATOR, NODE_BYTES, then)
    node = int(task[OBJ])
    if step == PREPEND_INIT:
        give_object(words, log, data + NODE_ALLOCATOR, node)
        store_bits(words, log, data + NODES_INITIALIZED, 1, 1)
        return ask_for_object(task, data + NODE_ALLOCATOR, NODE_BYTES, PREPEND_NODE)
    store_word(words, log, node + VALUE_SPAN, span)
    store_word(words, log, node + VALUE_LENGTH, length_of(words, log, span))
    parent, left = int(task[PREPEND_PARENT]), int(task[PREPEND_LEFT])
    insert_node(words, log, header, node, parent, left)
    set_iterator(words, log, span, node)
    task[STEP] = task[AFTER_PREPEND]
    return GO_ON


@compiled
def _incremental_scavenge(words: Words, log: Words, par: Words, task: Words) -> int:
    """Count freed pages; when it is time, give those of one span back (IncrementalScavenge)."""
    counter = int(par[DATA_AT]) + SCAVENGE_COUNTER
    wait = DEFAULT_RELEASE_DELAY
    if task[STEP] == DELETE_MERGED:
        add_to(words, log, counter, -int(task[DELETE_PAGES]))
        if load_word(words, log, counter) >= 0:
            task[STEP] = task[AFTER_DELETE]
            return GO_ON
        if par[RELEASE_MANTISSA]:
            add_to(words, log, int(par[DATA_AT]) + SCAVENGE_COUNT, 1)
            return ask_release(task, 1, DELETE_SCAVENGED)
    elif task[RELEASED]:
        each = float(par[RELEASE_MANTISSA]) * 2.0 ** float(par[RELEASE_EXPONENT])
        wait = int(min(each * float(task[RELEASED]), float(MAX_RELEASE_DELAY)))
    store_word(words, log, counter, wait)
    task[STEP] = task[AFTER_DELETE]
    return GO_ON
