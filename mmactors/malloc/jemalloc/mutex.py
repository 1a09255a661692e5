"""A lock of the library, malloc_mutex_t, and what is counted about it (jemalloc 5.3.0, mutex.h)."""

from functools import cache
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.par import MUTEX_SPINS
from mmactors.malloc.request import LockKind, LockMutex, LockType, MallocSteps, UnlockMutex
from mmactors.malloc.user_words import UserWords, add_to, load_word, store_bits, store_word

MUTEX_BYTES: Final = 112
LOCK: Final = 64
"""The pthread mutex, in it."""
NR_OWNER_SWITCHES: Final = 40
PREV_OWNER: Final = 48
NR_LOCK_OPS: Final = 56
LOCKED: Final = 104


@compiled
def note_locked(words: Words, log: Words, mutex: int, tsd: int) -> None:
    """Count that a thread, or none (0), has a lock (mutex_owner_stats_update)."""
    store_bits(words, log, mutex + LOCKED, 1, 1)
    add_to(words, log, mutex + NR_LOCK_OPS, 1)
    if load_word(words, log, mutex + PREV_OWNER) != tsd:
        store_word(words, log, mutex + PREV_OWNER, tsd)
        add_to(words, log, mutex + NR_OWNER_SWITCHES, 1)


@compiled
def note_unlocked(words: Words, log: Words, mutex: int) -> None:
    """Write that nobody has a lock."""
    store_bits(words, log, mutex + LOCKED, 1, 0)


class LockUser(Protocol):
    """Who works on a process's words, with its settings."""

    words: UserWords
    par: NDArray[np.int64]


def mutex_kind(user: LockUser) -> LockKind:
    """Return how threads wait for a lock of the library's."""
    return _kind_of(int(user.par[MUTEX_SPINS]))


@cache
def _kind_of(spins: int) -> LockKind:
    return LockKind(LockType.MALLOC_MUTEX, spins)


def lock_mutex(user: LockUser, mutex: int, tsd: int, name: str) -> MallocSteps[None]:
    """Wait for a lock and have it (malloc_mutex_lock)."""
    yield LockMutex(mutex + LOCK, name, mutex_kind(user))
    user.words.make_room()
    note_locked(user.words.words, user.words.log, mutex, tsd)


def unlock_mutex(user: LockUser, mutex: int, name: str) -> MallocSteps[None]:
    """Give a lock back (malloc_mutex_unlock)."""
    user.words.make_room()
    note_unlocked(user.words.words, user.words.log, mutex)
    yield UnlockMutex(mutex + LOCK, name, mutex_kind(user))
