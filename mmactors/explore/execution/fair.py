"""Going on fairly: everybody has a turn, again and again. Who does not end then may never.

A schedule that does not end may only be unfair: somebody spins for a value that nobody had a turn
to write. So a long schedule goes on in turns. If the same turns with the same results come round
again and again, every actor stands where it stood (standing.py), and the shared state comes back
to what it was, that is a livelock. What does not come back, or cannot be compared, is none: it is
cut when it is much too long, and the verdict says so. A monitor that is hot all the time breaks
before that.
"""

from collections.abc import Hashable, Sequence
from typing import Final

from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step
from mmactors.explore.execution.broken import Broken, Kind, stuck
from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.standing import standing

_MAX_PERIOD: Final = 16
_NR_ROUNDS: Final = 24
"""So often must a cycle come round before it is looked at closely."""

Turn = tuple[int, Step, Hashable]
Round = tuple[tuple[Turn, ...], Hashable]


def finish_fairly(execution: Execution, *, max_steps: int) -> None:
    """Go on in turns until the schedule ends, repeats itself, or takes `max_steps` more steps."""
    rounds: list[Round] = []
    before: tuple[Hashable, ...] | None = None
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
            actor = execution.engine.party[index]
            turns.append((index, actor.pending, _seen(execution, index)))
            execution.advance(choice)
            execution.take_temperatures()
            if len(execution.steps) % execution.look_every == 0:
                execution.look_up()
            last = index
            if execution.has_ended():
                return
        rounds.append((tuple(turns), _state(execution)))
        period = _period(rounds) if execution.is_keyed else None
        if period is not None:
            now = _standings(execution)
            if now is not None and now == before:
                cycle = rounds[-period:]
                execution.broken = _waiters(execution, cycle) or _livelock(execution, cycle)
                return
            before = now
            del rounds[: -period * (_NR_ROUNDS - 1)]  # One more period, and it is looked at again.
        if len(execution.steps) - nr_before >= max_steps:
            execution.broken = _waiters(execution, rounds)
            execution.endless = tuple(
                actor.name for actor in execution.engine.party if not actor.finished
            )
            return


def _standings(execution: Execution) -> tuple[Hashable, ...] | None:
    """Return where everybody stands; None: of somebody that cannot be told."""
    found = tuple([standing(actor.coro) for actor in execution.engine.party if not actor.finished])
    return None if None in found else found


def _turns(execution: Execution) -> dict[int, int]:
    """Return the first choice of each actor that can go on, spinning or not."""
    actors = execution.engine.party
    spins = [actor.spins for actor in actors]
    for actor in actors:
        actor.spins = False
    choices: dict[int, int] = {}
    for choice in execution.candidates():
        choices.setdefault(choice & INDEX_MASK, choice)
    for actor, spun in zip(actors, spins, strict=True):
        actor.spins = spun
    return choices


def _seen(execution: Execution, index: int) -> Hashable:
    if not execution.is_keyed:
        return None
    objects = execution.engine.objects
    looks = execution.engine.party[index].pending.looks
    with execution.engine.guard.suspended():
        return tuple(objects[name].key() for name in looks if name in objects)


def _state(execution: Execution) -> Hashable:
    return execution.histories.values() if execution.is_keyed else None


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


def _waiters(execution: Execution, rounds: list[Round]) -> Broken | None:
    """Return who waits for ever if only daemons had turns; what those did is no part of it."""
    party = execution.engine.party
    found = stuck(party, {turn[0] for turns, _ in rounds for turn in turns})
    if found is not None:
        own = [at for at, choice in enumerate(execution.choices) if not _is_daemon(party, choice)]
        execution.fair_from = own[-1] + 1 if own else 0
    return found


def _is_daemon(party: Sequence[SearchActor], choice: int) -> bool:
    return party[choice & INDEX_MASK].daemon


def _livelock(execution: Execution, cycle: list[Round]) -> Broken:
    actors = execution.engine.party
    lines = ["everybody has a turn, again and again, and nothing changes:"]
    for turns, _ in cycle:
        lines += [f"  {actors[index].name}: {step.text}" for index, step, _ in turns]
    return Broken(kind=Kind.LIVELOCK, law="no progress", text="\n".join(lines))
