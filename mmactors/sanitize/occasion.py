"""Where something happened: who did it, what for, when, and through which functions.

A report names places by function and line, relative to the package. The engine's own functions at
the inner end are left out: who calls a lock's `acquire` is what matters.
"""

import inspect
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

from attrs import frozen

from mmactors.engine.actor import Actor

_PACKAGE: Final = str(Path(__file__).parents[1]) + "/"
_MACHINERY: Final = tuple(f"{_PACKAGE}{part}/" for part in ("engine", "explore", "sanitize"))

Place = tuple[CodeType, int]
"""A function and a line."""


@frozen(kw_only=True)
class Occasion:
    """One thing that an actor did."""

    actor: str
    doing: object
    """What it had been told to do: the operation of its program; None: nobody told it."""
    t_ns: int
    irqs_enabled: bool | None
    """None: it runs on no CPU."""
    interrupt: str | None
    """The vector of the interrupt in which it happened."""
    stack: tuple[Place, ...]
    """Innermost first."""

    def lines(self) -> list[str]:
        """Return who and where, one line each."""
        return [f"by {self.circumstances()}", *(f"   {place_text(place)}" for place in self.stack)]

    def circumstances(self) -> str:
        """Return who, what for, when, and whether interrupts were on."""
        words = [f"{self.actor} at t={self.t_ns} ns"]
        if self.doing is not None:
            words.append(f"doing `{self.doing}`")
        if self.interrupt is not None:
            words.append(f"in interrupt {self.interrupt}")
        elif self.irqs_enabled is not None:
            words.append(f"interrupts {'on' if self.irqs_enabled else 'off'}")
        return ", ".join(words)


def occasion_of(actor: Actor) -> Occasion:
    """Return what the running actor does now."""
    return _occasion(actor, _stack_of(actor))


def brief_occasion_of(actor: Actor) -> Occasion:
    """Return what the running actor does now, with the innermost function only."""
    place = caller()
    return _occasion(actor, () if place is None else (place,))


def _occasion(actor: Actor, stack: tuple[Place, ...]) -> Occasion:
    cpu = actor.cpu
    return Occasion(
        actor=str(actor),
        doing=actor.doing,
        t_ns=actor.clock.now,
        irqs_enabled=None if cpu is None else cpu.irqs_enabled,
        interrupt=cpu.contexts[-1] if cpu is not None and cpu.contexts else None,
        stack=stack,
    )


def caller() -> Place | None:
    """Return the innermost place of the running actor outside the machinery."""
    frame = _outside(inspect.currentframe())
    return None if frame is None else (frame.f_code, frame.f_lineno)


def place_text(place: Place) -> str:
    """Return a place as reports name it."""
    code, line = place
    name = code.co_filename
    short = name.removeprefix(_PACKAGE) if name.startswith(_PACKAGE) else Path(name).name
    return f"{code.co_qualname.replace('.<locals>', '')} ({short}:{line})"


def _outside(frame: FrameType | None) -> FrameType | None:
    while frame is not None and frame.f_code.co_filename.startswith(_MACHINERY):
        frame = frame.f_back
    return frame


def _stack_of(actor: Actor) -> tuple[Place, ...]:
    outermost = getattr(actor.coro, "cr_frame", None)
    frame = _outside(inspect.currentframe())
    places: list[Place] = []
    while frame is not None:
        places.append((frame.f_code, frame.f_lineno))
        if frame is outermost:
            break
        frame = frame.f_back
    return tuple(places)
