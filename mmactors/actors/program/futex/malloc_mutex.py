"""jemalloc's malloc_mutex (jemalloc 5.3.0, include/jemalloc/internal/mutex.h, src/mutex.c).

Theory of operation. It is a pthread mutex of the default kind, so glibc's low-level lock
(lowlevellock.py), with a flag behind it that says that somebody has it. Who finds it taken looks at
the flag again and again, up to opt.mutex_max_spin times and one, if there are several CPUs, and
tries the lock whenever the flag is off; then he tries once more, and sleeps as pthread_mutex_lock
does. The flag is only a hint: it is set after the lock was taken, and after one has tried it in
vain, but not after one has tried it with success.

How often threads have waited, and how long, stands before the lock in the library's own words
(mutex_prof_data_t); what every acquisition counts there is the library's own business.

Left out: owner and number of users of the pthread mutex, which lie in its word's cache line.
"""

from typing import Final

from mmactors.actors.program.futex.futex import Futexes
from mmactors.actors.program.futex.lowlevellock import LowLevelLock
from mmactors.actors.program.futex.spinning import Spinning
from mmactors.actors.program.futex.user_lock import FREE, TAKEN, UserWord
from mmactors.actors.program.futex.user_word import load_word, store_word
from mmactors.actors.program.thread import UserThread
from mmactors.engine.actor import Actor
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Nesting
from mmactors.label import Mode
from mmactors.malloc.user_words import UserWords

WORD: Final = 64
"""Where the word of the pthread mutex lies in a malloc_mutex_t."""
LOCKED: Final = 104
"""Where the flag lies there."""
TOT_WAIT_TIME: Final = 0
MAX_WAIT_TIME: Final = 8
N_WAIT_TIMES: Final = 16
N_SPIN_ACQUIRED: Final = 24
MAX_N_THDS: Final = 32
"""Of 4 bytes; the 4 above it are n_waiting_thds."""
_HALF: Final = 32
_LOW: Final = (1 << _HALF) - 1


class MallocMutex(LowLevelLock):
    """A malloc_mutex_t, locked with malloc_mutex_lock, _trylock and _unlock."""

    def __init__(
        self,
        futexes: Futexes,
        name: str,
        word: UserWord,
        *,
        spins: int,
        words: UserWords,
    ) -> None:
        """`word` is that of the pthread mutex; `words` are the library's.

        `spins`: how often a thread looks before it sleeps, 0 with one CPU, FOR_EVER if it never
        does.
        """
        super().__init__(futexes, name, word)
        self._spins: Final = spins
        self._words: Final = words
        self._struct: Final = word.address - WORD
        self._spinning: Final = Spinning(futexes.kernel, self.name)
        self._flag = FREE
        """Where it is not in memory."""

    async def acquire(self, thread: UserThread, nesting: Nesting = TOP_LEVEL) -> bool:
        """Take the lock; spin, and sleep, as long as others have it; False: see UserLock."""
        if not await super().acquire(thread, nesting):
            return False
        await self._set_flag(thread, TAKEN)
        return True

    async def try_acquire(self, thread: UserThread) -> bool:
        """Take the lock if it is free; return whether it was."""
        is_taken = await super().try_acquire(thread)
        if not is_taken:
            await self._set_flag(thread, TAKEN)
        return is_taken

    async def release(self, thread: UserThread) -> None:
        """Give the lock back, and wake one who sleeps for it."""
        await self._set_flag(thread, FREE)
        await super().release(thread)

    def _give_back(self, actor: Actor) -> None:
        super()._give_back(actor)
        self._spinning.tell(actor.clock.now)

    async def _wait(self, thread: UserThread) -> int | None:
        """Do what malloc_mutex_lock does when the lock is not free (malloc_mutex_lock_slow)."""
        if await self._spinning.spin(thread, self._spins, lambda: self._try_if_off(thread)):
            self._count(N_SPIN_ACQUIRED, 1)
            return FREE
        if thread.must_end:
            return None
        asked_ns = thread.actor.clock.now
        nr_waiting = self._add_waiting(1)
        # A search needs one of two attempts with nothing between them.
        if not self._engine.is_exploring and await self._take_if_free(thread, TAKEN) == FREE:
            self._add_waiting(-1)
            self._count(N_SPIN_ACQUIRED, 1)
            return FREE
        seen = await self._take_if_free(thread, TAKEN)
        if seen != FREE and seen is not None:
            seen = await super()._wait(thread)
        self._add_waiting(-1)
        if seen == FREE:
            self._account(thread.actor.clock.now - asked_ns, nr_waiting)
        return seen

    async def _try_if_off(self, thread: UserThread) -> bool:
        """Try the lock if the flag is off; return whether the thread has it."""
        if self.in_memory:
            flag = await load_word(thread, self._struct + LOCKED)
        else:
            flag = self._flag
        return flag == FREE and await self._take_if_free(thread, TAKEN) == FREE

    async def _set_flag(self, thread: UserThread, value: int) -> None:
        if self.in_memory:
            await store_word(thread, self._struct + LOCKED, value)
        else:
            self._flag = value

    # -- what is counted -------------------------------------------------------------------------

    def _add_waiting(self, number: int) -> int:
        """Count who waits; return how many do (n_waiting_thds)."""
        self._engine.touch(self.name, Mode.WRITE)
        counts = self._words.load(self._struct + MAX_N_THDS)
        self._words.store(self._struct + MAX_N_THDS, counts + (number << _HALF))
        return (counts >> _HALF & _LOW) + number

    def _count(self, place: int, number: int) -> None:
        """Add to a counter, as who has the lock does."""
        self._words.store(self._struct + place, self._words.load(self._struct + place) + number)

    def _account(self, waited_ns: int, nr_waiting: int) -> None:
        """Count a wait that spinning did not end."""
        words, struct = self._words, self._struct
        self._count(N_WAIT_TIMES, 1)
        self._count(TOT_WAIT_TIME, waited_ns)
        if words.load(struct + MAX_WAIT_TIME) < waited_ns:
            words.store(struct + MAX_WAIT_TIME, waited_ns)
        counts = words.load(struct + MAX_N_THDS)
        if counts & _LOW < nr_waiting:
            words.store(struct + MAX_N_THDS, counts & ~_LOW | nr_waiting)
