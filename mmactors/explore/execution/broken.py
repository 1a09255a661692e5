"""What a schedule can break: a law, an actor, or progress."""

from collections.abc import Collection, Iterable
from enum import Enum
from typing import Final

from attrs import frozen

from mmactors.engine.actor import Actor
from mmactors.engine.guard import GuardViolation
from mmactors.engine.report import ForeignAwait, LawBroken, describe_waiting
from mmactors.errors import UserError
from mmactors.explore.engine.foreign import as_foreign


class Kind(Enum):
    """What went wrong, in words."""

    LAW = "a law is broken"
    CRASH = "an actor raised"
    DEADLOCK = "deadlock"
    LIVELOCK = "livelock"


@frozen(kw_only=True)
class Broken:
    """What one schedule broke, and how."""

    kind: Kind
    law: str
    """The name of the law, or who raised what; two schedules that break the same have the same."""
    text: str
    cause: BaseException | None = None

    def is_like(self, other: "Broken") -> bool:
        """Return whether both are the same bug, as far as can be told."""
        return self.kind is other.kind and self.law == other.law

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.law}" + (f"\n{self.text}" if self.text else "")


def too_hot(name: str, nr_steps: int, *, is_end: bool) -> Broken:
    """Return the report that what a monitor waits for did not come."""
    text = (
        "it is still hot and nothing can happen any more"
        if is_end
        else f"it was hot for {nr_steps} steps in a row although everybody had a turn"
    )
    return Broken(kind=Kind.LIVELOCK, law=name, text=text)


OF_TEST: Final = (
    TypeError,
    NameError,
    AttributeError,
    ImportError,
    GuardViolation,
    ForeignAwait,
)
"""What a mistake in a test raises at once; later it may be what a race has led to."""
DEADLOCK: Final = "nobody can go on"


def stuck(actors: Iterable[Actor], moving: Collection[int]) -> Broken | None:
    """Return the report that only daemons go on; None if somebody else does, too.

    `moving` has the indices of those that had turns. Who waits beside them waits for ever.
    """
    party = list(actors)
    if not moving or not all(party[index].daemon for index in moving):
        return None
    found = deadlock(actor for actor in party if not actor.daemon)
    names = ", ".join(party[index].name for index in sorted(moving))
    text = f"{found.text}\n  only daemons go on, again and again: {names}"
    return Broken(kind=found.kind, law=found.law, text=text)


def deadlock(actors: Iterable[Actor]) -> Broken:
    """Return the report that nobody can run; it names whom each waits for."""
    actors = list(actors)
    lines = []
    text = describe_waiting(actors)
    if text:
        lines.append(text)
    for actor in actors:
        gate = getattr(actor, "gate", None)
        is_idle = getattr(actor, "serves", False)
        if actor.finished or actor.waits_for is not None or is_idle:
            continue
        owner = getattr(gate, "__self__", None)
        pending = actor.pending.text  # type: ignore[attr-defined]
        waits = pending.replace("wait for", "waits for", 1)
        what = f"cannot {pending}" if waits == pending else waits
        if owner is not None:
            what = f"waits for {owner.describe()}"
        lines.append(f"  {actor}: {what}")
    is_lost = any("lost wake-up" in line for line in lines)
    return Broken(
        kind=Kind.DEADLOCK, law="lost wake-up" if is_lost else DEADLOCK, text="\n".join(lines)
    )


def broken_law(name: str, answer: object) -> Broken:
    """Return the report that the law `name` does not hold: it answered with `answer`."""
    return Broken(kind=Kind.LAW, law=name, text=f"it returned {answer!r}")


def law_raised(name: str, error: Exception) -> Broken:
    """Return the report that the law `name` does not hold, or could not be asked any more."""
    if isinstance(error, AssertionError):
        return Broken(kind=Kind.LAW, law=name, text=str(error), cause=error)
    what = type(error).__name__
    return Broken(kind=Kind.LAW, law=f"{name}: {what}", text=f"{what}: {error}", cause=error)


def found_by_checker(error: LawBroken) -> Broken:
    """Return the report of a checker that raised `error`."""
    return Broken(kind=Kind.LAW, law=error.law, text=str(error), cause=error)


def is_of_test(error: BaseException | None, *, is_first: bool) -> bool:
    """Return whether `error` says that the test is wrong, and not that it has found something.

    `is_first`: it came in the first schedule, where nobody was preempted.
    """
    return isinstance(error, UserError) or (is_first and isinstance(error, OF_TEST))


def crashed(actor: Actor, error: Exception, *, is_first: bool = False) -> Broken:
    """Return the report that `actor` raised `error`; a checker that raises found a broken law.

    Raise it as it is if it is a mistake in the test.
    """
    error = as_foreign(actor, error) or error
    if is_of_test(error, is_first=is_first):
        raise error
    if isinstance(error, LawBroken):
        return found_by_checker(error)
    return Broken(
        kind=Kind.CRASH,
        law=f"{actor.name}: {type(error).__name__}",
        text=str(error),
        cause=error,
    )
