"""What really stands on the free lists: the buddy lists by their blocks, the per-CPU lists walked.

Invariants of struct page (arch/page.py) are what is checked here: a page is on at most one list,
and the links of a list lead forth and back.
"""

from typing import Final

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.pcp import NR_PCP_LISTS, PerCpuPages, pindex_to_order
from mmactors.mm.page_alloc.zone import Zone
from mmactors.sanitize.count import count_buddies, count_list

_SIZES: Final = [1 << pindex_to_order(pindex) for pindex in range(NR_PCP_LISTS)]


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
        pages = self.pages
        self.listed = np.zeros(pages.nr_frames, np.int8)
        free = np.zeros(len(self.zones), np.int64)
        isolated = np.zeros(len(self.zones), np.int64)
        count_buddies(
            pages.buddy,
            pages.zone,
            self.zones[0].pageblocks,
            pages.nr_frames,
            self.listed,
            free,
            isolated,
        )
        self.nr_buddy, self.nr_isolated = free.tolist(), isolated.tolist()
        for zone in self.zones:
            for cpu, pcp in enumerate(zone.pcps):
                self.nr_pcp[zone.number, cpu] = self._count(zone, cpu, pcp)

    def _count(self, zone: Zone, cpu: int, pcp: PerCpuPages) -> int:
        """Count the pages of one CPU's lists of one zone."""
        pages = self.pages
        nr_pages = 0
        for pindex, size in enumerate(_SIZES):
            head = pcp.heads + pindex
            if pages.next_view[head] == head == pages.prev_view[head]:
                continue
            found = count_list(pages.next, pages.prev, head, size, pages.nr_frames, self.listed)
            if found < 0:
                place = f"cpu{cpu} in zone {zone.name}"
                self.broken.append(f"list {pindex} of {place} breaks at page {-1 - found:#x}")
            else:
                nr_pages += found
        return nr_pages
