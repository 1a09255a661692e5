"""What object allocators ask for: pages, locks, grace periods, work on other CPUs, a line in dmesg.

Whether an allocation is made to fail is asked where somebody may want it, before anything is taken.

A path is a generator. It yields a request and goes on with the answer; a label (label.py) is the
request for the turn to do what follows. The sections under a CPU's local lock and those without
preemption are asked for only where steps are: elsewhere nothing can come between two requests.
"""

from collections.abc import Generator
from typing import TypeVar

from attrs import frozen

from mmactors.label import Label
from mmactors.mm.slab.alloc_site import SlabAllocation


@frozen(kw_only=True)
class AllocSlabPages:
    """The pages of a slab are needed; answered with the first one's PFN, None: no memory."""

    order: int
    gfp: int
    node: int | None
    """None: that of the CPU."""


@frozen
class ShouldFailslab:
    """May an object not be had, whether there is memory or not; answered with 1: it may not."""

    allocation: SlabAllocation


@frozen(kw_only=True)
class TellAlloc:
    """Tell who listens that an object was handed out, or could not be; answered with None.

    For what paths allocate by themselves: who drives a path tells what it was driven for.
    """

    thing: int
    site: str
    """The function that asked."""
    bytes_req: int
    bytes_alloc: int
    gfp: int
    node: int | None
    is_kmalloc: bool
    is_accounted: bool


@frozen(kw_only=True)
class TellFree:
    """Tell who listens that an object is about to be freed; answered with None."""

    thing: int
    site: str
    cache: str | None
    """Its name; None: kfree does not say."""


@frozen(kw_only=True)
class FreeSlabPages:
    """Give pages back (__free_pages); answered with None."""

    pfn: int
    order: int


@frozen(kw_only=True)
class ListLock:
    """Take the list_lock of a cache on a node, with interrupts off; answered with None."""

    cache: int
    node: int


@frozen(kw_only=True)
class ListUnlock:
    """Let go of what `ListLock` took."""

    cache: int
    node: int


@frozen(kw_only=True)
class AlienLock:
    """Take the lock of what a node keeps of another one's objects, with interrupts off (SLAB)."""

    cache: int
    node: int
    alien: int
    """The other node."""


@frozen
class AlienTryLock:
    """Take such a lock unless it is taken (spin_trylock_irq); answered with 1, 0: it was."""

    lock: AlienLock


@frozen(kw_only=True)
class AlienUnlock:
    """Let go of what `AlienLock` or `AlienTryLock` took."""

    cache: int
    node: int
    alien: int


@frozen
class SlobLock:
    """Take slob_lock, with interrupts off; answered with None."""


@frozen
class SlobUnlock:
    """Let go of what `SlobLock` took."""


@frozen(kw_only=True)
class LocalLock:
    """Let no interrupt come on this CPU (kmem_cache_cpu->lock, local_irq_save); it nests.

    Answered with None.
    """

    cpu: int


@frozen(kw_only=True)
class LocalUnlock:
    """Let interrupts come again."""

    cpu: int


@frozen
class GetCpu:
    """Stay on this CPU (slub_get_cpu_ptr); answered with None."""


@frozen
class PutCpu:
    """Other CPUs may take this thread over again."""


@frozen(kw_only=True)
class CallRcu:
    """Free something after a grace period, with the allocator's `rcu_free`; answered with None."""

    cache: int
    freed: int
    """PFN of a slab; SLOB frees each object by itself: its address."""


@frozen(kw_only=True)
class RcuBarrier:
    """Let `SlabCommon.release` have a cache after all grace periods that `CallRcu` asked for.

    Answered with None at once.
    """

    cache: int


@frozen(kw_only=True)
class FlushCpus:
    """Let each CPU do the allocator's `flush_cpu` for a cache, wait for all; answered with None."""

    cache: int
    cpus: tuple[int, ...]
    is_interrupt: bool = False
    """By an interrupt (on_each_cpu); else by a thread of each (flush_all_cpus_locked)."""


@frozen(kw_only=True)
class Printk:
    """Write into the kernel's log; answered with None."""

    lines: tuple[str, ...]


SlabRequest = (
    Label
    | ShouldFailslab
    | TellAlloc
    | TellFree
    | AllocSlabPages
    | FreeSlabPages
    | ListLock
    | ListUnlock
    | AlienLock
    | AlienTryLock
    | AlienUnlock
    | SlobLock
    | SlobUnlock
    | LocalLock
    | LocalUnlock
    | GetCpu
    | PutCpu
    | CallRcu
    | RcuBarrier
    | FlushCpus
    | Printk
)
SlabAnswer = int | None
T = TypeVar("T")
SlabSteps = Generator[SlabRequest, SlabAnswer, T]
"""A path on its way; gives a T."""


class KernelOopsError(Exception):
    """The kernel followed a pointer to nowhere, or met a BUG(): who called it does not go on."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))
