"""What a request may take from a zone, as it is looked at without the lock (mm/page_alloc.c, v6.1).

The watermark checks. They go by the zone's global NR_FREE_PAGES, which lags behind by what the CPUs
have not counted yet. Where all CPUs together could hide a breach of the min watermark, boot sets
percpu_drift_mark, and below it a check sums up what every CPU has.

So did v2.6.36 in every check. Since v2.6.38 (88f5acf88ae6) kswapd lets CPUs count sooner while it
is awake, and 6.1 sums up in its own checks only (zone_watermark_ok_safe); there is no kswapd here
yet, so requests keep the older rule.

Left out: CMA.
"""

from typing import Any, Final

from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.buddy import (
    FREE_LISTS,
    LOWMEM_RESERVE,
    NR_RESERVED_HIGHATOMIC,
    WATERMARK_BOOST,
    WMARK_MIN,
)
from mmactors.mm.page_alloc.gfp import (
    ALLOC_HIGHATOMIC,
    ALLOC_MIN_RESERVE,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
    ALLOC_WMARK_MASK,
    ALLOC_WMARK_MIN,
    GFP_ATOMIC_BIT,
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
    MIGRATE_TYPES,
)
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.vmstat import NR_FREE_PAGES, VmStat
from mmactors.rules import Rules


class ZoneWatermarks:
    """The limits of a zone, and what is held against them."""

    def __init__(
        self, *, view: Any, pages: PageColumns, number: int, vmstat: VmStat, rules: Rules
    ) -> None:
        self.view: Final = view
        """The words of struct zone, indexed by the constants of mm/page_alloc/buddy.py."""
        self.pages: Final = pages
        self.percpu_drift_mark = 0
        """Below so many free pages the lagging number is no good; 0: it always is."""
        self._number: Final = number
        self._vmstat: Final = vmstat
        self.stat_view: Any = vmstat.zones[number]
        """The zone's global numbers, which lag."""
        self.rules: Final = rules

    def nr_free_to_check(self) -> int:
        """Return the free pages that a watermark check goes by (zone_nr_free_pages)."""
        free_pages: int = max(0, self.stat_view[NR_FREE_PAGES])
        if free_pages < self.percpu_drift_mark and self.rules.watermarks_see_percpu_drift:
            return self._vmstat.zone_page_state_snapshot(self._number, NR_FREE_PAGES)
        return free_pages

    def watermark_ok(
        self,
        order: int,
        *,
        mark: int,
        highest_zoneidx: int,
        alloc_flags: int,
        free_pages: int,
    ) -> bool:
        """Return whether `free_pages` suffice for a request (__zone_watermark_ok)."""
        view = self.view
        free_pages -= (1 << order) - 1
        if alloc_flags & ALLOC_RESERVES:
            if alloc_flags & ALLOC_MIN_RESERVE:
                mark -= mark // 2
                if alloc_flags & ALLOC_NON_BLOCK:
                    mark -= mark // 4
            if alloc_flags & ALLOC_OOM:
                mark -= mark // 2
        else:
            free_pages -= view[NR_RESERVED_HIGHATOMIC]
        if free_pages <= mark + view[LOWMEM_RESERVE + highest_zoneidx]:
            return False
        return order == 0 or self.has_block(order, alloc_flags)

    def watermark_fast(
        self, order: int, *, highest_zoneidx: int, alloc_flags: int, gfp: int
    ) -> bool:
        """Return whether the zone's free pages allow a request (zone_watermark_fast)."""
        view = self.view
        wmark = alloc_flags & ALLOC_WMARK_MASK
        free_pages = self.nr_free_to_check()
        boost = view[WATERMARK_BOOST]
        mark = view[WMARK_MIN + wmark]
        if order == 0:
            reserved = 0 if alloc_flags & ALLOC_RESERVES else view[NR_RESERVED_HIGHATOMIC]
            usable = free_pages - min(free_pages, reserved)
            if usable > mark + boost + view[LOWMEM_RESERVE + highest_zoneidx]:
                return True
        if self.watermark_ok(
            order,
            mark=mark + boost,
            highest_zoneidx=highest_zoneidx,
            alloc_flags=alloc_flags,
            free_pages=free_pages,
        ):
            return True
        # The boost keeps memory for reclaim; a request that can neither wait nor fail ignores it.
        if order == 0 and gfp & GFP_ATOMIC_BIT and boost and wmark == ALLOC_WMARK_MIN:
            return self.watermark_ok(
                order,
                mark=mark,
                highest_zoneidx=highest_zoneidx,
                alloc_flags=alloc_flags,
                free_pages=free_pages,
            )
        return False

    def has_block(self, order: int, alloc_flags: int) -> bool:
        """Return whether a list that the request may use has a large enough block."""
        links, view = self.pages.next_view, self.view
        nr_types = MIGRATE_PCPTYPES
        if alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM):
            nr_types = MIGRATE_HIGHATOMIC + 1
        for current in range(order, MAX_ORDER):
            if view[current]:
                first = view[FREE_LISTS] + current * MIGRATE_TYPES
                for head in range(first, first + nr_types):
                    if links[head] != head:
                        return True
        return False
