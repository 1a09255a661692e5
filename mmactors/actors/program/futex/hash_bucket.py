"""Buckets of futexes: who sleeps at words whose keys have one hash (kernel/futex, v6.1).

A bucket is made when it is first used. All threads here have one priority, so that a chain is in
order of arrival. Touched: `futex_queues[n]` (the chain, with its lock held, and whether somebody is
still in it), `hb_waiters[n]` (who is there, or on the way: changed before the lock is taken).
"""

from collections.abc import Hashable

from attrs import define, field

from mmactors.engine.actor import Actor
from mmactors.engine.baton import Engine
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.engine.wait_queue import WaitQueue
from mmactors.label import Label, Mode, futex_queue, hb_waiters
from mmactors.mm.futex.futex_key import FutexKey


@define(eq=False, kw_only=True)
class FutexQ:
    """A thread that sleeps at a word, or is about to (struct futex_q)."""

    key: FutexKey
    bitset: int
    task: Actor
    sleep: WaitQueue
    """Where it sleeps."""
    bucket: "HashBucket"
    is_queued: bool = field(default=False, init=False)
    """It is in the bucket's chain; False: somebody has taken it out to wake it (lock_ptr)."""


@define(eq=False)
class _Waiters:
    """How many threads sleep in a bucket or are about to (hb->waiters)."""

    nr: int = 0

    def key(self) -> Hashable:
        return self.nr

    def show(self) -> str:
        return str(self.nr)


@define(eq=False)
class HashBucket:
    """One bucket: its lock and its chain."""

    engine: Engine
    index: int
    lock_class: LockClass
    lock: Spinlock = field(init=False)
    chain: list[FutexQ] = field(factory=list, init=False)
    _waiters: _Waiters = field(factory=_Waiters, init=False)

    def __attrs_post_init__(self) -> None:
        name = f"hb->lock[{self.index}]"
        self.lock = Spinlock(self.engine, self.lock_class, name=name)
        self.engine.register(self.queue_name, self)
        self.engine.register(self.waiters_name, self._waiters)

    @property
    def queue_name(self) -> str:
        """What steps call the chain."""
        return futex_queue(self.index)

    @property
    def waiters_name(self) -> str:
        """What steps call the number of waiters."""
        return hb_waiters(self.index)

    def key(self) -> Hashable:
        """Return who sleeps at which word."""
        return tuple([(q.key, q.bitset, q.task.index) for q in self.chain])

    def show(self) -> str:
        """Return who sleeps."""
        return ", ".join(q.task.name for q in self.chain) or "nobody"

    async def count_waiter(self, delta: int) -> None:
        """Add to the number of waiters; a locked instruction, and so a full barrier."""
        if self.engine.wants_step():
            what = "waiters++" if delta > 0 else "waiters--"
            await self.engine.step(Label(what, ((self.waiters_name, Mode.ADD),)))
        self._waiters.nr += delta

    async def has_waiters(self) -> bool:
        """Return whether somebody sleeps here, or is on the way (futex_hb_waiters_pending)."""
        if self.engine.wants_step():
            await self.engine.step(Label("read waiters", ((self.waiters_name, Mode.READ),)))
        return self._waiters.nr != 0

    def enqueue(self, q: FutexQ) -> None:
        """Put a thread behind all others, with the lock held (__futex_queue)."""
        self.engine.touch(self.queue_name, Mode.WRITE)
        self.chain.append(q)
        q.is_queued = True

    def dequeue(self, q: FutexQ) -> None:
        """Take a thread out, with the lock held (__futex_unqueue)."""
        self.engine.touch(self.queue_name, Mode.WRITE)
        self.engine.touch(self.waiters_name, Mode.ADD)
        self.chain.remove(q)
        q.is_queued = False
        self._waiters.nr -= 1

    def take(self, key: FutexKey, bitset: int, nr_wake: int) -> list[FutexQ]:
        """Take out those who are to be woken, at least one if there is one; the lock is held."""
        self.engine.touch(self.queue_name, Mode.READ)
        taken: list[FutexQ] = []
        for q in list(self.chain):
            if q.key == key and q.bitset & bitset:
                self.dequeue(q)
                taken.append(q)
                if len(taken) >= nr_wake:
                    break
        return taken
