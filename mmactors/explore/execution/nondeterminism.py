"""A world that does not do the same twice cannot be searched, replayed, or believed."""

from collections.abc import Hashable
from typing import Final

from mmactors.explore.engine.step import Step
from mmactors.explore.execution.broken import Broken
from mmactors.explore.execution.choice import entry_of
from mmactors.explore.execution.execution import Execution

_ADVICE: Final = (
    "something outside the world decides: a clock, random numbers, id() or hash(), the order of a "
    "set, or state that was left over from the schedule before; make it part of the world"
)


class Nondeterminism(Exception):  # noqa: N818 - it says what happened
    """The same choices had another outcome."""

    @classmethod
    def at(cls, execution: Execution, index: int, expected: Step) -> "Nondeterminism":
        """Return the report that step `index` was `expected` the first time."""
        name, _ = entry_of(execution.engine, execution.choices[index])
        found = execution.steps[index]
        what = f"was {expected.text!r} and is {found.text!r} now"
        if found.text == expected.text:
            what = f"{found.text!r} touched or broke something else"
        return cls(
            f"the same choices, run again, differ first at step {index + 1} ({name}): {what}; "
            f"{_ADVICE}"
        )

    @classmethod
    def by_host(cls, asks: str) -> "Nondeterminism":
        """Return the report that code asks for what differs from run to run."""
        return cls(
            f"{asks}: that is decided by the host and by no schedule; let world.may or "
            "world.choose decide, read the time by world.now, or make it once, outside of actors, "
            "with a seed"
        )

    @classmethod
    def unrepeatable(cls, broken: Broken) -> "Nondeterminism":
        """Return the report that a failure did not come again with the same choices."""
        return cls(f"the same choices, run again, no longer break {broken.law!r}; {_ADVICE}")


def run_again(execution: Execution) -> None:
    """Run the schedule that just ended once more; raise Nondeterminism unless all is the same.

    All is what each step touched, what each actor saw, what the objects that were touched hold at
    the end, and how it ends. If the schedule was begun without `Execution.is_run_twice`, what is
    known of an actor is only what it looked at.
    """
    choices = list(execution.choices)
    steps = list(execution.steps)
    histories = execution.histories.present()
    values = _values(execution)
    was_broken = execution.broken is not None
    was_over = execution.is_over
    execution.known.beginning = None  # Nothing is taken for known now, not even that.
    execution.begin()
    for index, (choice, step) in enumerate(zip(choices, steps, strict=True)):
        execution.look_up()
        if execution.has_ended():
            raise Nondeterminism(
                f"the same choices, run again, end after {index} steps instead of {len(choices)}: "
                f"{_ADVICE}"
            )
        if choice not in execution.candidates():
            raise Nondeterminism(
                f"the same choices, run again, differ first at step {index + 1}: {step.text!r} "
                f"cannot be taken now; {_ADVICE}"
            )
        execution.advance(choice)
        if execution.steps[-1] is not step:
            raise Nondeterminism.at(execution, index, step)
    if execution.is_over is not was_over or (execution.broken is not None) is not was_broken:
        raise Nondeterminism(
            f"the same {len(choices)} steps, run again, came to another end; {_ADVICE}"
        )
    if execution.is_keyed and histories != execution.histories.present():
        _compare(execution, histories)
    for name, value in _values(execution).items():
        before = values.get(name, value)
        if value != before and _has_value(value) and _has_value(before):
            raise Nondeterminism(
                f"the same {len(choices)} steps, run again, leave {value!r} in {name}, and left "
                f"{before!r} the first time; {_ADVICE}"
            )


def _values(execution: Execution) -> dict[str, Hashable]:
    """Return what all objects hold, by name, that steps touched, outside the scope as well.

    An object may have come and gone, as the address space of a fork that failed: who looked it up
    meanwhile knows it still, who did not knows at most the column that it was in.
    """
    names = {name for step in execution.steps for name, _ in step.touches}
    names |= execution.scope.touched
    objects = execution.engine.objects
    values = {}
    for name in sorted(names):
        if execution.histories.find(name) is not None:
            column = name.partition("[")[0]
            known = column if name not in objects and column in objects else name
            values[known] = execution.histories.value_of(name)
    return values


def _compare(execution: Execution, histories: list[int]) -> None:
    """Raise Nondeterminism if an actor saw another value; objects compared by identity differ."""
    entries = execution.histories.entries()
    for actor, before in zip(execution.engine.party, histories, strict=True):
        differing = None
        first, second = before, actor.history
        while first != second:
            first, step, seen = entries[first]
            second, _, seen_now = entries[second]
            if seen != seen_now and _has_value(seen) and _has_value(seen_now):
                differing = (step, seen, seen_now)
        if differing is not None:
            step, seen, seen_now = differing
            raise Nondeterminism(
                f"the same choices, run again, differ first for {actor} in {step.text!r}: it saw "
                f"{seen!r}, and now {seen_now!r}; {_ADVICE}"
            )


def _has_value(seen: Hashable) -> bool:
    """Return whether equal values are equal, and not only the same object."""
    if isinstance(seen, tuple):
        return all(map(_has_value, seen))
    return seen is None or isinstance(seen, type) or type(seen).__eq__ is not object.__eq__
