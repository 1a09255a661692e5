"""From the parts of the model to the values that the machine-wide /proc texts are made of."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.lock_stat import LockSideStatistics
from mmactors.mm.page_alloc.buddy import MANAGED_PAGES, WMARK_HIGH
from mmactors.mm.page_alloc.layout import MemoryLayout, ZoneLayout
from mmactors.mm.vmstat import NODE_STAT_NAMES, NUMA_EVENT_NAMES, ZONE_STAT_NAMES
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
    nodes = sorted({zone.node for zone in layout.zones})
    return {
        "meminfo": meminfo(_meminfo_of(kernel, layout)),
        "vmstat": vmstat(kernel.vmstat.vmstat()),
        "buddyinfo": buddyinfo(
            FreeArea(node=zone["node"], zone=zone["name"], nr_free=tuple(zone["nr_free"]))
            for zone in zones
        ),
        "zoneinfo": zoneinfo(_node_of(kernel, layout, zones, node) for node in nodes),
        "pagetypeinfo": pagetypeinfo(
            [[_page_types(zone) for zone in zones if zone["node"] == node] for node in nodes],
            pageblock_order=_PAGEBLOCK_ORDER,
        ),
        "interrupts": _interrupts_of(kernel.cpus),
        "stat": stat(_stat_of(kernel, processes)),
        "lock_stat": lock_stat(_lock_classes(kernel)),
    }


def _meminfo_of(kernel: Kernel, layout: MemoryLayout) -> MemInfo:
    counters = dict(kernel.vmstat.vmstat())
    free = counters["nr_free_pages"]
    managed = [int(zone.view[MANAGED_PAGES]) for zone in kernel.allocator.zones]
    reserve = sum(
        min(pages, max(at_boot.lowmem_reserve_pages) + int(zone.view[WMARK_HIGH]))
        for zone, at_boot, pages in zip(kernel.allocator.zones, layout.zones, managed, strict=True)
    )
    return MemInfo(
        total=sum(managed),
        free=free,
        available=max(0, free - reserve),
        active_anon=counters["nr_active_anon"],
        inactive_anon=counters["nr_inactive_anon"],
        anon=counters["nr_anon_pages"],
        page_tables=counters["nr_page_table_pages"],
        kernel_stack_kb=counters["nr_kernel_stack"],
        commit_limit=kernel.overcommit.vm_commit_limit(),
        committed=kernel.overcommit.committed,
        direct_map_2m_kb=layout.nr_frames * 4,
    )


def _node_of(
    kernel: Kernel, layout: MemoryLayout, dumps: Sequence[ZoneDump], node: int
) -> NodeInfo:
    own = {zone.index: number for number, zone in enumerate(layout.zones) if zone.node == node}
    items = range(len(NODE_STAT_NAMES))
    return NodeInfo(
        node=node,
        counters=tuple(
            (NODE_STAT_NAMES[item], kernel.vmstat.node_page_state_snapshot(node, item))
            for item in items
        ),
        zones=tuple(
            _zone_of(kernel, layout.zones[own[index]], dumps[own[index]], own[index])
            if index in own
            else ZoneInfo(name=name)
            for index, name in enumerate(ZONE_NAMES)
        ),
    )


def _zone_of(kernel: Kernel, zone: ZoneLayout, dump: ZoneDump, number: int) -> ZoneInfo:
    snapshot = kernel.vmstat.zone_page_state_snapshot
    counters = [(name, snapshot(number, item)) for item, name in enumerate(ZONE_STAT_NAMES)]
    numa = zip(NUMA_EVENT_NAMES, kernel.vmstat.numa_events(number), strict=True)
    return ZoneInfo(
        name=zone.name,
        free=dict(counters)["nr_free_pages"],
        watermark_boost=dump["watermark"]["boost"],
        watermark_min=dump["watermark"]["min"],
        watermark_low=dump["watermark"]["low"],
        watermark_high=dump["watermark"]["high"],
        spanned=zone.spanned_pages,
        present=dump["present"],
        managed=dump["managed"],
        protection=zone.lowmem_reserve_pages,
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
        start_pfn=zone.start_pfn,
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
