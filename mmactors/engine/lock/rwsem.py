"""Reader-writer semaphores (kernel/locking/rwsem.c, v6.1).

Readers share, a writer is alone. Who cannot have the semaphore sleeps in one queue. When it comes
free, it is handed over: to the first of the queue if that is a writer, else to all readers of the
queue, at most MAX_READERS_WAKEUP, wherever they stand (rwsem_mark_wake). A writer that becomes a
reader (`downgrade`) lets waiting readers in.

As with the other locks, a CPU that is behind spins until the time at which the semaphore, as it
finds it, has come free. Left out: stealing by readers and writers, optimistic spinning: nobody
overtakes the queue.

Invariants: a writer excludes everybody; a semaphore with waiters is held.
"""

import errno
from collections import deque
from collections.abc import Hashable
from typing import ClassVar, Final

from attrs import define

from mmactors.engine.actor import NEVER, Actor, Processor
from mmactors.engine.baton import Engine
from mmactors.engine.chance import TRYLOCK_FAILS
from mmactors.engine.cpu import sleep_for, wake_at
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold, Nesting
from mmactors.engine.lock.lock_stat import LockClass, LockSide
from mmactors.engine.lock.section import Held, ReadSection, WriteSection
from mmactors.events.wait import LCB_F_READ, LCB_F_WRITE
from mmactors.label import Label, Mode

MAX_READERS_WAKEUP: Final = 0x100


@define(eq=False)
class _Waiter:
    """One who queues for the semaphore."""

    sem: "RwSem"
    actor: Actor
    is_writer: bool
    asked_ns: int
    at_ns: int = NEVER
    """When the semaphore is its own, or it gave up."""
    begun: int = 0
    """The number of the event that tells of it; 0: none does."""
    is_killable: bool = False
    """A fatal signal lets it give up (TASK_KILLABLE)."""
    is_killed: bool = False

    def describe(self) -> str:
        return self.sem.describe()


