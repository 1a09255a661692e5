"""Cells and locks whose stores may be late: the same operations, through a store buffer.

A write goes into the buffer of who writes; a read sees the newest store of its own CPU, else
memory. Everything that reads and writes at once is locked, as it is on x86: it waits until the
buffer is empty. Taking a lock is locked too, giving it back is a plain store.
"""

from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeVar

from mmactors.engine.actor import PARKING
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.store_buffer import StoreBuffer
from mmactors.explore.world.cell import SharedCell, SharedCount
from mmactors.explore.world.lock import SharedLock
from mmactors.label import Mode

V = TypeVar("V", bound=Hashable)


class LateCell(SharedCell[V], Generic[V]):
    """A shared value whose writes may be seen late."""

    __slots__ = ()

    async def read(self) -> V:
        """Return what this CPU stored last, if that is still in its buffer, else the value."""
        await super()._turn(self._steps.read)
        return self._seen_by(self._engine.buffer_of(self._engine.current))

    async def write(self, value: V) -> None:
        """Put a store into the buffer of this CPU."""
        engine = self._engine
        buffer = engine.buffer_of(engine.current)
        step = engine.steps.of(f"store {self.name}", ((buffer.name, Mode.ADD),))
        await super()._turn(step)
        buffer.push(self.name, lambda: self.renew(value), value)

    async def until(self, is_good: Callable[[V], bool]) -> V:
        """Wait, without spinning, until what this CPU sees is good; return it."""
        engine = self._engine
        actor: Any = engine.current
        buffer = engine.buffer_of(actor)
        actor.gate = lambda: is_good(self._seen_by(buffer))
        await super()._turn(self._steps.until)
        actor.gate = None
        return self._seen_by(buffer)

    def _seen_by(self, buffer: StoreBuffer) -> V:
        newest = buffer.newest(self.name)
        if newest is None:
            return self._value
        value: V = newest.value
        return value

    async def _turn(self, step: Step) -> None:
        """Wait for the turn to do what is locked: it leaves nothing in the buffer."""
        engine = self._engine
        actor: Any = engine.current
        actor.gate = engine.buffer_of(actor).is_empty
        await super()._turn(step)
        actor.gate = None


class LateCount(LateCell[int], SharedCount):
    """A shared integer whose writes may be seen late."""

    __slots__ = ()


class _Acquire:
    """What somebody waits for who takes a lock."""

    def __init__(self, lock: SharedLock, buffer: StoreBuffer) -> None:
        self._lock: Final = lock
        self._buffer: Final = buffer

    def is_open(self) -> bool:
        """Return whether the lock can be taken."""
        return self._lock.holder is None and self._buffer.is_empty()

    def describe(self) -> str:
        """Say what is waited for."""
        return self._lock.describe() if self._buffer.is_empty() else self._buffer.describe()


class LateLock(SharedLock):
    """A lock that others may see given back late."""

    __slots__ = ()

    async def acquire(self) -> None:
        """Take the lock as soon as it is free and all stores of this CPU are in memory."""
        engine = self._engine
        actor: Any = engine.current
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(self, Hold.WRITE, TOP_LEVEL)
        actor.gate = _Acquire(self, engine.buffer_of(actor)).is_open
        engine.parked = self._lock
        await PARKING
        if engine.detour:
            await engine.take_interrupts(self._lock)
        actor.gate = None
        self.holder = actor
        if engine.lock_observer is not None:
            engine.lock_observer.acquired(self)

    async def release(self) -> None:
        """Put the store that gives the lock back into the buffer of this CPU."""
        engine = self._engine
        actor = engine.current
        buffer = engine.buffer_of(actor)
        step = engine.steps.of(f"unlock {self.name}", ((buffer.name, Mode.ADD),))
        await self._turn(step)
        assert self.holder is actor, f"{actor} releases {self.describe()}"
        if engine.lock_observer is not None:
            engine.lock_observer.release(self)
        buffer.push(self.name, self._free, "free")

    def _free(self) -> None:
        self.holder = None
