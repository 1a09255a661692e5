"""glibc's low-level lock (sysdeps/nptl/lowlevellock.h, nptl/lowlevellock.c, glibc 2.36).

Theory of operation. Who finds the word (user_lock.py) taken makes it 2, and has the lock if it was
0 until then; else he sleeps in the kernel as long as it is 2. Who gives it back wakes one sleeper
if it was 2. Who had to sleep leaves a 2 behind that may wake nobody.

Left out: the plain instructions of a process that has one thread only (SINGLE_THREAD_P).
"""

from typing import Final

from mmactors.actors.program.futex.user_lock import FREE, UserLock
from mmactors.actors.program.thread import UserThread

CONTENDED: Final = 2
"""Taken, and somebody may sleep."""


class LowLevelLock(UserLock):
    """A word that is locked with lll_lock, lll_trylock and lll_unlock."""

    async def _wait(self, thread: UserThread) -> int | None:
        """Sleep until the word was 0 when it became 2 (__lll_lock_wait)."""
        seen = await self._load(thread)
        if seen != CONTENDED:
            seen = await self._exchange(thread)
        while seen is not None and seen != FREE:
            await self._sleep(thread, CONTENDED)
            if thread.must_end:
                return None
            seen = await self._exchange(thread)
        return seen

    async def _exchange(self, thread: UserThread) -> int | None:
        """Make the word 2, and have the lock if it was 0; return what it was."""

        def exchange(seen: int) -> int:
            if seen == FREE:
                self._take_over(thread.actor)
            return CONTENDED

        return await self._change(thread, "xchg", exchange)
