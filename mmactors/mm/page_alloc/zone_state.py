"""A zone's complete state in the shape of the recordings: lists head first, per-CPU lists, deltas.

`load_zone` and `dump_zone` are inverse to each other. The reader of a recording checks its form
before it comes here (validate/buddy/buddy.py).

Left out: where compaction's scanners stand; `dump_zone` has no `compact`.
"""

from itertools import groupby
from typing import Any, Final

import numpy as np

from mmactors.arch.page import PG_LRU, PG_MOVABLE_OPS
from mmactors.mm.page_alloc.buddy import (
    LOWMEM_RESERVE,
    MANAGED_PAGES,
    MAX_NR_ZONES,
    NR_ISOLATE_PAGEBLOCK,
    NR_RESERVED_HIGHATOMIC,
    PAGEBLOCK_ABSENT,
    PAGEBLOCK_PAGES,
    PAGEBLOCK_TYPE_MASK,
    WATERMARK_BOOST,
    WMARK_MIN,
    ZONE_END,
    ZONE_FLAGS,
    ZONE_START,
)
from mmactors.mm.page_alloc.gfp import MIGRATE_ISOLATE, MIGRATE_TYPES
from mmactors.mm.page_alloc.order import (
    MAX_ORDER,
    PAGEBLOCK_ORDER,
)
from mmactors.mm.page_alloc.pcp import (
    BATCH,
    COUNT,
    EXPIRE,
    FREE_FACTOR,
    HIGH,
    NR_PCP_LISTS,
)
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.vmstat import NR_FREE_PAGES, STAT_THRESHOLD, VmStat

State = dict[str, Any]

_WATERMARKS: Final = ("min", "low", "high", "promo")
_ABSENT_DIGIT: Final = "."


def load_zone(zone: Zone, vmstat: VmStat, state: State) -> None:
    """Fill an empty zone with a recorded state."""
    zone.set_span(start_pfn=state["start_pfn"], spanned_pages=state["spanned"])
    low, *others = (state["watermark"][name] for name in _WATERMARKS)
    zone.set_limits(
        present_pages=state["present"],
        managed_pages=state["managed"],
        watermarks=(low, *others),
        lowmem_reserve_pages=tuple(state["lowmem_reserve"]),
        percpu_drift_mark_pages=state["percpu_drift_mark"],
    )
    words = zone.words
    words[WATERMARK_BOOST] = state["watermark"]["boost"]
    words[NR_RESERVED_HIGHATOMIC] = state["nr_reserved_highatomic"]
    words[ZONE_FLAGS] = state["flags"]
    vmstat.zone_words[zone.number, NR_FREE_PAGES] = state["vmstat_nr_free_pages"]
    _load_pageblocks(zone, state["pageblocks"])
    pages = zone.pages
    for run in state["free"]:
        order, migratetype = run["order"], run["mt"]
        head = zone.free_list_head(order, migratetype)
        for pfn in run["pfns"]:
            assert pages.buddy_view[pfn] == 0, f"block {pfn:#x} is on two lists"
            pages.list_add_tail(pfn, head)
            pages.buddy_view[pfn] = order + 1
            words[order] += 1
    for pfn, nr_pages in state["movable"]:
        pages.flags[pfn : pfn + nr_pages] |= PG_LRU
    for cpu, recorded in enumerate(state["pcp"]):
        _load_pcp(zone, vmstat, cpu, recorded)


def _load_pageblocks(zone: Zone, digits: str) -> None:
    first = int(zone.words[ZONE_START]) >> PAGEBLOCK_ORDER
    for block, digit in enumerate(digits, start=first):
        value = PAGEBLOCK_ABSENT if digit == _ABSENT_DIGIT else int(digit, 16)
        zone.pageblocks[block] = value
        if value != PAGEBLOCK_ABSENT and value & PAGEBLOCK_TYPE_MASK == MIGRATE_ISOLATE:
            zone.words[NR_ISOLATE_PAGEBLOCK] += 1


