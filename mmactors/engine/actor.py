"""An actor as the engine sees it: a coroutine, a clock, and what it waits for."""

from collections.abc import Coroutine, Generator
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import define

if TYPE_CHECKING:
    from mmactors.engine.cpu import Cpu

NEVER: Final = 1 << 62
"""A time after all others, in nanoseconds."""

PARK: Final = object()
"""What an actor's coroutine yields to its driver; anything else is a foreign await."""


@coroutine
def park() -> Generator[object, None, None]:
    """Give the baton back; the one primitive through which all waiting goes."""
    yield PARK


@define(eq=False)
class Clock:
    """A place's virtual time; the contexts of one CPU share the CPU's clock."""

    now: int = 0
    """Nanoseconds since the machine started; never goes back."""


class Waitable(Protocol):
    """Something an actor can wait for, as deadlock reports name it."""

    def describe(self) -> str:
        """Say what is waited for, and who could end it."""


@define(eq=False, kw_only=True)
class Actor:
    """One actor. At most one exists per name; `index` is its place in schedules."""

    index: int
    name: str
    coro: Coroutine[Any, Any, None]
    clock: Clock
    daemon: bool
    """A run is complete when all actors that are no daemons have ended."""
    pid: int | None = None
    cpu: "Cpu | None" = None
    """The CPU this actor runs on; None for a service with a clock of its own."""
    label: str = "start"
    """What the actor does when it gets the baton next."""
    waits_for: Waitable | None = None
    ready_at: int | None = None
    """When the actor could run; None: it waits for somebody else."""
    ready_order: int = 0
    """Which of the actor's entries in the ready set is the valid one."""
    finished: bool = False
    task: Any = None
    """The driver's handle."""
