"""What may happen by itself on a real machine, and is a choice while interleavings are explored.

    if engine.allowed and await engine.may(ALLOCATION_FAILS, about):
        return None

An engine that runs in time allows nothing, so that asking costs one look at an empty table; unless
somebody was told to inject faults (`Decider`), who answers instead of a search. A world that is
explored allows what it wants to have explored, by name, and how often in a schedule. There,
interrupts need no permission: a pending one may always be taken late.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from attrs import frozen

from mmactors.engine.actor import Actor

TLB_EVICTS: Final = "a TLB evicts a translation"
"""A CPU drops a translation that it could have kept, at any time."""
TLB_PREFETCHES: Final = "a TLB prefetches a translation"
"""A CPU walks for a translation that no instruction asked for, at any time."""
TRYLOCK_FAILS: Final = "a trylock fails"
"""As if somebody else had held the lock just then."""
ALLOCATION_FAILS: Final = "an allocation fails"
"""As if there were no page, or no object, for who may not wait for one."""
WAKE_UP_IS_SPURIOUS: Final = "a wake-up is spurious"
"""A sleeper of a wait queue wakes and nobody woke it."""
STORE_IS_LATE: Final = "a store is late"
"""Stores wait in the store buffer of their CPU (x86-TSO): others see them later, in their order."""
IPI_IS_LATE: Final = "an IPI is late"
"""A CPU is interrupted later than it could be; of runs in time only."""

ALL: Final = (
    TLB_EVICTS,
    TLB_PREFETCHES,
    TRYLOCK_FAILS,
    ALLOCATION_FAILS,
    WAKE_UP_IS_SPURIOUS,
    STORE_IS_LATE,
)
"""What a search may be allowed."""

FAULTS: Final = {
    "fail_page_alloc": ALLOCATION_FAILS,
    "failslab": ALLOCATION_FAILS,
    "late_ipi": IPI_IS_LATE,
    "spurious_wake_up": WAKE_UP_IS_SPURIOUS,
}
"""What a run in time may be told to inject, as scenarios and counters call it."""


@frozen
class SentIpi:
    """An interrupt that a CPU sends to another."""

    vector: str
    """The row of /proc/interrupts."""
    target: int
    """Number of the CPU that is interrupted."""


class Sleepers(Protocol):
    """A queue of sleepers, as a spurious wake-up sees it."""

    @property
    def name(self) -> str:
        """What steps call the queue."""

    def sleepers(self) -> Sequence[Actor]:
        """Return who sleeps, in order."""

    def wake_spuriously(self, at: int) -> None:
        """Wake one of `sleepers()` though nobody has: the one that stands there."""


class Decider(Protocol):
    """Who decides in a run in time what happens by itself."""

    @property
    def wants(self) -> Mapping[str, int]:
        """What may happen, by name; nothing else does."""

    def happens(self, what: str, about: object) -> bool:
        """Return whether `what` happens now to the running actor; `about` tells of the place."""

    def late_ns(self, what: str, about: object) -> int:
        """Return by how much `what` comes later than usual, in ns; 0: it does not."""

    def sleeping(self, queue: Sleepers) -> None:
        """The running actor is about to sleep in `queue`."""

    def counts(self) -> Mapping[str, int]:
        """Return how often each of FAULTS has happened."""