def _load_pcp(zone: Zone, vmstat: VmStat, cpu: int, recorded: State) -> None:
    pcp = zone.pcps[cpu]
    view = pcp.view
    view[COUNT] = recorded["count"]
    view[HIGH] = recorded["high"]
    view[BATCH] = recorded["batch"]
    view[FREE_FACTOR] = recorded["free_factor"]
    view[EXPIRE] = recorded["expire"]
    stats = vmstat.cpu_zones[cpu][zone.number]
    stats[STAT_THRESHOLD] = recorded["stat_threshold"]
    stats[NR_FREE_PAGES] = recorded["nr_free_pages_diff"]
    for pindex, entries in recorded["lists"].items():
        for pfn, migratetype in entries:
            zone.pages.list_add_tail(pfn, pcp.heads + int(pindex))
            zone.pages.index_view[pfn] = migratetype


def dump_zone(zone: Zone, vmstat: VmStat) -> State:
    """Return the zone's state; the arrays are only read."""
    words = zone.words.tolist()
    start, end = words[ZONE_START], words[ZONE_END]
    reserve = words[LOWMEM_RESERVE : LOWMEM_RESERVE + MAX_NR_ZONES]
    marks = dict(zip(_WATERMARKS, words[WMARK_MIN : WMARK_MIN + 4], strict=True))
    return {
        "node": zone.node,
        "idx": zone.index,
        "name": zone.name,
        "start_pfn": start,
        "spanned": end - start,
        "present": zone.present_pages,
        "managed": words[MANAGED_PAGES],
        "nr_free": words[:MAX_ORDER],
        "free": _dump_free(zone),
        "pcp": [_dump_pcp(zone, vmstat, cpu) for cpu in range(len(zone.pcps))],
        "watermark": marks | {"boost": words[WATERMARK_BOOST]},
        "lowmem_reserve": reserve,
        "nr_reserved_highatomic": words[NR_RESERVED_HIGHATOMIC],
        "flags": words[ZONE_FLAGS],
        "percpu_drift_mark": zone.percpu_drift_mark,
        "vmstat_nr_free_pages": int(vmstat.zone_words[zone.number, NR_FREE_PAGES]),
        "pageblocks": _dump_pageblocks(zone, start, end),
        "movable": _dump_movable(zone, start, end),
    }


def _dump_free(zone: Zone) -> list[State]:
    lists = []
    for order in range(MAX_ORDER):
        for migratetype in range(MIGRATE_TYPES):
            pfns = zone.pages.list_pfns(zone.free_list_head(order, migratetype))
            if pfns:
                lists.append({"order": order, "mt": migratetype, "pfns": pfns})
    return lists


def _dump_pcp(zone: Zone, vmstat: VmStat, cpu: int) -> State:
    pcp = zone.pcps[cpu]
    stats = vmstat.cpu_zones[cpu][zone.number]
    index = zone.pages.index_view
    lists = {}
    for pindex in range(NR_PCP_LISTS):
        pfns = zone.pages.list_pfns(pcp.heads + pindex)
        if pfns:
            lists[str(pindex)] = [[pfn, index[pfn]] for pfn in pfns]
    view = pcp.view
    return {
        "cpu": cpu,
        "count": view[COUNT],
        "high": view[HIGH],
        "batch": view[BATCH],
        "free_factor": view[FREE_FACTOR],
        "expire": view[EXPIRE],
        "stat_threshold": stats[STAT_THRESHOLD],
        "nr_free_pages_diff": stats[NR_FREE_PAGES],
        "lists": lists,
    }


def _dump_pageblocks(zone: Zone, start: int, end: int) -> str:
    values = zone.pageblocks[start >> PAGEBLOCK_ORDER : -(-end // PAGEBLOCK_PAGES)].tolist()
    return "".join(_ABSENT_DIGIT if value == PAGEBLOCK_ABSENT else f"{value:x}" for value in values)


def _dump_movable(zone: Zone, start: int, end: int) -> list[list[int]]:
    is_movable = zone.pages.flags[start:end] & (PG_LRU | PG_MOVABLE_OPS) != 0
    pfns = (np.flatnonzero(is_movable) + start).tolist()
    runs = groupby(enumerate(pfns), key=lambda at: at[1] - at[0])
    return [[run[0][1], len(run)] for run in (list(group) for _, group in runs)]
