"""What mechanisms ask for: pages, their locks, flushes, and the locks of page tables.

A mechanism is a generator. It yields a request and goes on with the answer. A label (label.py) is
the request for the turn to do what follows up to the next request. Who drives a mechanism alone
lets nobody ask for steps. The locks are those of mm/memory.c, Linux 6.1: one for each PTE table.
"""

from typing import Final

from attrs import define, frozen

from mmactors.label import Label
from mmactors.mm.page_alloc import alloc_site
from mmactors.mm.page_alloc.gfp import GFP_HIGHUSER_MOVABLE, GFP_ZERO


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

StepRequest = Label | LockPtes | UnlockPtes


@frozen(kw_only=True)
class AllocPage:
    """A page is needed; answered with its PFN, None: no memory."""

    gfp: int = GFP_HIGHUSER_MOVABLE
    """With GFP_ZERO, the page is cleared."""
    is_copy: bool = False
    """Another page is copied to it."""
    site: str = alloc_site.ALLOC_PAGES
    """The function that asks, one of ALLOC_SITES."""


ALLOC_ZEROED: Final = AllocPage(
    gfp=GFP_HIGHUSER_MOVABLE | GFP_ZERO, site=alloc_site.DO_ANONYMOUS_PAGE
)


@frozen(kw_only=True)
class FreePage:
    """Let go of a reference of a page, which is freed with the last one; answered with None."""

    pfn: int


@frozen
class LruAddDrain:
    """Work off what waits for the LRU lists on this CPU, or on all; answered with None."""

    all_cpus: bool = False


LRU_ADD_DRAIN: Final = LruAddDrain()
LRU_ADD_DRAIN_ALL: Final = LruAddDrain(all_cpus=True)


@frozen(kw_only=True)
class FlushPage:
    """No CPU may know a translation of `address` any more; answered with None."""

    address: int


@frozen
class FlushBatchedPending:
    """Make up for flushes that reclaim has deferred, if there are any; answered with None."""


FLUSH_BATCHED_PENDING: Final = FlushBatchedPending()


@frozen(kw_only=True)
class LockPage:
    """Lock a page of a file, of which the asker has a reference; answered with None."""

    pfn: int


@frozen(kw_only=True)
class TryLockPage:
    """Lock a page if nobody has it locked; answered with whether it is locked now."""

    pfn: int


@frozen(kw_only=True)
class UnlockPage:
    """Unlock a page; answered with None."""

    pfn: int
