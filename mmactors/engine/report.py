"""What stops a run: deadlock, livelock, a crashed actor; each says who, when, and why."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

from attrs import frozen

from mmactors.engine.actor import NEVER, Actor, Waitable
from mmactors.units import SECOND, format_ns

_YEAR_NS: Final = 31_556_952 * SECOND
_witnesses: Final[list[Callable[[Exception], None]]] = []


@contextmanager
def witnessed(note: Callable[[Exception], None]) -> Iterator[None]:
    """Let `note` see every FinalError as it is made inside, whatever becomes of it."""
    _witnesses.append(note)
    try:
        yield
    finally:
        _witnesses.pop()


class FinalError(Exception):
    """An error that no actor may catch: a search remembers it when it is made (`witnessed`)."""

    may_be_caught: ClassVar[bool] = False
    """It says what an actor may well be prepared for."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        if _witnesses and not self.may_be_caught:
            _witnesses[-1](self)


class EngineError(FinalError):
    """A run cannot go on."""


class Deadlock(EngineError):  # noqa: N818 - the field's own word
    """Somebody still has work to do and nobody can run."""


class StepBudgetExceeded(EngineError):  # noqa: N818 - says what happened
    """The run took more switches than allowed; perhaps it makes no progress."""


class TimeIsUp(EngineError):  # noqa: N818 - says what happened
    """Somebody would have to go on at a time that the engine does not count."""


class ActorCrashed(EngineError):  # noqa: N818 - says what happened
    """An actor raised; the cause is chained."""


class NotSimulated(EngineError):  # noqa: N818 - says what happened
    """A program asked for what only becomes known at the call, and is not simulated."""


class ForeignAwait(EngineError):  # noqa: N818 - says what happened
    """An actor awaited something that is not the engine's."""


class SleepInAtomicContext(EngineError):  # noqa: N818 - Linux's own message
    """A thread went to sleep with a spinlock held or interrupts off."""


class LawBroken(EngineError):  # noqa: N818 - says what happened
    """A checker saw that a law does not hold; `law` names it."""

    law: str


def describe_waiting(actors: Iterable[Actor]) -> str:
    """Return one line for each actor that waits: who, since when, for what, and who holds it.

    Those whose end the run waits for come first.
    """
    waiting = [actor for actor in actors if not actor.finished and actor.waits_for is not None]
    lines = [
        f"  {actor} at t={format_ns(actor.clock.now)}: waits for {actor.waits_for.describe()}"
        for actor in sorted(waiting, key=lambda actor: actor.daemon)
        if actor.waits_for is not None
    ]
    return "\n".join(lines)


def stuck(
    now_ns: int, actors: Iterable[Actor], outside: Iterable[Waitable], recent: Iterable[str]
) -> EngineError:
    """Return the report that nobody can run: time is up for somebody, or all wait for others."""
    for actor in actors:
        if actor.ready_at is not None:
            return time_is_up(actor, actor.ready_at)
    return deadlock(now_ns, actors, outside, recent)


def deadlock(
    now_ns: int, actors: Iterable[Actor], outside: Iterable[Waitable], recent: Iterable[str]
) -> Deadlock:
    """Return the report that nobody can run; `outside` is what others wait for."""
    lines = [f"at t={now_ns} ns nobody can run; waiting:"]
    lines += [f"  a task outside: waits for {waitable.describe()}" for waitable in outside]
    lines += [describe_waiting(actors), last_events(recent)]
    return Deadlock("\n".join(line for line in lines if line))


def time_is_up(actor: Actor, until_ns: int) -> TimeIsUp:
    """Return the report that `actor` has to wait, or works, until a time that never comes."""
    return TimeIsUp(
        f"{actor} goes on at t={until_ns} ns; expected times below {NEVER} ns, which is "
        f"{NEVER // _YEAR_NS} years (use shorter times for sleep and compute, or fewer of them)"
    )


def crash(actor: Actor, error: BaseException, recent: Iterable[str]) -> ActorCrashed:
    """Return the report that `actor` raised `error`."""
    text = f"{actor} raised {error!r} at t={actor.clock.now} ns"
    events = last_events(recent)
    return ActorCrashed(f"{text}\n{events}" if events else text)


def last_events(recent: Iterable[str]) -> str:
    """Return what happened last, one line each below a heading; empty if nothing did."""
    lines = [f"  {line}" for line in recent]
    return "\n".join(["last events:", *lines]) if lines else ""


@frozen(kw_only=True)
class EngineStatistics:
    """What the engine did so far."""

    switches: int
    """How often the baton was given."""
    messages: dict[str, int]
    """Messages sent, by kind."""
    actors: int
