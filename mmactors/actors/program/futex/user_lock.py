"""A lock of a program: a word of 32 bits, and threads that sleep at it in the kernel.

Theory of operation. The word is 0 as long as nobody has the lock, and 1 for who has it; another
value says besides that somebody may sleep. Who finds it 0 makes it 1 by compare-and-exchange. What
who does not find it 0 does is the kind's own (lowlevellock.py, spinlock.py, malloc_mutex.py). Who
gives it back makes it 0, and wakes one sleeper if it was neither. Nobody hands it over: who comes
by may be faster than who was woken.

The word may lie in simulated memory, where each operation is a locked instruction through TLB and
caches; or it is kept here, and costs no time as long as nobody waits. Either way it is a lock of
the engine: counted by class as lock_stat does, and told to who observes locks; a CPU that ran
ahead has held it in the future of others, who wait until then.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable
from typing import ClassVar, Final

from attrs import frozen

from mmactors.actors.call.trace_call import Call, trace_call
from mmactors.actors.program.futex.futex import Futexes, FutexWord, MemoryWord
from mmactors.actors.program.futex.futex_call import NR_FUTEX, wait_arguments, wake_arguments
from mmactors.actors.program.futex.user_word import change_word, load_word, store_word
from mmactors.actors.program.thread import UserThread
from mmactors.engine.actor import Actor, Processor
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold, Nesting
from mmactors.label import Label, Mode

FREE: Final = 0
TAKEN: Final = 1


@frozen(kw_only=True)
class UserWord:
    """Where the word of a lock is."""

    ctx_id: int
    """The address space."""
    address: int
    """There, at a multiple of 4."""
    in_memory: bool
    """False: no access is made there; the address only says where threads sleep."""
    value: int = FREE
    """What it is when it is not in memory, and nobody has changed it."""


class UserLock(ABC):
    """A lock of a process: a word, and threads that sleep at it."""

    sleeps: ClassVar[bool] = True
    """Waiters give their CPUs away."""

    def __init__(self, futexes: Futexes, name: str, word: UserWord) -> None:
        """`name` is that of all locks that are one declaration, such as `main_arena.mutex`."""
        self.name: Final = f"{name}[{word.ctx_id}][{word.address:#x}]"
        self.lock_class: Final = futexes.kernel.locks.of(name)
        self.lock_class.is_of_programs = True
        self.address: Final = word.address
        self.in_memory: Final = word.in_memory
        self.holder: Actor | None = None
        self._futexes: Final = futexes
        self._engine: Final = futexes.kernel.engine
        self._side: Final = self.lock_class.write
        self._value = word.value
        """The word, unless it is in memory."""
        self._last_cpu: Processor | None = None
        self._acquired_ns = 0
        self._released_ns = 0
        self._engine.register(self.name, self)

    def key(self) -> Hashable:
        """Return what the word is, and who has the lock."""
        return self._value, None if self.holder is None else self.holder.index

    def show(self) -> str:
        """Return what the word is, and who has the lock."""
        holder = "" if self.holder is None else f", held by {self.holder.name}"
        return f"in memory{holder}" if self.in_memory else f"{self._value}{holder}"

    # -- what its process calls ------------------------------------------------------------------

    async def acquire(self, thread: UserThread, nesting: Nesting = TOP_LEVEL) -> bool:
        """Take the lock; sleep as long as others have it.

        False: the thread does not have it. It has to end, or a signal came for the access.
        """
        engine = self._engine
        actor = thread.actor
        if (
            self._value == FREE
            and not self.in_memory
            and not engine.wants_step()
            and actor.clock.now >= self._released_ns
        ):
            if engine.lock_observer is not None:
                engine.lock_observer.acquire(self, Hold.WRITE, nesting)
                engine.lock_observer.acquired(self)
            self._value = TAKEN
            self._take(actor, actor.clock.now)
            return True
        return await self._acquire_slowly(thread, nesting)

    async def try_acquire(self, thread: UserThread) -> bool:
        """Take the lock if it is free; return whether it was."""
        engine = self._engine
        actor = thread.actor
        is_taken = False

        def attempt(seen: int) -> int:
            nonlocal is_taken
            is_taken = seen == FREE and actor.clock.now >= self._released_ns
            if is_taken:
                if engine.lock_observer is not None:
                    engine.lock_observer.tried(self, Hold.WRITE, TOP_LEVEL)
                self._take(actor, actor.clock.now)
            return TAKEN if is_taken else seen

        await self._change(thread, "trylock", attempt)
        self.lock_class.trylocks_failed += not is_taken
        return is_taken

    async def release(self, thread: UserThread) -> None:
        """Give the lock back, and wake one who sleeps for it."""
        actor = thread.actor
        if self._value == TAKEN and not self.in_memory and not self._engine.wants_step():
            self._value = FREE
            self._give_back(actor)
            return

        def let_go(_: int) -> int:
            self._give_back(actor)
            return FREE

        seen = await self._change(thread, "unlock", let_go)
        if seen is not None and self._has_sleepers(seen):
            await self._wake(thread)

    def _has_sleepers(self, seen: int) -> bool:
        """Return whether somebody may sleep at a lock that was given back with this word."""
        return seen > TAKEN

    async def initialize(self, thread: UserThread) -> None:
        """Let the word be 0, which fork has copied from a lock that was held."""
        self._value = FREE
        if self.in_memory:
            await store_word(thread, self.address, FREE)

    @property
    def value(self) -> int:
        """The word; FREE if it is in memory."""
        return self._value

    # -- with others -----------------------------------------------------------------------------

    async def _acquire_slowly(self, thread: UserThread, nesting: Nesting) -> bool:
        engine = self._engine
        actor = thread.actor
        asked_ns = actor.clock.now
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(self, Hold.WRITE, nesting)
        has_waited = False
        seen = await self._take_if_free(thread, TAKEN)
        if seen != FREE and seen is not None:
            has_waited = True
            self._side.con_bounces += self._last_cpu is not actor.cpu
            seen = await self._wait(thread)
        if seen != FREE:
            if engine.lock_observer is not None:
                engine.lock_observer.release(self)
            return False
        if actor.clock.now < self._acquired_ns:
            # Who ran ahead gives it back only then.
            has_waited = True
            await engine.spend(self._acquired_ns - actor.clock.now)
        if has_waited:
            self._side.wait.add(actor.clock.now - asked_ns)
        if engine.lock_observer is not None:
            engine.lock_observer.acquired(self)
        return True

    @abstractmethod
    async def _wait(self, thread: UserThread) -> int | None:
        """Take the lock, which others had; return 0, or else what says that it was in vain."""

    async def _take_if_free(self, thread: UserThread, value: int) -> int | None:
        """Make the word `value` if it is 0, and have the lock then; return what it was."""

        def take(seen: int) -> int:
            if seen != FREE:
                return seen
            self._take_over(thread.actor)
            return value

        return await self._change(thread, "cmpxchg", take)

    def _take_over(self, actor: Actor) -> None:
        """Let the lock be the actor's from when it was given back, which may be in its future."""
        self._take(actor, max(actor.clock.now, self._released_ns))

    async def _sleep(self, thread: UserThread, value: int, timeout_ns: int | None = None) -> None:
        """Sleep as long as the word is `value`, until woken or for so long (futex_wait)."""
        word: FutexWord = MemoryWord(self.address) if self.in_memory else self
        waiting = self._futexes.wait(thread, word, value, timeout_ns=timeout_ns)
        arguments = () if timeout_ns is not None else wait_arguments(self.address, value)
        await self._call(arguments, waiting)

    async def _wake(self, thread: UserThread) -> None:
        waking = self._futexes.wake(thread, self.address, 1)
        await self._call(wake_arguments(self.address, 1), waking)

    async def _call(self, arguments: tuple[int, ...], work: Awaitable[int]) -> None:
        """Do a call of futex(2), which the log has."""
        kernel = self._futexes.kernel
        if kernel.probe.on:
            await trace_call(kernel, Call("futex", NR_FUTEX, arguments), work)
        else:
            await work

    # -- the word --------------------------------------------------------------------------------

    async def get_nofault(self, thread: UserThread) -> int | None:  # noqa: ARG002 - FutexWord
        """Read the word for the kernel."""
        if self._engine.wants_step():
            await self._engine.step(Label(f"read {self.name}", ((self.name, Mode.READ),)))
        return self._value

    async def _load(self, thread: UserThread) -> int | None:
        if self.in_memory:
            return await load_word(thread, self.address)
        return await self.get_nofault(thread)

    async def _change(
        self, thread: UserThread, what: str, change: Callable[[int], int]
    ) -> int | None:
        """Let the word be what `change` makes of it; return what it was; None: a signal came."""
        if self.in_memory:
            return await change_word(thread, self.address, change)
        if self._engine.wants_step():
            await self._engine.step(Label(f"{what} {self.name}", ((self.name, Mode.WRITE),)))
        seen = self._value
        self._value = change(seen)
        return seen

    # -- what is counted -------------------------------------------------------------------------

    def _take(self, actor: Actor, at_ns: int) -> None:
        # A word in memory may have become 0 in other ways.
        assert self.in_memory or self.holder is None, f"{actor} takes {self.name}: {self.show()}"
        self.holder = actor
        self._acquired_ns = at_ns
        if self._last_cpu is not actor.cpu:
            if self._last_cpu is not None:
                self._side.acq_bounces += 1
            self._last_cpu = actor.cpu

    def _give_back(self, actor: Actor) -> None:
        """Note that it is free; who does not have it may say so, too, as nobody is asked."""
        if self.holder is actor:
            if self._engine.lock_observer is not None:
                self._engine.lock_observer.release(self)
            self._side.hold.add(actor.clock.now - self._acquired_ns)
        self.holder = None
        self._released_ns = actor.clock.now
