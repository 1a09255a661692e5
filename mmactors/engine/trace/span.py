"""What events have in common: who stands where, and what a thread is doing for whom.

Values of the probe's, which hangs them on actors; without a probe there are none.
"""

from attrs import define, field


@define(eq=False)
class Who:
    """An actor on its CPU."""

    actor: str
    cpu: int | None
    pid: int | None
    """The process (tgid)."""
    tid: int | None
    """The thread."""
    place: object
    """The CPU; another one than the actor's: the actor has moved since."""
    shown: str | None = field(default=None, init=False)
    """As the log writes it, which keeps it here."""


@define(eq=False)
class Span:
    """What an actor is doing: a call, a fault, or something on behalf of another."""

    opener: int
    """`seq` of the event that opened it; 0: none, it is only on behalf of another."""
    cause: int = 0
    """`seq` of the event that led to it; 0: none."""
    on_behalf_of: Who | None = None
    outer: "Span | None" = None
    """What the actor was doing when it began."""
    began_ns: int = 0
    shown: str | None = field(default=None, init=False)
    """As the log writes it for all events but the first, which keeps it here."""
