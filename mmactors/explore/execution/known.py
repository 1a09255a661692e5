"""Where choices lead from states that were met before: nobody has to run to find it out.

The name of a state (history.py) says what follows from it. So a depth-first search that comes to
one once more, with other choices asleep or other preemptions left, and cannot leave it out as a
whole, goes on from name to name as long as it is known where choices lead. What is known is
bounded, as in the table of explored states; what was forgotten is found out again by running.
"""

from collections.abc import Hashable
from typing import Final, NamedTuple

from mmactors.explore.engine.generations import Generations
from mmactors.explore.engine.step import Step
from mmactors.explore.execution.course import Course, Memory

GENERATION: Final = 1 << 15
"""So many steps are taken down before those are forgotten that were not asked for meanwhile."""

State = tuple[Hashable, int]
"""Its name, and who ran last."""


class Arrival(NamedTuple):
    """What a choice does in a state, and where that leads."""

    step: Step
    memory: Memory | None
    state: State | None
    """None: all is over, and nothing was broken."""
    candidates: tuple[int, ...]


class KnownSteps:
    """Arrivals, by state and choice."""

    def __init__(self) -> None:
        self._arrivals: Final = Generations[tuple[State, int], Arrival](GENERATION)
        self.beginning: Course | None = None
        """How all actors come to their first steps."""
        self._nr_loud = 0

    def begin(self, nr_loud: int) -> None:
        """Forget all if more is loud now: steps are not what they were."""
        if nr_loud != self._nr_loud:
            self._nr_loud = nr_loud
            self._arrivals.clear()
            self.beginning = None

    def find(self, state: State, choice: int) -> Arrival | None:
        """Return where a choice leads; None: that is not known."""
        arrival = self._arrivals.get((state, choice))
        return self._arrivals.recall((state, choice)) if arrival is None else arrival

    def note(self, state: State, choice: int, arrival: Arrival) -> None:
        """Take down where a choice leads."""
        self._arrivals.put((state, choice), arrival)
