"""Giving pages back: to the CPU's lists, or past them (mm/page_alloc.c, free_unref_page, v6.1).

It has two halves. `prepare` wipes the struct pages and notes the type of their pageblock; `commit`
puts them on the CPU's lists under that type, and drains what is too many. Between the two nothing
is locked: a pageblock that is isolated meanwhile finds the page neither free nor in use.

Left out: pcp->lock. A section that changes a CPU's lists is never interrupted by another CPU, so
nobody finds the lock taken and goes past the lists for that.

Invariant: a page on a CPU's list has in `index` the type with which it goes back.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.buddy import (
    PAGEBLOCK_TYPE_MASK,
    ZONE_FLAGS,
    ZONE_RECLAIM_ACTIVE,
    Bytes,
)
from mmactors.mm.page_alloc.freelist import free_pages_prepare
from mmactors.mm.page_alloc.gfp import MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_PCPTYPES
from mmactors.mm.page_alloc.order import PAGEBLOCK_ORDER
from mmactors.mm.page_alloc.pcp import (
    BATCH,
    COUNT,
    EXPIRE,
    PCP_BATCH_SCALE_MAX,
    free_unref_page_prepare,
    order_to_pindex,
    pcp_allowed_order,
    push_until_drain,
)
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.page_alloc.zone_request import FreeOnePage, FreePcppagesBulk, Steps
from mmactors.mm.vmstat import PGFREE, VmStat

Pfns = NDArray[np.int64]


class FreeUnref:
    """Gives back pages that nobody refers to any more."""

    def __init__(
        self,
        *,
        pages: PageColumns,
        pageblocks: Bytes,
        vmstat: VmStat,
        zones: Sequence[Zone],
        cpu_node: Sequence[int],
    ) -> None:
        self._pages: Final = pages
        self._pageblocks: Final = pageblocks
        self._pageblock_view: Final = pageblocks.data
        self._vmstat: Final = vmstat
        self._events: Final = vmstat.events
        self._zones: Final = zones
        self._page_zone: Final = pages.zone_view
        self._index: Final = pages.index_view
        self._cpu_node: Final = cpu_node

    def prepare(self, pfn: int, order: int) -> int:
        """Wipe a block and note the type of its pageblock, which is returned."""
        free_pages_prepare(self._pages, pfn, order)
        migratetype: int = self._pageblock_view[pfn >> PAGEBLOCK_ORDER] & PAGEBLOCK_TYPE_MASK
        self._index[pfn] = migratetype
        return migratetype

    def commit(self, cpu: int, pfn: int, order: int, migratetype: int) -> Steps:
        """Put a prepared block where blocks of its order and type go."""
        zone = self._zones[self._page_zone[pfn] - 1]
        if pcp_allowed_order(order) and migratetype != MIGRATE_ISOLATE:
            request = self._free_unref_page_commit(cpu, zone, pfn, order, migratetype)
            if request is not None:
                yield request
            return
        yield FreeOnePage(zone=zone.number, cpu=cpu, pfn=pfn, order=order, migratetype=migratetype)
        if not pcp_allowed_order(order):
            self._events[cpu][PGFREE] += 1 << order

    def prepare_list(self, pfns: Sequence[int]) -> tuple[Pfns, int]:
        """Prepare single pages; return them, and how many are of isolated pageblocks."""
        pages = self._pages
        freed = np.array(pfns, np.int64)
        nr_isolated = free_unref_page_prepare(
            pages.refcount,
            pages.flags,
            pages.mapping,
            pages.private,
            pages.generation,
            pages.index,
            self._pageblocks,
            freed,
        )
        return freed, nr_isolated

    def commit_list(
        self,
        cpu: int,
        freed: Pfns,
        nr_isolated: int,
        *,
        tell: Callable[[Pfns], None] | None = None,
    ) -> Steps:
        """Put prepared single pages where they go; `tell` is called with those put on lists."""
        if nr_isolated:
            is_isolated = self._pages.index[freed] == MIGRATE_ISOLATE
            for pfn in freed[is_isolated].tolist():
                yield FreeOnePage(
                    zone=self._page_zone[pfn] - 1,
                    cpu=cpu,
                    pfn=pfn,
                    order=0,
                    migratetype=MIGRATE_ISOLATE,
                )
            freed = freed[~is_isolated]
        nth = 0
        while nth < len(freed):
            zone = self._zones[self._page_zone[freed[nth]] - 1]
            end, request = self._commit_some(cpu, zone, freed, nth)
            self._events[cpu][PGFREE] += end - nth
            if tell is not None:
                tell(freed[nth:end])
            nth = end
            if request is not None:
                yield request

    def _commit_some(
        self, cpu: int, zone: Zone, freed: Pfns, nth: int
    ) -> tuple[int, FreePcppagesBulk | None]:
        """Put pages of one zone on the CPU's lists until a drain is due; return where it stopped.

        The drain is returned too.
        """
        pages = self._pages
        pcp = zone.pcps[cpu]
        reclaim_active = bool(zone.view[ZONE_FLAGS] & ZONE_RECLAIM_ACTIVE)
        end = push_until_drain(
            pages.next,
            pages.prev,
            pages.index,
            pages.zone,
            pcp.words,
            pcp.heads,
            pcp.high(reclaim_active=reclaim_active),
            freed,
            nth,
        )
        count = pcp.nr_to_drain(0, reclaim_active=reclaim_active)
        if not count:
            return end, None
        last = pages.index_view[freed[end - 1]]
        request = FreePcppagesBulk(
            zone=zone.number, cpu=cpu, count=count, pindex=freed_pindex(last, 0)
        )
        return end, request

    def _free_unref_page_commit(
        self, cpu: int, zone: Zone, pfn: int, order: int, migratetype: int
    ) -> FreePcppagesBulk | None:
        """Put a block on the CPU's list; return the drain that is due then."""
        self._events[cpu][PGFREE] += 1 << order
        pindex = freed_pindex(migratetype, order)
        pcp = zone.pcps[cpu]
        pcp.push(pfn, pindex, order)
        reclaim_active = bool(zone.view[ZONE_FLAGS] & ZONE_RECLAIM_ACTIVE)
        count = pcp.nr_to_drain(order, reclaim_active=reclaim_active)
        if not count:
            return None
        return FreePcppagesBulk(zone=zone.number, cpu=cpu, count=count, pindex=pindex)

    def drain_pages(
        self, cpu: int, zones: Iterable[Zone] | None = None, *, of_cpu: int | None = None
    ) -> Steps:
        """Give all pages of a CPU's lists back, of all zones or some (drain_pages_zone).

        `cpu` does it; whose lists they are says `of_cpu`, None: its own.
        """
        owner = cpu if of_cpu is None else of_cpu
        for zone in self._zones if zones is None else zones:
            pcp = zone.pcps[owner]
            while pcp.view[COUNT]:
                count = min(pcp.view[COUNT], pcp.view[BATCH] << PCP_BATCH_SCALE_MAX)
                yield FreePcppagesBulk(
                    zone=zone.number, cpu=cpu, count=count, pindex=0, pcp_cpu=of_cpu
                )

    def refresh_cpu_vm_stats(self, cpu: int) -> Steps:
        """Fold a CPU's deltas, and drain its lists of remote zones that it no longer uses.

        What vmstat_update does on each CPU once a second; three idle rounds until a drain.
        """
        changed = self._vmstat.fold(cpu)
        for zone in self._zones:
            view = zone.pcps[cpu].view
            if zone.number in changed:
                view[EXPIRE] = 3
            if not view[EXPIRE] or not view[COUNT]:
                continue
            if zone.node == self._cpu_node[cpu]:
                view[EXPIRE] = 0
                continue
            view[EXPIRE] -= 1
            if not view[EXPIRE]:
                count = min(view[COUNT], view[BATCH])
                yield FreePcppagesBulk(zone=zone.number, cpu=cpu, count=count, pindex=0)


def freed_pindex(migratetype: int, order: int) -> int:
    """Return the list that a freed block waits on.

    Highatomic pages keep their type but wait among the movable ones, so that they are drained.
    """
    return order_to_pindex(
        migratetype if migratetype < MIGRATE_PCPTYPES else MIGRATE_MOVABLE, order
    )
