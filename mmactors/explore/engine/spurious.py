"""Wake-ups that nobody gave: somebody who sleeps in a queue wakes all the same.

Whoever it is: who came first has no right to it, as a signal wakes whom it is for.
"""

from operator import itemgetter
from typing import Any, Final, Protocol

from mmactors.engine.actor import PARKING, Actor
from mmactors.engine.chance import WAKE_UP_IS_SPURIOUS, Sleepers
from mmactors.explore.engine.step import Step, StepTable
from mmactors.label import Mode

SPURIOUS: Final = "spurious wake-ups"
"""The actor that wakes sleepers and is nobody."""
_PLACE_BITS: Final = 8
"""An option is the number of a queue, and in so many low bits who of its sleepers wakes."""
_PLACE_MASK: Final = (1 << _PLACE_BITS) - 1


class Waking(Protocol):
    """What spurious wake-ups need of the engine (`SearchEngine`)."""

    allowed: dict[str, int]
    chosen: int
    parked: Step

    @property
    def steps(self) -> StepTable:
        """All steps by what they are called and touch."""

    @property
    def current(self) -> Actor:
        """The actor that runs."""


class SpuriousWakeUps:
    """The queues in which somebody slept, for the actor that wakes without a reason."""

    def __init__(self, engine: Waking) -> None:
        self._engine: Final = engine
        self._queues: Final[dict[int, Sleepers]] = {}
        self._numbers: Final[dict[str, int]] = {}
        """The numbers of queues, the same in all schedules."""

    def clear(self) -> None:
        """Forget the queues of the schedule before."""
        self._queues.clear()

    def note(self, queue: Sleepers) -> None:
        """Note that somebody sleeps in `queue`."""
        self._queues[self._numbers.setdefault(queue.name, len(self._numbers))] = queue

    async def run(self) -> None:
        """Wake sleepers, as often as it is allowed."""
        engine = self._engine
        actor: Any = engine.current
        while engine.allowed[WAKE_UP_IS_SPURIOUS]:
            actor.branch = self._ways
            engine.parked = engine.steps.of(SPURIOUS, ((SPURIOUS, Mode.WRITE),))
            await PARKING
            actor.branch = None
            engine.allowed[WAKE_UP_IS_SPURIOUS] -= 1
            self._queues[engine.chosen >> _PLACE_BITS].wake_spuriously(engine.chosen & _PLACE_MASK)

    def _ways(self) -> list[tuple[int, Step]]:
        of = self._engine.steps.of
        return [
            (
                number << _PLACE_BITS | at,
                of(f"wake {actor.name} for nothing", ((queue.name, Mode.WRITE),)),
            )
            for number, queue in sorted(self._queues.items(), key=itemgetter(0))
            for at, actor in enumerate(queue.sleepers())
        ]
