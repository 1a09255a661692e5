"""Pages given back to the system, and how much may be had of it (src/page_heap.cc).

Free spans are given back one from each list in turn, the oldest of a list, the smallest of the set,
until there were enough. Their addresses stay: such spans are used again like any other.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.heap.free_lists import list_of, remove_from_free_list, set_of
from mmactors.malloc.tcmalloc.heap.span import (
    ON_NORMAL_FREELIST,
    ON_RETURNED_FREELIST,
    PREV,
    length_of,
    set_location,
    start_of,
)
from mmactors.malloc.tcmalloc.heap.span_set import first_of
from mmactors.malloc.tcmalloc.layout import (
    COMMITTED_BYTES,
    DECOMMIT_COUNT,
    FREE_BYTES,
    MAX_PAGES,
    PAGE_SHIFT,
    RELEASE_INDEX,
    TOTAL_DECOMMIT_BYTES,
    UNMAPPED_BYTES,
)
from mmactors.malloc.tcmalloc.steps import (
    DECOMMIT,
    DECOMMIT_ANSWERED,
    ENSURE_LIMIT,
    LIMIT_RELEASED,
    MERGE,
    RELEASE,
    RELEASE_DECOMMITTED,
    RELEASE_MERGED,
)
from mmactors.malloc.tcmalloc.task import (
    AFTER_DECOMMIT,
    AFTER_LIMIT,
    AFTER_MERGE,
    AFTER_RELEASE,
    ANSWER,
    CIRCLE,
    DECOMMIT_SPAN,
    DECOMMITTED,
    GO_ON,
    LIMIT_OK,
    LIMIT_PAGES,
    LIMIT_RELEASES,
    LIMIT_TAKEN,
    MADVISE,
    MERGE_SPAN,
    RELEASE_LISTS,
    RELEASE_PAGES,
    RELEASE_SPAN,
    RELEASE_WANTED,
    RELEASED,
    REQUEST,
    REQUEST_BYTES,
    STEP,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import (
    DATA_AT,
    DISABLE_RELEASE,
    HEAP_LIMIT_PAGES,
    SYSTEM_TAKEN,
)
from mmactors.malloc.user_words import add_to, load_bits, load_word, store_bits

_EAGAIN: Final = 11
_INT_SIGN: Final = 1 << 31


@compiled
def ask_decommit(task: Words, span: int, then: int) -> int:
    """Let the next steps give back a span's pages; DECOMMITTED says whether they were."""
    task[DECOMMIT_SPAN] = span
    task[AFTER_DECOMMIT] = then
    task[STEP] = DECOMMIT
    return GO_ON


@compiled
def ask_release(task: Words, nr_pages: int, then: int) -> int:
    """Let the next steps give back so many pages at least, if there are: RELEASED says how many."""
    task[RELEASE_WANTED] = nr_pages
    task[AFTER_RELEASE] = then
    task[STEP] = RELEASE
    return GO_ON


@compiled
def ask_limit(task: Words, nr_pages: int, releases: int, then: int) -> int:
    """Let the next steps see whether so many more pages may be in use: LIMIT_OK.

    With `releases` free pages are given back for it.
    """
    task[LIMIT_PAGES] = nr_pages
    task[LIMIT_RELEASES] = releases
    task[AFTER_LIMIT] = then
    task[STEP] = ENSURE_LIMIT
    return GO_ON


@compiled
def release_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Do a step of this module's."""
    step = task[STEP]
    if step in (DECOMMIT, DECOMMIT_ANSWERED):
        return _decommit(words, log, par, task)
    if step in (ENSURE_LIMIT, LIMIT_RELEASED):
        return _ensure_limit(words, log, par, task)
    if step == RELEASE:
        task[RELEASED] = 0
        task[RELEASE_LISTS] = 0
    elif step == RELEASE_DECOMMITTED:
        return _end_release(words, log, par, task)
    elif step == RELEASE_MERGED:
        task[RELEASED] += task[RELEASE_PAGES]
        _next_list(words, log, par, task)
    return _release_next(words, log, par, task)


