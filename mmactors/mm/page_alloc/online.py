"""The limits of all zones when memory came or went (mm/page_alloc.c, mm/vmstat.c, Linux 6.1).

init_per_zone_wmark_min: min_free_kbytes, watermarks, the lengths of the CPUs' lists, how far
counters may lag, lowmem_reserve; then what khugepaged asks for, if it runs. Every zone's managed
pages count, also those that boot gave back after it had computed the same.

Left out: what node reclaim keeps (min_unmapped_ratio, min_slab_ratio), and the lists that zones
without pages share.
"""

from attrs import frozen

from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.buddy import (
    LOWMEM_RESERVE,
    MANAGED_PAGES,
    MAX_NR_ZONES,
    WATERMARK_BOOST,
    WMARK_LOW,
    WMARK_MIN,
)
from mmactors.mm.page_alloc.layout import ZoneLimits
from mmactors.mm.page_alloc.watermark import (
    Watermarks,
    ZonePages,
    calculate_min_free_kbytes,
    drift_mark,
    lowmem_reserve_of,
    normal_threshold,
    nr_free_buffer_pages,
    recommended_min_free_kbytes,
    setup_per_zone_wmarks,
    zone_batchsize,
    zone_highsize,
)
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.vmstat import STAT_THRESHOLD


@frozen(kw_only=True)
class NewLimits:
    """What init_per_zone_wmark_min finds for the pages that zones manage now."""

    min_free_kbytes: int
    zones: tuple[ZoneLimits, ...]
    """By zone number."""


def init_per_zone_wmark_min(allocator: PageAllocator) -> NewLimits:
    """Compute the limits of all zones; `set_limits` puts them into force."""
    settings = allocator.settings
    zones = [_pages_of(zone) for zone in allocator.zones]
    min_free_kbytes = calculate_min_free_kbytes(
        nr_free_buffer_pages(zones, [_marks_of(zone) for zone in allocator.zones]),
        min_free_kbytes=allocator.min_free_kbytes,
        user_min_free_kbytes=settings.min_free_kbytes,
    )
    scale = settings.watermark_scale_factor
    first_marks = setup_per_zone_wmarks(
        zones, min_free_kbytes=min_free_kbytes, watermark_scale_factor=scale
    )
    marks = first_marks
    if allocator.has_khugepaged:
        populated = [zone for zone in zones if zone.managed]
        wanted = recommended_min_free_kbytes(populated, nr_free_buffer_pages(zones, marks))
        min_free_kbytes = max(min_free_kbytes, wanted)
        marks = setup_per_zone_wmarks(
            zones, min_free_kbytes=min_free_kbytes, watermark_scale_factor=scale
        )
    nr_cpus = len(allocator.cpu_node)
    limits = []
    for zone, pages, first, mark in zip(allocator.zones, zones, first_marks, marks, strict=True):
        threshold = normal_threshold(managed=pages.managed, nr_online_cpus=nr_cpus)
        high, batch = _pageset_size(allocator, pages, mark.low)
        limits.append(
            ZoneLimits(
                watermarks=mark,
                lowmem_reserve=lowmem_reserve_of(pages, zones, settings.lowmem_reserve_ratio),
                stat_threshold=threshold,
                percpu_drift_mark=drift_mark(
                    zone.percpu_drift_mark,
                    mark=first,
                    stat_threshold=threshold,
                    nr_online_cpus=nr_cpus,
                ),
                pcp_high=high,
                pcp_batch=batch,
            )
        )
    return NewLimits(min_free_kbytes=min_free_kbytes, zones=tuple(limits))


def set_limits(allocator: PageAllocator, limits: NewLimits) -> None:
    """Put limits into force but for the lengths of lists. Zones without pages keep what they have.

    A boost of the watermarks ends.
    """
    allocator.min_free_kbytes = limits.min_free_kbytes
    allocator.vmstat.clear_node_thresholds()
    for zone, new in zip(allocator.zones, limits.zones, strict=True):
        marks = new.watermarks
        zone.words[WMARK_MIN : WMARK_MIN + 4] = (marks.min, marks.low, marks.high, marks.promo)
        zone.words[WATERMARK_BOOST] = 0
        zone.words[LOWMEM_RESERVE : LOWMEM_RESERVE + MAX_NR_ZONES] = new.lowmem_reserve
        if zone.present_pages:
            allocator.vmstat.set_thresholds(zone.number, zone.node, new.stat_threshold)
            zone.percpu_drift_mark = new.percpu_drift_mark
    allocator.forget_paths()


def has_threshold(allocator: PageAllocator, zone: Zone, threshold: int) -> bool:
    """Return whether the CPUs' counters of a zone lag by so much already."""
    rows = [zones[zone.number] for zones in allocator.vmstat.cpu_zones]
    return all(row[STAT_THRESHOLD] == threshold for row in rows)


def pageset_size(allocator: PageAllocator, zone: Zone) -> tuple[int, int]:
    """Return how long the CPUs' lists of a zone get: high and batch (zone_pcp_update)."""
    return _pageset_size(allocator, _pages_of(zone), int(zone.view[WMARK_LOW]))


def _pageset_size(
    allocator: PageAllocator, pages: ZonePages, low_watermark: int
) -> tuple[int, int]:
    batch = zone_batchsize(pages.managed)
    high = zone_highsize(
        managed=pages.managed,
        low_watermark=low_watermark,
        batch=batch,
        nr_node_cpus=allocator.cpu_node.count(pages.node),
        nr_online_cpus=len(allocator.cpu_node),
        high_fraction=allocator.settings.percpu_pagelist_high_fraction,
    )
    return high, batch


def _pages_of(zone: Zone) -> ZonePages:
    return ZonePages(node=zone.node, index=zone.index, managed=int(zone.view[MANAGED_PAGES]))


def _marks_of(zone: Zone) -> Watermarks:
    """Return a zone's watermarks as the kernel's readers see them: raised by the boost."""
    low, middle, high, promo = zone.words[WMARK_MIN : WMARK_MIN + 4].tolist()
    boost = int(zone.view[WATERMARK_BOOST])
    return Watermarks(min=low + boost, low=middle + boost, high=high + boost, promo=promo + boost)
