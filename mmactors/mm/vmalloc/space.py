"""The kernel's address space for vmalloc: areas that are free, in use, or freed lazily (v6.1).

Three trees (area_tree.py) hold all of the address space but what was in use before vmalloc was set
up; each struct vmap_area is in at most one of them. Addresses are pages here, counted from 0 as
unsigned words are; outside they are signed bytes (`page_of`, `address_of`). Left out: huge pages,
KASAN, KMSAN, kmemleak, memory cgroups, notifiers of failed allocations, which drivers register.

Invariants: the areas of the three trees do not overlap; `lazy_nr` is the size of all in the tree of
those freed lazily, in pages.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from mmactors.arch.column import Words
from mmactors.label import WantsStep, never
from mmactors.mm.vmalloc.area_tree import (
    AREA_WORDS,
    BLACK,
    COLOUR,
    END,
    NEXT,
    PREV,
    START,
    THING,
    find_area,
    insert_area,
)
from mmactors.mm.vmalloc.kernel_mapping import VMALLOC_START
from mmactors.mm.vmalloc.request import (
    VMAP_AREA_LOCK,
    FreeVmapArea,
    SpinLock,
    SpinUnlock,
    VmallocSteps,
)
from mmactors.mm.vmalloc.vm_struct import PcpuAreas, VmStruct
from mmactors.mm.vmalloc.vmap_block import VMAP_BBMAP_BITS, BlockLink, VmapBlock
from mmactors.mm.xarray import XArray
from mmactors.rules import Rules
from mmactors.units import MIB, PAGE_SHIFT, PAGE_SIZE

VMALLOC_END: Final = 0xFFFF_E8FF_FFFF_FFFF - (1 << 64)
"""Included."""
NR_PAGES: Final = 1 << (64 - PAGE_SHIFT)
"""Of the whole address space."""
FREE: Final = AREA_WORDS
"""The head of the tree of free areas."""
BUSY: Final = 2 * AREA_WORDS
LAZY: Final = 3 * AREA_WORDS
_FIRST: Final = 4 * AREA_WORDS
_NR_AREAS: Final = 256
"""Areas that there is room for at first."""
_LAZY_MAX_PAGES: Final = 32 * MIB // PAGE_SIZE
VMAP_BUSY_LOCK: Final = SpinLock(VMAP_AREA_LOCK)
VMAP_BUSY_UNLOCK: Final = SpinUnlock(VMAP_AREA_LOCK)

ThisCpu = Callable[[], int]
"""Returns the CPU that runs the path now (smp_processor_id)."""


def page_of(address: int) -> int:
    """Return the page that a signed address is in."""
    return address >> PAGE_SHIFT & (NR_PAGES - 1)


def address_of(page: int) -> int:
    """Return the signed address at which a page begins."""
    return (page - NR_PAGES if page >= NR_PAGES // 2 else page) << PAGE_SHIFT


VMALLOC_FIRST: Final = page_of(VMALLOC_START)
VMALLOC_LAST: Final = page_of(VMALLOC_END)


def block_index(page: int) -> int:
    """Return the index of the block that a page of vmalloc's would be in (addr_to_vb_idx)."""
    return (page - (VMALLOC_FIRST & -VMAP_BBMAP_BITS)) // VMAP_BBMAP_BITS


