"""Spinlocks and mutexes (kernel/locking/{qspinlock,mutex}.c, v6.1).

Theory of operation. Acquiring and releasing are steps: they wait for their turn, then act at once.
Who finds the lock taken queues; a release hands the lock to the first of the queue, whose time is
then at least that of the release. A CPU that is behind may find a lock free that was held at its
own time, because the holder ran ahead: it spins until the time of that release, so that critical
sections never overlap in virtual time.

A spinlock's waiter keeps its CPU and takes interrupts if they are enabled; a mutex's waiter
sleeps. Left out: the pending bit and lock stealing of qspinlocks, optimistic spinning of mutexes;
both are strictly first come, first served here.

Invariants: at most one holder; a lock with waiters has a holder; a CPU's `spinlocks_held` is the
number of spinlocks that it holds or spins for.
"""

from collections import deque
from collections.abc import Hashable
from types import TracebackType
from typing import ClassVar, Final

from attrs import define

from mmactors.engine.actor import NEVER, Actor, Processor
from mmactors.engine.baton import Engine
from mmactors.engine.chance import TRYLOCK_FAILS
from mmactors.engine.cpu import sleep_for, wake_at
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold, Nesting
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.events.wait import LCB_F_MUTEX, LCB_F_SPIN
from mmactors.label import Label, Mode


@define(eq=False)
class _Waiter:
    """One who queues for a lock."""

    lock: "_ExclusiveLock"
    actor: Actor
    asked_ns: int
    at_ns: int = NEVER
    """When the lock is its own."""
    begun: int = 0
    """The number of the event that tells of it; 0: none does."""

    def describe(self) -> str:
        return self.lock.describe()


