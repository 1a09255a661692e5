"""Zones and their limits, at the moments at which boot computes them (mm/page_alloc.c, v6.1).

Three moments differ in what a zone manages: while CPUs come online (the highest zone of a node
has only its first sections, the rest is initialised later, in parallel), at the first initcalls
(all memory, but init code and initramfs are still in use), and after boot.

Left out: memory that is mirrored, which zone Movable would leave out; memory hotplug.

Invariants: a zone's managed pages are the pages of its free ranges; free ranges are disjoint.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from attrs import frozen

from mmactors.mm.boot.bootmem import EarlyBoot
from mmactors.mm.boot.memblock import Memblock
from mmactors.mm.boot.movable import PfnRange, pfn_ranges
from mmactors.mm.page_alloc.gfp import ZONE_DMA, ZONE_DMA32, ZONE_MOVABLE, ZONE_NORMAL
from mmactors.mm.page_alloc.layout import ZoneLimits, ZoneSettings
from mmactors.mm.page_alloc.watermark import (
    DEFAULT_LOWMEM_RESERVE_RATIO,
    DEFAULT_WATERMARK_SCALE_FACTOR,
    Watermarks,
    ZonePages,
    drift_mark,
    lowmem_reserve_of,
    min_free_kbytes_of,
    normal_threshold,
    nr_free_buffer_pages,
    recommended_min_free_kbytes,
    setup_per_zone_wmarks,
    zone_batchsize,
    zone_highsize,
)
from mmactors.units import GIB, MIB, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

_DMA_END_PFN: Final = 16 * MIB >> PAGE_SHIFT
_DMA32_END_PFN: Final = 4 * GIB >> PAGE_SHIFT
_PAGES_PER_SECTION: Final = 32768
_THP_MIN_PAGES: Final = 512 * MIB >> PAGE_SHIFT


@frozen(kw_only=True)
class ZoneSpan:
    """A populated zone: where it is, and what it manages at three moments of boot. Pages."""

    node: int
    index: int
    start_pfn: int
    spanned: int
    present: int
    managed_at_smp: int
    managed_at_init: int
    managed: int
    managed_first: int = 0
    """When the page allocator takes over: nothing deferred, nothing given back."""
    managed_at_mem_init: int = 0
    """As it is counted then, with what is deferred (totalram_pages)."""
    free_ranges: tuple[PfnRange, ...] = ()
    """In the order in which they are handed over."""


class BootedMemory(NamedTuple):
    """What boot leaves: the calls it made, and the zones it hands over."""

    early: EarlyBoot
    spans: tuple[ZoneSpan, ...]
    movable_pfns: dict[int, int]
    """By node: where zone Movable begins."""
    nr_kernel_pages: int
    """Usable pages as the kernel counts them early (nr_kernel_pages)."""


@frozen(kw_only=True)
class BootLimits:
    """What the initcalls leave, and the sysctls after them."""

    zones: tuple[ZoneLimits, ...]
    min_free_kbytes: int
    """In force."""
    has_khugepaged: bool
    """It runs, so that huge pages raise min_free_kbytes when memory comes or goes."""


def zone_ranges(memblock: Memblock) -> dict[int, PfnRange]:
    """Return by zone index which page frames may be in it; an empty range: no zone.

    Source: free_area_init.
    """
    ranges = [region for of_node in pfn_ranges(memblock).values() for region in of_node]
    start, end = min(low for low, _ in ranges), max(high for _, high in ranges)
    found = {}
    for index, limit in (
        (ZONE_DMA, _DMA_END_PFN),
        (ZONE_DMA32, _DMA32_END_PFN),
        (ZONE_NORMAL, end),
    ):
        border = max(min(limit, end), start)
        found[index] = start, border
        start = border
    return found


def zone_spans(
    memblock: Memblock,
    *,
    movable: Mapping[int, int] | None = None,
    is_deferred: bool = True,
    freed_early: Sequence[PfnRange] = (),
    freed_late: Sequence[PfnRange] = (),
) -> tuple[ZoneSpan, ...]:
    """Cut memory into zones by node and address; empty zones are left out.

    `movable` says by node where zone Movable begins, if it has one; `is_deferred`, whether struct
    pages are initialised later where they can be. `freed_early` is given back
    while the boot CPU runs alone, `freed_late` after the first initcalls. Order of hand-over:
    rising addresses up to the first deferred section, what is freed early, the deferred rest,
    what is freed late.
    """
    free = [_whole_pages(region.start, region.end) for region in memblock.free_ranges()]
    limits = zone_ranges(memblock)
    spans = []
    for node, memory in pfn_ranges(memblock).items():
        node_start, node_end = memory[0][0], memory[-1][1]
        border_of_movable = (movable or {}).get(node, node_end)
        zones = [
            (index, max(low, node_start), min(high, node_end, border_of_movable))
            for index, (low, high) in limits.items()
        ]
        for index, start, end in (*zones, (ZONE_MOVABLE, border_of_movable, node_end)):
            pieces = _clip(memory, start, end)
            if not pieces:
                continue
            is_cut = is_deferred and end == node_end
            border = (_first_deferred_pfn(pieces) if is_cut else None) or end
            # A node's free ranges are those inside its own memory: nodes may interleave.
            own = [part for piece in pieces for part in _clip(free, *piece)]
            first, rest = _clip(own, start, border), _clip(own, border, end)
            early = [part for piece in pieces for part in _clip(freed_early, *piece)]
            late = [part for piece in pieces for part in _clip(freed_late, *piece)]
            ranges = (*first, *early, *rest, *_in_order(late, freed_late))
            spans.append(
                ZoneSpan(
                    node=node,
                    index=index,
                    start_pfn=start,
                    spanned=end - start,
                    present=_pages(pieces),
                    managed_first=_pages(first),
                    managed_at_mem_init=_pages(own),
                    managed_at_smp=_pages(first) + _pages(early),
                    managed_at_init=_pages(own) + _pages(early),
                    managed=_pages(ranges),
                    free_ranges=ranges,
                )
            )
    return tuple(spans)


def zone_limits(
    spans: Sequence[ZoneSpan],
    *,
    nr_cpus: int,
    cpus_of_node: Mapping[int, int],
    settings: ZoneSettings,
) -> BootLimits:
    """Return the limits of all zones, computed when and as the kernel does.

    A setting that is not its default works on what zones manage after boot, because it is
    written then; everything else keeps what the initcalls computed.
    """
    at_init = [_zone_pages(span, span.managed_at_init) for span in spans]
    now = [_zone_pages(span, span.managed) for span in spans]
    first_marks = setup_per_zone_wmarks(
        at_init,
        min_free_kbytes=_first_min_free_kbytes(at_init),
        watermark_scale_factor=DEFAULT_WATERMARK_SCALE_FACTOR,
    )
    is_large = sum(zone.managed for zone in at_init) >= _THP_MIN_PAGES
    marks, min_free_kbytes = _final_wmarks(at_init, now, first_marks, settings, is_large=is_large)
    is_rewritten = (
        settings.min_free_kbytes is not None
        or settings.watermark_scale_factor != DEFAULT_WATERMARK_SCALE_FACTOR
    )
    ratios = settings.lowmem_reserve_ratio
    reserving = at_init if ratios == DEFAULT_LOWMEM_RESERVE_RATIO else now
    fraction = settings.percpu_pagelist_high_fraction
    listing = now if is_rewritten or fraction else at_init
    limits = []
    for i, span in enumerate(spans):
        threshold = normal_threshold(managed=at_init[i].managed, nr_online_cpus=nr_cpus)
        batch = zone_batchsize(listing[i].managed)
        limits.append(
            ZoneLimits(
                watermarks=marks[i],
                lowmem_reserve=lowmem_reserve_of(reserving[i], reserving, ratios),
                stat_threshold=threshold,
                percpu_drift_mark=drift_mark(
                    _drift_mark_at_smp(span, nr_cpus),
                    mark=first_marks[i],
                    stat_threshold=threshold,
                    nr_online_cpus=nr_cpus,
                ),
                pcp_high=zone_highsize(
                    managed=listing[i].managed,
                    low_watermark=marks[i].low,
                    batch=batch,
                    nr_node_cpus=cpus_of_node.get(span.node, 0),
                    nr_online_cpus=nr_cpus,
                    high_fraction=fraction,
                ),
                pcp_batch=batch,
            )
        )
    return BootLimits(
        zones=tuple(limits),
        min_free_kbytes=min_free_kbytes,
        has_khugepaged=is_large and settings.is_transparent_hugepage,
    )


def _first_min_free_kbytes(at_init: Sequence[ZonePages]) -> int:
    return min_free_kbytes_of(nr_free_buffer_pages(at_init, [Watermarks()] * len(at_init)))


def _final_wmarks(
    at_init: Sequence[ZonePages],
    now: Sequence[ZonePages],
    first_marks: tuple[Watermarks, ...],
    settings: ZoneSettings,
    *,
    is_large: bool,
) -> tuple[tuple[Watermarks, ...], int]:
    """Return the watermarks and the min_free_kbytes in force.

    khugepaged recomputes min_free_kbytes, with watermarks now in place, on machines of 512 MiB
    or more; smaller ones switch huge pages off before it starts.
    """
    marks = first_marks
    min_free_kbytes = _first_min_free_kbytes(at_init)
    if is_large:
        above_high = nr_free_buffer_pages(at_init, marks)
        if settings.is_transparent_hugepage:
            recommended = recommended_min_free_kbytes(at_init, above_high)
            min_free_kbytes = max(min_free_kbytes, recommended)
        else:
            min_free_kbytes = min_free_kbytes_of(above_high)
        marks = setup_per_zone_wmarks(
            at_init,
            min_free_kbytes=min_free_kbytes,
            watermark_scale_factor=DEFAULT_WATERMARK_SCALE_FACTOR,
        )
    scale = settings.watermark_scale_factor
    if settings.min_free_kbytes is None and scale == DEFAULT_WATERMARK_SCALE_FACTOR:
        return marks, min_free_kbytes
    if settings.min_free_kbytes is not None:
        min_free_kbytes = settings.min_free_kbytes
    return (
        setup_per_zone_wmarks(now, min_free_kbytes=min_free_kbytes, watermark_scale_factor=scale),
        min_free_kbytes,
    )


def _drift_mark_at_smp(span: ZoneSpan, nr_cpus: int) -> int:
    """Return the mark that the last CPU to come online leaves, while watermarks are still 0."""
    if nr_cpus == 1:
        return 0  # the boot CPU does not come online through the hotplug callback
    threshold = normal_threshold(managed=span.managed_at_smp, nr_online_cpus=nr_cpus)
    return drift_mark(0, mark=Watermarks(), stat_threshold=threshold, nr_online_cpus=nr_cpus)


def _first_deferred_pfn(pieces: Sequence[PfnRange]) -> int | None:
    """Return from where a node's last zone is initialised later (defer_init), or None.

    A whole section's worth of pages comes first, then it stops at the next section.
    """
    initialised = 0
    for start, end in pieces:
        at = start + max(_PAGES_PER_SECTION - initialised, 0)
        at = -(-at // _PAGES_PER_SECTION) * _PAGES_PER_SECTION
        if at < end:
            return at
        initialised += end - start
    return None


def _zone_pages(span: ZoneSpan, managed: int) -> ZonePages:
    return ZonePages(node=span.node, index=span.index, managed=managed)


def _whole_pages(start: int, end: int) -> PfnRange:
    """Return the pages that lie wholly inside the bytes `[start, end)`."""
    return (start + PAGE_SIZE - 1 & PAGE_MASK) >> PAGE_SHIFT, end >> PAGE_SHIFT


def _clip(ranges: Sequence[PfnRange], low: int, high: int) -> list[PfnRange]:
    clipped = ((max(start, low), min(end, high)) for start, end in ranges)
    return [(start, end) for start, end in clipped if start < end]


def _in_order(parts: Sequence[PfnRange], order: Sequence[PfnRange]) -> list[PfnRange]:
    """Return `parts` in the order of the ranges they were cut from."""
    return [part for start, end in order for part in _clip(parts, start, end)]


def _pages(ranges: Sequence[PfnRange]) -> int:
    return sum(end - start for start, end in ranges)
