"""The end of a schedule in which one actor is left, and nothing to choose."""

from mmactors.explore.engine.untimed import MAX_ACTORS
from mmactors.explore.execution.execution import Execution


def is_alone(execution: Execution, choice: int) -> bool:
    """Return whether nobody but the actor of `choice` has anything left to do."""
    engine = execution.engine
    is_last = not engine.has_daemons and engine.is_last()
    return execution.is_plain and is_last and choice < MAX_ACTORS


def finish_alone(execution: Execution, choice: int, max_steps: int) -> None:
    """Let the one actor that is left go on, as long as there is nothing to choose."""
    actor = execution.engine.party[choice]
    steps = execution.steps
    advance = execution.advance
    while (
        not actor.finished
        and execution.broken is None
        and (actor.gate is None or actor.gate())
        and actor.branch is None
        and actor.waits_for is None
        and actor.cpu is None  # Else there may be interrupts.
        and not actor.spins
        and len(steps) < max_steps
    ):
        advance(choice)