class _ExclusiveLock:
    """What a spinlock and a mutex have in common: one holder, a queue, the counts."""

    sleeps: ClassVar[bool]
    """Whether waiters give their CPUs away."""
    contention_flags: ClassVar[int]
    """How they wait, as the tracepoint has it."""

    def __init__(self, engine: Engine, lock_class: LockClass, *, name: str) -> None:
        self.name: Final = name
        self.lock_class: Final = lock_class
        self.holder: Actor | None = None
        self._engine: Final = engine
        self._side: Final = lock_class.write
        self._hold: Final = lock_class.write.hold
        self._is_guarded: Final = engine.guard.on
        self._waiters: Final[deque[_Waiter]] = deque()
        self._last_cpu: Processor | None = None
        self._acquired_ns = 0
        self._released_ns = 0
        self._released_by: Actor | None = None
        engine.register(name, self)

    def key(self) -> Hashable:
        """Return who holds the lock and who waits for it, as numbers."""
        holder = None if self.holder is None else self.holder.index
        return holder, tuple(waiter.actor.index for waiter in self._waiters)

    def show(self) -> str:
        """Return who holds the lock and who waits for it."""
        if self.holder is None:
            return "free"
        waiting = ", ".join(waiter.actor.name for waiter in self._waiters)
        return f"held by {self.holder.name}" + (f", awaited by {waiting}" if waiting else "")

    def describe(self) -> str:
        """Say which lock this is, and who holds it."""
        holder = "nobody" if self.holder is None else str(self.holder)
        return f"{self.name}, held by {holder}"

    def hold_no_time(self, at_ns: int) -> bool:
        """Take the lock at `at_ns` and give it back in the same instant; False: nothing was done.

        For what is done without waiting for anything, in the hottest path; it counts as any other
        acquisition. Who observes locks wants to see both ends.
        """
        engine = self._engine
        actor = engine.running
        assert actor is not None, "only an actor takes locks"
        if self.holder is not None or at_ns < self._released_ns or engine.lock_observer is not None:
            return False
        if self._last_cpu is not actor.cpu:
            self._bounce(actor.cpu)
        self._acquired_ns = self._released_ns = at_ns
        self._hold.min_ns = 0
        self._hold.nr += 1
        return True

    def _try(self, nesting: Nesting) -> Actor | None:
        """Take the lock for the running actor if that needs no waiting at all, or return None."""
        engine = self._engine
        actor = engine.running
        assert actor is not None, "only an actor takes locks"
        now = actor.clock.now
        if self.holder is not None or now > engine.limit or now < self._released_ns:
            return None
        if self._is_guarded:
            engine.guard.begin(actor, self._label("lock"))
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(self, Hold.WRITE, nesting)
            engine.lock_observer.acquired(self)
        self.holder = actor
        self._acquired_ns = now
        if self._last_cpu is not actor.cpu:
            self._bounce(actor.cpu)
        return actor

    async def _queue(self, nesting: Nesting) -> _Waiter | None:
        """Take a step to acquire; return None if the lock was free, else the place in the queue."""
        engine = self._engine
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(self, Hold.WRITE, nesting)
        await engine.step(self._label("lock"))
        actor = engine.current
        now = actor.clock.now
        waiter = _Waiter(self, actor, now)
        was_held_now = self._acquired_ns <= now < self._released_ns
        if self.holder is not None or was_held_now:
            if self._last_cpu is not actor.cpu:
                self._side.con_bounces += 1
            if engine.tracer is not None:
                holder = self._released_by if self.holder is None else self.holder
                waiter.begun = engine.tracer.begin_contention(self, holder, self.contention_flags)
        if self.holder is not None:
            self._waiters.append(waiter)
            return waiter
        self._grant(waiter, max(now, self._released_ns), is_contended=was_held_now)
        return waiter if waiter.at_ns > now else None

    async def trylock(self, nesting: Nesting = TOP_LEVEL) -> bool:
        """Take the lock if it is free; return whether it was."""
        engine = self._engine
        await engine.step(self._label("trylock"))
        actor = engine.current
        now = actor.clock.now
        if self.holder is not None or now < self._released_ns:
            return False
        if engine.allowed and await engine.may(TRYLOCK_FAILS):
            return False
        if engine.lock_observer is not None:
            engine.lock_observer.tried(self, Hold.WRITE, nesting)
        self._grant(_Waiter(self, actor, now), now, is_contended=False)
        if actor.cpu is not None:
            actor.cpu.spinlocks_held += not self.sleeps
        return True

    def _grant(self, waiter: _Waiter, at_ns: int, *, is_contended: bool) -> None:
        waiter.at_ns = at_ns
        self.holder = waiter.actor
        self._acquired_ns = at_ns
        if is_contended:
            self._side.wait.add(at_ns - waiter.asked_ns)
        if self._last_cpu is not waiter.actor.cpu:
            self._bounce(waiter.actor.cpu)

    def _bounce(self, cpu: Processor | None) -> None:
        if self._last_cpu is not None:
            self._side.acq_bounces += 1
        self._last_cpu = cpu

    def _give_back(self, actor: Actor) -> _Waiter | None:
        """Release; return the waiter who has the lock now, if there is one."""
        assert self.holder is actor, f"{actor} releases {self.describe()}"
        if self._engine.lock_observer is not None:
            self._engine.lock_observer.release(self)
        now = actor.clock.now
        self._released_ns = now
        self._released_by = actor
        held_ns = now - self._acquired_ns
        hold = self._hold
        # LockTime.add, without the call: this is the hottest count of all.
        if held_ns < hold.min_ns or not hold.nr:
            hold.min_ns = held_ns
        if held_ns > hold.max_ns:  # noqa: PLR1730 - faster than max()
            hold.max_ns = held_ns
        hold.nr += 1
        hold.total_ns += held_ns
        if not self._waiters:
            self.holder = None
            return None
        waiter = self._waiters.popleft()
        self._grant(waiter, max(now, waiter.asked_ns), is_contended=True)
        return waiter

    def _end_wait(self, waiter: _Waiter) -> None:
        """Tell that the running actor's wait is over, if anybody was told of it."""
        if waiter.begun and self._engine.tracer is not None:
            wait_ns = waiter.at_ns - waiter.asked_ns
            self._engine.tracer.end_contention(self, begun=waiter.begun, wait_ns=wait_ns)

    def _label(self, what: str) -> Label:
        return Label(f"{what} {self.name}", ((self.name, Mode.WRITE),))


