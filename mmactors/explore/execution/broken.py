"""What a schedule can break: a law, an actor, or progress."""

from collections.abc import Iterable
from enum import Enum
from typing import Final

from attrs import frozen

from mmactors.engine.actor import Actor
from mmactors.engine.report import LawBroken, describe_waiting


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


DEADLOCK: Final = "nobody can go on"


def deadlock(actors: Iterable[Actor]) -> Broken:
    """Return the report that nobody can run; it names whom each waits for."""
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
        what = f"waits for {owner.describe()}" if owner is not None else f"cannot {pending}"
        lines.append(f"  {actor}: {what}")
    is_lost = any("lost wake-up" in line for line in lines)
    return Broken(
        kind=Kind.DEADLOCK, law="lost wake-up" if is_lost else DEADLOCK, text="\n".join(lines)
    )


def broken_law(name: str, error: AssertionError | None) -> Broken:
    """Return the report that the law `name` does not hold."""
    text = "it returned False" if error is None else str(error)
    return Broken(kind=Kind.LAW, law=name, text=text, cause=error)


def found_by_checker(error: LawBroken) -> Broken:
    """Return the report of a checker that raised `error`."""
    return Broken(kind=Kind.LAW, law=error.law, text=str(error), cause=error)


def crashed(actor: Actor, error: Exception) -> Broken:
    """Return the report that `actor` raised `error`; a checker that raises found a broken law."""
    if isinstance(error, LawBroken):
        return found_by_checker(error)
    return Broken(
        kind=Kind.CRASH,
        law=f"{actor.name}: {type(error).__name__}",
        text=str(error),
        cause=error,
    )
