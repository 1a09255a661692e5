"""Zones and nodes: free lists, per-CPU lists and counters (struct zone, mm/page_alloc.c, 6.1)."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from attrs import field, frozen

from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.buddy import (
    MANAGED_PAGES,
    NR_RESERVED_HIGHATOMIC,
    PAGEBLOCK_PAGES,
    WMARK_MIN,
    ZONE_END,
    ZONE_START,
)
from mmactors.mm.page_alloc.gfp import MIGRATE_TYPES
from mmactors.mm.page_alloc.order import (
    MAX_ORDER,
    PAGEBLOCK_ORDER,
)
from mmactors.mm.page_alloc.pcp import (
    BATCH,
    COUNT,
    HIGH,
    NR_PCP_LISTS,
    PerCpuPages,
    pindex_to_order,
)
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.vmstat import NODE_STAT_NAMES, ZONE_STAT_NAMES, VmStat
from mmactors.observe.inspection.moment import Moment
from mmactors.observe.inspection.table import Table
from mmactors.observe.proc.machine import MIGRATETYPE_NAMES


@frozen(kw_only=True)
class FreeList:
    """One list of free blocks."""

    order: int
    migratetype: str
    pfns: tuple[int, ...]
    """First frames of the blocks, head first."""


@frozen(kw_only=True)
class PcpList:
    """One list of a CPU."""

    pindex: int
    """Its place among the CPU's lists (order_to_pindex)."""
    order: int
    pfns: tuple[int, ...]
    """Head first: the head is handed out next."""


@frozen(kw_only=True)
class Pcp:
    """The lists of one CPU for one zone (struct per_cpu_pages)."""

    cpu: int
    count: int
    """Pages on all lists."""
    high: int
    batch: int
    lists: tuple[PcpList, ...]
    """Those that are not empty."""


@frozen(kw_only=True)
class Counter:
    """One counter of a zone or node (mm/vmstat.c)."""

    name: str
    value: int
    """What all see, not yet told of the deltas (zone_page_state)."""
    deltas: tuple[int, ...]
    """By CPU: what it has not yet added."""

    @property
    def snapshot(self) -> int:
        """The exact number, 0 while it is negative (zone_page_state_snapshot)."""
        return max(0, self.value + sum(self.deltas))


@frozen(eq=False, kw_only=True)
class ZoneInspection:
    """One zone at the moment of its inspection; its lists are read when they are asked for."""

    _moment: Moment = field(repr=False)
    _zone: Zone = field(repr=False)
    _vmstat: VmStat = field(repr=False)
    number: int
    """Position among all zones of the machine."""
    node: int
    name: str
    start_pfn: int = field(repr=hex)
    end_pfn: int = field(repr=hex)
    present_pages: int
    managed_pages: int
    free_pages: int
    """On the free lists, exactly."""
    watermarks: tuple[int, int, int, int]
    """min, low, high and promo, in pages."""
    nr_reserved_highatomic: int
    has_own_pcps: bool
    """Its CPUs have lists for it; before memory comes online they share the boot pageset."""

    @cached_property
    def free_lists(self) -> Table[FreeList]:
        """The lists that are not empty, by order and migratetype."""
        return self._moment.look(lambda: Table(_free_lists(self._zone)))

    @cached_property
    def pcps(self) -> Table[Pcp]:
        """By CPU: its own lists."""
        return self._moment.look(lambda: inspect_pcps(self._zone.pages, self._zone.pcps))

    @cached_property
    def counters(self) -> Mapping[str, Counter]:
        """By the names of /proc/vmstat."""
        stat, number = self._vmstat, self.number
        return self._moment.look(
            lambda: _counters(
                ZONE_STAT_NAMES, stat.zone_words[number], stat.cpu_zone_words[:, number]
            )
        )

    @cached_property
    def pageblocks(self) -> tuple[str, ...]:
        """The migratetype of each pageblock, the one at `start_pfn` first."""
        zone = self._zone
        return self._moment.look(
            lambda: tuple(
                MIGRATETYPE_NAMES[zone.pageblock_migratetype(pfn)]
                for pfn in range(
                    self.start_pfn >> PAGEBLOCK_ORDER << PAGEBLOCK_ORDER,
                    self.end_pfn,
                    PAGEBLOCK_PAGES,
                )
            )
        )

    def free_list(self, order: int, migratetype: str) -> tuple[int, ...]:
        """Return the blocks of one list, head first."""
        assert migratetype in MIGRATETYPE_NAMES, f"{migratetype!r} is none of {MIGRATETYPE_NAMES}"
        wanted = (order, migratetype)
        lists = self.free_lists
        return next((each.pfns for each in lists if (each.order, each.migratetype) == wanted), ())


