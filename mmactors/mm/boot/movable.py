"""Where zone Movable begins on each node: `kernelcore=`, `movablecore=` (mm/page_alloc.c, v6.1).

Memory that only movable pages may use is spread over the nodes, so that each keeps an equal share
for the kernel where it has that much. Amounts are pages.

Invariants: a node's zone Movable begins at a whole block of the highest order.
"""

from typing import Final

from attrs import define

from mmactors.mm.boot.cmdline import BootArguments, CoreSize
from mmactors.mm.boot.memblock import Memblock
from mmactors.mm.boot.regions import MemblockFlags
from mmactors.units import GIB, MIB, PAGE_SHIFT, PAGE_SIZE

_MAX_ORDER_PAGES: Final = 1024
_DMA_END_PFN: Final = 16 * MIB >> PAGE_SHIFT
_DMA32_END_PFN: Final = 4 * GIB >> PAGE_SHIFT

PfnRange = tuple[int, int]
"""`[start_pfn, end_pfn)`"""


def pfn_ranges(memblock: Memblock) -> dict[int, list[PfnRange]]:
    """Return by node its memory in whole pages, rising (for_each_mem_pfn_range)."""
    found: dict[int, list[PfnRange]] = {}
    for region in memblock.memory.regions:
        start, end = -(-region.start // PAGE_SIZE), region.end >> PAGE_SHIFT
        if start < end:
            found.setdefault(region.node or 0, []).append((start, end))
    return dict(sorted(found.items()))


def find_zone_movable_pfns(memblock: Memblock, arguments: BootArguments) -> dict[int, int]:
    """Return by node the first page frame of zone Movable; nodes without one are left out."""
    ranges = pfn_ranges(memblock)
    if arguments.is_movable_node or arguments.is_kernelcore_mirror:
        starts: dict[int, int] = {}
        for region in memblock.memory.regions:
            pfn = region.start >> PAGE_SHIFT
            if (
                region.flags & MemblockFlags.HOTPLUG
                if arguments.is_movable_node
                else pfn >= _DMA32_END_PFN and not region.flags & MemblockFlags.MIRROR
            ):
                starts.setdefault(region.node or 0, pfn)
    else:
        needed = _required_kernelcore(ranges, arguments)
        if not needed:
            return {}
        starts = _Spreading(ranges, needed).starts()
    found = {}
    for node, start in starts.items():
        pfn = -(-start // _MAX_ORDER_PAGES) * _MAX_ORDER_PAGES
        if pfn < ranges[node][-1][1]:
            found[node] = pfn
    return found


def _required_kernelcore(ranges: dict[int, list[PfnRange]], arguments: BootArguments) -> int:
    """Return the pages for all uses together; 0: there is no zone Movable."""
    total = sum(end - start for of_node in ranges.values() for start, end in of_node)
    kernelcore = _pages_of(arguments.kernelcore, total)
    movablecore = _pages_of(arguments.movablecore, total)
    if movablecore:
        movablecore = min(-(-movablecore // _MAX_ORDER_PAGES) * _MAX_ORDER_PAGES, total)
        kernelcore = max(kernelcore, total - movablecore)
    return kernelcore if kernelcore < total else 0


def _pages_of(size: CoreSize, total: int) -> int:
    if size.percent:
        return total * 100 * size.percent // 10000
    return size.nr_bytes >> PAGE_SHIFT


@define(eq=False, repr=False)
class _Spreading:
    """The spreading of what the kernel needs over nodes (find_zone_movable_pfns_for_nodes)."""

    ranges: dict[int, list[PfnRange]]
    needed: int

    def starts(self) -> dict[int, int]:
        """Return by node where its share for the kernel ends.

        A node with too little leaves its rest to the others: one pass more, with one node less.
        """
        nodes = list(self.ranges)
        starts = dict.fromkeys(nodes, 0)
        usable = _lowest_usable_pfn(self.ranges)
        nr_nodes = len(nodes)
        while True:
            share = self.needed // nr_nodes
            for node in nodes:
                if self.needed < share:
                    share = self.needed // nr_nodes
                starts[node] = self._walk(node, starts[node], share, usable)
            nr_nodes -= 1
            if not nr_nodes or self.needed <= nr_nodes:
                return {node: start for node, start in starts.items() if start}

    def _walk(self, node: int, begin: int, share: int, usable: int) -> int:
        """Count a node's memory as the kernel's from `begin` on; return where its share ends."""
        for low, end in self.ranges[node]:
            start = max(low, begin)
            if start >= end:
                continue
            if start < usable:
                nr_pages = min(end, usable) - start
                share -= min(nr_pages, share)
                self.needed -= min(nr_pages, self.needed)
                if end <= usable:
                    begin = end
                    continue
            start = max(start, usable)
            nr_pages = min(end - start, share)
            begin = start + nr_pages
            self.needed -= min(self.needed, nr_pages)
            share -= nr_pages
            if not share:
                break
        return begin


def _lowest_usable_pfn(ranges: dict[int, list[PfnRange]]) -> int:
    """Return where the highest zone with memory begins (find_usable_zone_for_movable)."""
    end = max(of_node[-1][1] for of_node in ranges.values())
    start = min(of_node[0][0] for of_node in ranges.values())
    for border in (_DMA32_END_PFN, _DMA_END_PFN):
        if end > border:
            return border
    return start
