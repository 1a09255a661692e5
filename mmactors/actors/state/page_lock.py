"""The page lock: PG_locked, and the wait queues that all pages share (mm/filemap.c, Linux 6.1).

Theory of operation. Locking sets a bit of the page's flags. Who finds it set queues in one of 256
wait queues, which the page's address chooses (PAGE_WAIT_TABLE_BITS), sets PG_waiters, and sleeps.
Unlocking clears the bit and, if PG_waiters is set, wakes the first of the queue that waits for this
page; that one tries again, and may find that somebody was faster. Who has lost so often
(sysctl_page_lock_unfairness) is given the lock by who unlocks, before it wakes.

The page lock is no lock that the kernel's lockdep knows, nor in /proc/lock_stat: it may be released
by others, and several pages are locked in orders of their own. The lockdep here knows it, as the
class `PG_locked` whose members may nest, for what is ordered around it.

Left out: the spinlock of a wait queue, because queueing and waking are one step each; PG_writeback
and PG_private_2, which wait in the same queues; killable waits; unlocking by others than the owner.

Invariants: a page whose waiters sleep has PG_waiters set; PG_locked is set while somebody holds.
"""

from collections import deque
from collections.abc import Hashable
from typing import ClassVar, Final

from attrs import define

from mmactors.arch.page import PG_LOCKED, PG_WAITERS, PageColumns
from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.baton import Engine
from mmactors.engine.chance import TRYLOCK_FAILS
from mmactors.engine.cpu import sleep_for, wake_at
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.label import Label, Mode, page_lock

PAGE_WAIT_TABLE_BITS: Final = 8
PAGE_LOCK_UNFAIRNESS: Final = 5
"""So often others may be faster than who waits (sysctl_page_lock_unfairness)."""
_GOLDEN_RATIO_64: Final = 0x61C8864680B583EB
_VMEMMAP: Final = 0xFFFFEA0000000000
_STRUCT_PAGE_BYTES: Final = 64


def page_waitqueue(pfn: int) -> int:
    """Return the number of the wait queue in which waiters for a page sleep (hash_ptr)."""
    address = _VMEMMAP + pfn * _STRUCT_PAGE_BYTES
    return (address * _GOLDEN_RATIO_64 & (1 << 64) - 1) >> (64 - PAGE_WAIT_TABLE_BITS)


@define(eq=False)
class _PageLock:
    """What is known of one page's lock besides its bits."""

    sleeps: ClassVar[bool] = True

    pfn: int
    name: str
    lock_class: LockClass
    queue: "deque[_PageWaiter]"
    """Where waiters sleep; other pages have theirs in it, too."""
    holder: Actor | None = None
    released_ns: int = 0

    def waiters(self) -> "list[_PageWaiter]":
        """Return who waits for this page, in order."""
        return [waiter for waiter in self.queue if waiter.lock is self]

    def key(self) -> Hashable:
        """Return who holds the lock and who waits for it, as numbers."""
        holder = None if self.holder is None else self.holder.index
        return holder, tuple(waiter.actor.index for waiter in self.waiters())

    def show(self) -> str:
        """Return who holds the lock and who waits for it."""
        held = "free" if self.holder is None else f"held by {self.holder.name}"
        waiting = ", ".join(waiter.actor.name for waiter in self.waiters())
        return held + (f", awaited by {waiting}" if waiting else "")

    def describe(self) -> str:
        """Say which lock this is, and who holds it."""
        return f"{self.name}, held by {'nobody' if self.holder is None else self.holder}"


@define(eq=False)
class _PageWaiter:
    """One who waits for a page's lock (struct wait_page_queue)."""

    lock: _PageLock
    actor: Actor
    is_handed_over: bool
    """It is given the lock before it wakes (WQ_FLAG_CUSTOM)."""
    has_lock: bool = False
    at_ns: int = NEVER
    """When it was woken."""

    def describe(self) -> str:
        """Say what is waited for."""
        return self.lock.describe()


@define(eq=False)
class _Released:
    """A lock that comes free at a time known before: who had it ran ahead."""

    lock: _PageLock
    at_ns: int

    def describe(self) -> str:
        """Say what is waited for."""
        return self.lock.describe()


