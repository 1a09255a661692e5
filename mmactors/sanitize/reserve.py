"""O8 and O10 of the allocator: the reserve below the min watermark is there when it is needed.

A request looks at a number of free pages that lags. Linux tolerates a lag of as much as lies
between the low and the min watermark (refresh_zone_stat_thresholds, tolerate_drift, mm/vmstat.c,
v6.1). What is let through beyond that takes pages that killed processes need to end.
"""

from mmactors.mm.page_alloc.buddy import NR_ISOLATE_PAGEBLOCK, WMARK_LOW, WMARK_MIN
from mmactors.mm.page_alloc.zone import Zone


def reserve_problem(zone: Zone, order: int) -> str | None:
    """Return what is wrong with a request that has passed the zone's watermark; None: nothing."""
    view = zone.view
    if view[NR_ISOLATE_PAGEBLOCK]:
        return None  # Some blocks on its lists do not count.
    tolerated = view[WMARK_LOW] - view[WMARK_MIN]
    free_pages = zone.nr_free
    is_right = zone.watermark_ok(
        order,
        mark=view[WMARK_MIN] - tolerated,
        highest_zoneidx=zone.index,
        alloc_flags=0,
        free_pages=free_pages,
    )
    if is_right or not zone.has_block(order, 0):
        return None
    return (
        f"a request of {1 << order} pages passed the min watermark ({view[WMARK_MIN]}) of zone "
        f"{zone.node} {zone.name}, where {free_pages} pages are free"
    )
