"""The machine-wide files of /proc about memory in the kernel's exact formats (Linux 6.1, x86-64).

Each function turns values into the text of one file: meminfo (fs/proc/meminfo.c), vmstat,
buddyinfo, zoneinfo and pagetypeinfo (mm/vmstat.c). Values are pages unless their name says
otherwise. Nothing is looked up here: who fills the classes decides when, and reads which counters.

Left out: lines of configurations that Debian's kernel does not have (CMA, HIGHMEM, PAGE_OWNER).
"""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from mmactors.units import KIB, PAGE_SIZE

VMALLOC_TOTAL_KB: Final = (1 << 45) // KIB - 1
"""VMALLOC_END - VMALLOC_START with 4 levels of tables: 32 TiB, the last byte not counted."""
FREE_COUNT_LIMIT: Final = 100_000
"""pagetypeinfo counts no further: it holds zone->lock."""

_PAGE_KIB: Final = PAGE_SIZE // KIB

Counters = tuple[tuple[str, int], ...]
"""Names and values in the order in which the kernel prints them."""


@frozen(kw_only=True)
class MemInfo:
    """What /proc/meminfo needs; sums of these are computed when it is printed."""

    total: int
    free: int
    available: int
    """An estimate (si_mem_available), not a count."""
    buffers: int = 0
    file_pages: int = 0
    """nr_file_pages: page cache with buffers, shared memory and swap cache."""
    swap_cached: int = 0
    active_anon: int = 0
    inactive_anon: int = 0
    active_file: int = 0
    inactive_file: int = 0
    unevictable: int = 0
    mlocked: int = 0
    swap_total: int = 0
    swap_free: int = 0
    zswap_pool_kb: int = 0
    zswapped: int = 0
    dirty: int = 0
    writeback: int = 0
    anon: int = 0
    mapped: int = 0
    shmem: int = 0
    slab_reclaimable: int = 0
    slab_unreclaimable: int = 0
    kernel_misc_reclaimable: int = 0
    kernel_stack_kb: int = 0
    page_tables: int = 0
    secondary_page_tables: int = 0
    bounce: int = 0
    writeback_temp: int = 0
    commit_limit: int = 0
    committed: int = 0
    vmalloc_total_kb: int = VMALLOC_TOTAL_KB
    vmalloc_used: int = 0
    percpu: int = 0
    hardware_corrupted: int = 0
    anon_huge: int = 0
    shmem_huge: int = 0
    shmem_pmd_mapped: int = 0
    file_huge: int = 0
    file_pmd_mapped: int = 0
    nr_hugepages: int = 0
    """These four count huge pages of the default size."""
    nr_hugepages_free: int = 0
    nr_hugepages_reserved: int = 0
    nr_hugepages_surplus: int = 0
    hugepage_size_kb: int = 2048
    hugetlb_kb: int = 0
    """Of all sizes together."""
    direct_map_4k_kb: int = 0
    direct_map_2m_kb: int = 0
    direct_map_1g_kb: int | None = 0
    """None: the CPU has no 1 GiB pages, and there is no such line."""


def meminfo(info: MemInfo) -> str:
    """Return the text of /proc/meminfo."""
    text = "".join(_meminfo_line(label, kib) for label, kib in _meminfo_pages(info))
    text += (
        f"HugePages_Total:   {info.nr_hugepages:5}\n"
        f"HugePages_Free:    {info.nr_hugepages_free:5}\n"
        f"HugePages_Rsvd:    {info.nr_hugepages_reserved:5}\n"
        f"HugePages_Surp:    {info.nr_hugepages_surplus:5}\n"
        f"Hugepagesize:   {info.hugepage_size_kb:8} kB\n"
        f"Hugetlb:        {info.hugetlb_kb:8} kB\n"
        f"DirectMap4k:    {info.direct_map_4k_kb:8} kB\n"
        f"DirectMap2M:    {info.direct_map_2m_kb:8} kB\n"
    )
    if info.direct_map_1g_kb is not None:
        text += f"DirectMap1G:    {info.direct_map_1g_kb:8} kB\n"
    return text


