"""Locks for models, with the labels that the search needs.

A lock is one step to take and one to give back; who finds it taken cannot take its step until it is
free. That covers every order in which a queue could serve the waiters, because each of them may
also come later. Locks of `mmactors.engine` work under the search too, with their queues as they
are, and with more schedules for it.

The hottest operations are generators that yield PARK themselves, as those of cells are.
"""

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, ClassVar, Final

from mmactors.engine.actor import PARK, Actor
from mmactors.engine.chance import TRYLOCK_FAILS
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.lock.section import gives_back
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.shared import Shared, Timeout, may_time_out, operation


class SharedLock(Shared):
    """A lock with one holder.

    For who watches locks it is a class of its own, and all `name[...]` of one name are one class.
    """

    __slots__ = ("_lock", "_may_pass", "_trylock", "_unlock", "holder", "lock_class")
    sleeps: ClassVar[bool] = False

    def __init__(self, engine: SearchEngine, name: str) -> None:
        super().__init__(engine, name)
        self.holder: Actor | None = None
        self.lock_class: Final = class_of(engine, name)
        self._lock: Final = self._step("lock")
        self._unlock: Final = self._step("unlock")
        self._trylock: Final = self._step("trylock", may_fail=True)
        self._may_pass: Final[Callable[[], bool]] = self.is_free

    def renew(self) -> None:
        """Be the lock of this name in the next schedule."""
        self.holder = None
        self._engine.objects[self.name] = self

    def key(self) -> int | None:
        """Return who holds the lock, as a number."""
        return None if self.holder is None else self.holder.index

    def show(self) -> str:
        """Return who holds the lock."""
        return "free" if self.holder is None else self.holder.name

    def describe(self) -> str:
        """Say which lock this is, and who holds it."""
        return f"{self.name}, held by {'nobody' if self.holder is None else self.holder}"

    def is_free(self) -> bool:
        """Return whether nobody holds the lock."""
        return self.holder is None

    @operation
    def acquire(self, timeout: Timeout = None) -> Generator[object, None, bool]:
        """Take the lock as soon as it is free; False: the time was out before."""
        engine = self._engine
        actor = engine.running
        assert self.holder is not actor, f"{actor} takes {self.name} twice"
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(self, Hold.WRITE, TOP_LEVEL)
        if timeout is None or not may_time_out(timeout):
            actor.gate = self._may_pass  # type: ignore[union-attr]
            engine.parked = self._lock
            yield PARK
            if engine.detour:
                yield from engine.take_interrupts(self._lock).__await__()
            actor.gate = None  # type: ignore[union-attr]
        elif not (yield from self._pass_in_time(self._lock, self._may_pass)):  # type: ignore[misc]
            if engine.lock_observer is not None:
                engine.lock_observer.release(self)
            return False
        self.holder = actor
        if engine.lock_observer is not None:
            engine.lock_observer.acquired(self)
        return True

    async def acquire_nowait(self) -> bool:
        """Take the lock if it is free now; return whether it was (spin_trylock)."""
        engine = self._engine
        await self._locked(self._trylock)
        if self.holder is not None or (engine.allowed and await engine.may(TRYLOCK_FAILS)):
            return False
        self._acted()
        self.holder = engine.current
        if engine.lock_observer is not None:
            engine.lock_observer.tried(self, Hold.WRITE, TOP_LEVEL)
        return True

    @operation
    def release(self) -> Generator[object, None, None]:
        """Give the lock back."""
        engine = self._engine
        engine.parked = self._unlock
        yield PARK
        if engine.detour:
            yield from engine.take_interrupts(self._unlock).__await__()
        assert self.holder is engine.running, f"{engine.running} releases {self.describe()}"
        self.holder = None
        if engine.lock_observer is not None:
            engine.lock_observer.release(self)

    def __aenter__(self) -> Coroutine[Any, Any, bool]:
        return self.acquire()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        return self.release() if kind is None or gives_back(kind) else _leave()


async def _leave() -> None:
    """Do nothing: there are no more turns."""


def class_of(engine: SearchEngine, name: str) -> LockClass:
    """Return the class of all locks of a name; what stands in brackets is no part of it."""
    name = name.partition("[")[0]
    lock_class: LockClass | None = engine.labels.get(name)
    if lock_class is None:
        lock_class = engine.labels[name] = LockClass(name)
    return lock_class