class RwSem:
    """A reader-writer semaphore."""

    sleeps: ClassVar[bool] = True

    def __init__(self, engine: Engine, lock_class: LockClass, *, name: str) -> None:
        self.name: Final = name
        self.writer: Actor | None = None
        self.readers: Final[dict[Actor, int]] = {}
        """Who reads, and since when."""
        self._engine: Final = engine
        self.lock_class: Final = lock_class
        self._is_guarded: Final = engine.guard.on
        self._waiters: Final[deque[_Waiter]] = deque()
        self._last_cpu: Processor | None = None
        self._write_acquired_ns = 0
        self._write_released_ns = 0
        self._read_acquired_ns = 0
        self._released_ns = 0
        """When the last reader or writer left; readers need not wait for readers."""
        self._released_by: Actor | None = None
        self._written_by: Actor | None = None
        """The last writer that has left."""
        engine.register(name, self)

    def key(self) -> Hashable:
        """Return who holds the semaphore and who waits for it, as numbers."""
        return (
            None if self.writer is None else self.writer.index,
            frozenset(reader.index for reader in self.readers),
            tuple((waiter.actor.index, waiter.is_writer) for waiter in self._waiters),
        )

    def show(self) -> str:
        """Return who holds the semaphore and who waits for it."""
        if self.writer is None and not self.readers:
            return "free"
        readers = ", ".join(reader.name for reader in self.readers)
        held = f"written by {self.writer.name}" if self.writer else f"read by {readers}"
        waiting = ", ".join(waiter.actor.name for waiter in self._waiters)
        return held + (f", awaited by {waiting}" if waiting else "")

    @property
    def is_locked(self) -> bool:
        """Whether anybody has the semaphore (rwsem_is_locked)."""
        return self.writer is not None or bool(self.readers)

    # -- reading -------------------------------------------------------------------------------

    def acquire_read_nowait(self, nesting: Nesting = TOP_LEVEL) -> bool:
        """Share the semaphore if no waiting of any kind is needed; return whether it was."""
        engine = self._engine
        actor = engine.running
        assert actor is not None, "only an actor takes locks"
        now = actor.clock.now
        if (
            self.writer is not None
            or self._waiters
            or now > engine.limit
            or now < self._write_released_ns
        ):
            return False
        if self._is_guarded:
            engine.guard.begin(actor, self._label("read lock"))
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(self, Hold.READ, nesting)
            engine.lock_observer.acquired(self)
        self._add_reader(actor, now)
        return True

    async def acquire_read(self, nesting: Nesting = TOP_LEVEL) -> None:
        """Share the semaphore; sleep while a writer has it, or somebody waits already."""
        engine = self._engine
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(self, Hold.READ, nesting)
        await engine.step(self._label("read lock"))
        actor = engine.current
        now = actor.clock.now
        waiter = _Waiter(self, actor, is_writer=False, asked_ns=now)
        if self.writer is not None or self._waiters:
            await self._sleep(waiter)
        else:
            at_ns = max(now, self._write_released_ns)
            was_held_now = self._write_acquired_ns <= now < at_ns
            await self._spin(waiter, at_ns, is_contended=was_held_now)
        if engine.lock_observer is not None:
            engine.lock_observer.acquired(self)

    async def trylock_read(self, nesting: Nesting = TOP_LEVEL) -> bool:
        """Share the semaphore if that needs no waiting; return whether (down_read_trylock)."""
        engine = self._engine
        await engine.step(self._label("read trylock"))
        actor = engine.current
        now = actor.clock.now
        is_free = self.writer is None and not self._waiters and now >= self._write_released_ns
        if not is_free or (engine.allowed and await engine.may(TRYLOCK_FAILS)):
            self.lock_class.trylocks_failed += 1
            return False
        if engine.lock_observer is not None:
            engine.lock_observer.tried(self, Hold.READ, nesting)
        self._add_reader(actor, now)
        return True

    def release_read_nowait(self) -> bool:
        """Leave if no step has to be waited for; return whether it was."""
        engine = self._engine
        actor = engine.running
        assert actor is not None, "only an actor holds locks"
        if actor.clock.now > engine.limit:
            return False
        if self._is_guarded:
            engine.guard.begin(actor, self._label("read unlock"))
        self._release_read(actor)
        return True

    async def release_read(self) -> None:
        """Leave; the last reader hands the semaphore over."""
        await self._engine.step(self._label("read unlock"))
        self._release_read(self._engine.current)

    def read(self, nesting: Nesting = TOP_LEVEL) -> ReadSection:
        """Return a context in which the semaphore is shared."""
        return ReadSection(self, nesting)

    # -- writing -------------------------------------------------------------------------------

    def acquire_write_nowait(self, nesting: Nesting = TOP_LEVEL) -> bool:
        """Have the semaphore alone if no waiting of any kind is needed; return whether it was."""
        engine = self._engine
        actor = engine.running
        assert actor is not None, "only an actor takes locks"
        now = actor.clock.now
        if (
            self.writer is not None
            or self.readers
            or self._waiters
            or now > engine.limit
            or now < self._released_ns
        ):
            return False
        if self._is_guarded:
            engine.guard.begin(actor, self._label("write lock"))
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(self, Hold.WRITE, nesting)
            engine.lock_observer.acquired(self)
        self._set_writer(actor, now)
        return True

    async def acquire_write(self, nesting: Nesting = TOP_LEVEL) -> None:
        """Have the semaphore alone; sleep while others have it, or somebody waits already."""
        await self._down_write(nesting, is_killable=False)

    async def acquire_write_killable(self) -> bool:
        """Do the same; False: a fatal signal ended the sleep (down_write_killable)."""
        return await self._down_write(TOP_LEVEL, is_killable=True)

    async def _down_write(self, nesting: Nesting, *, is_killable: bool) -> bool:
        engine = self._engine
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(self, Hold.WRITE, nesting)
        await engine.step(self._label("write lock"))
        actor = engine.current
        now = actor.clock.now
        waiter = _Waiter(self, actor, is_writer=True, asked_ns=now, is_killable=is_killable)
        if self.writer is not None or self.readers or self._waiters:
            await self._sleep(waiter)
        else:
            at_ns = max(now, self._released_ns)
            was_held_now = min(self._write_acquired_ns, self._read_acquired_ns) <= now < at_ns
            await self._spin(waiter, at_ns, is_contended=was_held_now)
        if engine.lock_observer is not None:
            observer = engine.lock_observer
            (observer.release if waiter.is_killed else observer.acquired)(self)
        return not waiter.is_killed

    def kill(self, actor: Actor, at_ns: int) -> None:
        """Let an actor that sleeps for the semaphore and can be killed give up.

        Readers who stood behind it need not wait for it any more (rwsem_del_wake_waiter).
        """
        waiter = next((each for each in self._waiters if each.actor is actor), None)
        if waiter is None or not waiter.is_killable:
            return
        self._engine.touch(self.name, Mode.WRITE)
        is_first = waiter is self._waiters[0]
        self._waiters.remove(waiter)
        waiter.is_killed = True
        waiter.at_ns = max(at_ns, waiter.asked_ns)
        wake_at(self._engine, actor, waiter.at_ns)
        if is_first and self.readers and self._waiters and not self._waiters[0].is_writer:
            self._wake_readers(waiter.at_ns)

    async def trylock_write(self, nesting: Nesting = TOP_LEVEL) -> bool:
        """Have the semaphore alone if nobody has it; return whether that was so."""
        engine = self._engine
        await engine.step(self._label("write trylock"))
        actor = engine.current
        now = actor.clock.now
        if self.writer is not None or self.readers or now < self._released_ns:
            return False
        if engine.allowed and await engine.may(TRYLOCK_FAILS):
            return False
        if engine.lock_observer is not None:
            engine.lock_observer.tried(self, Hold.WRITE, nesting)
        self._set_writer(actor, now)
        return True

    def release_write_nowait(self) -> bool:
        """Leave if no step has to be waited for; return whether it was."""
        engine = self._engine
        actor = engine.running
        assert actor is not None, "only an actor holds locks"
        if actor.clock.now > engine.limit:
            return False
        if self._is_guarded:
            engine.guard.begin(actor, self._label("write unlock"))
        self._release_write(actor)
        return True

    async def release_write(self) -> None:
        """Leave; hand the semaphore over."""
        await self._engine.step(self._label("write unlock"))
        self._release_write(self._engine.current)

    async def downgrade(self) -> None:
        """Become a reader without letting go; waiting readers join (downgrade_write)."""
        engine = self._engine
        await engine.step(self._label("downgrade"))
        actor = engine.current
        now = actor.clock.now
        if engine.lock_observer is not None:
            engine.lock_observer.downgrade(self)
        self.lock_class.downgrades += 1
        self._leave_write(actor)
        self._add_reader(actor, now)
        if self._waiters and not self._waiters[0].is_writer:
            self._wake_readers(now)

    def acquired(self) -> Held:
        """Return a context that gives back what its actor holds already."""
        return Held(self)

    def write(self, nesting: Nesting = TOP_LEVEL) -> WriteSection:
        """Return a context in which the semaphore is had alone; it may be downgraded inside."""
        return WriteSection(self, nesting)

    async def leave(self, kind: type[BaseException] | None) -> None:
        """Give back whatever the running actor holds, at the end of a context.

        A body may have let go of it and gone on without, as msync waits for a disk.
        """
        if kind is not None and not issubclass(kind, Exception):
            return  # The coroutine is thrown away.
        actor = self._engine.current
        is_writer = self.writer is actor
        if not is_writer and actor not in self.readers:
            return
        if kind is None:
            if is_writer:
                if not self.release_write_nowait():
                    await self.release_write()
            elif not self.release_read_nowait():
                await self.release_read()
        else:
            # No step: the body's own steps are over.
            (self._release_write if is_writer else self._release_read)(actor)

    # -- both ----------------------------------------------------------------------------------

    def describe(self) -> str:
        """Say which semaphore this is, and who holds it."""
        if self.writer is not None:
            return f"{self.name}, held for write by {self.writer}"
        if self.readers:
            return f"{self.name}, held for read by {', '.join(map(str, self.readers))}"
        return f"{self.name}, held by nobody"

    def _label(self, what: str) -> Label:
        return Label(f"{what} {self.name}", ((self.name, Mode.WRITE),))

    async def _sleep(self, waiter: _Waiter) -> None:
        side = self.lock_class.write if waiter.is_writer else self.lock_class.read
        side.con_bounces += self._last_cpu is not waiter.actor.cpu
        self._begin_wait(waiter)
        self._waiters.append(waiter)
        await sleep_for(self._engine, waiter, f"sleep {self.name}")
        self._end_wait(waiter)

    async def _spin(self, waiter: _Waiter, at_ns: int, *, is_contended: bool) -> None:
        """Let the running actor have the semaphore from `at_ns`, by when others have left it."""
        if is_contended:
            self._begin_wait(waiter)
        self._grant(waiter, at_ns, is_contended=is_contended)
        await self._engine.wait_for(waiter, f"spin {self.name}")
        self._end_wait(waiter)

    def _begin_wait(self, waiter: _Waiter) -> None:
        """Tell that the running actor waits, and for whom: of readers, the last who came."""
        tracer = self._engine.tracer
        if tracer is not None:
            holder = self.writer
            if holder is None and (waiter.is_writer or self._waiters):
                holder = next(reversed(self.readers), self._released_by)
            elif holder is None:
                holder = self._written_by
            flags = LCB_F_WRITE if waiter.is_writer else LCB_F_READ
            waiter.begun = tracer.begin_contention(self, holder, flags)

    def _end_wait(self, waiter: _Waiter) -> None:
        tracer = self._engine.tracer
        if waiter.begun and tracer is not None:
            wait_ns = waiter.at_ns - waiter.asked_ns
            ret = -errno.EINTR if waiter.is_killed else 0
            tracer.end_contention(self, begun=waiter.begun, wait_ns=wait_ns, ret=ret)

    def _add_reader(self, actor: Actor, at_ns: int) -> None:
        assert actor not in self.readers, f"{actor} reads {self.name} already"
        if not self.readers:
            self._read_acquired_ns = at_ns
        self.readers[actor] = at_ns
        if self._last_cpu is not actor.cpu:
            self._bounce(actor.cpu, self.lock_class.read)

    def _set_writer(self, actor: Actor, at_ns: int) -> None:
        self.writer = actor
        self._write_acquired_ns = at_ns
        if self._last_cpu is not actor.cpu:
            self._bounce(actor.cpu, self.lock_class.write)

    def _bounce(self, cpu: Processor | None, side: LockSide) -> None:
        if self._last_cpu is not None:
            side.acq_bounces += 1
        self._last_cpu = cpu

    def _grant(self, waiter: _Waiter, at_ns: int, *, is_contended: bool) -> None:
        waiter.at_ns = at_ns
        side = self.lock_class.write if waiter.is_writer else self.lock_class.read
        if is_contended:
            side.wait.add(at_ns - waiter.asked_ns)
        if waiter.is_writer:
            self._set_writer(waiter.actor, at_ns)
        else:
            self._add_reader(waiter.actor, at_ns)

    def _release_read(self, actor: Actor) -> None:
        acquired_ns = self.readers.pop(actor, None)
        assert acquired_ns is not None, f"{actor} releases {self.describe()}"
        if self._engine.lock_observer is not None:
            self._engine.lock_observer.release(self)
        now = actor.clock.now
        self.lock_class.read.hold.add(now - acquired_ns)
        # Another reader may have left earlier in this order, but later in virtual time.
        if now >= self._released_ns:
            self._released_ns = now
            self._released_by = actor
        if not self.readers and self._waiters:
            self._hand_over(self._released_ns)

    def _leave_write(self, actor: Actor) -> None:
        assert self.writer is actor, f"{actor} releases {self.describe()}"
        now = actor.clock.now
        self.lock_class.write.hold.add(now - self._write_acquired_ns)
        self._write_released_ns = self._released_ns = now
        self._released_by = self._written_by = actor
        self.writer = None

    def _release_write(self, actor: Actor) -> None:
        self._leave_write(actor)
        if self._engine.lock_observer is not None:
            self._engine.lock_observer.release(self)
        if self._waiters:
            self._hand_over(self._released_ns)

    def _hand_over(self, now: int) -> None:
        if self._waiters[0].is_writer:
            self._wake(self._waiters.popleft(), now)
        else:
            self._wake_readers(now)

    def _wake_readers(self, now: int) -> None:
        woken = [waiter for waiter in self._waiters if not waiter.is_writer][:MAX_READERS_WAKEUP]
        for waiter in woken:
            self._waiters.remove(waiter)
            self._wake(waiter, max(now, self._write_released_ns))

    def _wake(self, waiter: _Waiter, now: int) -> None:
        self._grant(waiter, max(now, waiter.asked_ns), is_contended=True)
        wake_at(self._engine, waiter.actor, waiter.at_ns)
