"""glibc's low-level lock (sysdeps/nptl/lowlevellock.h, nptl/lowlevellock.c, glibc 2.36).

Theory of operation. The lock is a word: 0 free, 1 taken, 2 taken and somebody may sleep for it. Who
finds it 0 makes it 1 by compare-and-exchange, and has it. Who does not makes it 2, and has it if it
was 0 until then; else he sleeps in the kernel as long as it is 2. Who gives it back makes it 0, and
wakes one sleeper if it was 2. Nobody hands it over: who comes by may be faster than who was woken,
and who had to sleep leaves a 2 behind that may wake nobody.

The word may lie in simulated memory, where each operation is a locked instruction through TLB and
caches; or it is kept here, and costs no time as long as nobody waits. Either way it is a lock of
the engine: counted by class as lock_stat does, and told to who observes locks; a CPU that ran
ahead has held it in the future of others, who wait until then.

Left out: the plain instructions of a process that has one thread only (SINGLE_THREAD_P).
"""

from collections.abc import Awaitable, Callable, Hashable
from typing import ClassVar, Final

from mmactors.actors.call.trace_call import Call, trace_call
from mmactors.actors.program.futex.futex import Futexes, FutexWord, MemoryWord
from mmactors.actors.program.futex.futex_call import NR_FUTEX, wait_arguments, wake_arguments
from mmactors.actors.program.futex.user_word import change_word, load_word, store_word
from mmactors.actors.program.thread import UserThread
from mmactors.engine.actor import Actor, Processor
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold
from mmactors.label import Label, Mode

FREE: Final = 0
TAKEN: Final = 1
CONTENDED: Final = 2


class LowLevelLock:
    """A lock of a process: a word, and threads that sleep at it."""

    sleeps: ClassVar[bool] = True
    """Waiters give their CPUs away."""

    def __init__(
        self,
        futexes: Futexes,
        name: str,
        *,
        ctx_id: int,
        address: int,
        in_memory: bool,
    ) -> None:
        """`name` is that of all locks that are one declaration, such as `main_arena.mutex`.

        The word lies in address space `ctx_id`, at a multiple of 4. Without `in_memory` no access
        is made there: the address only says where threads sleep.
        """
        self.name: Final = f"{name}[{ctx_id}][{address:#x}]"
        self.lock_class: Final = futexes.kernel.locks.of(name)
        self.lock_class.is_of_programs = True
        self.address: Final = address
        self.in_memory: Final = in_memory
        self.holder: Actor | None = None
        self._futexes: Final = futexes
        self._engine: Final = futexes.kernel.engine
        self._side: Final = self.lock_class.write
        self._value = FREE
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

    async def acquire(self, thread: UserThread) -> bool:
        """Take the lock; sleep as long as others have it (lll_lock).

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
                engine.lock_observer.acquire(self, Hold.WRITE, TOP_LEVEL)
                engine.lock_observer.acquired(self)
            self._value = TAKEN
            self._take(actor, actor.clock.now)
            return True
        return await self._acquire_slowly(thread)

    async def try_acquire(self, thread: UserThread) -> bool:
        """Take the lock if it is free; return whether it was (lll_trylock)."""
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
        """Give the lock back, and wake one who sleeps for it (lll_unlock)."""
        actor = thread.actor
        if self._value == TAKEN and not self.in_memory and not self._engine.wants_step():
            self._value = FREE
            self._give_back(actor)
            return

        def let_go(_: int) -> int:
            self._give_back(actor)
            return FREE

        seen = await self._change(thread, "unlock", let_go)
        if seen is not None and seen > TAKEN:
            await self._wake(thread)

    async def initialize(self, thread: UserThread) -> None:
        """Let the word be 0, which fork has copied from a lock that was held (lll_init)."""
        if self.in_memory:
            await store_word(thread, self.address, FREE)

    # -- with others -----------------------------------------------------------------------------

    async def _acquire_slowly(self, thread: UserThread) -> bool:
        engine = self._engine
        actor = thread.actor
        asked_ns = actor.clock.now
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(self, Hold.WRITE, TOP_LEVEL)
        has_waited = False
        seen = await self._change(thread, "cmpxchg", self._taking(actor, TAKEN))
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

    async def _wait(self, thread: UserThread) -> int | None:
        """Sleep until the word was 0 when it became 2 (__lll_lock_wait); None: in vain."""
        seen = await self._load(thread)
        if seen != CONTENDED:
            seen = await self._exchange(thread)
        while seen is not None and seen != FREE:
            await self._sleep(thread)
            if thread.must_end:
                return None
            seen = await self._exchange(thread)
        return seen

    async def _exchange(self, thread: UserThread) -> int | None:
        return await self._change(thread, "xchg", self._taking(thread.actor, CONTENDED))

    def _taking(self, actor: Actor, value: int) -> Callable[[int], int]:
        """Return what makes the word `value` and takes the lock if it is free.

        As compare-and-exchange with 1, which leaves the word alone if it is not; or exchange with
        2, which does not ask.
        """

        def take(seen: int) -> int:
            if seen == FREE:
                self._take(actor, max(actor.clock.now, self._released_ns))
            return value if seen == FREE or value == CONTENDED else seen

        return take

    async def _sleep(self, thread: UserThread) -> None:
        """Sleep as long as the word is 2, or until woken (futex_wait)."""
        word: FutexWord = MemoryWord(self.address) if self.in_memory else self
        waiting = self._futexes.wait(thread, word, CONTENDED)
        await self._call(wait_arguments(self.address, CONTENDED), waiting)

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
        """Note that it is free; who does not have it may say so, too, as glibc asks nobody."""
        if self.holder is actor:
            if self._engine.lock_observer is not None:
                self._engine.lock_observer.release(self)
            self._side.hold.add(actor.clock.now - self._acquired_ns)
        self.holder = None
        self._released_ns = actor.clock.now
