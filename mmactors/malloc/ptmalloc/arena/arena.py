"""Arenas: which one a thread allocates from (glibc 2.36's malloc/arena.c).

The main arena is the program break's; others have heaps (heap_info.py). A thread keeps the arena
that it got first. A thread that has none gets one that nobody uses any more; else a new one, while
there may be more; else one that others use too, the next one whose mutex is free. The limit, of
the number of CPUs that are online (8e99cc76a2, of the release branch), is computed once.

Lock order: list_lock, arenas' mutexes, free_list_lock. The first look at free_list, the limit, the
walk over the arenas and where it begins are racy, as in glibc.
"""

from collections.abc import Iterator
from typing import Final

from mmactors.label import Label, Mode
from mmactors.malloc.library import MallocCircleError
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.arena.heap_info import AR_PTR, HEAP_INFO, HEAP_SIZE, new_heap
from mmactors.malloc.ptmalloc.chunk import ALIGN_MASK, CHUNK_HDR_SZ, PREV_INUSE, SIZE
from mmactors.malloc.ptmalloc.malloc_par import (
    ARENA_MAX,
    ARENA_TEST,
    NARENAS_PER_CPU,
    TOP_PAD,
)
from mmactors.malloc.ptmalloc.malloc_state import (
    ATTACHED_THREADS,
    MAX_SYSTEM_MEM,
    NEXT,
    NEXT_FREE,
    STATE_SIZE,
    SYSTEM_MEM,
    TOP,
    malloc_init_state,
)
from mmactors.malloc.ptmalloc.messages import malloc_assert
from mmactors.malloc.request import MallocSteps, ask
from mmactors.units import ULONG_MAX

_OVERHEAD: Final = HEAP_INFO + STATE_SIZE + ALIGN_MASK + 1
"""Bytes of a new arena's heap that are not for chunks."""


def arena_get(arenas: Arenas, thread: int, size: int) -> MallocSteps[int]:
    """Lock the arena of a thread that wants `size` bytes; 0: it can have none."""
    arena = int(arenas.thread_arena[thread])
    if not arena:
        return (yield from arena_get2(arenas, thread, size, avoid_arena=0))
    yield arenas.lock(arena)
    return arena


def arena_get_retry(arenas: Arenas, thread: int, arena: int, size: int) -> MallocSteps[int]:
    """Unlock the arena that has no memory, and lock another: the main one, or instead of it any."""
    yield arenas.unlock(arena)
    if arena == arenas.main_arena:
        return (yield from arena_get2(arenas, thread, size, avoid_arena=arena))
    yield arenas.lock(arenas.main_arena)
    return arenas.main_arena


def arena_get2(arenas: Arenas, thread: int, size: int, *, avoid_arena: int) -> MallocSteps[int]:
    """Lock an arena for a thread that has none, or whose own has no memory; 0: it can have none."""
    arena = yield from _get_free_list(arenas, thread)
    if arena:
        return arena
    if arenas.wants_step():
        yield Label("count the arenas", (arenas.touches_list(Mode.WRITE),))
    if not arenas.narenas_limit:
        arenas.narenas_limit = _limit(arenas)
    # A limit of 0 lets there be any number: in C it is compared less one, without sign.
    if arenas.narenas_limit and arenas.narenas >= arenas.narenas_limit:
        return (yield from _reused_arena(arenas, thread, avoid_arena))
    arenas.narenas += 1
    arena = yield from _int_new_arena(arenas, thread, size)
    if not arena:
        if arenas.wants_step():
            yield Label("count one arena less", (arenas.touches_list(Mode.WRITE),))
        arenas.narenas -= 1
    return arena


def _limit(arenas: Arenas) -> int:
    """Return how many arenas there may be; 0: that is not to be known yet."""
    arena_max, arena_test = int(arenas.par[ARENA_MAX]), int(arenas.par[ARENA_TEST])
    if arena_max:
        return arena_max & ULONG_MAX
    if arenas.narenas > arena_test & ULONG_MAX:
        return NARENAS_PER_CPU * arenas.nr_cpus
    return 0


def _get_free_list(arenas: Arenas, thread: int) -> MallocSteps[int]:
    """Lock an arena that no thread uses, and attach the thread to it; 0: there is none."""
    if arenas.wants_step():
        yield Label("read free_list", (arenas.touches_free_list(Mode.READ),))
    if not arenas.free_list:
        return 0
    words = arenas.words
    yield arenas.free_list_lock
    if arenas.wants_step():
        yield Label("take an arena off free_list", (arenas.touches_free_list(Mode.WRITE),))
    arena = arenas.free_list
    if arena:
        arenas.free_list = words.load(arena + NEXT_FREE)
        malloc_assert(
            words.load(arena + ATTACHED_THREADS) == 0,
            "get_free_list",
            "result->attached_threads == 0",
        )
        words.store(arena + ATTACHED_THREADS, 1)
        _detach_arena(arenas, int(arenas.thread_arena[thread]))
    yield arenas.free_list_unlock
    if arena:
        yield arenas.lock(arena)
        arenas.thread_arena[thread] = arena
    return arena


def _detach_arena(arenas: Arenas, replaced_arena: int) -> None:
    """Count one thread less for an arena, if it is one; no list gets what nobody uses then."""
    if replaced_arena:
        attached = arenas.words.load(replaced_arena + ATTACHED_THREADS)
        malloc_assert(attached > 0, "detach_arena", "replaced_arena->attached_threads > 0")
        arenas.words.store(replaced_arena + ATTACHED_THREADS, attached - 1)


