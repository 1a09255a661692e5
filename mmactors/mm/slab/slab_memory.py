"""The memory that objects lie in, as all object allocators see it: pages, bytes, who listens.

A slab's first page has PG_slab, and `mapping` says whose it is (mm/slab.h, Linux 6.1).
"""

from collections.abc import Callable, Sequence
from typing import Final, Required, TypedDict

from mmactors import label
from mmactors.arch.column import Bytes, Column
from mmactors.arch.jit import compiled
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PG_HEAD, PG_SLAB, PageColumns
from mmactors.checks import ObjectChecks
from mmactors.label import Label, Mode, Touch, WantsStep, never
from mmactors.mm.page_alloc.gfp import ZONE_NORMAL
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.vmstat import NODE_ITEM, VmStat
from mmactors.rules import Rules
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

ThisCpu = Callable[[], int]
"""Returns the CPU that runs the path now (smp_processor_id)."""
CACHES_MAX: Final = 1024
"""Caches that may exist at once; Debian's kernel boots with 200."""
_NR_SLAB_RECLAIMABLE: Final = NODE_ITEM["nr_slab_reclaimable"]
_NR_SLAB_UNRECLAIMABLE: Final = NODE_ITEM["nr_slab_unreclaimable"]


class MemoryParts(TypedDict, total=False):
    """The parts of a machine that `SlabMemory` is made of, whatever allocator is to use it."""

    pages: Required[PageColumns]
    memory: Required[PhysicalMemory]
    zones: Required[Sequence[tuple[int, int]]]
    node_of_cpu: Required[Sequence[int]]
    nodes_by_distance: Required[Sequence[Sequence[int]]]
    random_below: Required[Callable[[int], int]]
    vmstat: VmStat | None
    wants_step: WantsStep
    may_fail: Callable[[], bool]


class SlabMemory:
    """What all caches share, whoever manages their objects."""

    def __init__(
        self,
        *,
        pages: PageColumns,
        memory: PhysicalMemory,
        zones: Sequence[tuple[int, int]],
        node_of_cpu: Sequence[int],
        nodes_by_distance: Sequence[Sequence[int]],
        random_below: Callable[[int], int],
        rules: Rules = Rules(),  # noqa: B008 - it is frozen
        init_on_alloc: bool = True,
        hardened: bool = True,
        vmstat: VmStat | None = None,
        wants_step: WantsStep = never,
        may_fail: Callable[[], bool] = never,
    ) -> None:
        """`may_fail`: whether somebody makes allocations fail (ShouldFailslab).

        `init_on_alloc`: objects are cleared when they are handed out (INIT_ON_ALLOC_DEFAULT_ON).
        `hardened`: what is freed is looked at (SLAB_FREELIST_HARDENED).
        """
        self.pages: Final = pages
        self.memory: Final = memory
        self.nr_bytes: Final = memory.nr_frames * PAGE_SIZE
        self.memory_view: Final = memory.words.data
        self.bytes_view: Final = memory.words.data.cast("B")
        self.nr_cpus: Final = len(node_of_cpu)
        self.zones: Final = tuple(zones)
        """By number of a zone: node and index."""
        self.node_of_cpu: Final = tuple(node_of_cpu)
        self.nodes_by_distance: Final = tuple(map(tuple, nodes_by_distance))
        """By node: the others, the nearest first."""
        self.nr_nodes: Final = len(nodes_by_distance)
        self.slab_nodes: Final = tuple(
            sorted({node for node, index in zones if index <= ZONE_NORMAL})
        )
        """Nodes with memory that may be the kernel's (N_NORMAL_MEMORY)."""
        self.random_below: Final = random_below
        self.rules: Final = rules
        self.init_on_alloc: Final = init_on_alloc
        self.hardened: Final = hardened
        self.vmstat: Final = vmstat
        self.wants_step: Final = wants_step
        self.may_fail: Final = may_fail
        self.checks: ObjectChecks | None = None
        """Who is told what happens to objects; None: nobody."""
        self.warned: Final[set[str]] = set()
        """Where the kernel has warned."""
        self.taints = ""
        """Letters of what happened: B something was found broken, W the kernel warned."""

    def node_of(self, pfn: int) -> int:
        """Return the node of a page (slab_nid)."""
        return self.zones[self.pages.zone_view[pfn] - 1][0]

    def head_of(self, thing: int) -> int | None:
        """Return the first page of the slab or compound page that an address lies in."""
        pfn = thing >> PAGE_SHIFT
        if not 0 <= pfn < self.pages.nr_frames:
            return None
        head = head_of(self.pages.flags, self.pages.order, PG_SLAB | PG_HEAD, pfn)
        return head if head >= 0 else None

    def is_slab(self, head: int) -> bool:
        """Return whether a page is the first one of a slab."""
        return bool(self.pages.flags_view[head] & PG_SLAB)

    def zero(self, address: int, nr_bytes: int) -> None:
        """Clear memory; what was never written costs the host nothing."""
        seen, zeros = self.bytes_view[address : address + nr_bytes], bytes(nr_bytes)
        if seen.tobytes() != zeros:
            seen[:] = zeros

    def claim(self, cpu: int, pfn: int, order: int, *, is_reclaimable: bool = False) -> None:
        """Let pages hold objects, and count them (account_slab)."""
        self.memory.claim_slab(pfn, 1 << order)
        self._account(cpu, pfn, 1 << order, is_reclaimable=is_reclaimable)

    def release(self, cpu: int, pfn: int, order: int, *, is_reclaimable: bool = False) -> None:
        """Let pages that are about to be given back hold no objects (unaccount_slab)."""
        self.memory.release_slab(pfn, 1 << order)
        self._account(cpu, pfn, -(1 << order), is_reclaimable=is_reclaimable)

    def _account(self, cpu: int, pfn: int, nr_pages: int, *, is_reclaimable: bool) -> None:
        if self.vmstat is not None:
            item = _NR_SLAB_RECLAIMABLE if is_reclaimable else _NR_SLAB_UNRECLAIMABLE
            self.vmstat.mod_node_page_state(cpu, self.node_of(pfn), item, nr_pages)


@compiled
def head_of(flags: Column, orders: Bytes, wanted: int, pfn: int) -> int:
    """Return the first page of the block that a page is in and that has any of the flags wanted.

    -1: there is none.
    """
    for order in range(MAX_ORDER):
        head = pfn >> order << order
        if flags[head] & wanted != 0 and orders[head] >= order:
            return head
    return -1


def step(text: str, *touches: Touch) -> Label:
    """Make the label of a step."""
    return Label(text, touches)


def touches_slab(pfn: int, mode: Mode) -> Touch:
    """Say that a step touches struct slab, or what the allocator keeps in the slab's objects."""
    return label.slab(pfn), mode