class PageLocks:
    """The page locks of a machine."""

    def __init__(self, engine: Engine, pages: PageColumns) -> None:
        self._engine: Final = engine
        self._flags: Final = pages.flags_view
        self._lock_class: Final = LockClass("PG_locked", may_nest=True)
        self._locks: Final[dict[int, _PageLock]] = {}
        self._queues: Final[dict[int, deque[_PageWaiter]]] = {}
        """By number of the wait queue; made when a page that hashes to it is first locked."""

    async def lock(self, pfn: int) -> None:
        """Set PG_locked; sleep while it is set (folio_lock, folio_wait_bit_common)."""
        engine = self._engine
        lock = self._lock_of(pfn)
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(lock, Hold.WRITE, TOP_LEVEL)
        for unfairness in range(PAGE_LOCK_UNFAIRNESS - 1, -NEVER, -1):
            if engine.wants_step():
                await engine.step(_label("lock", lock))
            if not self._flags[pfn] & PG_LOCKED:
                self._take(lock, engine.current)
                break
            waiter = _PageWaiter(lock, engine.current, is_handed_over=unfairness < 0)
            lock.queue.append(waiter)
            self._flags[pfn] |= PG_WAITERS
            if waiter.actor.cpu is not None:
                waiter.actor.cpu.nr_iowait += 1  # io_schedule(), until it is woken
            await sleep_for(engine, waiter, f"sleep {lock.name}")
            if waiter.has_lock:
                break
        if lock.released_ns > engine.current.clock.now:
            await engine.wait_for(_Released(lock, lock.released_ns), f"spin {lock.name}")
        if engine.lock_observer is not None:
            engine.lock_observer.acquired(lock)

    async def trylock(self, pfn: int) -> bool:
        """Set PG_locked; return whether it was clear (folio_trylock)."""
        engine = self._engine
        lock = self._lock_of(pfn)
        if engine.wants_step():
            await engine.step(_label("trylock", lock))
        if self._flags[pfn] & PG_LOCKED or engine.current.clock.now < lock.released_ns:
            return False
        if engine.allowed and await engine.may(TRYLOCK_FAILS):
            return False
        if engine.lock_observer is not None:
            engine.lock_observer.tried(lock, Hold.WRITE, TOP_LEVEL)
        self._take(lock, engine.current)
        return True

    async def unlock(self, pfn: int) -> None:
        """Clear PG_locked and wake the first who waits for it (folio_unlock, folio_wake_bit)."""
        engine = self._engine
        lock = self._lock_of(pfn)
        if engine.wants_step():
            await engine.step(_label("unlock", lock))
        actor = engine.current
        assert lock.holder is actor, f"{actor} unlocks {lock.describe()}"
        if engine.lock_observer is not None:
            engine.lock_observer.release(lock)
        self._flags[pfn] &= ~PG_LOCKED
        lock.holder = None
        lock.released_ns = actor.clock.now
        if self._flags[pfn] & PG_WAITERS:
            self._wake(lock)

    def _wake(self, lock: _PageLock) -> None:
        """Wake the first who waits for the page; forget PG_waiters when the queue has none."""
        waiter = next(iter(lock.waiters()), None)
        if waiter is not None:
            lock.queue.remove(waiter)
            if waiter.is_handed_over:
                self._take(lock, waiter.actor)
                waiter.has_lock = True
            waiter.at_ns = max(lock.released_ns, waiter.actor.clock.now)
            if waiter.actor.cpu is not None:
                waiter.actor.cpu.nr_iowait -= 1
            wake_at(self._engine, waiter.actor, waiter.at_ns)
        if waiter is None or not lock.queue:
            self._flags[lock.pfn] &= ~PG_WAITERS

    def _take(self, lock: _PageLock, actor: Actor) -> None:
        self._flags[lock.pfn] |= PG_LOCKED
        lock.holder = actor

    def _lock_of(self, pfn: int) -> _PageLock:
        lock = self._locks.get(pfn)
        if lock is None:
            queue = self._queues.setdefault(page_waitqueue(pfn), deque())
            lock = _PageLock(pfn, page_lock(pfn), self._lock_class, queue)
            self._locks[pfn] = lock
            self._engine.register(lock.name, lock)
        return lock


def _label(what: str, lock: _PageLock) -> Label:
    return Label(f"{what} {lock.name}", ((lock.name, Mode.WRITE),))