def _meminfo_line(label: str, kib: int) -> str:
    """Return a line; a label too long for its column narrows the number's."""
    column = max(16, len(label) + 2)
    return f"{label + ':':<{column}}{kib:{24 - column}} kB\n"


def _meminfo_pages(info: MemInfo) -> list[tuple[str, int]]:
    """Return label and KiB of the lines from MemTotal to FilePmdMapped."""
    cached = max(0, info.file_pages - info.swap_cached - info.buffers)
    in_pages = {
        "MemTotal": info.total,
        "MemFree": info.free,
        "MemAvailable": info.available,
        "Buffers": info.buffers,
        "Cached": cached,
        "SwapCached": info.swap_cached,
        "Active": info.active_anon + info.active_file,
        "Inactive": info.inactive_anon + info.inactive_file,
        "Active(anon)": info.active_anon,
        "Inactive(anon)": info.inactive_anon,
        "Active(file)": info.active_file,
        "Inactive(file)": info.inactive_file,
        "Unevictable": info.unevictable,
        "Mlocked": info.mlocked,
        "SwapTotal": info.swap_total,
        "SwapFree": info.swap_free,
        "Zswap": None,
        "Zswapped": info.zswapped,
        "Dirty": info.dirty,
        "Writeback": info.writeback,
        "AnonPages": info.anon,
        "Mapped": info.mapped,
        "Shmem": info.shmem,
        "KReclaimable": info.slab_reclaimable + info.kernel_misc_reclaimable,
        "Slab": info.slab_reclaimable + info.slab_unreclaimable,
        "SReclaimable": info.slab_reclaimable,
        "SUnreclaim": info.slab_unreclaimable,
        "KernelStack": None,
        "PageTables": info.page_tables,
        "SecPageTables": info.secondary_page_tables,
        "NFS_Unstable": 0,
        "Bounce": info.bounce,
        "WritebackTmp": info.writeback_temp,
        "CommitLimit": info.commit_limit,
        "Committed_AS": info.committed,
        "VmallocTotal": None,
        "VmallocUsed": info.vmalloc_used,
        "VmallocChunk": 0,
        "Percpu": info.percpu,
        "HardwareCorrupted": info.hardware_corrupted,
        "AnonHugePages": info.anon_huge,
        "ShmemHugePages": info.shmem_huge,
        "ShmemPmdMapped": info.shmem_pmd_mapped,
        "FileHugePages": info.file_huge,
        "FilePmdMapped": info.file_pmd_mapped,
    }
    in_kb = {
        "Zswap": info.zswap_pool_kb,
        "KernelStack": info.kernel_stack_kb,
        "VmallocTotal": info.vmalloc_total_kb,
    }
    return [
        (label, in_kb[label] if pages is None else pages * _PAGE_KIB)
        for label, pages in in_pages.items()
    ]


def vmstat(counters: Iterable[tuple[str, int]]) -> str:
    """Return the text of /proc/vmstat."""
    return "".join(f"{name} {value}\n" for name, value in counters)


@frozen(kw_only=True)
class FreeArea:
    """The free blocks of one populated zone."""

    node: int
    zone: str
    nr_free: tuple[int, ...]
    """By order."""


def buddyinfo(areas: Iterable[FreeArea]) -> str:
    """Return the text of /proc/buddyinfo."""
    return "".join(
        f"Node {area.node}, zone {area.zone:>8} "
        + "".join(f"{count:6} " for count in area.nr_free)
        + "\n"
        for area in areas
    )


@frozen(kw_only=True)
class Pageset:
    """One CPU's list of free pages of a zone."""

    count: int
    high: int
    batch: int
    stat_threshold: int


@frozen(kw_only=True)
class ZoneInfo:
    """One zone; only populated ones have counters and pagesets."""

    name: str
    free: int = 0
    watermark_boost: int = 0
    watermark_min: int = 0
    """The three watermarks as set up; the text shows them raised by the boost."""
    watermark_low: int = 0
    watermark_high: int = 0
    spanned: int = 0
    present: int = 0
    managed: int = 0
    cma: int = 0
    protection: tuple[int, ...] = (0, 0, 0, 0, 0)
    """lowmem_reserve."""
    counters: Counters = ()
    """The zone's counters, then its NUMA events."""
    pagesets: tuple[Pageset, ...] = ()
    """By CPU."""
    start_pfn: int = 0


