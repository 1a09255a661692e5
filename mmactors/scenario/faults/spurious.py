"""The actor that wakes sleepers of wait queues for nothing, each at its time."""

from heapq import heappop, heappush
from typing import Final

from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.baton import Engine
from mmactors.engine.chance import Sleepers

_NAME: Final = "spurious wake-ups"


class SpuriousWakeUps:
    """Wakes whom it was told of, if they still sleep."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Final = engine
        self._due: Final[list[tuple[int, int, Sleepers, Actor]]] = []
        """A heap: when, in which order they were told, where, whom."""
        self._nr_told = 0
        self._actor: Final = engine.spawn(_NAME, self._run())

    def add(self, queue: Sleepers, sleeper: Actor, *, at_ns: int) -> None:
        """Wake `sleeper` at `at_ns` if it sleeps in `queue` then."""
        self._nr_told += 1
        heappush(self._due, (at_ns, self._nr_told, queue, sleeper))
        self._engine.make_ready(self._actor, at_ns)

    def describe(self) -> str:
        """Say what the actor waits for."""
        return "somebody to wake for nothing"

    async def _run(self) -> None:
        engine, due = self._engine, self._due
        while True:
            while due and due[0][0] <= self._actor.clock.now:
                _, _, queue, sleeper = heappop(due)
                sleepers = queue.sleepers()
                # If nobody else could ever run, it would hide a deadlock: all sleep again at once.
                if sleeper in sleepers and engine.policy.next_ns < NEVER:
                    queue.wake_spuriously(sleepers.index(sleeper))
            if due:
                engine.make_ready(self._actor, due[0][0])
            await engine.wait(self, _NAME)
