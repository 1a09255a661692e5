"""Locks and wait queues for models, with the labels that the search needs.

A lock is one step to take and one to give back; who finds it taken cannot take its step until it is
free. That covers every order in which a queue could serve the waiters, because each of them may
also come later. Locks of `mmactors.engine` work under the search too, with their queues as they
are, and with more schedules for it.

A wait queue loses a wake-up that comes while nobody sleeps, as the kernel's do: a deadlock report
names those.
"""

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Final

from attrs import define

from mmactors.engine.actor import NEVER, PARKING, Actor
from mmactors.engine.chance import TRYLOCK_FAILS
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.question import must_be_plain
from mmactors.label import Mode


class SharedLock:
    """A lock with one holder.

    For who watches locks it is a class of its own, and all `name[...]` of one name are one class.
    """

    __slots__ = ("_engine", "_lock", "_trylock", "_unlock", "holder", "lock_class", "name")
    sleeps: ClassVar[bool] = False

    def __init__(self, engine: SearchEngine, name: str) -> None:
        self.name: Final = name
        self.holder: Actor | None = None
        self._engine: Final = engine
        steps = engine.labels.get(name)
        if steps is None:
            touches = ((name, Mode.WRITE),)
            steps = engine.labels[name] = [
                *(
                    engine.steps.of(f"{operation} {name}", touches)
                    for operation in ("lock", "unlock", "trylock")
                ),
                _class_of(engine, name.partition("[")[0]),
            ]
        self._lock, self._unlock, self._trylock, self.lock_class = steps
        engine.objects[name] = self

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

    async def acquire(self) -> None:
        """Take the lock as soon as it is free."""
        engine = self._engine
        actor = engine.running
        assert actor is not None, "only an actor takes locks"
        assert self.holder is not actor, f"{actor} takes {self.name} twice"
        if engine.lock_observer is not None:
            engine.lock_observer.acquire(self, Hold.WRITE, TOP_LEVEL)
        actor.gate = self.is_free  # type: ignore[attr-defined]
        engine.parked = self._lock
        await PARKING
        if engine.detour:
            await engine.take_interrupts(self._lock)
        actor.gate = None  # type: ignore[attr-defined]
        self.holder = actor
        if engine.lock_observer is not None:
            engine.lock_observer.acquired(self)

    async def acquire_nowait(self) -> bool:
        """Take the lock if it is free now; return whether it was (spin_trylock)."""
        engine = self._engine
        await self._turn(self._trylock)
        if self.holder is not None or (engine.allowed and await engine.may(TRYLOCK_FAILS)):
            return False
        self.holder = engine.current
        if engine.lock_observer is not None:
            engine.lock_observer.tried(self, Hold.WRITE, TOP_LEVEL)
        return True

    async def release(self) -> None:
        """Give the lock back."""
        await self._turn(self._unlock)
        actor = self._engine.running
        assert self.holder is actor, f"{actor} releases {self.describe()}"
        self.holder = None
        if self._engine.lock_observer is not None:
            self._engine.lock_observer.release(self)

    async def _turn(self, step: Step) -> None:
        engine = self._engine
        engine.parked = step
        await PARKING
        if engine.detour:
            await engine.take_interrupts(step)

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.release()


def _class_of(engine: SearchEngine, name: str) -> LockClass:
    key = f"class {name}"
    lock_class: LockClass | None = engine.labels.get(key)
    if lock_class is None:
        lock_class = engine.labels[key] = LockClass(name)
    return lock_class


@define(eq=False)
class Sleeper:
    """One who sleeps in a wait queue."""

    queue: "SharedWaitQueue"
    actor: Actor
    at_ns: int = NEVER

    def describe(self) -> str:
        """Say what is waited for, and whether it was there and has gone."""
        queue = self.queue
        if not queue.lost:
            return f"a wake-up by {queue.name}"
        return (
            f"a wake-up by {queue.name}, which {' and '.join(queue.lost)} gave when nobody slept: "
            "a lost wake-up"
        )


class SharedWaitQueue:
    """Actors that sleep until they are woken, in order of arrival."""

    __slots__ = ("_engine", "_sleep", "_sleepers", "_wake", "lost", "name")

    def __init__(self, engine: SearchEngine, name: str) -> None:
        self.name: Final = name
        self.lost: Final[list[str]] = []
        """Who woke nobody, since somebody slept last."""
        self._engine: Final = engine
        self._sleepers: Final[deque[Sleeper]] = deque()
        touches = ((name, Mode.WRITE),)
        self._sleep: Final = engine.steps.of(f"sleep {name}", touches)
        self._wake: Final = engine.steps.of(f"wake {name}", touches)
        engine.objects[name] = self

    def key(self) -> tuple[int, ...]:
        """Return who sleeps, as numbers."""
        return tuple(sleeper.actor.index for sleeper in self._sleepers)

    def show(self) -> str:
        """Return who sleeps."""
        return ", ".join(sleeper.actor.name for sleeper in self._sleepers) or "nobody"

    async def sleep(self, *, unless: Callable[[], bool] | None = None) -> None:
        """Sleep until woken; the caller looks at its condition before and after.

        `unless` is that condition, looked at once more from inside the queue (wait_event).
        """
        if unless is not None:
            must_be_plain("the condition", unless)
        engine = self._engine
        await self._turn(self._sleep)
        if unless is not None and unless():
            return
        sleeper = Sleeper(self, engine.current)
        self._sleepers.append(sleeper)
        engine.sleeping(self)
        await engine.wait_for(sleeper, f"woken by {self.name}")

    async def wake(self, nr_actors: int = 1) -> None:
        """Wake the first `nr_actors` sleepers; a wake-up that finds nobody is lost."""
        engine = self._engine
        await self._turn(self._wake)
        actor = engine.current
        if not self._sleepers:
            self.lost.append(actor.name)
        for _ in range(min(nr_actors, len(self._sleepers))):
            self.wake_spuriously()

    def wake_spuriously(self) -> None:
        """Wake the first sleeper, as a part of the running step."""
        sleeper = self._sleepers.popleft()
        sleeper.at_ns = self._engine.current.clock.now
        self._engine.make_ready(sleeper.actor, sleeper.at_ns)

    def sleepers(self) -> list[Actor]:
        """Return who sleeps, in order."""
        return [sleeper.actor for sleeper in self._sleepers]

    async def wake_all(self) -> None:
        """Wake every sleeper."""
        await self.wake(nr_actors=1 << 30)

    async def _turn(self, step: Step) -> None:
        engine = self._engine
        engine.parked = step
        await PARKING
        if engine.detour:
            await engine.take_interrupts(step)
