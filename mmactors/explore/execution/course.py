"""How a step went, so that it can be taken again: only the code of the actors runs then.

Coroutines cannot be copied, so that a schedule that shares its beginning with another has to run
it again. What was found out about a step the first time holds again: who ran in which order, what
each saw, what they touched. So nothing is named, noted or asked on the way, and an actor passes the
steps outside the scope that nobody else had a turn between without giving back the baton.

It is told if a step does not go as it did: each actor that runs has to stand before the step that
it stood before then, and has to take as many.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final

from mmactors.explore.engine.search_actor import Saw, SearchActor, Trail
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.untimed import SearchEngine

Run = tuple[int, Step, int]
"""An actor that ran: its index, the step it stood before, how many labels there had been."""
Knowledge = tuple[int, Step, bool, int, Saw | None, Trail | None, bool, Mapping[Step, Hashable]]
"""An actor's index, where it stands and whether it has ended, what it did and saw."""


class Course:
    """Who ran in one step, and what they knew afterwards."""

    __slots__ = ("_after", "_turns")

    def __init__(self, runs: Sequence[Run], party: Sequence[SearchActor]) -> None:
        turns: list[tuple[int, Step, int]] = []
        """An actor, the step it stood before, and how many it passes after that."""
        last, last_nr = -1, -1
        for index, pending, nr in runs:
            if index == last and nr == last_nr + 1:
                turns[-1] = (*turns[-1][:2], turns[-1][2] + 1)
            else:
                turns.append((index, pending, 0))
            last, last_nr = index, nr
        self._turns: Final = tuple(turns)
        self._after: Final = tuple([_knowledge(party[index]) for index in {run[0] for run in runs}])

    def begins(self, actor: SearchActor) -> bool:
        """Return whether `actor` stands where the step began."""
        index, pending, _ = self._turns[0]
        return index == actor.index and actor.pending is pending

    def take(
        self, engine: SearchEngine, let_run: Callable[[SearchActor], None]
    ) -> SearchActor | None:
        """Let everybody run who ran; return who stands elsewhere than then, if anybody does."""
        party = engine.party
        other = None
        for index, pending, nr_ahead in self._turns:
            actor = party[index]
            if actor.pending is not pending or actor.finished:
                other = actor
                break
            engine.running = actor
            engine.ahead = nr_ahead
            let_run(actor)
            if engine.ahead:
                engine.ahead = 0
                other = actor
                break
        engine.running = None
        engine.observed = None
        engine.extra.clear()
        engine.woken.clear()
        for index, pending, finished, history, saw, trail, spins, ran_out in self._after:
            actor = party[index]
            if actor.finished is not finished or (actor.pending is not pending and not finished):
                other = other or actor
            else:
                actor.pending = pending  # Who has ended passed the last steps before that.
            actor.history = history
            actor.saw = saw
            actor.trail = trail
            actor.spins = spins
            actor.ran_out = ran_out
        return other


Plain = tuple[Step, int, Saw | None, Trail | None, bool]
"""What a plain step began with, and what its actor knew afterwards."""
Memory = Plain | Course
"""How to take a step again."""


def _knowledge(actor: SearchActor) -> Knowledge:
    stands = actor.pending, actor.finished
    looked = actor.saw, actor.trail, actor.spins, actor.ran_out
    return actor.index, *stands, actor.history, *looked
