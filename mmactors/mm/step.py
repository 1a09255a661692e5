"""What mechanisms ask for around state that several actors touch: steps, and page-table locks.

A mechanism that is driven by an actor says before each access to shared state what it touches, and
takes the lock that guards it. Who drives a mechanism alone answers all requests here with None and
lets nobody ask for steps. The locks are those of mm/memory.c, Linux 6.1: one for each PTE table.
"""

from collections.abc import Callable
from typing import Final

from attrs import define, frozen

Touch = tuple[str, str]
"""An object, and how it is touched: r it is read, w written, a added to, which commutes."""

WantsStep = Callable[[], bool]


def never() -> bool:
    """Answer for machines on which nobody asks for steps."""
    return False


@frozen
class Step:
    """Wait for the turn to do what follows up to the next request, which touches `touches`."""

    text: str
    touches: tuple[Touch, ...]


@define(eq=False)
class LockPtes:
    """Take the lock of the PTE table in which word `index` lies (pte_offset_map_lock).

    With `second`, also the lock of that word's table, if it is another one.
    """

    index: int
    second: int | None = None


@define(eq=False)
class UnlockPtes:
    """Let go of what `LockPtes` took."""


UNLOCK_PTES: Final = UnlockPtes()

StepRequest = Step | LockPtes | UnlockPtes


def pte(index: int) -> str:
    """Return the name of a word of a page table, as steps declare it."""
    return f"page_tables[{index}]"


def page(pfn: int) -> str:
    """Return the name of a struct page."""
    return f"pages[{pfn}]"


def data(pfn: int) -> str:
    """Return the name of what a page contains."""
    return f"data[{pfn}]"


def rss(ctx_id: int) -> str:
    """Return the name of an address space's rss counters."""
    return f"rss[{ctx_id}]"


def mm_flags(ctx_id: int) -> str:
    """Return the name of an address space's flags (mm->flags)."""
    return f"mm_flags[{ctx_id}]"


def page_lock(pfn: int) -> str:
    """Return the name of a page's lock."""
    return f"page_lock[{pfn:#x}]"


def areas(ctx_id: int) -> str:
    """Return the name of an address space's areas."""
    return f"vmas[{ctx_id}]"
