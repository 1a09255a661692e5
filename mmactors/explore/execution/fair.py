"""Going on fairly: everybody has a turn, again and again. Who does not end then never will.

A schedule that does not end may only be unfair: somebody spins for a value that nobody had a turn
to write. So a long schedule goes on in turns. If the same turns with the same results come round
again and again, every actor stands where it stood with the same values in its variables, and the
shared state comes back to what it was, that is a livelock. Where states have no names, only a
schedule that is much too long is one. A monitor that is hot all the time breaks before that.
"""

from collections.abc import Hashable
from typing import Any, Final

from mmactors.explore.engine.step import Step
from mmactors.explore.execution.broken import Broken, Kind
from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.execution import Execution

_MAX_PERIOD: Final = 16
_NR_ROUNDS: Final = 24
"""So often must a cycle come round to be believed."""

Turn = tuple[int, Step, Hashable, Hashable]
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
            actor = execution.engine.party[index]
            place = _place(actor.coro)
            turns.append((index, actor.pending, _seen(execution, index), place))
            execution.advance(choice)
            execution.take_temperatures()
            last = index
            if execution.has_ended():
                return
        rounds.append((tuple(turns), _state(execution)))
        period = _period(rounds) if execution.is_keyed else None
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
    with execution.engine.guard.suspended():
        return tuple(objects[name].key() for name in looks if name in objects)


def _state(execution: Execution) -> Hashable:
    return execution.histories.values() if execution.is_keyed else None


def _place(coro: Any) -> Hashable:
    """Return where a coroutine stands, and the plain values of its variables: a loop's count."""
    places: list[Hashable] = []
    while coro is not None:
        frame = getattr(coro, "cr_frame", None)
        if frame is None:
            break
        values = [
            (name, value)
            for name, value in frame.f_locals.items()
            if isinstance(value, int | str | bytes | float | None)
        ]
        places.append((frame.f_lasti, tuple(values)))
        coro = coro.cr_await
    return tuple(places)


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
        lines += [f"  {actors[index].name}: {step.text}" for index, step, _, _ in turns]
    return Broken(kind=Kind.LIVELOCK, law="no progress", text="\n".join(lines))


def _endless(execution: Execution, max_steps: int) -> Broken:
    names = [actor.name for actor in execution.engine.party if not actor.finished]
    text = (
        f"no end after {max_steps} more steps although everybody had a turn; not ended: "
        f"{', '.join(names)}; raise max_steps if that is not enough"
    )
    return Broken(kind=Kind.LIVELOCK, law="no progress", text=text)
