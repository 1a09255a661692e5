"""What programs do with words: atomic operations, futex(2), glibc's low-level locks."""

import errno
from typing import assert_never

from attrs import define, field

from mmactors.actors.program.area_calls import place_of
from mmactors.actors.program.futex.futex import ERESTARTSYS, Futexes, MemoryWord
from mmactors.actors.program.futex.lowlevellock import LowLevelLock
from mmactors.actors.program.futex.user_lock import UserWord
from mmactors.actors.program.futex.user_word import change_word, load_word, store_word
from mmactors.actors.program.thread import UserThread
from mmactors.arch.frame_words import WORD_MASK
from mmactors.workload.operation import futex as op


@define(eq=False)
class FutexCalls:
    """Runs operations on words for all threads of a machine."""

    futexes: Futexes
    _locks: dict[tuple[int, int], LowLevelLock] = field(factory=dict, init=False)
    """By address space and address: what programs have used as locks."""

    async def perform(self, thread: UserThread, call: op.FutexOperation) -> int:
        """Do one operation and return its result; -EFAULT: an access ended with a signal."""
        address = place_of(thread.process, call.address)
        match call:
            case op.FutexWait():
                return await self.futexes.wait(
                    thread,
                    MemoryWord(address),
                    call.value,
                    timeout_ns=call.timeout_ns,
                    bitset=call.bitset,
                    shared=call.shared,
                )
            case op.FutexWake(count=count, bitset=bitset, shared=shared):
                return await self.futexes.wake(thread, address, count, bitset=bitset, shared=shared)
            case op.LllLock() | op.LllTrylock() | op.LllUnlock():
                return await self._lock(thread, address, call)
            case op.AtomicLoad():
                seen = await load_word(thread, address)
            case op.AtomicStore(value=value):
                seen = await store_word(thread, address, value)
                seen = None if seen is None else 0
            case op.AtomicExchange(value=value):
                seen = await change_word(thread, address, lambda _: value)
            case op.AtomicFetchAdd(value=value):
                seen = await change_word(thread, address, lambda word: word + value & WORD_MASK)
            case op.AtomicCompareExchange(expected=expected, desired=desired):
                seen = await change_word(
                    thread, address, lambda word: desired if word == expected else word
                )
            case _:
                assert_never(call)
        return -errno.EFAULT if seen is None else seen

    async def _lock(
        self, thread: UserThread, address: int, call: op.LllLock | op.LllTrylock | op.LllUnlock
    ) -> int:
        lock = self._lock_at(thread, address, f"{thread.process.comm}.{call.address}")
        match call:
            case op.LllLock():
                return 0 if await lock.acquire(thread) else -ERESTARTSYS
            case op.LllTrylock():
                return int(await lock.try_acquire(thread))
            case op.LllUnlock():
                await lock.release(thread)
                return 0

    def _lock_at(self, thread: UserThread, address: int, name: str) -> LowLevelLock:
        """Return the lock that a word is; named as the program has called it first."""
        ctx_id = thread.space.mm.ctx_id
        lock = self._locks.get((ctx_id, address))
        if lock is None:
            word = UserWord(ctx_id=ctx_id, address=address, in_memory=True)
            lock = self._locks[ctx_id, address] = LowLevelLock(self.futexes, name, word)
        return lock
