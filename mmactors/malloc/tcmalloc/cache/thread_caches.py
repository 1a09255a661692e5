"""The caches of all threads: how the library begins, and how one comes and goes.

(src/thread_cache.cc, src/static_vars.cc.) A thread has its cache from its first call on. Until the
library's constructor has run, threads do not remember theirs, but look for it in the list of all:
what main()'s thread had then stays there, but is not used any more, as the constructor comes in
between. Left out: what pthread_setspecific and pthread_atfork do, which is glibc's.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.cache.scavenge import increase_limit
from mmactors.malloc.tcmalloc.cache.thread_cache import init_list, load_int
from mmactors.malloc.tcmalloc.central.central_free_list import heap_lock
from mmactors.malloc.tcmalloc.central.size_map import init_size_map, nr_classes
from mmactors.malloc.tcmalloc.central.transfer_cache import init_central
from mmactors.malloc.tcmalloc.heap.free_lists import list_of
from mmactors.malloc.tcmalloc.heap.page_map import ROOT_LENGTH
from mmactors.malloc.tcmalloc.heap.span import (
    ON_NORMAL_FREELIST,
    ON_RETURNED_FREELIST,
    SPAN_BYTES,
    dll_init,
)
from mmactors.malloc.tcmalloc.heap.span_set import init_set
from mmactors.malloc.tcmalloc.layout import (
    AGGRESSIVE_DECOMMIT,
    CACHED_BYTES,
    IN_SETSPECIFIC,
    LARGE_NORMAL,
    LARGE_RETURNED,
    MAX_CACHED_BYTES,
    MAX_PAGES,
    NEXT_CACHE,
    NEXT_MEMORY_STEAL,
    OVERALL_CACHE_SIZE,
    PAGEMAP_CACHE,
    PAGEMAP_ROOT,
    PER_THREAD_CACHE_SIZE,
    PREV_CACHE,
    RELEASE_INDEX,
    SAMPLED_OBJECTS,
    SAMPLER,
    SCAVENGE_COUNTER,
    SPAN_ALLOCATOR,
    STACKTRACE_ALLOCATOR,
    STACKTRACE_BYTES,
    SYSTEM_BYTES,
    THREAD_CACHE_BYTES,
    THREAD_HEAP_COUNT,
    THREAD_HEAPS,
    THREADCACHE_ALLOCATOR,
    TID,
    UNCLAIMED_CACHE_SPACE,
)
from mmactors.malloc.tcmalloc.steps import (
    CREATE,
    CREATE_INIT,
    CREATE_LOCK,
    CREATE_LOCKED,
    DELETE_CACHE,
    DELETE_CACHE_LOCKED,
    FINISHED,
    INIT_CACHES,
    INIT_LOCKED,
    INIT_SPANS,
    INIT_STACKTRACES,
)
from mmactors.malloc.tcmalloc.system.object_allocator import (
    ask_for_object,
    give_object,
    init_allocator,
    take_object,
)
from mmactors.malloc.tcmalloc.task import (
    AFTER_CREATE,
    CACHE,
    CIRCLE,
    GO_ON,
    OBJ,
    STEP,
    THREAD,
    lock,
    longest_list,
    unlock,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import (
    AGGRESSIVE,
    DATA_AT,
    IS_INITIALIZED,
    MAX_THREAD_CACHE_SIZE,
    MIN_THREAD_CACHE_SIZE,
    OVERALL_CACHE_BYTES,
    TSD_INITED,
)
from mmactors.malloc.user_words import (
    add_to,
    clear_words,
    load_bits,
    load_word,
    note_access,
    store_bits,
    store_word,
)


@compiled
def ask_cache(task: Words, then: int) -> int:
    """Let the next steps give the calling thread a cache, in CACHE."""
    task[AFTER_CREATE] = then
    task[STEP] = CREATE
    return GO_ON


@compiled
def caches_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Do a step of this module's."""
    step, data = task[STEP], int(par[DATA_AT])
    if step == CREATE:
        then = CREATE_LOCKED if par[TSD_INITED] else INIT_LOCKED
        return lock(task, heap_lock(par), then)
    if step == CREATE_LOCK:
        return lock(task, heap_lock(par), CREATE_LOCKED)
    if step == CREATE_LOCKED:
        return _find_cache(words, log, par, task)
    if step == CREATE_INIT:
        _init_cache(words, log, par, task)
        return unlock(task, heap_lock(par), int(task[AFTER_CREATE]))
    if step == DELETE_CACHE:
        return lock(task, heap_lock(par), DELETE_CACHE_LOCKED)
    if step == DELETE_CACHE_LOCKED:
        _unlink_cache(words, log, data, int(task[CACHE]))
        return unlock(task, heap_lock(par), FINISHED)
    if step == INIT_LOCKED:
        if par[IS_INITIALIZED]:
            return unlock(task, heap_lock(par), CREATE_LOCK)
        if par[OVERALL_CACHE_BYTES]:
            set_overall_cache_size(words, log, par, int(par[OVERALL_CACHE_BYTES]))
        init_size_map(words, log, par)
        init_allocator(words, log, data + SPAN_ALLOCATOR)
        return ask_for_object(task, data + SPAN_ALLOCATOR, SPAN_BYTES, INIT_SPANS)
    return _init_step(words, log, par, task)


