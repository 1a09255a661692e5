"""What a search found out, and how sure it is. There is no bare "ok"."""

from enum import Enum

from attrs import frozen

from mmactors.explore.execution.broken import Broken
from mmactors.explore.execution.script import Script
from mmactors.explore.report.story import Story


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
    scripted_test: str
    """A test that plays it, to be pasted; or why there is none, as comments."""

    @property
    def report(self) -> str:
        """What broke, and the schedule as a table."""
        return self.story.told()


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
    outside: tuple[str, ...]
    """Objects outside the scope that two actors touched and one wrote."""
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

    @property
    def is_good(self) -> bool:
        """Whether nothing broke."""
        return self.outcome is not Outcome.FAILED

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
            }
        return {
            "name": self.name,
            "outcome": self.outcome.name.lower(),
            "nr_schedules": self.nr_schedules,
            "nr_by_strategy": self.nr_by_strategy,
            "seconds": round(self.seconds, 3),
            "scope": list(self.scope),
            "outside": list(self.outside),
            "bound": self.bound,
            "max_steps": self.max_steps,
            "endless": list(self.endless),
            "missed": list(self.missed),
            "was_unfair": self.was_unfair,
            "text": str(self),
            "failure": found,
        }

    def __str__(self) -> str:
        number = f"{self.nr_schedules:,} schedule{'s' if self.nr_schedules != 1 else ''}"
        where = f"within scope {{{', '.join(self.scope)}}}"
        if self.failure is not None:
            failure = self.failure
            return (
                f"failed after {failure.at_schedule:,} of {number} ({failure.found_by}): "
                f"{failure.broken.kind.value}: {failure.broken.law}"
            )
        notes = ""
        if self.was_unfair:
            notes += "; looks that showed nothing new were not repeated for ever"
        if self.endless:
            notes += (
                f"; a schedule was cut that may have no end ({', '.join(self.endless)} went on "
                "although everybody had turns): raise max_steps to see more"
            )
        if self.outside:
            notes += f"; shared outside the scope: {', '.join(self.outside)}"
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
        return f"{sampled}{notes}"
