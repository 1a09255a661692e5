"""A lock of the library, malloc_mutex_t, and what is counted about it (jemalloc 5.3.0, mutex.h)."""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.request import LockMutex, MallocSteps, UnlockMutex
from mmactors.malloc.user_words import UserWords, load_word, store_bits, store_word

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
    at = mutex + NR_LOCK_OPS
    store_word(words, log, at, load_word(words, log, at) + 1)
    if load_word(words, log, mutex + PREV_OWNER) != tsd:
        store_word(words, log, mutex + PREV_OWNER, tsd)
        at = mutex + NR_OWNER_SWITCHES
        store_word(words, log, at, load_word(words, log, at) + 1)


@compiled
def note_unlocked(words: Words, log: Words, mutex: int) -> None:
    """Write that nobody has a lock."""
    store_bits(words, log, mutex + LOCKED, 1, 0)


def lock_mutex(words: UserWords, mutex: int, tsd: int, name: str) -> MallocSteps[None]:
    """Wait for a lock and have it (malloc_mutex_lock)."""
    yield LockMutex(mutex + LOCK, name)
    words.make_room()
    note_locked(words.words, words.log, mutex, tsd)


def unlock_mutex(words: UserWords, mutex: int, name: str) -> MallocSteps[None]:
    """Give a lock back (malloc_mutex_unlock)."""
    note_unlocked(words.words, words.log, mutex)
    yield UnlockMutex(mutex + LOCK, name)
