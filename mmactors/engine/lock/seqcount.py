"""Sequence counters: readers go on without a lock and look again afterwards (seqlock.h, v6.1).

A writer makes the count odd, changes, and makes it even; a reader that saw an odd count or another
one at its end reads again. Writers exclude each other by a lock that is theirs to take.

Left out: latches (seqcount_latch_t).
"""

from typing import Final

from attrs import define

from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.baton import Engine
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold, StandIn
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.lock.section import Section
from mmactors.label import Label, Mode


@define(eq=False)
class _EvenAgain:
    """What a reader spins for while a writer is inside."""

    seqcount: "SeqCount"
    actor: Actor
    at_ns: int = NEVER

    def describe(self) -> str:
        return f"{self.seqcount.name}, written by {self.seqcount.writer}"


class SeqCount:
    """A sequence counter.

    With a lock class it is a lock for who watches locks: a writer holds it, and a reader takes it
    for a moment, recursively. Without one it is raw (raw_write_seqcount_begin).
    """

    def __init__(self, engine: Engine, *, name: str, lock_class: LockClass | None = None) -> None:
        self.name: Final = name
        self._lock: Final = None if lock_class is None else StandIn(name, lock_class)
        self.sequence = 0
        self.nr_retries = 0
        self.writer: Actor | None = None
        self._engine: Final = engine
        self._spinning: Final[list[_EvenAgain]] = []
        self._read: Final = Label(f"read {name}", ((name, Mode.READ),))
        self._write: Final = Label(f"write {name}", ((name, Mode.WRITE),))
        engine.register(name, self)

    def key(self) -> int:
        """Return the count."""
        return self.sequence

    def show(self) -> str:
        """Return the count."""
        return str(self.sequence)

    async def read_begin(self) -> int:
        """Return the count to give to `read_retry`; spin while a writer is inside."""
        engine = self._engine
        lock = self._lock
        if lock is not None and engine.lock_observer is not None:
            engine.lock_observer.acquire(lock, Hold.RECURSIVE_READ, TOP_LEVEL)
            engine.lock_observer.release(lock)
        await engine.step(self._read)
        while self.sequence & 1:
            even = _EvenAgain(self, engine.current)
            self._spinning.append(even)
            await engine.wait_for(even, f"spin {self.name}")
            await engine.step(self._read)
        return self.sequence

    async def raw_read(self) -> int:
        """Return the count as it is, odd while a writer is inside (raw_read_seqcount)."""
        await self._engine.step(self._read)
        return self.sequence

    async def read_retry(self, sequence: int) -> bool:
        """Return whether a writer came between: what was read since `read_begin` is void."""
        await self._engine.step(self._read)
        is_void = self.sequence != sequence
        self.nr_retries += is_void
        return is_void

    def writing(self) -> Section:
        """Return what makes the count odd in an `async with`; who is ended inside leaves it so."""
        return Section(self.write_begin, self.write_end)

    async def write_begin(self) -> None:
        """Let readers know that a change has begun; the caller excludes other writers."""
        engine = self._engine
        lock = self._lock
        if lock is not None and engine.lock_observer is not None:
            engine.lock_observer.acquire(lock, Hold.WRITE, TOP_LEVEL)
            engine.lock_observer.acquired(lock)
        await engine.step(self._write)
        assert not self.sequence & 1, f"{engine.current} and {self.writer} write {self.name}"
        self.sequence += 1
        self.writer = engine.current

    async def write_end(self) -> None:
        """Let readers know that the change is over."""
        engine = self._engine
        await engine.step(self._write)
        assert self.writer is engine.current, f"{engine.current} does not write {self.name}"
        if self._lock is not None and engine.lock_observer is not None:
            engine.lock_observer.release(self._lock)
        self.sequence += 1
        self.writer = None
        now = engine.current.clock.now
        for even in self._spinning:
            even.at_ns = now
            engine.make_ready(even.actor, now)
        self._spinning.clear()
