"""Steps that were taken before are taken again: a schedule begins as another one did.

Nothing is noted, named or looked at: that was done the first time. A plain step is one actor's, and
nobody else did anything; any other has a course (course.py).
"""

from collections.abc import Sequence
from typing import Any, Protocol

from mmactors.explore.engine.step import Step
from mmactors.explore.execution.broken import crashed
from mmactors.explore.execution.choice import INDEX_BITS, INDEX_MASK, take_option
from mmactors.explore.execution.course import Course, Memory
from mmactors.explore.execution.execution import Execution


class Taken(Protocol):
    """A step that was taken before."""

    choice: int
    step: Step | None
    """What it did; None: it has not been taken yet."""
    memory: Memory | None


def course_of(execution: Execution) -> Course | None:
    """Return how to take the last step again, which was not plain; None: as if it were new."""
    is_known = execution.repeats and execution.broken is None
    return Course(execution.runs, execution.engine.party) if is_known else None


def take_plain_again(execution: Execution, taken: Sequence[Taken], first: int) -> int:
    """Take the steps from `first` on again that were plain; return which is the first that was not.

    It is also that of an actor that stands elsewhere than then.
    """
    engine = execution.engine
    party = engine.party
    choices = execution.choices
    steps: list[Any] = execution.steps
    at = first
    while True:
        memory = taken[at].memory
        if memory.__class__ is not tuple:
            break
        choice = taken[at].choice
        actor = party[choice]
        if actor.pending is not memory[0]:
            break
        _, actor.history, actor.saw, actor.trail, actor.spins = memory
        engine.running = actor
        choices.append(choice)
        steps.append(taken[at].step)
        at += 1
        try:
            actor.send(None)
        except StopIteration as stop:
            actor.result = stop.value
            engine.finish(actor)
            execution.is_over = engine.is_over()
        except Exception as error:  # noqa: BLE001 - it did not the first time: nothing repeats
            actor.finished = True
            execution.broken = crashed(actor, error, is_first=False)
            break
        else:
            actor.pending = engine.parked
    if at > first:
        execution.current = choices[-1]
        engine.running = None
        engine.extra.clear()
    return at


def take_again(execution: Execution, choice: int, step: Step, course: Course) -> bool:
    """Take a step again that did `step`; return whether it goes as it did.

    If it is taken and goes otherwise, the last of `execution.steps` is not `step`, but says where
    an actor stood that should have stood elsewhere.
    """
    engine = execution.engine
    actor = engine.party[choice & INDEX_MASK]
    option = choice >> INDEX_BITS
    if not course.begins(actor):
        return False
    if len(execution.choices) % execution.look_every == execution.look_every - 1:
        execution.look_up()
    if option or actor.branch is not None:
        take_option(engine, actor, option)
    other = course.take(engine, execution.let_run)
    execution.scope.skip()
    execution.has_finished = False
    execution.is_over = engine.is_over()
    execution.current = actor.index
    execution.choices.append(choice)
    if other is not None:
        step = Step(other.pending.text, other.pending.touches)  # It is no step of before.
    execution.steps.append(step)
    return True
