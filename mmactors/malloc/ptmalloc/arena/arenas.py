"""What all arenas of a process have in common (static variables of glibc 2.36's malloc/arena.c).

They lie in libc's own data: no accesses are noted.
"""

from typing import Final

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors import label
from mmactors.label import Mode, Touch, Touches, WantsStep, never
from mmactors.malloc.library import MallocFaultError
from mmactors.malloc.ptmalloc.malloc_par import MAIN_ARENA
from mmactors.malloc.ptmalloc.malloc_state import MUTEX, NEXT
from mmactors.malloc.request import InitMutex, LockMutex, TrylockMutex, UnlockMutex
from mmactors.malloc.user_words import UserWords
from mmactors.rules import Rules

_FREE_LIST_LOCK: Final = 12
"""Bytes from list_lock to free_list_lock (2.36-9+deb12u14 of Debian 12, x86-64)."""


@define(eq=False, kw_only=True)
class Arenas:
    """Which arenas there are, and who allocates from which."""

    words: UserWords
    par: NDArray[np.int64]
    thread_arena: NDArray[np.int64]
    """By thread the arena that it allocates from; 0: it has none yet, or none any more."""
    locks_at: int
    """The address of list_lock's word, behind which is that of free_list_lock."""
    nr_cpus: int
    """CPUs that are online."""
    may_shrink_heap: bool = False
    """Whether vm.overcommit_memory is 2 (check_may_shrink_heap)."""
    rules: Rules
    number: int = 0
    """The process's number in the names of objects."""
    wants_step: WantsStep = never

    narenas: int = 1
    narenas_limit: int = 0
    """0: there is none yet."""
    free_list: int = 0
    """The arena that its last thread left most recently; its next_free says the one before."""
    next_to_use: int = 0
    """Where the next walk for an arena to share begins; 0: at the main one."""
    aligned_heap_area: int = 0
    """Where the next heap is tried to be put; 0: anywhere."""

    list_lock: LockMutex = field(init=False)
    """Of the list of all arenas; it orders forks, too."""
    list_unlock: UnlockMutex = field(init=False)
    free_list_lock: LockMutex = field(init=False)
    """Of free_list, next_free and attached_threads."""
    free_list_unlock: UnlockMutex = field(init=False)

    def __attrs_post_init__(self) -> None:
        free_list_lock = self.locks_at + _FREE_LIST_LOCK, "free_list_lock"
        list_lock = self.locks_at, "list_lock"
        if not self.rules.free_list_has_its_own_lock:
            free_list_lock = list_lock
        self.list_lock, self.list_unlock = LockMutex(*list_lock), UnlockMutex(*list_lock)
        self.free_list_lock = LockMutex(*free_list_lock)
        self.free_list_unlock = UnlockMutex(*free_list_lock)

    @property
    def main_arena(self) -> int:
        """The main arena's address."""
        return int(self.par[MAIN_ARENA])

    def after(self, arena: int) -> int:
        """Return the arena that follows in the list of all. MallocFaultError."""
        found = self.words.load(arena + NEXT)
        if found <= 0:
            raise MallocFaultError
        return found

    def lock(self, arena: int) -> LockMutex:
        """Make the request for an arena's mutex."""
        return LockMutex(arena + MUTEX, self._mutex(arena))

    def trylock(self, arena: int) -> TrylockMutex:
        """Make the request for an arena's mutex if nobody has it."""
        return TrylockMutex(arena + MUTEX, self._mutex(arena))

    def unlock(self, arena: int) -> UnlockMutex:
        """Make the request to give an arena's mutex back."""
        return UnlockMutex(arena + MUTEX, self._mutex(arena))

    def init(self, lock: LockMutex) -> InitMutex:
        """Make the request to let a lock be free."""
        return InitMutex(lock.word, lock.name)

    def _mutex(self, arena: int) -> str:
        return "main_arena.mutex" if arena == self.main_arena else "arena.mutex"

    def touches_arena(self, arena: int, mode: Mode) -> Touch:
        """Say that a step touches what an arena's mutex guards."""
        return label.malloc_state(self.number, arena), mode

    def touches_free_list(self, mode: Mode) -> Touch:
        """Say that a step touches the list of arenas without threads, or who is attached to one."""
        return label.arena_free_list(self.number), mode

    def touches_list(self, mode: Mode) -> Touch:
        """Say that a step touches the list of all arenas, or how many there are."""
        return label.arena_list(self.number), mode

    def touches_par(self, mode: Mode) -> Touch:
        """Say that a step touches the parameters, which no lock guards."""
        return label.malloc_par(self.number), mode

    def touches_all_of(self, arena: int, mode: Mode) -> Touches:
        """Say that a step touches an arena's fastbins, too, which its mutex does not guard."""
        return self.touches_arena(arena, mode), (label.fastbins(self.number, arena), mode)