def _int_new_arena(arenas: Arenas, thread: int, size: int) -> MallocSteps[int]:
    """Make an arena with a heap, lock it and attach a thread to it; 0: there is no memory."""
    words, top_pad = arenas.words, int(arenas.par[TOP_PAD])
    heap = yield from new_heap(arenas, size + _OVERHEAD, top_pad)
    if not heap:
        # What is wanted may be too large for a heap: it can be mapped by itself.
        heap = yield from new_heap(arenas, _OVERHEAD, top_pad)
        if not heap:
            return 0
    arena = heap + HEAP_INFO
    words.store(heap + AR_PTR, arena)
    words.make_room()
    malloc_init_state(words.words, words.log, arenas.par, arena)
    heap_size = words.load(heap + HEAP_SIZE)
    words.store(arena + ATTACHED_THREADS, 1)
    words.store(arena + MAX_SYSTEM_MEM, heap_size)
    words.store(arena + SYSTEM_MEM, heap_size)
    top = arena + STATE_SIZE
    top += -(top + CHUNK_HDR_SZ) & ALIGN_MASK
    words.store(arena + TOP, top)
    words.store(top + SIZE, heap + heap_size - top | PREV_INUSE)
    replaced_arena = int(arenas.thread_arena[thread])
    arenas.thread_arena[thread] = arena
    yield arenas.list_lock
    if arenas.wants_step():
        yield Label("add an arena to the list", (arenas.touches_list(Mode.WRITE),))
    words.store(arena + NEXT, words.load(arenas.main_arena + NEXT))
    words.store(arenas.main_arena + NEXT, arena)
    yield arenas.list_unlock
    yield arenas.free_list_lock
    if arenas.wants_step():
        yield Label("detach from an arena", (arenas.touches_free_list(Mode.WRITE),))
    _detach_arena(arenas, replaced_arena)
    yield arenas.free_list_unlock
    # Others may have found it in the list meanwhile, and have it locked.
    yield arenas.lock(arena)
    return arena


def _reused_arena(arenas: Arenas, thread: int, avoid_arena: int) -> MallocSteps[int]:
    """Lock an arena that others use too, and attach a thread to it (reused_arena).

    If all are locked it waits for the next one, which is not `avoid_arena`: the thread could get
    no memory there.
    """
    words = arenas.words
    if arenas.wants_step():
        yield Label("read next_to_use", (arenas.touches_list(Mode.READ),))
    first = arena = arenas.next_to_use or arenas.main_arena
    nr_steps = 0
    while not (yield from ask(arenas.trylock(arena))):
        if arenas.wants_step():
            yield Label("read the next arena", (arenas.touches_list(Mode.READ),))
        arena = arenas.after(arena)
        nr_steps += 1
        if nr_steps > arenas.narenas:
            raise MallocCircleError
        if arena == first:
            if arena == avoid_arena:
                arena = arenas.after(arena)
            yield arenas.lock(arena)
            break
    yield arenas.free_list_lock
    if arenas.wants_step():
        yield Label("attach to an arena", (arenas.touches_free_list(Mode.WRITE),))
    _detach_arena(arenas, int(arenas.thread_arena[thread]))
    if arenas.rules.reused_arena_leaves_free_list:
        _remove_from_free_list(arenas, arena)
    words.store(arena + ATTACHED_THREADS, words.load(arena + ATTACHED_THREADS) + 1)
    yield arenas.free_list_unlock
    arenas.thread_arena[thread] = arena
    if arenas.wants_step():
        yield Label("write next_to_use", (arenas.touches_list(Mode.WRITE),))
    arenas.next_to_use = arenas.after(arena)
    return arena


def _remove_from_free_list(arenas: Arenas, arena: int) -> None:
    """Let an arena that gets a thread not be listed as without threads, if it was."""
    words, previous, each = arenas.words, 0, arenas.free_list
    for _ in range(arenas.narenas):
        if not each:
            return
        malloc_assert(
            words.load(each + ATTACHED_THREADS) == 0,
            "remove_from_free_list",
            "p->attached_threads == 0",
        )
        after = words.load(each + NEXT_FREE)
        if each == arena:
            if previous:
                words.store(previous + NEXT_FREE, after)
            else:
                arenas.free_list = after
            return
        previous, each = each, after
    if each:
        raise MallocCircleError


def leave_arena(arenas: Arenas, thread: int) -> MallocSteps[None]:
    """Detach a thread that ends from its arena; what nobody uses then goes to the free list.

    The second half of __malloc_arena_thread_freeres.
    """
    words, arena = arenas.words, int(arenas.thread_arena[thread])
    arenas.thread_arena[thread] = 0
    if not arena:
        return
    yield arenas.free_list_lock
    if arenas.wants_step():
        yield Label("leave an arena", (arenas.touches_free_list(Mode.WRITE),))
    attached = words.load(arena + ATTACHED_THREADS)
    malloc_assert(attached > 0, "__malloc_arena_thread_freeres", "a->attached_threads > 0")
    words.store(arena + ATTACHED_THREADS, attached - 1)
    if attached == 1 or not arenas.rules.free_list_has_arenas_without_threads:
        words.store(arena + NEXT_FREE, arenas.free_list)
        arenas.free_list = arena
    yield arenas.free_list_unlock


def all_arenas(arenas: Arenas) -> Iterator[int]:
    """Walk over the arenas, the main one first, then from the newest to the oldest."""
    arena = arenas.main_arena
    nr_steps = 0
    while nr_steps <= arenas.narenas:
        yield arena
        arena = arenas.after(arena)
        if arena == arenas.main_arena:
            return
        nr_steps += 1
    raise MallocCircleError
