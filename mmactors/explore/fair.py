"""Going on fairly: everybody has a turn, again and again. Who does not end then never will.

A schedule that does not end may only be unfair: somebody spins for a value that nobody had a turn
to write. So a long schedule goes on in turns. If the same turns with the same results come round
again and again, and the shared state comes back to what it was, that is a livelock.
"""

from collections.abc import Hashable
from typing import Final

from mmactors.explore.broken import Broken, Kind
from mmactors.explore.execution import INDEX_MASK, Execution
from mmactors.explore.step import Step

_MAX_PERIOD: Final = 16
_NR_ROUNDS: Final = 24
"""So often must a cycle come round to be believed."""

Turn = tuple[int, Step, Hashable]
Round = tuple[tuple[Turn, ...], Hashable]


def finish_fairly(execution: Execution, *, max_steps: int) -> None:
    """Go on in turns until the schedule ends, repeats itself, or takes `max_steps` more steps."""
    rounds: list[Round] = []
    nr_before = len(execution.steps)
    execution.fair_from = nr_before
    last = execution.current
    while not execution.has_ended():
        choices = _turns(execution)
        if not choices:
            execution.give_up()
            return
        turns: list[Turn] = []
        for index in sorted(choices, key=lambda index: (index <= last, index)):
            choice = _turns(execution).get(index)
            if choice is None:
                continue
            turns.append((index, execution.engine.party[index].pending, _seen(execution, index)))
            execution.advance(choice)
            last = index
            if execution.has_ended():
                return
        rounds.append((tuple(turns), _state(execution)))
        period = _period(rounds)
        if period is not None:
            execution.broken = _livelock(execution, rounds[-period:])
        elif len(execution.steps) - nr_before >= max_steps:
            execution.broken = _endless(execution, max_steps)


def _turns(execution: Execution) -> dict[int, int]:
    """Return the first choice of each actor that can go on, spinning or not."""
    actors = execution.engine.party
    spins = [actor.spins for actor in actors]
    for actor in actors:
        actor.spins = 0
    choices: dict[int, int] = {}
    for choice in execution.candidates():
        choices.setdefault(choice & INDEX_MASK, choice)
    for actor, nr_spins in zip(actors, spins, strict=True):
        actor.spins = nr_spins
    return choices


def _seen(execution: Execution, index: int) -> Hashable:
    if not execution.is_keyed:
        return None
    objects = execution.engine.objects
    looks = execution.engine.party[index].pending.looks
    return tuple(objects[name].key() for name in looks if name in objects)


def _state(execution: Execution) -> Hashable:
    if not execution.is_keyed:
        return None
    return execution.histories.values()


def _period(rounds: list[Round]) -> int | None:
    """Return after how many rounds everything comes back, if it did so often enough."""
    for period in range(1, _MAX_PERIOD + 1):
        nr_rounds = period * _NR_ROUNDS
        if len(rounds) < nr_rounds:
            return None
        tail = rounds[-nr_rounds:]
        if tail[period:] == tail[:-period]:
            return period
    return None


def _livelock(execution: Execution, cycle: list[Round]) -> Broken:
    actors = execution.engine.party
    lines = ["everybody has a turn, again and again, and nothing changes:"]
    for turns, _ in cycle:
        lines += [f"  {actors[index].name}: {step.text}" for index, step, _ in turns]
    return Broken(kind=Kind.LIVELOCK, law="no progress", text="\n".join(lines))


def _endless(execution: Execution, max_steps: int) -> Broken:
    names = [actor.name for actor in execution.engine.party if not actor.finished]
    text = (
        f"no end after {max_steps} more steps although everybody had a turn; not ended: "
        f"{', '.join(names)}; raise max_steps if that is not enough"
    )
    return Broken(kind=Kind.LIVELOCK, law="no progress", text=text)
