"""Whoever watches locks: told of every attempt, acquisition and release, of interrupts and IPIs.

The engine's locks, CPUs and calls on other CPUs report what they are about to do to
`engine.lock_observer`, if there is one; who has taken a lock without asking for it and would not
have waited reports `tried`. The observer looks up by itself who runs (`engine.running`), on which
CPU and in which interrupt (`cpu.contexts`). It changes nothing and waits for nothing.

Without an observer every operation costs the question whether there is one.
"""

from enum import Enum
from typing import Final, Protocol

from attrs import frozen

from mmactors.engine.actor import Processor
from mmactors.engine.lock.lock_stat import LockClass


class Hold(Enum):
    """How a lock is held: alone, shared, or shared by who may hold it for reading already."""

    WRITE = "W"
    READ = "R"
    RECURSIVE_READ = "RR"


class Observed(Protocol):
    """What an observer sees of a lock."""

    @property
    def name(self) -> str:
        """Which lock it is."""

    @property
    def lock_class(self) -> LockClass:
        """All locks of its declaration."""

    @property
    def sleeps(self) -> bool:
        """Whether waiters give their CPUs away."""


@frozen(eq=False)
class StandIn:
    """A lock that something is which is no lock by itself, a mailbox or a counter; it spins."""

    name: str
    lock_class: LockClass
    sleeps: bool = False


@frozen
class Nesting:
    """What the taker of a lock says about locks of the same class that it holds already."""

    subclass: int = 0
    """Locks of one class may nest if their subclasses differ (spin_lock_nested)."""
    nest_lock: Observed | None = None
    """All who take several locks of the class hold this one (down_write_nest_lock)."""


TOP_LEVEL: Final = Nesting()
SINGLE_DEPTH_NESTING: Final = Nesting(subclass=1)
"""A second lock of the class, such as the child's mmap_lock in fork (include/linux/lockdep.h)."""


class LockObserver(Protocol):
    """Takes what locks, CPUs and calls on other CPUs report, before they do it unless said."""

    def acquire(self, lock: Observed, hold: Hold, nesting: Nesting) -> None:
        """The running actor takes `lock`, and would wait for it."""

    def acquired(self, lock: Observed) -> None:
        """The running actor has `lock` now."""

    def tried(self, lock: Observed, hold: Hold, nesting: Nesting) -> None:
        """The running actor got `lock`, and would have gone on without it (trylock)."""

    def release(self, lock: Observed) -> None:
        """The running actor gives `lock` back."""

    def downgrade(self, lock: Observed) -> None:
        """The running actor, which has `lock` alone, shares it from now on."""

    def might_sleep(self, what: str) -> None:
        """The running actor does something that may give its CPU away."""

    def irqs_disabled(self, cpu: Processor) -> None:
        """`cpu` has begun to take no interrupts."""

    def irqs_enabled(self, cpu: Processor) -> None:
        """`cpu` takes interrupts again."""

    def wait_for_ipi(self, vector: str, targets: "tuple[Processor, ...]") -> None:
        """The running actor waits until all targets have handled an interrupt."""