class Spinlock(_ExclusiveLock):
    """A lock whose waiters keep their CPUs."""

    sleeps = False
    contention_flags = LCB_F_SPIN

    def acquire_nowait(self, nesting: Nesting = TOP_LEVEL) -> bool:
        """Take the lock if it is free and no step has to be waited for; return whether it was."""
        actor = self._try(nesting)
        if actor is None:
            return False
        if actor.cpu is not None:
            actor.cpu.spinlocks_held += 1
        return True

    def is_contended(self) -> bool:
        """Return whether somebody spins for it, for who holds it (spin_is_contended)."""
        self._engine.touch(self.name, Mode.READ)
        return bool(self._waiters)

    async def acquire(self, nesting: Nesting = TOP_LEVEL) -> None:
        """Take the lock; spin while others hold it."""
        engine = self._engine
        waiter = await self._queue(nesting)
        cpu = engine.current.cpu
        if cpu is not None:
            cpu.spinlocks_held += 1
        if waiter is not None:
            await engine.wait_for(waiter, f"spin {self.name}")
            self._end_wait(waiter)
        if engine.lock_observer is not None:
            engine.lock_observer.acquired(self)

    def release_nowait(self) -> bool:
        """Give the lock back if no step has to be waited for; return whether it was."""
        engine = self._engine
        actor = engine.running
        assert actor is not None, "only an actor holds locks"
        if actor.clock.now > engine.limit:
            return False
        if self._is_guarded:
            engine.guard.begin(actor, self._label("unlock"))
        self._release(actor)
        return True

    async def release(self) -> None:
        """Give the lock back; the first of the queue has it next."""
        await self._engine.step(self._label("unlock"))
        self._release(self._engine.current)

    def _release(self, actor: Actor) -> None:
        if actor.cpu is not None:
            actor.cpu.spinlocks_held -= 1
        waiter = self._give_back(actor)
        if waiter is not None:
            self._engine.make_ready(waiter.actor, waiter.at_ns)

    def nested(self, nesting: Nesting) -> "_Nested":
        """Return a context in which the lock is held inside others of its class."""
        return _Nested(self, nesting)

    def irqsave(self) -> "_IrqSave":
        """Return a context in which the lock is held with interrupts off (spin_lock_irqsave)."""
        return _IrqSave(self)

    async def __aenter__(self) -> None:
        if not self.acquire_nowait():
            await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            if not self.release_nowait():
                await self.release()
        elif issubclass(kind, Exception):
            self._release(self._engine.current)  # no step: the body's own steps are over


@define(eq=False)
class _Nested:
    """A spinlock, to be held inside others of its class."""

    lock: Spinlock
    nesting: Nesting

    async def __aenter__(self) -> None:
        if not self.lock.acquire_nowait(self.nesting):
            await self.lock.acquire(self.nesting)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.lock.__aexit__(kind, error, traceback)


@define(eq=False)
class _IrqSave:
    """A spinlock, to be held with interrupts off."""

    lock: Spinlock
    _cpu: Processor | None = None

    async def __aenter__(self) -> None:
        lock = self.lock
        self._cpu = lock._engine.current.cpu  # noqa: SLF001 - one mechanism
        if self._cpu is not None:
            self._cpu.disable_irqs()
        await lock.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.lock.__aexit__(kind, error, traceback)
        if self._cpu is not None:
            self._cpu.enable_irqs()


class Mutex(_ExclusiveLock):
    """A lock whose waiters give their CPUs away."""

    sleeps = True
    contention_flags = LCB_F_MUTEX

    def acquire_nowait(self, nesting: Nesting = TOP_LEVEL) -> bool:
        """Take the lock if it is free and no step has to be waited for; return whether it was."""
        return self._try(nesting) is not None

    async def acquire(self, nesting: Nesting = TOP_LEVEL) -> None:
        """Take the lock; sleep while others hold it."""
        engine = self._engine
        waiter = await self._queue(nesting)
        if waiter is not None:
            await sleep_for(engine, waiter, f"sleep {self.name}")
            self._end_wait(waiter)
        if engine.lock_observer is not None:
            engine.lock_observer.acquired(self)

    def release_nowait(self) -> bool:
        """Give the lock back if no step has to be waited for; return whether it was."""
        engine = self._engine
        actor = engine.running
        assert actor is not None, "only an actor holds locks"
        if actor.clock.now > engine.limit:
            return False
        if self._is_guarded:
            engine.guard.begin(actor, self._label("unlock"))
        self._release(actor)
        return True

    async def release(self) -> None:
        """Give the lock back; the first of the queue has it next."""
        await self._engine.step(self._label("unlock"))
        self._release(self._engine.current)

    def _release(self, actor: Actor) -> None:
        waiter = self._give_back(actor)
        if waiter is not None:
            wake_at(self._engine, waiter.actor, waiter.at_ns)

    async def __aenter__(self) -> None:
        if not self.acquire_nowait():
            await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            if not self.release_nowait():
                await self.release()
        elif issubclass(kind, Exception):
            self._release(self._engine.current)  # no step: the body's own steps are over
