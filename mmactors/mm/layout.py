"""What boot decides about physical memory: zones, their limits, and which pages are handed over.

Values only; mm/boot.py computes them from a memory size, the page allocator is built from them.
All amounts are 4 KiB pages. Zone indices are Linux's: 0 DMA, 1 DMA32, 2 Normal, 3 Movable.
"""

from attrs import frozen


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
class MemoryLayout:
    """All zones, and the order in which each node's requests try them."""

    nr_frames: int
    """One more than the highest PFN."""
    zones: tuple[ZoneLayout, ...]
    zonelists: tuple[tuple[tuple[int, int], ...], ...]
    """By node: `(node, zone index)` in the order in which they are tried."""
    cpu_node: tuple[int, ...]
    """By CPU: its node."""
