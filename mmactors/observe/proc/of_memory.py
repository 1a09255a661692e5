"""From the parts of the model to the values that the machine-wide /proc texts about memory need.

Counters are read as the kernel's own readers do it: zone_page_state, global_node_page_state and
the like see what CPUs have brought together; only the events of /proc/vmstat are summed over CPUs.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from mmactors.actors.state.kernel import Kernel
from mmactors.mm.boot.percpu_chunk import percpu_pages
from mmactors.mm.page_alloc.buddy import (
    LOWMEM_RESERVE,
    MANAGED_PAGES,
    MAX_NR_ZONES,
    WATERMARK_BOOST,
    WMARK_HIGH,
    WMARK_LOW,
)
from mmactors.mm.page_alloc.layout import MemoryLayout
from mmactors.mm.page_alloc.watermark import ZONE_NAMES
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.page_cache.writeback import domain_dirty_limits, global_dirtyable_memory
from mmactors.mm.vmstat import (
    NODE_ITEM,
    NODE_STAT_NAMES,
    NR_FREE_PAGES,
    NUMA_EVENT_NAMES,
    ZONE_ITEM,
    ZONE_STAT_NAMES,
    printed_pages,
)
from mmactors.observe.proc.machine import (
    MIGRATETYPE_NAMES,
    FreeArea,
    MemInfo,
    NodeInfo,
    Pageset,
    ZoneInfo,
    ZonePageTypes,
    buddyinfo,
    meminfo,
    pagetypeinfo,
    vmstat,
    zoneinfo,
)
from mmactors.units import KIB, PAGE_SIZE

_PAGEBLOCK_ORDER: Final = 9
_NR_ORDERS: Final = 11
_MIGRATETYPE_MASK: Final = 7

ZoneDump = dict[str, Any]
"""A zone in the shape of the recordings (PageAllocator.dump)."""


def memory_files(kernel: Kernel, layout: MemoryLayout) -> dict[str, Callable[[], str]]:
    """Return what makes the text of each file about memory, by its name in /proc."""

    @cache
    def zones() -> list[ZoneDump]:
        dumped: list[ZoneDump] = kernel.allocator.dump()["zones"]
        return dumped

    def populated() -> list[ZoneDump]:
        return [zone for zone in zones() if zone["present"]]

    nodes = sorted({zone.node for zone in layout.zones})
    return {
        "meminfo": lambda: meminfo(_meminfo_of(kernel, layout)),
        "vmstat": lambda: vmstat(vmstat_lines(kernel)),
        "buddyinfo": lambda: buddyinfo(
            FreeArea(node=zone["node"], zone=zone["name"], nr_free=tuple(zone["nr_free"]))
            for zone in populated()
        ),
        "zoneinfo": lambda: zoneinfo(_node_of(kernel, layout, zones(), node) for node in nodes),
        "vmallocinfo": lambda: _vmallocinfo_of(kernel),
        "pagetypeinfo": lambda: pagetypeinfo(
            [[_page_types(zone) for zone in populated() if zone["node"] == node] for node in nodes],
            pageblock_order=_PAGEBLOCK_ORDER,
        ),
    }


def _meminfo_of(kernel: Kernel, layout: MemoryLayout) -> MemInfo:
    """Return what meminfo_proc_show reads (fs/proc/meminfo.c): the counters of /proc/vmstat.

    There are no pages of block devices, no swap and no hugetlbfs; of per-CPU areas there is the
    chunk that boot takes; of vmalloc what modules have. The direct map is what boot maps: all
    frames up to the last, but for the hole below 4 GiB.
    """
    vmstat = kernel.vmstat
    nodes = {name: vmstat.global_node_page_state(item) for name, item in NODE_ITEM.items()}
    zones = {name: vmstat.global_zone_page_state(item) for name, item in ZONE_ITEM.items()}
    total = sum(int(zone.view[MANAGED_PAGES]) for zone in kernel.allocator.zones)
    first_pfn = min(zone.start_pfn for zone in layout.zones)
    spanned = sum(zone.spanned_pages for zone in layout.zones if zone.present_pages)
    space = kernel.vmalloc_space
    return MemInfo(
        total=total,
        free=zones["nr_free_pages"],
        available=_si_mem_available(kernel.allocator.zones, nodes, zones["nr_free_pages"]),
        file_pages=nodes["nr_file_pages"],
        swap_cached=nodes["nr_swapcached"],
        active_anon=nodes["nr_active_anon"],
        inactive_anon=nodes["nr_inactive_anon"],
        active_file=nodes["nr_active_file"],
        inactive_file=nodes["nr_inactive_file"],
        unevictable=nodes["nr_unevictable"],
        mlocked=zones["nr_mlock"],
        dirty=nodes["nr_dirty"],
        writeback=nodes["nr_writeback"],
        anon=nodes["nr_anon_pages"],
        mapped=nodes["nr_mapped"],
        shmem=nodes["nr_shmem"],
        slab_reclaimable=nodes["nr_slab_reclaimable"],
        slab_unreclaimable=nodes["nr_slab_unreclaimable"],
        kernel_misc_reclaimable=nodes["nr_kernel_misc_reclaimable"],
        kernel_stack_kb=nodes["nr_kernel_stack"],
        page_tables=nodes["nr_page_table_pages"],
        secondary_page_tables=nodes["nr_sec_page_table_pages"],
        bounce=zones["nr_bounce"],
        writeback_temp=nodes["nr_writeback_temp"],
        commit_limit=kernel.overcommit.vm_commit_limit(),
        # percpu_counter_sum_positive
        committed=max(0, kernel.overcommit.committed),
        vmalloc_used=0 if space is None else space.nr_vmalloc_pages,
        percpu=_pcpu_nr_pages(kernel),
        anon_huge=nodes["nr_anon_transparent_hugepages"],
        shmem_huge=nodes["nr_shmem_hugepages"],
        shmem_pmd_mapped=nodes["nr_shmem_pmdmapped"],
        file_huge=nodes["nr_file_hugepages"],
        file_pmd_mapped=nodes["nr_file_pmdmapped"],
        direct_map_2m_kb=(first_pfn + spanned) * (PAGE_SIZE // KIB),
    )


def _vmallocinfo_of(kernel: Kernel) -> str:
    """Return /proc/vmallocinfo: nothing before a module has asked for an area."""
    space = kernel.vmalloc_space
    if space is None:
        return ""
    # What machines without such areas would compile in vain.
    from mmactors.mm.vmalloc.vmallocinfo import vmallocinfo  # noqa: PLC0415

    zone_view, zone_node = kernel.pages.zone_view, kernel.zone_node
    lines = vmallocinfo(
        space,
        node_of_page=lambda pfn: zone_node[zone_view[pfn] - 1],
        nr_nodes=kernel.vmstat.nr_nodes,
    )
    return "".join(f"{line}\n" for line in lines)


def _pcpu_nr_pages(kernel: Kernel) -> int:
    """Return the pages of all units of all chunks (pcpu_nr_pages)."""
    return percpu_pages(kernel.cpu_node) if kernel.percpu is None else kernel.percpu.nr_pages


def _si_mem_available(zones: Sequence[Zone], nodes: Mapping[str, int], nr_free: int) -> int:
    """Return the pages that programs could get without swapping (si_mem_available)."""
    nr_low = sum(int(zone.view[WMARK_LOW]) + int(zone.view[WATERMARK_BOOST]) for zone in zones)
    cached = nodes["nr_active_file"] + nodes["nr_inactive_file"]
    reclaimable = nodes["nr_slab_reclaimable"] + nodes["nr_kernel_misc_reclaimable"]
    available = nr_free - _totalreserve_pages(zones)
    available += cached - min(cached // 2, nr_low)
    return max(0, available + reclaimable - min(reclaimable // 2, nr_low))


def vmstat_lines(kernel: Kernel) -> Iterator[tuple[str, int]]:
    """Return name and number of every line of /proc/vmstat (vmstat_start)."""
    vmstat = kernel.vmstat
    available = global_dirtyable_memory(
        nr_free=vmstat.global_zone_page_state(NR_FREE_PAGES),
        totalreserve_pages=_totalreserve_pages(kernel.allocator.zones),
        nr_file=sum(
            vmstat.global_node_page_state(NODE_ITEM[name])
            for name in ("nr_inactive_file", "nr_active_file")
        ),
    )
    thresh, bg_thresh = domain_dirty_limits(available)
    return vmstat.vmstat(dirty_threshold=thresh, dirty_background_threshold=bg_thresh)


def _totalreserve_pages(zones: Sequence[Zone]) -> int:
    """Return what programs never get (calculate_totalreserve_pages)."""
    return sum(
        min(
            int(zone.view[MANAGED_PAGES]),
            max(int(zone.view[LOWMEM_RESERVE + index]) for index in range(MAX_NR_ZONES))
            + int(zone.view[WMARK_HIGH]),
        )
        for zone in zones
    )


def _node_of(
    kernel: Kernel, layout: MemoryLayout, dumps: Sequence[ZoneDump], node: int
) -> NodeInfo:
    own = {zone.index: number for number, zone in enumerate(layout.zones) if zone.node == node}
    lagging = kernel.vmstat.node_page_state
    return NodeInfo(
        node=node,
        counters=tuple(
            (name, printed_pages(item, lagging(node, item)))
            for item, name in enumerate(NODE_STAT_NAMES)
        ),
        zones=tuple(
            _zone_of(kernel, dumps[own[index]], own[index]) if index in own else ZoneInfo(name=name)
            for index, name in enumerate(ZONE_NAMES)
        ),
    )


def _zone_of(kernel: Kernel, dump: ZoneDump, number: int) -> ZoneInfo:
    """Return a zone as zoneinfo_show_print sees it: numbers without what CPUs have not told."""
    lagging = kernel.vmstat.zone_page_state
    counters = [(name, lagging(number, item)) for item, name in enumerate(ZONE_STAT_NAMES)]
    numa = zip(NUMA_EVENT_NAMES, kernel.vmstat.numa_events(number), strict=True)
    return ZoneInfo(
        name=dump["name"],
        free=lagging(number, NR_FREE_PAGES),
        watermark_boost=dump["watermark"]["boost"],
        watermark_min=dump["watermark"]["min"],
        watermark_low=dump["watermark"]["low"],
        watermark_high=dump["watermark"]["high"],
        spanned=dump["spanned"] if dump["present"] else 0,
        present=dump["present"],
        managed=dump["managed"],
        protection=tuple(dump["lowmem_reserve"]),
        counters=(*counters, *numa),
        pagesets=tuple(
            Pageset(
                count=pcp["count"],
                high=pcp["high"],
                batch=pcp["batch"],
                stat_threshold=pcp["stat_threshold"],
            )
            for pcp in dump["pcp"]
        ),
        start_pfn=dump["start_pfn"],
    )


def _page_types(dump: ZoneDump) -> ZonePageTypes:
    nr_free = [[0] * _NR_ORDERS for _ in MIGRATETYPE_NAMES]
    for area in dump["free"]:
        nr_free[area["mt"]][area["order"]] = len(area["pfns"])
    blocks = Counter(
        int(digit, 16) & _MIGRATETYPE_MASK for digit in dump["pageblocks"] if digit != "."
    )
    return ZonePageTypes(
        node=dump["node"],
        zone=dump["name"],
        nr_free=tuple(map(tuple, nr_free)),
        nr_blocks=tuple(blocks[migratetype] for migratetype in range(len(MIGRATETYPE_NAMES))),
    )
