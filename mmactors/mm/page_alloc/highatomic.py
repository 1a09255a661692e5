"""The reserve for high-order atomic requests (mm/page_alloc.c, Linux 6.1), under zone->lock.

Whole pageblocks belong to it: who had to take a block of high order with ALLOC_HIGHATOMIC keeps the
block's pageblock for the next, up to 1 % of the zone; a request that finds nothing opens one again.
"""

from mmactors.mm.page_alloc import buddy
from mmactors.mm.page_alloc.buddy import (
    NR_RESERVED_HIGHATOMIC,
    PAGEBLOCK_PAGES,
)
from mmactors.mm.page_alloc.gfp import MIGRATE_HIGHATOMIC, MIGRATE_PCPTYPES
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.page_alloc.zone import Zone


def reserve_highatomic_pageblock(zone: Zone, pfn: int) -> None:
    """Keep the pageblock of `pfn`, if the limit allows."""
    view = zone.view
    if view[NR_RESERVED_HIGHATOMIC] >= zone.highatomic_limit():
        return
    if zone.pageblock_migratetype(pfn) < MIGRATE_PCPTYPES:
        view[NR_RESERVED_HIGHATOMIC] += PAGEBLOCK_PAGES
        buddy.set_pageblock_migratetype(zone.pageblocks, pfn, MIGRATE_HIGHATOMIC)
        zone.move_freepages_block(pfn, MIGRATE_HIGHATOMIC)


def unreserve_highatomic_pageblock(zone: Zone, migratetype: int) -> int:
    """Give back the pageblock of the first free highatomic block; return the pages moved."""
    links, view = zone.pages.next_view, zone.view
    for order in range(MAX_ORDER):
        head = zone.free_list_head(order, MIGRATE_HIGHATOMIC)
        pfn = links[head]
        if pfn == head:
            continue
        if zone.pageblock_migratetype(pfn) == MIGRATE_HIGHATOMIC:
            view[NR_RESERVED_HIGHATOMIC] -= min(PAGEBLOCK_PAGES, view[NR_RESERVED_HIGHATOMIC])
        buddy.set_pageblock_migratetype(zone.pageblocks, pfn, migratetype)
        nr_moved = zone.move_freepages_block(pfn, migratetype)
        if nr_moved:
            return nr_moved
    return 0
