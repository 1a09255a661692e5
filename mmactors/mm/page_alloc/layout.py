"""What boot decides about physical memory: zones, their limits, and which pages are handed over.

Values only; mm/boot/boot.py computes them from a memory size, the page allocator is built from
them. All amounts are 4 KiB pages. Zone indices are Linux's: 0 DMA, 1 DMA32, 2 Normal, 3 Movable.
"""

from collections.abc import Callable, Mapping
from typing import Final

from attrs import evolve, field, frozen

from mmactors.mm.page_alloc.gfp import ZONE_MOVABLE
from mmactors.mm.page_alloc.watermark import (
    DEFAULT_LOWMEM_RESERVE_RATIO,
    DEFAULT_WATERMARK_SCALE_FACTOR,
    Watermarks,
)

_MAX_ORDER_NR_PAGES: Final = 1 << 10
_MAX_NR_ZONES: Final = 5


@frozen(kw_only=True)
class ZoneLayout:
    """One populated zone (include/linux/mmzone.h, struct zone)."""

    node: int
    index: int
    name: str
    start_pfn: int
    spanned_pages: int
    present_pages: int
    managed_pages: int
    watermark_min_pages: int
    watermark_low_pages: int
    watermark_high_pages: int
    watermark_promo_pages: int
    lowmem_reserve_pages: tuple[int, ...]
    """By the highest zone index of the request."""
    stat_threshold: int
    """A CPU's counter delta is folded into the global counter beyond this (mm/vmstat.c)."""
    percpu_drift_mark_pages: int
    pcp_high: int
    pcp_batch: int
    free_ranges: tuple[tuple[int, int], ...]
    """`[start_pfn, end_pfn)` in the order in which memblock hands them to the buddy lists."""


@frozen(kw_only=True)
class ZoneSettings:
    """The sysctls that move limits; one that is not the default was written after boot."""

    min_free_kbytes: int | None = None
    watermark_scale_factor: int = DEFAULT_WATERMARK_SCALE_FACTOR
    lowmem_reserve_ratio: tuple[int, ...] = DEFAULT_LOWMEM_RESERVE_RATIO
    percpu_pagelist_high_fraction: int = 0
    is_transparent_hugepage: bool = True
    """Huge pages are enabled on the command line (always or madvise)."""


@frozen(kw_only=True)
class ZoneLimits:
    """What the allocator may do in a zone. Pages."""

    watermarks: Watermarks
    lowmem_reserve: tuple[int, ...]
    stat_threshold: int
    percpu_drift_mark: int
    pcp_high: int
    pcp_batch: int


@frozen(kw_only=True)
class MemoryLayout:
    """All zones, and the order in which each node's requests try them."""

    nr_frames: int
    """One more than the highest PFN."""
    zones: tuple[ZoneLayout, ...]
    zonelists: tuple[tuple[tuple[int, int], ...], ...]
    """By node: `(node, zone index)` in the order in which they are tried."""
    cpu_node: tuple[int, ...]
    """By CPU: its node."""
    possible_cpu_node: tuple[int, ...] = ()
    """The same, with CPUs that may come; empty: none may."""
    percpu_areas: tuple[int, ...] = ()
    """By group of near CPUs the address at which its units begin."""
    settings: ZoneSettings = ZoneSettings()
    min_free_kbytes: int = 0
    """vm.min_free_kbytes after boot."""
    has_khugepaged: bool = False
    """It runs, so that it raises min_free_kbytes when memory comes or goes."""
    boot_texts: Mapping[str, Callable[[], str]] = field(factory=dict, eq=False, repr=False)
    """What boot has to say, by its name in /proc."""


def with_hotplug(layout: MemoryLayout, nr_pages: int) -> MemoryLayout:
    """Add a zone Movable to the last node whose memory is not there yet.

    It begins behind all other memory, at a whole block of the highest order, and is such blocks.
    """
    start_pfn = -(-layout.nr_frames // _MAX_ORDER_NR_PAGES) * _MAX_ORDER_NR_PAGES
    nr_pages = -(-nr_pages // _MAX_ORDER_NR_PAGES) * _MAX_ORDER_NR_PAGES
    zone = ZoneLayout(
        node=max(zone.node for zone in layout.zones),
        index=ZONE_MOVABLE,
        name="Movable",
        start_pfn=start_pfn,
        spanned_pages=nr_pages,
        present_pages=0,
        managed_pages=0,
        watermark_min_pages=0,
        watermark_low_pages=0,
        watermark_high_pages=0,
        watermark_promo_pages=0,
        lowmem_reserve_pages=(0,) * _MAX_NR_ZONES,
        stat_threshold=0,
        percpu_drift_mark_pages=0,
        pcp_high=0,
        pcp_batch=1,
        free_ranges=(),
    )
    return evolve(layout, nr_frames=start_pfn + nr_pages, zones=(*layout.zones, zone))
