"""A world that does not do the same twice cannot be searched, replayed, or believed."""

from mmactors.explore.execution import Execution
from mmactors.explore.step import Step

_ADVICE = (
    "something outside the world decides: a clock, random numbers, id() or hash(), the order of a "
    "set, or state that was left over from the schedule before; make it part of the world"
)


class Nondeterminism(Exception):  # noqa: N818 - it says what happened
    """The same choices had another outcome."""

    @classmethod
    def at(cls, execution: Execution, index: int, expected: Step) -> "Nondeterminism":
        """Return the report that step `index` was `expected` the first time."""
        found = execution.steps[index]
        what = f"was {expected.text!r} and is {found.text!r} now"
        if found.text == expected.text:
            what = f"{found.text!r} touched or broke something else"
        return cls(
            f"the same choices, run again, differ first at step {index + 1}: {what}; {_ADVICE}"
        )


def run_again(execution: Execution) -> None:
    """Run the schedule that just ended once more; raise Nondeterminism unless all is the same."""
    choices = list(execution.choices)
    steps = list(execution.steps)
    histories = execution.histories()
    was_broken = execution.broken
    execution.begin()
    for index, choice in enumerate(choices):
        actors = execution.engine.actors
        if execution.is_over or execution.broken is not None:
            raise Nondeterminism(
                f"the same choices, run again, end after {index} steps instead of {len(choices)}: "
                f"{_ADVICE}"
            )
        actor_index = choice & 63
        if actor_index >= len(actors) or choice not in execution.candidates():
            raise Nondeterminism(
                f"the same choices, run again, differ first at step {index + 1}: "
                f"{steps[index].text!r} cannot be taken now; {_ADVICE}"
            )
        execution.advance(choice)
        if execution.steps[-1] is not steps[index]:
            raise Nondeterminism.at(execution, index, steps[index])
    if not execution.is_over and execution.broken is None and was_broken is not None:
        execution.broken = was_broken  # A deadlock or a livelock is found by who cannot go on.
    is_same = (execution.broken is None) == (was_broken is None)
    if not is_same or (execution.is_keyed and histories != execution.histories()):
        raise Nondeterminism(
            f"the same {len(choices)} steps, run again, had other results; {_ADVICE}"
        )
