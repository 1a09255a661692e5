"""More memory for the page heap (PageHeap::GrowHeap of src/page_heap.cc).

At least 1 MiB is taken, or just what is needed if that cannot be had. The map gets leaves for it,
then it is freed as a span, which joins what is beside it. Each growth is recorded; this build of
the library finds no places in code for its records.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.heap.coalesce import ask_delete
from mmactors.malloc.tcmalloc.heap.page_map import (
    LEAF_BITS,
    LEAF_BYTES,
    ROOT_LENGTH,
    page_of,
    record_span,
)
from mmactors.malloc.tcmalloc.heap.release import ask_limit
from mmactors.malloc.tcmalloc.heap.span import SPAN_BYTES, init_span
from mmactors.malloc.tcmalloc.layout import (
    COMMIT_COUNT,
    COMMITTED_BYTES,
    GROWTH_STACKS,
    LAST_PLACE,
    MAX_PAGES,
    PAGE_BYTES,
    PAGE_SHIFT,
    PAGEMAP_ROOT,
    RESERVE_COUNT,
    SPAN_ALLOCATOR,
    STACKTRACE_ALLOCATOR,
    STACKTRACE_BYTES,
    SYSTEM_BYTES,
    TOTAL_COMMIT_BYTES,
    TOTAL_RESERVE_BYTES,
)
from mmactors.malloc.tcmalloc.steps import (
    GROW,
    GROW_ASK,
    GROW_GOT,
    GROW_LEAF,
    GROW_MAP,
    GROW_RECORD,
    GROW_SPAN,
    GROWN,
)
from mmactors.malloc.tcmalloc.system.object_allocator import ask_for_object
from mmactors.malloc.tcmalloc.system.system_alloc import ask_metadata, ask_system
from mmactors.malloc.tcmalloc.task import (
    GO_ON,
    GROW_LEAF_NUMBER,
    GROW_PAGES,
    GROW_PLACE,
    LIMIT_OK,
    META_RESULT,
    NEW_PAGES,
    OBJ,
    STEP,
    SYS_ACTUAL,
    SYS_RESULT,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import DATA_AT
from mmactors.malloc.user_words import add_to, clear_words, load_word, store_word, to_word

_VALID_PAGES_BITS: Final = 64 - PAGE_SHIFT


@compiled
def grow_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Do a step of this module's; after the last one GROW_PLACE is 0 if there is no memory."""
    step = task[STEP]
    if step == GROW:
        task[GROW_PLACE] = 0
        task[GROW_PAGES] = max(int(task[NEW_PAGES]), MAX_PAGES)
        if task[NEW_PAGES] >> _VALID_PAGES_BITS:
            task[STEP] = GROWN
            return GO_ON
        return ask_limit(task, int(task[GROW_PAGES]), 1, GROW_ASK)
    if step == GROW_ASK:
        task[SYS_RESULT] = 0
        task[STEP] = GROW_GOT
        if task[LIMIT_OK]:
            return ask_system(
                task, to_word(int(task[GROW_PAGES]) << PAGE_SHIFT), PAGE_BYTES, GROW_GOT
            )
        return GO_ON
    if step == GROW_GOT:
        return _got(par, task)
    if step == GROW_RECORD:
        _record(words, log, par, int(task[OBJ]), int(task[GROW_PAGES]) << PAGE_SHIFT)
        task[GROW_LEAF_NUMBER] = (task[GROW_PLACE] - 1) >> LEAF_BITS
        task[STEP] = GROW_MAP
        return GO_ON
    if step in (GROW_MAP, GROW_LEAF):
        return _ensure(words, log, par, task)
    assert step == GROW_SPAN
    span, start, nr_pages = int(task[OBJ]), int(task[GROW_PLACE]), int(task[GROW_PAGES])
    init_span(words, log, span, start, nr_pages)
    record_span(words, log, par, start, nr_pages, span)
    return ask_delete(task, span, GROWN)


@compiled
def _got(par: Words, task: Words) -> int:
    """Go on with what the system has given, or ask for less."""
    if task[SYS_RESULT]:
        task[GROW_PLACE] = page_of(int(task[SYS_RESULT]))
        task[GROW_PAGES] = page_of(int(task[SYS_ACTUAL]))
        allocator = int(par[DATA_AT]) + STACKTRACE_ALLOCATOR
        return ask_for_object(task, allocator, STACKTRACE_BYTES, GROW_RECORD)
    if task[NEW_PAGES] < task[GROW_PAGES]:
        task[GROW_PAGES] = task[NEW_PAGES]
        return ask_limit(task, int(task[GROW_PAGES]), 1, GROW_ASK)
    task[STEP] = GROWN
    return GO_ON


@compiled
def _record(words: Words, log: Words, par: Words, record: int, nr_bytes: int) -> None:
    """Record a growth, and count it."""
    data = int(par[DATA_AT])
    store_word(words, log, record, nr_bytes)
    store_word(words, log, record + 8, 0)
    store_word(words, log, record + LAST_PLACE, load_word(words, log, data + GROWTH_STACKS))
    add_to(words, log, data + SYSTEM_BYTES, nr_bytes)
    add_to(words, log, data + COMMITTED_BYTES, nr_bytes)
    add_to(words, log, data + TOTAL_COMMIT_BYTES, nr_bytes)
    add_to(words, log, data + TOTAL_RESERVE_BYTES, nr_bytes)
    add_to(words, log, data + RESERVE_COUNT, 1)
    add_to(words, log, data + COMMIT_COUNT, 1)
    store_word(words, log, data + GROWTH_STACKS, record)


@compiled
def _ensure(words: Words, log: Words, par: Words, task: Words) -> int:
    """Let the map have leaves for the new pages, and for one before and one behind (Ensure)."""
    root = int(par[DATA_AT]) + PAGEMAP_ROOT
    if task[STEP] == GROW_LEAF:
        leaf = int(task[META_RESULT])
        if leaf == 0:
            task[GROW_PLACE] = 0
            task[STEP] = GROWN
            return GO_ON
        clear_words(words, log, leaf, LEAF_BYTES)
        store_word(words, log, root + 8 * task[GROW_LEAF_NUMBER], leaf)
    last = (task[GROW_PLACE] + task[GROW_PAGES]) >> LEAF_BITS
    while task[GROW_LEAF_NUMBER] <= last:
        if task[GROW_LEAF_NUMBER] >= ROOT_LENGTH:
            task[GROW_PLACE] = 0
            task[STEP] = GROWN
            return GO_ON
        if load_word(words, log, root + 8 * task[GROW_LEAF_NUMBER]) == 0:
            return ask_metadata(task, LEAF_BYTES, GROW_LEAF)
        task[GROW_LEAF_NUMBER] += 1
    return ask_for_object(task, int(par[DATA_AT]) + SPAN_ALLOCATOR, SPAN_BYTES, GROW_SPAN)
