"""Whoever traces the engine's own parts: told what the kernel's tracepoints say about them.

Locks, CPUs and calls on other CPUs look at `engine.tracer`, which is None unless events are
recorded, and only where somebody has to wait, or is switched, woken or interrupted.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from mmactors.engine.actor import Actor, Processor
from mmactors.engine.lock.lock_observer import Observed
from mmactors.engine.trace.span import Span

TASK_RUNNING: Final = 0
TASK_INTERRUPTIBLE: Final = 1
TASK_UNINTERRUPTIBLE: Final = 2
EXIT_DEAD: Final = 0x10
EXIT_ZOMBIE: Final = 0x20
"""What a thread is when its CPU goes to another (include/linux/sched.h, v6.1)."""


class Tracer(Protocol):
    """Takes what the engine's parts report."""

    def begin_contention(self, lock: Observed, holder: Actor | None, flags: int) -> int:
        """The running actor begins to wait for a lock; return the event's number."""

    def end_contention(self, lock: Observed, *, begun: int, wait_ns: int, ret: int = 0) -> None:
        """The running actor, which began to wait with event `begun`, has the lock.

        `ret`: minus the errno if it gave up instead.
        """

    def send_ipi(self, vector: str, targets: Sequence[Processor]) -> tuple[int, Span]:
        """The running actor interrupts CPUs; return the call's number, and what handlers do."""

    def ipi_handled(self, number: int, vector: str, ns: int) -> None:
        """The running actor's CPU has done what it was interrupted for."""

    def on_behalf_of(self, actor: Actor) -> Span:
        """Return what somebody does that `actor` wants now."""

    def switch(self, cpu: Processor, then: Actor, *, state: int, at_ns: int) -> None:
        """`cpu` goes from its present thread, which becomes `state`, to another."""

    def waking(self, thread: Actor) -> None:
        """The running actor wakes a thread."""

    def woken_new(self, thread: Actor) -> None:
        """A thread that there was not before may run; if an actor runs, it has made it."""

    def flush(self) -> None:
        """The machine stands still: keep nothing back."""