@compiled
def _decommit(words: Words, log: Words, par: Words, task: Words) -> int:
    """Give back a span's pages (DecommitSpan, TCMalloc_SystemRelease)."""
    span, data = int(task[DECOMMIT_SPAN]), int(par[DATA_AT])
    nr_bytes = length_of(words, log, span) << PAGE_SHIFT
    if task[STEP] == DECOMMIT:
        add_to(words, log, data + DECOMMIT_COUNT, 1)
        task[DECOMMITTED] = 0
        task[STEP] = task[AFTER_DECOMMIT]
        if par[DISABLE_RELEASE] or nr_bytes == 0:
            return GO_ON
    elif task[ANSWER] != -_EAGAIN:
        task[STEP] = task[AFTER_DECOMMIT]
        task[DECOMMITTED] = 1 if task[ANSWER] == 0 else 0
        if task[DECOMMITTED]:
            add_to(words, log, data + COMMITTED_BYTES, -nr_bytes)
            add_to(words, log, data + TOTAL_DECOMMIT_BYTES, nr_bytes)
        return GO_ON
    task[REQUEST] = start_of(words, log, span) << PAGE_SHIFT
    task[REQUEST_BYTES] = nr_bytes
    task[STEP] = DECOMMIT_ANSWERED
    return MADVISE


@compiled
def _release_index(words: Words, log: Words, par: Words) -> int:
    index = load_bits(words, log, int(par[DATA_AT]) + RELEASE_INDEX, 4)
    return (index ^ _INT_SIGN) - _INT_SIGN


@compiled
def _set_release_index(words: Words, log: Words, par: Words, index: int) -> None:
    store_bits(words, log, int(par[DATA_AT]) + RELEASE_INDEX, 4, index)


@compiled
def _next_list(words: Words, log: Words, par: Words, task: Words) -> None:
    task[RELEASE_LISTS] += 1
    _set_release_index(words, log, par, _release_index(words, log, par) + 1)


@compiled
def _release_next(words: Words, log: Words, par: Words, task: Words) -> int:
    """Look for the next span to give back, from the list on that is next in turn."""
    data = int(par[DATA_AT])
    had_round = False
    while task[RELEASED] < task[RELEASE_WANTED]:
        if task[RELEASE_LISTS] > MAX_PAGES or task[RELEASE_LISTS] == 0:
            if load_word(words, log, data + FREE_BYTES) == 0:
                break
            if had_round:
                return CIRCLE
            had_round = True
            task[RELEASE_LISTS] = 0
        index = _release_index(words, log, par)
        if index > MAX_PAGES:
            index = 0
            _set_release_index(words, log, par, 0)
        span = 0
        if index == MAX_PAGES:
            span = first_of(words, log, set_of(par, ON_NORMAL_FREELIST))
        else:
            head = list_of(par, index + 1, ON_NORMAL_FREELIST)
            last = load_word(words, log, head + PREV)
            span = last if last != head else 0
        if span:
            task[RELEASE_SPAN] = span
            return ask_decommit(task, span, RELEASE_DECOMMITTED)
        _next_list(words, log, par, task)
    task[STEP] = task[AFTER_RELEASE]
    return GO_ON


@compiled
def _end_release(words: Words, log: Words, par: Words, task: Words) -> int:
    """Let a span whose pages were given back join others of its kind (ReleaseSpan)."""
    if not task[DECOMMITTED]:
        task[STEP] = task[AFTER_RELEASE]
        return GO_ON
    span = int(task[RELEASE_SPAN])
    remove_from_free_list(words, log, par, span)
    task[RELEASE_PAGES] = length_of(words, log, span)
    set_location(words, log, span, ON_RETURNED_FREELIST)
    task[MERGE_SPAN] = span
    task[AFTER_MERGE] = RELEASE_MERGED
    task[STEP] = MERGE
    return GO_ON


@compiled
def _ensure_limit(words: Words, log: Words, par: Words, task: Words) -> int:
    """See whether more pages may be in use; those given back do not count (EnsureLimit)."""
    limit, wanted = int(par[HEAP_LIMIT_PAGES]), int(task[LIMIT_PAGES])
    task[LIMIT_OK] = 1
    if limit:
        if task[STEP] == ENSURE_LIMIT:
            unmapped = load_word(words, log, int(par[DATA_AT]) + UNMAPPED_BYTES)
            task[LIMIT_TAKEN] = (par[SYSTEM_TAKEN] >> PAGE_SHIFT) - (unmapped >> PAGE_SHIFT)
            if task[LIMIT_TAKEN] + wanted > limit and task[LIMIT_RELEASES]:
                return ask_release(task, int(task[LIMIT_TAKEN]) + wanted - limit, LIMIT_RELEASED)
        else:
            task[LIMIT_TAKEN] -= task[RELEASED]
        task[LIMIT_OK] = 1 if task[LIMIT_TAKEN] + wanted <= limit else 0
    task[STEP] = task[AFTER_LIMIT]
    return GO_ON
