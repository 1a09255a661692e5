"""The limits of a zone that comes online (mm/page_alloc.c, init_per_zone_wmark_min, Linux 6.1).

Simplified: the other zones keep theirs; the new one gets its share by size of what all together
keep free. Left out: percpu_drift_mark, lowmem_reserve of lower zones.
"""

from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.buddy import MANAGED_PAGES, WMARK_LOW, WMARK_MIN
from mmactors.mm.page_alloc.watermark import (
    DEFAULT_WATERMARK_SCALE_FACTOR,
    ZonePages,
    normal_threshold,
    setup_per_zone_wmarks,
    zone_batchsize,
    zone_highsize,
)
from mmactors.mm.page_alloc.zone import Zone
from mmactors.units import PAGE_SHIFT


def set_zone_limits(allocator: PageAllocator, zone: Zone) -> None:
    """Give a zone that has just got its pages watermarks and a stat_threshold."""
    zones = [
        ZonePages(node=each.node, index=each.index, managed=int(each.view[MANAGED_PAGES]))
        for each in allocator.zones
    ]
    kept = sum(int(each.view[WMARK_MIN]) for each in allocator.zones)
    marks = setup_per_zone_wmarks(
        zones,
        min_free_kbytes=kept << (PAGE_SHIFT - 10),
        watermark_scale_factor=DEFAULT_WATERMARK_SCALE_FACTOR,
    )[zone.number]
    zone.words[WMARK_MIN : WMARK_MIN + 4] = (marks.min, marks.low, marks.high, marks.promo)
    threshold = normal_threshold(
        managed=zones[zone.number].managed, nr_online_cpus=len(allocator.cpu_node)
    )
    allocator.vmstat.set_thresholds(zone.number, zone.node, threshold)


def pageset_size(allocator: PageAllocator, zone: Zone) -> tuple[int, int]:
    """Return how long the CPUs' lists of a zone get: high and batch (zone_pcp_update)."""
    managed = int(zone.view[MANAGED_PAGES])
    batch = zone_batchsize(managed)
    high = zone_highsize(
        managed=managed,
        low_watermark=int(zone.view[WMARK_LOW]),
        batch=batch,
        nr_node_cpus=allocator.cpu_node.count(zone.node),
        nr_online_cpus=len(allocator.cpu_node),
        high_fraction=0,
    )
    return high, batch
