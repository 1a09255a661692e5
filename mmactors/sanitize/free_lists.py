"""What really stands on the free lists: the buddy lists by their blocks, the per-CPU lists walked.

Invariants of struct page (arch/page.py) are what is checked here: a page is on at most one list,
and the links of a list lead forth and back.
"""

from typing import Final

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.arch.page import PageColumns
from mmactors.mm.buddy import MAX_ORDER, PAGEBLOCK_ORDER, PAGEBLOCK_TYPE_MASK
from mmactors.mm.gfp import MIGRATE_ISOLATE
from mmactors.mm.pcp import NR_PCP_LISTS, PerCpuPages, pindex_to_order
from mmactors.mm.zone import Zone

_OFFSETS: Final = [np.arange(1 << order) for order in range(MAX_ORDER)]


@define(eq=False)
class FreeLists:
    """All free pages of a machine, counted."""

    pages: PageColumns
    zones: list[Zone]
    listed: NDArray[np.int8] = field(init=False)
    """By page: on how many lists it is."""
    nr_buddy: list[int] = field(init=False)
    """By zone: pages on the buddy lists."""
    nr_isolated: list[int] = field(init=False)
    """By zone: those of them in isolated pageblocks, which NR_FREE_PAGES leaves out."""
    nr_pcp: dict[tuple[int, int], int] = field(factory=dict, init=False)
    """By zone and CPU: pages on its lists."""
    broken: list[str] = field(factory=list, init=False)
    """Lists whose links do not fit."""

    def __attrs_post_init__(self) -> None:
        self.listed = np.zeros(self.pages.nr_frames, np.int8)
        self._count_buddies()
        for zone in self.zones:
            for cpu, pcp in enumerate(zone.pcps):
                self.nr_pcp[zone.number, cpu] = self._walk(zone, cpu, pcp)

    def _count_buddies(self) -> None:
        heads = np.flatnonzero(self.pages.buddy[: self.pages.nr_frames])
        orders = self.pages.buddy[heads] - 1
        zones = self.pages.zone[heads] - 1
        blocks = self.zones[0].pageblocks[heads >> PAGEBLOCK_ORDER] & PAGEBLOCK_TYPE_MASK
        isolated = blocks == MIGRATE_ISOLATE
        sizes = np.left_shift(1, orders.astype(np.int64))
        nr_zones = len(self.zones)
        self.nr_buddy = _sums(zones, sizes, nr_zones)
        self.nr_isolated = _sums(zones[isolated], sizes[isolated], nr_zones)
        for order in np.unique(orders).tolist():
            of_order = heads[orders == order]
            self.listed[(of_order[:, None] + _OFFSETS[order]).ravel()] += 1

    def _walk(self, zone: Zone, cpu: int, pcp: PerCpuPages) -> int:
        """Count the pages of one CPU's lists of one zone."""
        links, back = self.pages.next_view, self.pages.prev_view
        nr_pages = 0
        for pindex in range(NR_PCP_LISTS):
            head = pcp.heads + pindex
            pfn, before = links[head], head
            size = 1 << pindex_to_order(pindex)
            while pfn != head:
                if back[pfn] != before or pfn >= self.pages.nr_frames or self.listed[pfn] > 1:
                    self.broken.append(
                        f"list {pindex} of cpu{cpu} in zone {zone.name} breaks at page {pfn:#x}"
                    )
                    break
                self.listed[pfn : pfn + size] += 1
                nr_pages += size
                before, pfn = pfn, links[pfn]
        return nr_pages


def _sums(zones: NDArray[np.int16], sizes: NDArray[np.int64], nr_zones: int) -> list[int]:
    return [int(count) for count in np.bincount(zones, sizes, minlength=nr_zones)]
