"""What may happen by itself on a real machine, and is a choice while interleavings are explored.

    if engine.allowed and await engine.may(ALLOCATION_FAILS):
        return None

An engine that runs in time allows nothing, so that asking costs one look at an empty table. A
world that is explored allows what it wants to have explored, by name, and how often in a schedule.
Interrupts need no permission: a pending one may always be taken late.
"""

from typing import Final

TLB_EVICTS: Final = "a TLB evicts a translation"
"""A CPU drops a translation that it could have kept, at any time."""
TLB_PREFETCHES: Final = "a TLB prefetches a translation"
"""A CPU walks for a translation that no instruction asked for, at any time."""
TRYLOCK_FAILS: Final = "a trylock fails"
"""As if somebody else had held the lock just then."""
ALLOCATION_FAILS: Final = "an allocation fails"
"""As if there were no page for who may not wait for one."""
WAKE_UP_IS_SPURIOUS: Final = "a wake-up is spurious"
"""A sleeper of a wait queue wakes and nobody woke it."""
STORE_IS_LATE: Final = "a store is late"
"""Stores wait in the store buffer of their CPU (x86-TSO): others see them later, in their order."""

ALL: Final = (
    TLB_EVICTS,
    TLB_PREFETCHES,
    TRYLOCK_FAILS,
    ALLOCATION_FAILS,
    WAKE_UP_IS_SPURIOUS,
    STORE_IS_LATE,
)
