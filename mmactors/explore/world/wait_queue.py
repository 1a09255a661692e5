"""Wait queues for models: actors that sleep until they are woken, in order of arrival.

A wait queue loses a wake-up that comes while nobody sleeps, as the kernel's do: a deadlock report
names those. To sleep and to wake are locked operations, because both take the lock of the queue
(kernel/sched/wait.c, v6.1).
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import define

from mmactors.engine.actor import NEVER, Actor
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.question import must_be_plain
from mmactors.explore.world.shared import (
    IN_TIME,
    TIMED_OUT,
    Named,
    Shared,
    Timeout,
    may_time_out,
)
from mmactors.label import Mode


@define(eq=False)
class Sleeper:
    """One who sleeps in a wait queue."""

    queue: "SharedWaitQueue"
    actor: Actor
    at_ns: int = NEVER

    def describe(self) -> str:
        """Say what is waited for, and whether it was there and has gone."""
        return f"a wake-up by {self.queue.name}" + lost_by(self.queue.lost, "gave")


def lost_by(names: list[str], how: str) -> str:
    """Return how a report goes on that tells of wake-ups that came when nobody slept."""
    if not names:
        return ""
    givers = " and ".join(dict.fromkeys(names))
    return f", which {givers} {how} when nobody slept: a lost wake-up"


class SharedWaitQueue(Shared):
    """Actors that sleep until they are woken, in order of arrival."""

    __slots__ = ("_known", "_sleep", "_sleepers", "_wake", "lost")

    def __init__(self, engine: SearchEngine, name: str) -> None:
        super().__init__(engine, name)
        self.lost: Final[list[str]] = []
        """Who woke nobody."""
        self._sleepers: Final[deque[Sleeper]] = deque()
        self._known: Final[dict[int, Sleeper]] = {}
        self._sleep: Final = self._step("sleep")
        self._wake: Final = self._step("wake")

    def key(self) -> tuple[int, ...]:
        """Return who sleeps, as numbers."""
        return tuple(sleeper.actor.index for sleeper in self._sleepers)

    def show(self) -> str:
        """Return who sleeps."""
        return ", ".join(sleeper.actor.name for sleeper in self._sleepers) or "nobody"

    async def sleep(
        self,
        *,
        unless: Callable[[], bool] | None = None,
        reads: tuple[Named, ...] = (),
        timeout: Timeout = None,
    ) -> bool:
        """Sleep until woken; return False if the time was out before.

        The caller looks at its condition before and after. `unless` is that condition, looked at
        once more from inside the queue (wait_event), where it may read the `.value` of what `reads`
        declares; nobody sleeps if it holds.
        """
        if unless is not None:
            must_be_plain("the condition", unless)
        engine = self._engine
        await self._locked(self._step("sleep", reads=reads) if reads else self._sleep)
        if unless is not None and unless():
            return True
        sleeper = self._sleeper_of(engine.current)
        self._sleepers.append(sleeper)
        engine.sleeping(self)
        if may_time_out(timeout):
            return await self._sleep_in_time(sleeper)
        await engine.wait_for(sleeper, f"woken by {self.name}")
        return True

    def _sleeper_of(self, actor: Actor) -> Sleeper:
        """Return who an actor is here: the same in all rounds of a loop, which may be the same."""
        sleeper = self._known.get(actor.index)
        if sleeper is None:
            sleeper = self._known[actor.index] = Sleeper(self, actor)
        sleeper.at_ns = NEVER
        return sleeper

    async def _sleep_in_time(self, sleeper: Sleeper) -> bool:
        woken = self._step("woken by", Mode.READ)
        out = self._out_of_time(self._sleep)

        def ways() -> list[tuple[int, Step]]:
            return [(TIMED_OUT, out)] if sleeper.at_ns == NEVER else [(IN_TIME, woken)]

        if await self._choose_way(ways, out) == IN_TIME:
            return True
        self._sleepers.remove(sleeper)
        return False

    async def wake(self, nr_actors: int = 1) -> None:
        """Wake the first `nr_actors` sleepers; a wake-up that finds nobody is lost."""
        await self._locked(self._wake)
        if not self._sleepers:
            self.lost.append(self._engine.current.name)
        for _ in range(min(nr_actors, len(self._sleepers))):
            self.wake_spuriously(0)

    def wake_spuriously(self, at: int) -> None:
        """Wake the sleeper that stands there, as a part of the running step."""
        sleeper = self._sleepers[at]
        del self._sleepers[at]
        sleeper.at_ns = self._engine.current.clock.now
        if sleeper.actor.waits_for is sleeper:  # Who may time out looks by itself.
            self._engine.make_ready(sleeper.actor, sleeper.at_ns)

    def sleepers(self) -> list[Actor]:
        """Return who sleeps, in order."""
        return [sleeper.actor for sleeper in self._sleepers]

    async def wake_all(self) -> None:
        """Wake every sleeper."""
        await self.wake(nr_actors=1 << 30)
