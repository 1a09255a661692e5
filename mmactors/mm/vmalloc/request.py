"""What vmalloc asks for: objects, pages, entries of page tables, flushes, locks, work for later.

A path is a generator. It yields a request and goes on with the answer; a label (label.py) is the
request for the turn to do what follows. Addresses are signed words, as entries of page tables are.
"""

from collections.abc import Generator
from typing import Any, Final, TypeVar

from attrs import frozen

from mmactors.label import Label
from mmactors.mm.slab.request import Printk


@frozen(kw_only=True)
class AllocVmapArea:
    """A struct vmap_area is needed; answered with its address, 0: no memory."""

    gfp: int
    node: int | None
    """None: that of the CPU."""
    site: str
    """The function that asks, as a stack trace names it."""


@frozen(kw_only=True)
class FreeVmapArea:
    """Take a struct vmap_area back; answered with None."""

    thing: int
    site: str


@frozen(kw_only=True)
class AllocXaNode:
    """A node of the array of blocks is needed; answered with its address, 0: no memory."""

    gfp: int
    site: str


@frozen(kw_only=True)
class FreeXaNode:
    """Take a node back; answered with None."""

    thing: int
    site: str
    by_rcu: bool
    """After a grace period, as walks may stand at it (call_rcu)."""


@frozen(kw_only=True)
class Kmalloc:
    """Memory for a struct vm_struct, a block or an array; answered with its address, 0: none."""

    size: int
    """Bytes."""
    gfp: int
    node: int | None
    site: str


@frozen(kw_only=True)
class Kfree:
    """Take it back; answered with None."""

    thing: int
    site: str


@frozen(kw_only=True)
class KfreeRcu:
    """Take it back after a grace period (kfree_rcu); answered with None."""

    thing: int
    site: str


@frozen(kw_only=True)
class AllocPagesBulk:
    """Single pages are needed (alloc_pages_bulk_array); answered with the PFNs of at most `nr`."""

    gfp: int
    node: int | None
    """None: as the memory policy has it."""
    nr: int


@frozen(kw_only=True)
class AllocPage:
    """A page is needed; answered with its PFN, None: no memory."""

    gfp: int
    node: int | None


@frozen(kw_only=True)
class FreePage:
    """Give a page back (__free_pages); answered with None."""

    pfn: int


@frozen(kw_only=True)
class VmapPagesRange:
    """Map pages one after the other in init_mm (vmap_pages_range).

    Answered with 0, else an error's number below 0: then entries up to there are made.
    """

    start: int
    end: int
    pfns: tuple[int, ...] | list[int]
    gfp: int
    """What page tables may be allocated with."""


@frozen(kw_only=True)
class VunmapRange:
    """Clear the entries of a range, and flush nothing (vunmap_range_noflush); answered with None.

    Where no page is mapped nothing is done.
    """

    start: int
    end: int


@frozen(kw_only=True)
class FlushTlbKernelRange:
    """Let no CPU know translations of a range (flush_tlb_kernel_range); answered with None."""

    start: int
    end: int


@frozen
class SpinLock:
    """Take one of vmalloc's spinlocks; answered with None."""

    name: str
    number: int = 0
    """Of vbq->lock the CPU, of vb->lock the block's index."""


@frozen
class SpinUnlock:
    """Let go of what `SpinLock` took."""

    name: str
    number: int = 0


@frozen
class PurgeLock:
    """Take vmap_purge_lock, a mutex; answered with None."""


@frozen
class PurgeUnlock:
    """Let go of it."""


@frozen
class RcuReadLock:
    """Begin a section in which blocks that are freed stay; answered with None."""


@frozen
class RcuReadUnlock:
    """End it."""


@frozen
class CondResched:
    """Others may run now, if it is their turn; answered with None."""


@frozen
class CondReschedLock:
    """Others who wait for a spinlock may have it meanwhile (cond_resched_lock)."""

    name: str
    number: int = 0


@frozen
class ScheduleTimeout:
    """Sleep for some ticks (schedule_timeout_uninterruptible); answered with None."""

    jiffies: int = 1


@frozen
class ScheduleDrain:
    """Let a worker do `drain_vmap_area_work`, unless it is going to; answered with None."""


@frozen
class ScheduleVfree:
    """Let a worker do `free_work` for a CPU, unless it is going to; answered with None."""

    cpu: int


@frozen
class IsInterrupt:
    """Is this an interrupt (in_interrupt); answered with 1: it is, or 0."""


@frozen
class FatalSignalPending:
    """Is the task to die (fatal_signal_pending(current)); answered with 1: it is, or 0."""


@frozen(kw_only=True)
class Warn:
    """Write a warning, and go on (WARN, WARN_ON_ONCE); answered with None."""

    place: str
    """The line of the kernel's source, and the function."""
    text: str = ""
    is_once: bool = False
    """The second time nothing is written."""


@frozen(kw_only=True)
class WarnAlloc:
    """Say that an allocation has failed (warn_alloc); answered with None.

    Nobody hears of it if `gfp` has GFP_NOWARN.
    """

    gfp: int
    text: str


VmallocRequest = (
    Label
    | AllocVmapArea
    | FreeVmapArea
    | AllocXaNode
    | FreeXaNode
    | Kmalloc
    | Kfree
    | KfreeRcu
    | AllocPagesBulk
    | AllocPage
    | FreePage
    | VmapPagesRange
    | VunmapRange
    | FlushTlbKernelRange
    | SpinLock
    | SpinUnlock
    | PurgeLock
    | PurgeUnlock
    | RcuReadLock
    | RcuReadUnlock
    | CondResched
    | CondReschedLock
    | ScheduleTimeout
    | ScheduleDrain
    | ScheduleVfree
    | IsInterrupt
    | FatalSignalPending
    | Printk
    | Warn
    | WarnAlloc
)
VmallocAnswer = int | tuple[int, ...] | None
T = TypeVar("T")
VmallocSteps = Generator[VmallocRequest, Any, T]
"""A path on its way; gives a T. Each request says what of VmallocAnswer it is answered with."""

FREE_VMAP_AREA_LOCK: Final = "free_vmap_area_lock"
VMAP_AREA_LOCK: Final = "vmap_area_lock"
PURGE_VMAP_AREA_LOCK: Final = "purge_vmap_area_lock"
VBQ_LOCK: Final = "vbq->lock"
VB_LOCK: Final = "vb->lock"
XA_LOCK: Final = "vmap_blocks.xa_lock"