@frozen(kw_only=True)
class NodeInfo:
    """One node with all its zones, populated or not."""

    node: int
    counters: Counters
    zones: tuple[ZoneInfo, ...]
    is_unreclaimable: bool = False
    """kswapd gave up on the node."""


def zoneinfo(nodes: Iterable[NodeInfo]) -> str:
    """Return the text of /proc/zoneinfo."""
    parts = []
    for node in nodes:
        first = next((zone for zone in node.zones if zone.present), None)
        for zone in node.zones:
            parts.append(f"Node {node.node}, zone {zone.name:>8}")
            if zone is first:
                parts.append("\n  per-node stats")
                parts += [f"\n      {name:<12} {value}" for name, value in node.counters]
            parts += _zone_lines(zone)
            if zone.present:
                parts.append(f"\n  node_unreclaimable:  {int(node.is_unreclaimable)}")
                parts.append(f"\n  start_pfn:           {zone.start_pfn}")
            parts.append("\n")
    return "".join(parts)


def _zone_lines(zone: ZoneInfo) -> Iterable[str]:
    yield f"\n  pages free     {zone.free}"
    yield f"\n        boost    {zone.watermark_boost}"
    yield f"\n        min      {zone.watermark_min + zone.watermark_boost}"
    yield f"\n        low      {zone.watermark_low + zone.watermark_boost}"
    yield f"\n        high     {zone.watermark_high + zone.watermark_boost}"
    yield f"\n        spanned  {zone.spanned}"
    yield f"\n        present  {zone.present}"
    yield f"\n        managed  {zone.managed}"
    yield f"\n        cma      {zone.cma}"
    yield f"\n        protection: ({', '.join(str(pages) for pages in zone.protection)})"
    if not zone.present:
        return
    for name, value in zone.counters:
        yield f"\n      {name:<12} {value}"
    yield "\n  pagesets"
    for cpu, pageset in enumerate(zone.pagesets):
        yield f"\n    cpu: {cpu}"
        yield f"\n              count: {pageset.count}"
        yield f"\n              high:  {pageset.high}"
        yield f"\n              batch: {pageset.batch}"
        yield f"\n  vm stats threshold: {pageset.stat_threshold}"


@frozen(kw_only=True)
class ZonePageTypes:
    """Free blocks and pageblocks of one populated zone, by migratetype."""

    node: int
    zone: str
    nr_free: tuple[tuple[int, ...], ...]
    """By migratetype, by order: free blocks."""
    nr_blocks: tuple[int, ...]
    """By migratetype: pageblocks."""


MIGRATETYPE_NAMES: Final = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate")


def pagetypeinfo(nodes: Iterable[Sequence[ZonePageTypes]], *, pageblock_order: int) -> str:
    """Return the text of /proc/pagetypeinfo; each node repeats the headers."""
    parts = []
    for zones in nodes:
        orders = range(len(zones[0].nr_free[0]))
        parts.append(f"Page block order: {pageblock_order}\n")
        parts.append(f"Pages per block:  {1 << pageblock_order}\n\n")
        parts.append(f"{'Free pages count per migrate type at order':<43} ")
        parts += [f"{order:6} " for order in orders]
        parts.append("\n")
        for zone in zones:
            for name, counts in zip(MIGRATETYPE_NAMES, zone.nr_free, strict=True):
                parts.append(f"Node {zone.node:4}, zone {zone.zone:>8}, type {name:>12} ")
                parts += [_free_count(count) for count in counts]
                parts.append("\n")
        parts.append(f"\n{'Number of blocks type ':<23}")
        parts += [f"{name:>12} " for name in MIGRATETYPE_NAMES]
        parts.append("\n")
        for zone in zones:
            parts.append(f"Node {zone.node}, zone {zone.zone:>8} ")
            parts += [f"{count:12} " for count in zone.nr_blocks]
            parts.append("\n")
    return "".join(parts)


def _free_count(count: int) -> str:
    return f">{FREE_COUNT_LIMIT:6} " if count >= FREE_COUNT_LIMIT else f"{count:6} "
