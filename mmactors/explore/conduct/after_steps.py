"""A look after each step of a schedule, in the first schedules and now and then.

To look at what a test holds costs more than to run it, so not every schedule is looked at.
"""

from collections.abc import Callable
from typing import Any, Final

from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.untimed import SearchEngine

NR_FIRST: Final = 100
"""So many schedules are looked at from the beginning."""
_EVERY: Final = 100

Look = Callable[[SearchActor, Step, int], None]
"""Looks at what an actor has done by a step, and by so many more behind it.

If there are more, nobody can tell by which of them something changed.
"""


def is_due(number: int) -> bool:
    """Return whether the schedule of this number, from 1 on, is looked at."""
    return number <= NR_FIRST or number % _EVERY == 1


def look_after_each_step(engine: SearchEngine, look: Look) -> None:
    """Let `look` be called whenever one of the present actors has run, whatever came of it."""
    for actor in engine.party:
        actor.send = _looked_at(engine, actor, look)


def _looked_at(engine: SearchEngine, actor: SearchActor, look: Look) -> Callable[[None], Any]:
    send = actor.send

    def run(value: None) -> Any:
        step = actor.pending
        nr_more = engine.ahead
        if actor.branch is not None:
            step = dict(actor.branch()).get(engine.chosen, step)
        try:
            return send(value)
        finally:
            look(actor, step, nr_more)

    return run
