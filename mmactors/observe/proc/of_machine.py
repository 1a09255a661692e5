"""From the parts of the model to the values that the machine-wide /proc texts are made of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.lock_stat import LockSideStatistics
from mmactors.mm.page_alloc.buddy import (
    LOWMEM_RESERVE,
    MANAGED_PAGES,
    MAX_NR_ZONES,
    WATERMARK_BOOST,
    WMARK_HIGH,
    WMARK_LOW,
)
from mmactors.mm.page_alloc.layout import MemoryLayout
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.vmstat import (
    NODE_ITEM,
    NODE_STAT_NAMES,
    NR_FREE_PAGES,
    NUMA_EVENT_NAMES,
    ZONE_ITEM,
    ZONE_STAT_NAMES,
    printed_pages,
)
from mmactors.observe.proc.cpu import CpuTimes, Stat, interrupts, stat
from mmactors.observe.proc.lock_stat import LockClassStats, LockSide, LockTime, lock_stat
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

ZONE_NAMES: Final = ("DMA", "DMA32", "Normal", "Movable", "Device")
_PAGEBLOCK_ORDER: Final = 9
_NR_ORDERS: Final = 11
_MIGRATETYPE_MASK: Final = 7

ZoneDump = dict[str, Any]
"""A zone in the shape of the recordings (PageAllocator.dump)."""


def machine_texts(
    kernel: Kernel, layout: MemoryLayout, processes: Sequence[Process]
) -> dict[str, str]:
    """Return the machine-wide files of /proc by name."""
    zones: list[ZoneDump] = kernel.allocator.dump()["zones"]
    populated = [zone for zone in zones if zone["present"]]
    nodes = sorted({zone.node for zone in layout.zones})
    return {
        "meminfo": meminfo(_meminfo_of(kernel, layout)),
        "vmstat": vmstat(kernel.vmstat.vmstat()),
        "buddyinfo": buddyinfo(
            FreeArea(node=zone["node"], zone=zone["name"], nr_free=tuple(zone["nr_free"]))
            for zone in populated
        ),
        "zoneinfo": zoneinfo(_node_of(kernel, layout, zones, node) for node in nodes),
        "pagetypeinfo": pagetypeinfo(
            [[_page_types(zone) for zone in populated if zone["node"] == node] for node in nodes],
            pageblock_order=_PAGEBLOCK_ORDER,
        ),
        "interrupts": _interrupts_of(kernel.cpus),
        "stat": stat(_stat_of(kernel, processes)),
        "lock_stat": lock_stat(_lock_classes(kernel)),
    }


def _meminfo_of(kernel: Kernel, layout: MemoryLayout) -> MemInfo:
    """Return what meminfo_proc_show reads (fs/proc/meminfo.c): the counters of /proc/vmstat.

    There are no pages of block devices, no swap, no vmalloc and no hugetlbfs. The direct map is
    what boot maps: all frames up to the last, but for the hole below 4 GiB.
    """
    vmstat = kernel.vmstat
    nodes = {name: vmstat.global_node_page_state(item) for name, item in NODE_ITEM.items()}
    zones = {name: vmstat.global_zone_page_state(item) for name, item in ZONE_ITEM.items()}
    total = sum(int(zone.view[MANAGED_PAGES]) for zone in kernel.allocator.zones)
    first_pfn = min(zone.start_pfn for zone in layout.zones)
    spanned = sum(zone.spanned_pages for zone in layout.zones if zone.present_pages)
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
        committed=kernel.overcommit.committed,
        anon_huge=nodes["nr_anon_transparent_hugepages"],
        shmem_huge=nodes["nr_shmem_hugepages"],
        shmem_pmd_mapped=nodes["nr_shmem_pmdmapped"],
        file_huge=nodes["nr_file_hugepages"],
        file_pmd_mapped=nodes["nr_file_pmdmapped"],
        direct_map_2m_kb=(first_pfn + spanned) * (PAGE_SIZE // KIB),
    )


def _si_mem_available(zones: Sequence[Zone], nodes: Mapping[str, int], nr_free: int) -> int:
    """Return the pages that programs could get without swapping (si_mem_available)."""
    nr_low = sum(int(zone.view[WMARK_LOW]) + int(zone.view[WATERMARK_BOOST]) for zone in zones)
    cached = nodes["nr_active_file"] + nodes["nr_inactive_file"]
    reclaimable = nodes["nr_slab_reclaimable"] + nodes["nr_kernel_misc_reclaimable"]
    available = nr_free - sum(map(_totalreserve_pages, zones))
    available += cached - min(cached // 2, nr_low)
    return max(0, available + reclaimable - min(reclaimable // 2, nr_low))


def _totalreserve_pages(zone: Zone) -> int:
    """Return what programs never get of a zone (calculate_totalreserve_pages)."""
    reserve = max(int(zone.view[LOWMEM_RESERVE + index]) for index in range(MAX_NR_ZONES))
    return min(int(zone.view[MANAGED_PAGES]), reserve + int(zone.view[WMARK_HIGH]))


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


def _interrupts_of(cpus: Sequence[Cpu]) -> str:
    vectors = sorted({vector for cpu in cpus for vector in cpu.interrupts})
    counts = {vector: tuple(cpu.interrupts[vector] for cpu in cpus) for vector in vectors}
    return interrupts(counts, nr_cpus=len(cpus))


def _stat_of(kernel: Kernel, processes: Sequence[Process]) -> Stat:
    now_ns = kernel.engine.now_ns
    return Stat(
        cpus=tuple(_times_of(cpu, now_ns) for cpu in kernel.cpus),
        nr_interrupts=sum(sum(cpu.interrupts.values()) for cpu in kernel.cpus),
        context_switches=sum(cpu.context_switches for cpu in kernel.cpus),
        processes=len(processes),
        procs_running=sum(cpu.nr_running for cpu in kernel.cpus),
    )


def _times_of(cpu: Cpu, now_ns: int) -> CpuTimes:
    """Return where the CPU's time went; what was neither user, idle nor interrupt is system."""
    times = cpu.times
    idle_ns = times.idle_ns + (now_ns - cpu.clock.now if cpu.current is cpu.idle else 0)
    return CpuTimes(
        user_ns=times.user_ns,
        idle_ns=idle_ns,
        irq_ns=times.irq_ns,
        system_ns=max(0, cpu.clock.now - times.user_ns - times.idle_ns - times.irq_ns),
    )


def _lock_classes(kernel: Kernel) -> list[LockClassStats]:
    return [
        LockClassStats(name=one.name, write=_side(one.write), read=_side(one.read))
        for one in kernel.locks.statistics()
    ]


def _side(side: LockSideStatistics) -> LockSide:
    return LockSide(
        wait=LockTime(
            nr=side.contentions,
            min_ns=side.waittime_min_ns,
            max_ns=side.waittime_max_ns,
            total_ns=side.waittime_total_ns,
        ),
        hold=LockTime(
            nr=side.acquisitions,
            min_ns=side.holdtime_min_ns,
            max_ns=side.holdtime_max_ns,
            total_ns=side.holdtime_total_ns,
        ),
        contended_bounces=side.con_bounces,
        acquired_bounces=side.acq_bounces,
    )
