"""Steps that were taken before are taken again: a schedule begins as another one did.

Nothing is noted, named or looked at: that was done the first time. A plain step is one actor's, and
nobody else did anything; any other has a course (course.py).
"""

from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step
from mmactors.explore.execution.broken import crashed
from mmactors.explore.execution.choice import INDEX_BITS, INDEX_MASK, take_option
from mmactors.explore.execution.course import Course, Memory
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.look import LOOK_EVERY


def memory_of(execution: Execution, actor: SearchActor, pending: Step) -> Memory | None:
    """Return how to take the last step again, which `actor` began before `pending`."""
    if not execution.was_plain:
        is_known = execution.repeats and execution.broken is None
        return Course(execution.runs, execution.engine.party) if is_known else None
    return pending, actor.history, actor.saw, actor.trail, actor.spins


def take_again(execution: Execution, choice: int, step: Step, memory: Memory) -> bool:
    """Take a step again that did `step`; return whether it goes as it did.

    If it is taken and goes otherwise, the last of `execution.steps` is not `step`, but says where
    an actor stood that should have stood elsewhere.
    """
    if isinstance(memory, Course):
        return _take_course(execution, choice, step, memory)
    engine = execution.engine
    actor = engine.party[choice]
    pending, actor.history, actor.saw, actor.trail, actor.spins = memory
    if actor.pending is not pending:
        return False
    engine.running = actor
    try:
        actor.send(None)
    except StopIteration as stop:
        actor.result = stop.value
        engine.finish(actor)
        execution.is_over = engine.is_over()
    except Exception as error:  # noqa: BLE001 - it did not the first time: nothing repeats
        actor.finished = True
        execution.broken = crashed(actor, error, is_first=False)
    else:
        actor.pending = engine.parked
    engine.running = None
    engine.extra.clear()
    execution.current = choice
    execution.choices.append(choice)
    execution.steps.append(step)
    return True


def _take_course(execution: Execution, choice: int, step: Step, course: Course) -> bool:
    engine = execution.engine
    actor = engine.party[choice & INDEX_MASK]
    option = choice >> INDEX_BITS
    if not course.begins(actor):
        return False
    if len(execution.choices) % LOOK_EVERY == LOOK_EVERY - 1:
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
