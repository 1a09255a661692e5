"""What a search found out, and how sure it is. There is no bare "ok"."""

from enum import Enum

from attrs import frozen

from mmactors.explore.execution.broken import Broken
from mmactors.explore.execution.outside import SharedOutside, to_add, widened
from mmactors.explore.execution.script import Script
from mmactors.explore.report.story import Story
from mmactors.explore.search.budget import Budget
from mmactors.explore.search.outside_text import lines, names_text, of_world

_UNSEEN = (
    "which the search cannot see; make it a world.cell, or touch it in world.step(..., "
    'writes=("its name",)) only'
)


class Outcome(Enum):
    """How sure it is."""

    EXHAUSTED = "exhausted"
    """Every order of the steps in scope was tried, or is equal to one that was."""
    BOUNDED = "exhausted up to a bound"
    """Every schedule with so many preemptions, or of so many steps, was tried."""
    SAMPLED = "sampled"
    """Some schedules were tried."""
    FAILED = "failed"
    """A schedule breaks something."""


@frozen(kw_only=True)
class Failure:
    """A schedule that breaks something, as simple as it could be made."""

    broken: Broken
    script: Script
    nr_preemptions: int
    is_least: bool
    """Every schedule with fewer preemptions was tried, and breaks nothing of this kind."""
    found_by: str
    at_schedule: int
    """Which schedule it was, counted from 1."""
    replay: str
    """The text that replays it."""
    story: Story
    """What broke and every step, to be told."""
    earlier: str | None
    """How an earlier search found it that kept it; None: this search found it."""
    is_cut: bool
    """There was no time to make it as simple as it can be."""
    scripted_test: str
    """A test that plays it, to be pasted; or why there is none, as comments."""
    not_kept: str | None = None
    """Why it was not kept for the next search; None: it was, or nobody wanted that."""

    @property
    def report(self) -> str:
        """What broke, and the schedule as a table."""
        return self.story.told()

    @property
    def origin(self) -> str:
        """Where the schedule comes from."""
        text = f"found by {self.found_by} in schedule {self.at_schedule:,}"
        if self.earlier is not None:
            text = f"{self.found_by}: {self.earlier}" if self.earlier else self.found_by
        if self.is_cut:
            text += "; no time was left to make it as short as it can be"
        return text if self.not_kept is None else f"{text}; it could not be kept: {self.not_kept}"


@frozen(kw_only=True)
class Verdict:
    """What a search found out."""

    name: str
    outcome: Outcome
    nr_schedules: int
    nr_by_strategy: dict[str, int]
    seconds: float
    scope: tuple[str, ...]
    """The objects whose steps were choice points."""
    outside: tuple[SharedOutside, ...]
    """What actors share outside the scope: about its order nothing was found out."""
    bound: int | None
    """All schedules with at most so many preemptions were tried; None: not even those with none."""
    max_steps: int | None
    """Schedules were looked at up to so many steps; None: all of them ended before."""
    endless: tuple[str, ...]
    """Who had not ended when a schedule was cut that went on and on, everybody having turns."""
    missed: tuple[str, ...]
    """What was wanted to happen sometimes and never did."""
    was_unfair: bool
    """Some schedules were ended in turns: somebody span, or they grew too long."""
    failure: Failure | None
    interrupted_by: str | None
    """Who ended the search before its budget: Ctrl-C, SIGTERM; None: nobody."""
    went_beyond: Budget | None
    """The budget that an exhaustive search did not look at, and did not suffice; None: it did."""
    shared: tuple[str, ...] = ()
    """Who shares what behind the world's back: nothing is proven of a world with such things."""

    @property
    def is_good(self) -> bool:
        """Whether nothing broke."""
        return self.outcome is not Outcome.FAILED

    @property
    def wider_scope(self) -> tuple[str, ...]:
        """The scope outside of which nothing would be shared, as far as was seen; empty: this."""
        return widened(self.scope, to_add(self.outside)) if self.outside else ()

    def as_json(self) -> dict[str, object]:
        """Return what JSON can hold of it."""
        failure = self.failure
        found = None
        if failure is not None:
            found = {
                "kind": failure.broken.kind.value,
                "law": failure.broken.law,
                "text": failure.broken.text,
                "schedule": [list(entry) for entry in failure.script],
                "nr_preemptions": failure.nr_preemptions,
                "is_least": failure.is_least,
                "found_by": failure.found_by,
                "at_schedule": failure.at_schedule,
                "replay": failure.replay,
                "report": failure.report,
                "earlier": failure.earlier,
                "is_cut": failure.is_cut,
            }
        return {
            "name": self.name,
            "outcome": self.outcome.name.lower(),
            "nr_schedules": self.nr_schedules,
            "nr_by_strategy": self.nr_by_strategy,
            "seconds": round(self.seconds, 3),
            "scope": list(self.scope),
            "outside": [each.as_json() for each in self.outside],
            "wider_scope": list(self.wider_scope),
            "bound": self.bound,
            "max_steps": self.max_steps,
            "endless": list(self.endless),
            "missed": list(self.missed),
            "was_unfair": self.was_unfair,
            "shared": list(self.shared),
            "interrupted_by": self.interrupted_by,
            "text": str(self),
            "failure": found,
        }

    def for_worlds(self) -> str:
        """Return the verdict, and below it what a world's scope leaves out."""
        if self.failure is not None:
            return str(self)
        more = lines(self.outside, of_world(self.wider_scope))
        return "\n    ".join([str(self), *more])

    def __str__(self) -> str:
        number = f"{self.nr_schedules:,} schedule{'s' if self.nr_schedules != 1 else ''}"
        ended = "" if self.interrupted_by is None else f"; interrupted by {self.interrupted_by}"
        where = f"within scope {{{', '.join(self.scope)}}}"
        if self.failure is not None:
            failure = self.failure
            return (
                f"failed after {failure.at_schedule:,} of {number} ({failure.found_by}): "
                f"{failure.broken.kind.value}: {failure.broken.law}{ended}"
            )
        notes = ended
        if self.went_beyond is not None:
            notes += f"; went beyond the budget of {self.went_beyond}, as exhaustive asks"
        if self.was_unfair:
            notes += "; looks that showed nothing new were not repeated for ever"
        if self.endless:
            notes += (
                f"; a schedule was cut that may have no end ({', '.join(self.endless)} went on "
                "although everybody had turns): raise max_steps to see more"
            )
        if self.outside:
            notes += f"; {names_text(self.outside)}"
        if self.missed:
            notes += f"; never happened: {', '.join(self.missed)}"
        if self.outcome is Outcome.EXHAUSTED:
            return f"exhausted {where}: {number}{notes}"
        sampled = f"sampled {number} {where}"
        if self.outcome is Outcome.BOUNDED:
            bounds = []
            if self.bound is not None:
                bounds.append(f"{self.bound} preemption{'' if self.bound == 1 else 's'}")
            if self.max_steps is not None:
                bounds.append(f"{self.max_steps:,} steps")
            return f"exhausted up to {' and '.join(bounds)}, {sampled}{notes}"
        if self.shared:
            return f"not proven: {'; '.join(self.shared)}, {_UNSEEN}; {sampled}{notes}"
        return f"{sampled}{notes}"
