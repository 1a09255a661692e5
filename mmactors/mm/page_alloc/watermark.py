"""What the kernel derives from a zone's managed pages (mm/page_alloc.c, mm/vmstat.c, v6.1).

Watermarks, lowmem_reserve, the length of per-CPU lists, and how far per-CPU counters may lag.
Amounts are pages. Everything here is integer arithmetic in the kernel's order, so that results
are equal to the kernel's.

Left out: highmem zones and watermark boosting, which happens later.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Final

from attrs import frozen

from mmactors.mm.page_alloc.gfp import ZONE_NORMAL
from mmactors.units import MIB, PAGE_SHIFT, PAGE_SIZE

MAX_NR_ZONES: Final = 5
ZONE_NAMES: Final = ("DMA", "DMA32", "Normal", "Movable", "Device")

DEFAULT_LOWMEM_RESERVE_RATIO: Final = (256, 256, 32, 0)
"""sysctl_lowmem_reserve_ratio, by zone index."""
DEFAULT_WATERMARK_SCALE_FACTOR: Final = 10

_PAGEBLOCK_NR_PAGES: Final = 512
_MIGRATE_PCPTYPES: Final = 3
_STAT_THRESHOLD_MAX: Final = 125
_MIN_FREE_KBYTES_MIN: Final = 128
_MIN_FREE_KBYTES_MAX: Final = 256 * 1024


@frozen(kw_only=True)
class ZonePages:
    """A populated zone as far as the rules below need it."""

    node: int
    index: int
    managed: int


@frozen(kw_only=True)
class Watermarks:
    """struct zone's _watermark, without boost."""

    min: int = 0
    low: int = 0
    high: int = 0
    promo: int = 0


def nr_free_buffer_pages(zones: Sequence[ZonePages], marks: Sequence[Watermarks]) -> int:
    """Return the pages above the high watermark that GFP_USER may use (no Movable zone)."""
    return sum(
        max(zone.managed - mark.high, 0)
        for zone, mark in zip(zones, marks, strict=True)
        if zone.index <= ZONE_NORMAL
    )


def min_free_kbytes_of(free_buffer_pages: int) -> int:
    """Return 4 * sqrt(low memory in KiB), within 128 KiB and 256 MiB.

    Source: calculate_min_free_kbytes.
    """
    lowmem_kbytes = free_buffer_pages * (PAGE_SIZE >> 10)
    return min(max(isqrt(lowmem_kbytes * 16), _MIN_FREE_KBYTES_MIN), _MIN_FREE_KBYTES_MAX)


def calculate_min_free_kbytes(
    free_buffer_pages: int, *, min_free_kbytes: int, user_min_free_kbytes: int | None
) -> int:
    """Return min_free_kbytes when memory has come or gone: the user's, unless memory asks for more.

    `min_free_kbytes` is the one in force.
    """
    if user_min_free_kbytes is not None:
        wanted = isqrt(free_buffer_pages * (PAGE_SIZE >> 10) * 16)
        if wanted <= user_min_free_kbytes:
            return min_free_kbytes
    return min_free_kbytes_of(free_buffer_pages)


def recommended_min_free_kbytes(zones: Sequence[ZonePages], free_buffer_pages: int) -> int:
    """Return what khugepaged asks for so that huge pages stay possible, at most 5 % of memory.

    Source: set_recommended_min_free_kbytes: two pageblocks a zone, and two for each pair of
    migratetypes that the per-CPU lists know.
    """
    nr_zones = sum(zone.index <= ZONE_NORMAL for zone in zones)
    blocks = nr_zones * (2 + _MIGRATE_PCPTYPES * _MIGRATE_PCPTYPES)
    return min(blocks * _PAGEBLOCK_NR_PAGES, free_buffer_pages // 20) << (PAGE_SHIFT - 10)


def setup_per_zone_wmarks(
    zones: Sequence[ZonePages], *, min_free_kbytes: int, watermark_scale_factor: int
) -> tuple[Watermarks, ...]:
    """Share `min_free_kbytes` out by size; low, high and promo follow at equal distances."""
    pages_min = min_free_kbytes >> (PAGE_SHIFT - 10)
    lowmem_pages = sum(zone.managed for zone in zones)
    marks = []
    for zone in zones:
        min_pages = pages_min * zone.managed // lowmem_pages
        # mult_frac() of the kernel is exact: quotient and remainder are scaled apart.
        distance = max(min_pages >> 2, zone.managed * watermark_scale_factor // 10000)
        marks.append(
            Watermarks(
                min=min_pages,
                low=min_pages + distance,
                high=min_pages + 2 * distance,
                promo=min_pages + 3 * distance,
            )
        )
    return tuple(marks)


def lowmem_reserve_of(
    zone: ZonePages, zones: Sequence[ZonePages], ratios: Sequence[int]
) -> tuple[int, ...]:
    """Return the pages kept from requests that could use a higher zone, by their highest zone.

    Only zones of the same node count. Source: setup_per_zone_lowmem_reserve.
    """
    if zone.index >= len(ratios) or not ratios[zone.index] or not zone.managed:
        return (0,) * MAX_NR_ZONES
    by_index = {other.index: other.managed for other in zones if other.node == zone.node}
    reserve = [0] * MAX_NR_ZONES
    upper_pages = 0
    for index in range(zone.index + 1, MAX_NR_ZONES):
        upper_pages += by_index.get(index, 0)
        reserve[index] = upper_pages // ratios[zone.index]
    return tuple(reserve)


def zone_batchsize(managed: int) -> int:
    """Return how many pages a per-CPU list takes or gives at once: 2^n - 1, at most 63."""
    batch = max(min(managed >> 10, MIB // PAGE_SIZE) // 4, 1)
    return (1 << (batch + batch // 2).bit_length() - 1) - 1 or 1


def zone_highsize(
    *,
    managed: int,
    low_watermark: int,
    batch: int,
    nr_node_cpus: int,
    nr_online_cpus: int,
    high_fraction: int,
) -> int:
    """Return how long a per-CPU list may get.

    All lists of the zone's own CPUs together hold the low watermark, or 1 / `high_fraction` of
    the zone if that is not 0. A node without CPUs counts all CPUs.
    """
    total = managed // high_fraction if high_fraction else low_watermark
    return max(total // (nr_node_cpus or nr_online_cpus), batch << 2)


def normal_threshold(*, managed: int, nr_online_cpus: int) -> int:
    """Return how far a CPU's counter may lag: logarithmic in CPUs and in 128 MiB of zone.

    Source: calculate_normal_threshold.
    """
    mem = managed >> (27 - PAGE_SHIFT)
    threshold = 2 * nr_online_cpus.bit_length() * (1 + mem.bit_length())
    return min(threshold, _STAT_THRESHOLD_MAX)


def drift_mark(previous: int, *, mark: Watermarks, stat_threshold: int, nr_online_cpus: int) -> int:
    """Return percpu_drift_mark after refresh_zone_stat_thresholds.

    It is set only where the lag of all CPUs could hide a breach of the min watermark, and the
    kernel never takes it back, so a mark of an earlier time stays.
    """
    max_drift = nr_online_cpus * stat_threshold
    return mark.high + max_drift if max_drift > mark.low - mark.min else previous
