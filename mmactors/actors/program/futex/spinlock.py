"""tcmalloc's SpinLock (gperftools 2.10, src/base/spinlock.cc, spinlock_linux-inl.h).

Theory of operation. Who finds the word (user_lock.py) taken looks at it up to 1000 times where
there are several CPUs, else once; then he takes it by compare-and-exchange from 0 to 2 if he can: 2
says that somebody may sleep, as it may be that others do. Else he lets a 1 become a 2 and sleeps in
the kernel as long as the word is what he saw, but for a limited time, and begins anew. Who gives
the lock back wakes one sleeper if the word was not 1; it need not have been taken at all.

How long one sleeps at most is drawn from a generator that all locks of a process share: up to 16 ms
at first, twice as much after every eighth sleep for one acquisition, 256 ms from the 32nd on.

In a search, where nobody knows the time, only the first sleep for an acquisition may end by itself:
who comes back and finds nothing changed stands where he stood, so that any of his sleeps could be
that one; and who has to be woken is, so that nobody depends on it.
"""

from typing import Final

from attrs import define

from mmactors.actors.program.futex.futex import Futexes
from mmactors.actors.program.futex.spinning import Spinning
from mmactors.actors.program.futex.user_lock import FREE, TAKEN, UserLock, UserWord
from mmactors.actors.program.thread import UserThread
from mmactors.engine.actor import Actor
from mmactors.units import ULONG_MAX

SLEEPER: Final = 2
"""Taken, and somebody may sleep (kSpinLockSleeper)."""
_FUTEX_FACTOR: Final = 16
"""By which a delay is longer where a wake-up is expected (SpinLockDelay)."""
_MAX_LOOP: Final = 32
_RANDOM_BITS: Final = 48


@define(eq=False)
class SpinDelays:
    """How long threads of a process sleep for spinlocks (SuggestedDelayNS)."""

    _random: int = 0

    def next_ns(self, loop: int) -> int:
        """Return the longest duration of the sleep number `loop` for an acquisition, from 1 on."""
        self._random = (0x5DEECE66D * self._random + 0xB) & ULONG_MAX
        bits = 20 + (min(loop, _MAX_LOOP) >> 3)
        low = self._random & ((1 << _RANDOM_BITS) - 1)
        return (low >> (_RANDOM_BITS - bits)) * _FUTEX_FACTOR

    def copy(self) -> "SpinDelays":
        """Return those of a child that was forked."""
        return SpinDelays(self._random)


class SpinLock(UserLock):
    """A word that is locked with SpinLock::Lock, TryLock and Unlock."""

    def __init__(
        self,
        futexes: Futexes,
        name: str,
        word: UserWord,
        *,
        spins: int,
        delays: SpinDelays,
    ) -> None:
        """`spins`: how often a thread looks before it sleeps (adaptive_spin_count); 0 is as 1."""
        super().__init__(futexes, name, word)
        self._spins: Final = spins
        self._delays: Final = delays
        self._spinning: Final = Spinning(futexes.kernel, self.name)

    async def _wait(self, thread: UserThread) -> int | None:
        """Spin, and sleep, until the word was 0 when it became 2 (SlowLock)."""
        seen = await self._spin(thread)
        loop = 0
        while seen is not None and seen != FREE:
            if seen == TAKEN:
                seen = await self._mark(thread)
                if seen == FREE:
                    seen = await self._take_if_free(thread, SLEEPER)
                    continue
                if seen is None:
                    return None
                if seen == TAKEN:
                    seen = SLEEPER
            loop += 1
            await self._sleep(thread, seen, self._longest_ns(loop))
            if thread.must_end:
                return None
            seen = await self._spin(thread)
        return seen

    def _longest_ns(self, loop: int) -> int | None:
        """Return for how long the sleep number `loop` for an acquisition may last; None: for ever.

        Nothing is drawn in a search, which does not know of the generator and needs no times.
        """
        if not self._engine.is_exploring:
            return self._delays.next_ns(loop)
        return 0 if loop == 1 else None

    async def _spin(self, thread: UserThread) -> int | None:
        """Look until the word is 0 or often enough; then take the lock if it is (SpinLoop)."""

        async def is_free() -> bool:
            seen = await self._load(thread)
            return seen is None or seen == FREE

        if not self._engine.is_exploring and not await is_free():
            await self._spinning.spin(thread, max(self._spins - 1, 0), is_free)
        return await self._take_if_free(thread, SLEEPER)

    async def _mark(self, thread: UserThread) -> int | None:
        """Let a 1 become a 2; return what the word was."""
        return await self._change(thread, "mark", lambda seen: SLEEPER if seen == TAKEN else seen)

    def _has_sleepers(self, seen: int) -> bool:
        return seen != TAKEN

    def _give_back(self, actor: Actor) -> None:
        super()._give_back(actor)
        self._spinning.tell(actor.clock.now)