@compiled
def _init_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Make what all threads share, each allocator with an area (Static::InitStaticVars)."""
    step, data = task[STEP], int(par[DATA_AT])
    if step == INIT_SPANS:
        allocator = data + SPAN_ALLOCATOR
        give_object(words, log, allocator, int(task[OBJ]))
        # Two that nobody uses, to have the others on other lines of the cache.
        take_object(words, log, allocator, SPAN_BYTES)
        take_object(words, log, allocator, SPAN_BYTES)
        allocator = data + STACKTRACE_ALLOCATOR
        init_allocator(words, log, allocator)
        return ask_for_object(task, allocator, STACKTRACE_BYTES, INIT_STACKTRACES)
    allocator = data + THREADCACHE_ALLOCATOR
    if step == INIT_STACKTRACES:
        give_object(words, log, data + STACKTRACE_ALLOCATOR, int(task[OBJ]))
        for number in range(nr_classes(words, log, par)):
            init_central(words, log, par, number)
        _init_page_heap(words, log, par)
        init_allocator(words, log, allocator)
        return ask_for_object(task, allocator, THREAD_CACHE_BYTES, INIT_CACHES)
    give_object(words, log, allocator, int(task[OBJ]))
    par[IS_INITIALIZED] = 1
    return unlock(task, heap_lock(par), CREATE_LOCK)


@compiled
def _init_page_heap(words: Words, log: Words, par: Words) -> None:
    """Make an empty page heap (PageHeap::PageHeap)."""
    data = int(par[DATA_AT])
    # Its words begin as those of the table do (page_map.py).
    note_access(log, data + PAGEMAP_CACHE, PAGEMAP_ROOT - PAGEMAP_CACHE, 1)
    clear_words(words, log, data + PAGEMAP_ROOT, 8 * ROOT_LENGTH)
    init_set(words, log, data + LARGE_NORMAL)
    init_set(words, log, data + LARGE_RETURNED)
    clear_words(words, log, data + SYSTEM_BYTES, SCAVENGE_COUNTER + 8 - SYSTEM_BYTES)
    store_bits(words, log, data + RELEASE_INDEX, 4, MAX_PAGES)
    for nr_pages in range(1, MAX_PAGES + 1):
        dll_init(words, log, list_of(par, nr_pages, ON_NORMAL_FREELIST))
        dll_init(words, log, list_of(par, nr_pages, ON_RETURNED_FREELIST))
    store_bits(words, log, data + AGGRESSIVE_DECOMMIT, 1, int(par[AGGRESSIVE]))
    dll_init(words, log, data + SAMPLED_OBJECTS)


@compiled
def _find_cache(words: Words, log: Words, par: Words, task: Words) -> int:
    """Look for a thread's cache while it cannot remember it, or begin to make one."""
    data = int(par[DATA_AT])
    if not par[TSD_INITED]:
        left = longest_list(words)
        cache = load_word(words, log, data + THREAD_HEAPS)
        while cache:
            left -= 1
            if left < 0:
                return CIRCLE
            if load_word(words, log, cache + TID) == task[THREAD] + 1:
                task[CACHE] = cache
                return unlock(task, heap_lock(par), int(task[AFTER_CREATE]))
            cache = load_word(words, log, cache + NEXT_CACHE)
    return ask_for_object(task, data + THREADCACHE_ALLOCATOR, THREAD_CACHE_BYTES, CREATE_INIT)


