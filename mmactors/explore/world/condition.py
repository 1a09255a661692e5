"""Condition variables for models, with the lock that guards what they are about.

Names are those of threading and trio. To wait is one step that gives the lock back and begins to
wait, so that no notify comes in between; who was notified takes the lock before it goes on, and
others may take it first. Whom a notify wakes is a choice, as POSIX leaves it open; who notifies
need not hold the lock. A wait that is out of time may use a notify up (POSIX again). A notify that
comes while nobody waits is lost, and a deadlock report names it.
"""

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Final

from attrs import define

from mmactors.engine.actor import Actor
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.lock import SharedLock
from mmactors.explore.world.shared import (
    IN_TIME,
    TIMED_OUT,
    Named,
    Shared,
    Timeout,
    may_time_out,
    names_of,
)
from mmactors.explore.world.wait_queue import lost_by
from mmactors.label import Mode


@define(eq=False)
class _Waiter:
    """One who waits, or was notified and wants the lock."""

    condition: "SharedCondition"
    actor: Actor
    is_notified: bool = False

    def is_open(self) -> bool:
        """Return whether it can go on."""
        return self.is_notified and self.condition.lock.holder is None

    def describe(self) -> str:
        """Say what is waited for, and whether it was there and has gone."""
        condition = self.condition
        if self.is_notified:
            return condition.lock.describe()
        return f"a notify of {condition.name}" + lost_by(condition.lost, "gave")


class SharedCondition(Shared):
    """Actors that wait until what they want may be true."""

    __slots__ = ("_known", "_notify", "_relock", "_wait", "_waiters", "lock", "lost")

    def __init__(self, engine: SearchEngine, name: str, lock: SharedLock) -> None:
        super().__init__(engine, name)
        self.lock: Final = lock
        self.lost: Final[list[str]] = []
        """Who notified nobody."""
        self._waiters: Final[deque[_Waiter]] = deque()
        self._known: Final[dict[int, _Waiter]] = {}
        """Who has ever waited: the same in all rounds of a loop, which may be the same."""
        touches = ((name, Mode.WRITE), (lock.name, Mode.WRITE))
        self._wait: Final = engine.steps.of(f"wait {name}", touches)
        relock = f"lock {lock.name} again"
        self._relock: Final = engine.steps.of(relock, ((lock.name, Mode.WRITE),))
        self._notify: Final = self._step("notify")

    def key(self) -> tuple[int, ...]:
        """Return who waits, as numbers."""
        return tuple(waiter.actor.index for waiter in self._waiters)

    def show(self) -> str:
        """Return who waits."""
        return ", ".join(waiter.actor.name for waiter in self._waiters) or "nobody"

    async def wait(self, timeout: Timeout = None) -> bool:
        """Give the lock back, wait to be notified, and take it again.

        Return False if the time was out before. Who goes on looks at its condition again.
        """
        engine = self._engine
        lock = self.lock
        await self._locked(self._wait)
        actor = engine.current
        assert lock.holder is actor, f"{actor} waits for {self.name} without {lock.describe()}"
        lock.holder = None
        observer = engine.lock_observer
        if observer is not None:
            observer.release(lock)
        waiter = self._known.setdefault(actor.index, _Waiter(self, actor))
        waiter.is_notified = False
        self._waiters.append(waiter)
        engine.sleeping(self)
        is_in_time = True
        if may_time_out(timeout):
            is_in_time = await self._wait_in_time(waiter)
        else:
            await self._pass(self._relock, waiter.is_open, waiter.describe)
        if observer is not None:
            observer.acquire(lock, Hold.WRITE, TOP_LEVEL)
            observer.acquired(lock)
        lock.holder = actor
        return is_in_time

    async def _wait_in_time(self, waiter: _Waiter) -> bool:
        out = self._out_of_time(self._wait)

        def ways() -> list[tuple[int, Step]]:
            found = [(TIMED_OUT, out)]
            return [(IN_TIME, self._relock), *found] if waiter.is_open() else found

        if await self._choose_way(ways, out) == IN_TIME:
            return True
        if not waiter.is_notified:
            self._waiters.remove(waiter)
        await self._pass(self._relock, self.lock.is_free, self.lock.describe)
        return False

    async def wait_for(
        self,
        predicate: Callable[[], bool | Awaitable[bool]],
        *,
        reads: tuple[Named, ...] = (),
        timeout: Timeout = None,
    ) -> bool:
        """Wait until `predicate()` is true; return what it was last, False if the time was out.

        A predicate that is a coroutine function does steps of its own. A plain one looks at the
        `.value` of what `reads` declares, in one step.
        """
        while not (is_true := await self._ask(predicate, reads)):
            if not await self.wait(timeout):
                return await self._ask(predicate, reads)
        return is_true

    async def _ask(
        self, predicate: Callable[[], bool | Awaitable[bool]], reads: tuple[Named, ...]
    ) -> bool:
        if inspect.iscoroutinefunction(predicate):
            return bool(await predicate())
        await self._locked(self._step_of_reads(reads))
        return bool(predicate())

    def _step_of_reads(self, reads: tuple[Named, ...]) -> Step:
        touches = tuple((name, Mode.READ) for name in names_of(reads))
        return self._engine.steps.of(f"look for {self.name}", touches)

    async def notify(self, nr_actors: int = 1) -> None:
        """Wake so many of those who wait; a notify that finds nobody is lost."""
        engine = self._engine
        await self._locked(self._notify)
        if not self._waiters:
            self.lost.append(engine.current.name)
        for _ in range(min(nr_actors, len(self._waiters))):
            at = 0
            if nr_actors < len(self._waiters):
                names = [waiter.actor.name for waiter in self._waiters]
                at = names.index(await engine.choose(f"notify {self.name}", names))
            self.wake_spuriously(at)

    async def notify_all(self) -> None:
        """Wake all who wait."""
        await self.notify(1 << 30)

    def sleepers(self) -> list[Actor]:
        """Return who waits, in order."""
        return [waiter.actor for waiter in self._waiters]

    def wake_spuriously(self, at: int) -> None:
        """Wake one of those who wait, as a part of the running step."""
        self._waiters[at].is_notified = True
        del self._waiters[at]

    def __aenter__(self) -> Coroutine[Any, Any, bool]:
        return self.lock.acquire()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        return self.lock.__aexit__(kind, error, traceback)