class VmallocSpace:
    """All of it, on one machine."""

    def __init__(
        self,
        *,
        nr_cpus: int,
        node_of_cpu: Sequence[int],
        totalram_pages: Callable[[], int],
        rules: Rules | None = None,
        wants_step: WantsStep = never,
    ) -> None:
        self.nr_cpus: Final = nr_cpus
        self.node_of_cpu: Final = node_of_cpu
        self.totalram_pages: Final = totalram_pages
        self.rules: Final = rules or Rules()
        self.wants_step: Final = wants_step
        self.areas: Words = np.zeros(_NR_AREAS * AREA_WORDS, np.int64)
        self.view = self.areas.data
        self._unused: list[int] = []
        self._add_unused(_FIRST)
        self.vm: Final[dict[int, VmStruct]] = {}
        """By area in use; those of vm_map_ram have none."""
        self.pcpu_areas: Final[dict[int, PcpuAreas]] = {}
        """By the signed address that a chunk's offsets count from."""
        self.preloaded: Final = [0] * nr_cpus
        """By CPU an area that it has ready for splitting another, 0: none."""
        self.vfree_deferred: Final[list[list[int]]] = [[] for _ in range(nr_cpus)]
        """By CPU what interrupts have freed, the last one first."""
        self.queues: Final = [BlockLink() for _ in range(nr_cpus)]
        """By CPU the list of its blocks that have room (vmap_block_queue)."""
        self.blocks: Final[dict[int, VmapBlock]] = {}
        """All blocks by index (vmap_blocks)."""
        self.block_order: Final[list[int]] = []
        """Their indices in order."""
        self.block_nodes: Final = XArray(self.blocks)
        self.lazy_nr = 0
        """Pages that were freed lazily (vmap_lazy_nr)."""
        self.nr_vmalloc_pages = 0
        self._empty_trees()
        self.add_free(0, NR_PAGES - 1)

    def _empty_trees(self) -> None:
        view = self.view
        view[COLOUR] = BLACK
        for head in (FREE, BUSY, LAZY):
            view[head + NEXT] = view[head + PREV] = head

    def _add_unused(self, first: int) -> None:
        self._unused += range(len(self.areas) - AREA_WORDS, first - 1, -AREA_WORDS)

    def new_area(self, thing: int, start: int = 0, end: int = 0) -> int:
        """Return an area in no tree, kept in the object `thing`."""
        if not self._unused:
            first = len(self.areas)
            self.areas = np.concatenate([self.areas, np.zeros(first, np.int64)])
            self.view = self.areas.data
            self._add_unused(first)
        area = self._unused.pop()
        view = self.view
        view[area + START] = start
        view[area + END] = end
        view[area + THING] = thing
        return area

    def forget_area(self, area: int) -> int:
        """Let an area that is in no tree be used again; return the object that it was kept in."""
        self._unused.append(area)
        return self.view[area + THING]

    def free_area(self, area: int, site: str) -> VmallocSteps[None]:
        """Give a struct vmap_area back, unless boot has made it (kmem_cache_free)."""
        thing = self.forget_area(area)
        if thing:
            yield FreeVmapArea(thing=thing, site=site)

    def add_free(self, start: int, end: int) -> None:
        """Let pages be free that are in no area (vmap_init_free_space)."""
        insert_area(self.areas, FREE, self.new_area(0, start, end))

    def areas_of(self, head: int) -> Iterator[int]:
        """Return a tree's areas in order of address."""
        view = self.view
        area = view[head + NEXT]
        while area != head:
            yield area
            area = view[area + NEXT]

    def start_of(self, area: int) -> int:
        """Return the signed address at which an area begins."""
        return address_of(self.view[area + START])

    def end_of(self, area: int) -> int:
        """Return the signed address at which an area has ended."""
        return address_of(self.view[area + END])

    def size_of(self, area: int) -> int:
        """Return an area's size in pages."""
        return self.view[area + END] - self.view[area + START]

    def find_busy(self, address: int) -> int:
        """Return the area in use that an address is in, 0: none (__find_vmap_area)."""
        return find_area(self.areas, BUSY, page_of(address))

    def find_vm_area(self, address: int) -> VmStruct | None:
        """Return what is known of the area in use that an address is in."""
        return self.vm.get(self.find_busy(address))

    def lazy_max_pages(self) -> int:
        """Return how many pages may be freed lazily before they are purged."""
        return self.nr_cpus.bit_length() * _LAZY_MAX_PAGES