@compiled
def _init_cache(words: Words, log: Words, par: Words, task: Words) -> None:
    """Make an empty cache, and list it (NewHeap, ThreadCache::Init).

    Its thread is written there by its number, from 1, where the library has glibc's descriptor.
    """
    data, cache = int(par[DATA_AT]), int(task[OBJ])
    task[CACHE] = cache
    store_bits(words, log, cache + CACHED_BYTES, 4, 0)
    store_bits(words, log, cache + MAX_CACHED_BYTES, 4, 0)
    increase_limit(words, log, par, cache)
    if load_int(words, log, cache + MAX_CACHED_BYTES) == 0:
        store_bits(words, log, cache + MAX_CACHED_BYTES, 4, MIN_THREAD_CACHE_SIZE)
        add_to(words, log, data + UNCLAIMED_CACHE_SPACE, -MIN_THREAD_CACHE_SIZE)
    store_word(words, log, cache + NEXT_CACHE, 0)
    store_word(words, log, cache + PREV_CACHE, 0)
    store_word(words, log, cache + TID, int(task[THREAD]) + 1)
    store_bits(words, log, cache + IN_SETSPECIFIC, 1, 0)
    for number in range(nr_classes(words, log, par)):
        init_list(words, log, par, cache, number)
    # Nothing is sampled: the sampler's numbers are of no use.
    note_access(log, cache + SAMPLER, 16, 1)
    first = load_word(words, log, data + THREAD_HEAPS)
    store_word(words, log, cache + NEXT_CACHE, first)
    store_word(words, log, cache + PREV_CACHE, 0)
    if first:
        store_word(words, log, first + PREV_CACHE, cache)
    else:
        store_word(words, log, data + NEXT_MEMORY_STEAL, cache)
    store_word(words, log, data + THREAD_HEAPS, cache)
    count = load_bits(words, log, data + THREAD_HEAP_COUNT, 4)
    store_bits(words, log, data + THREAD_HEAP_COUNT, 4, count + 1)


@compiled
def _unlink_cache(words: Words, log: Words, data: int, cache: int) -> None:
    """Let an empty cache go, and what it could claim (DeleteCache)."""
    behind = load_word(words, log, cache + NEXT_CACHE)
    before = load_word(words, log, cache + PREV_CACHE)
    if behind:
        store_word(words, log, behind + PREV_CACHE, before)
    if before:
        store_word(words, log, before + NEXT_CACHE, behind)
    if load_word(words, log, data + THREAD_HEAPS) == cache:
        store_word(words, log, data + THREAD_HEAPS, behind)
    count = load_bits(words, log, data + THREAD_HEAP_COUNT, 4)
    store_bits(words, log, data + THREAD_HEAP_COUNT, 4, count - 1)
    if load_word(words, log, data + NEXT_MEMORY_STEAL) == cache:
        store_word(words, log, data + NEXT_MEMORY_STEAL, behind)
    if load_word(words, log, data + NEXT_MEMORY_STEAL) == 0:
        first = load_word(words, log, data + THREAD_HEAPS)
        store_word(words, log, data + NEXT_MEMORY_STEAL, first)
    most = load_int(words, log, cache + MAX_CACHED_BYTES)
    add_to(words, log, data + UNCLAIMED_CACHE_SPACE, most)
    give_object(words, log, data + THREADCACHE_ALLOCATOR, cache)


@compiled
def set_overall_cache_size(words: Words, log: Words, par: Words, nr_bytes: int) -> None:
    """Let all caches together have so many bytes before any has any (RecomputePerThreadCacheSize).

    As the library begins; what it makes of caches that there are then is left out.
    """
    data = int(par[DATA_AT])
    nr_bytes = min(max(nr_bytes, MIN_THREAD_CACHE_SIZE), 1 << 30)
    store_word(words, log, data + OVERALL_CACHE_SIZE, nr_bytes)
    store_word(words, log, data + UNCLAIMED_CACHE_SPACE, nr_bytes)
    each = min(max(nr_bytes, MIN_THREAD_CACHE_SIZE), MAX_THREAD_CACHE_SIZE)
    store_word(words, log, data + PER_THREAD_CACHE_SIZE, each)