@frozen(eq=False, kw_only=True)
class NodeInspection:
    """One node at the moment of its inspection."""

    _moment: Moment = field(repr=False)
    _vmstat: VmStat = field(repr=False)
    number: int
    cpus: tuple[int, ...]

    @cached_property
    def counters(self) -> Mapping[str, Counter]:
        """By the names of /proc/vmstat."""
        stat, number = self._vmstat, self.number
        return self._moment.look(
            lambda: _counters(
                NODE_STAT_NAMES, stat.node_words[number], stat.cpu_node_words[:, number]
            )
        )


def inspect_zone(moment: Moment, zone: Zone, vmstat: VmStat) -> ZoneInspection:
    """Return the zone at `moment`."""
    words = zone.words.tolist()
    low, high = WMARK_MIN, WMARK_MIN + 4
    minimum, wmark_low, wmark_high, promo = words[low:high]
    return ZoneInspection(
        moment=moment,
        zone=zone,
        vmstat=vmstat,
        number=zone.number,
        node=zone.node,
        name=zone.name,
        start_pfn=words[ZONE_START],
        end_pfn=words[ZONE_END],
        present_pages=zone.present_pages,
        managed_pages=words[MANAGED_PAGES],
        free_pages=zone.nr_free,
        watermarks=(minimum, wmark_low, wmark_high, promo),
        nr_reserved_highatomic=words[NR_RESERVED_HIGHATOMIC],
        has_own_pcps=list(zone.own_pcps) == zone.pcps,
    )


def inspect_pcps(pages: PageColumns, pcps: Sequence[PerCpuPages]) -> Table[Pcp]:
    """Return the lists of all CPUs, which stand in order."""
    return Table(
        Pcp(
            cpu=cpu,
            count=int(pcp.words[COUNT]),
            high=int(pcp.words[HIGH]),
            batch=int(pcp.words[BATCH]),
            lists=tuple(
                PcpList(pindex=pindex, order=pindex_to_order(pindex), pfns=pfns)
                for pindex in range(NR_PCP_LISTS)
                if (pfns := tuple(pages.list_pfns(pcp.heads + pindex)))
            ),
        )
        for cpu, pcp in enumerate(pcps)
    )


def _free_lists(zone: Zone) -> list[FreeList]:
    return [
        FreeList(order=order, migratetype=MIGRATETYPE_NAMES[migratetype], pfns=pfns)
        for order in range(MAX_ORDER)
        for migratetype in range(MIGRATE_TYPES)
        if (pfns := tuple(zone.pages.list_pfns(zone.free_list_head(order, migratetype))))
    ]


def _counters(names: Sequence[str], values: Any, deltas: Any) -> Mapping[str, Counter]:
    """Return the counters whose numbers stand in the first words, `deltas` a row a CPU."""
    rows = deltas[:, : len(names)].T.tolist()
    return MappingProxyType(
        {
            name: Counter(name=name, value=value, deltas=tuple(row))
            for name, value, row in zip(names, values.tolist(), rows, strict=True)
        }
    )
