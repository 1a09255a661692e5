"""What malloc does around a fork of a process with threads (malloc/arena.c, posix/fork.c)."""

from mmactors.malloc.ptmalloc.arena.arena import all_arenas
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.malloc_state import ATTACHED_THREADS, NEXT_FREE
from mmactors.malloc.request import MallocSteps


def fork_lock_parent(arenas: Arenas) -> MallocSteps[None]:
    """Lock all arenas, so that the child finds none that somebody is about to change."""
    yield arenas.list_lock
    for arena in all_arenas(arenas):
        yield arenas.lock(arena)


def fork_unlock_parent(arenas: Arenas) -> MallocSteps[None]:
    """Unlock all arenas in the parent."""
    for arena in all_arenas(arenas):
        yield arenas.unlock(arena)
    yield arenas.list_unlock


def fork_unlock_child(arenas: Arenas, thread: int) -> MallocSteps[None]:
    """Let a child's locks be free, which were copied as they were held in the parent.

    Its only thread is attached to its arena; all others go to the free list.
    """
    words, own = arenas.words, int(arenas.thread_arena[thread])
    yield arenas.init(arenas.free_list_lock)
    if own:
        words.store(own + ATTACHED_THREADS, 1)
    arenas.free_list = 0
    for arena in all_arenas(arenas):
        yield arenas.init(arenas.lock(arena))
        if arena != own:
            words.store(arena + ATTACHED_THREADS, 0)
            words.store(arena + NEXT_FREE, arenas.free_list)
            arenas.free_list = arena
    yield arenas.init(arenas.list_lock)
