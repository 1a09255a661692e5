"""The page allocator: all zones, the CPUs' lists, counters (mm/page_alloc.c, v6.1).

`alloc_pcp` and `free_pcp` are the fast paths: no request, no lock. `alloc_pages`, `free_pages` and
`free_page_list` are generators that do everything; they yield what must happen under zone->lock
(mm/page_alloc/zone_request.py) and are sent the answers.

Left out: what mm/page_alloc/freelist.py leaves out.

Invariant: a page is free, on one per-CPU list, or handed out; a failed request is None.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

import numpy as np
from attrs import frozen

from mmactors.arch.arena import Arena
from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.buddy import (
    LOWMEM_RESERVE,
    NR_FREE_LISTS,
    NR_RESERVED_HIGHATOMIC,
    NR_ZONE_WORDS,
    PAGEBLOCK_PAGES,
    PAGEBLOCK_TYPE_MASK,
    WATERMARK_BOOST,
    WMARK_LOW,
    ZONE_BOOSTED_WATERMARK,
    ZONE_FLAGS,
    ZONE_RECLAIM_ACTIVE,
)
from mmactors.mm.page_alloc.free_unref import FreeUnref, freed_pindex
from mmactors.mm.page_alloc.freelist import FreelistSearch, free_pages_prepare, prep_new_page
from mmactors.mm.page_alloc.gfp import MIGRATE_ISOLATE, MIGRATE_TYPES
from mmactors.mm.page_alloc.layout import MemoryLayout, ZoneSettings
from mmactors.mm.page_alloc.order import (
    PAGE_ALLOC_COSTLY_ORDER,
    PAGEBLOCK_ORDER,
)
from mmactors.mm.page_alloc.pcp import (
    BATCH,
    COUNT,
    FREE_FACTOR,
    HIGH,
    NR_PCP_LISTS,
    NR_PCP_WORDS,
    PerCpuPages,
    order_to_pindex,
    pcp_allowed_order,
)
from mmactors.mm.page_alloc.serve_zone import serve_zone
from mmactors.mm.page_alloc.slow_path import FAILED_AT_ONCE, SlowPathRequest
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.page_alloc.zone_request import (
    AllocAnswer,
    AllocRequest,
    AllocSteps,
    Steps,
)
from mmactors.mm.page_alloc.zone_state import dump_zone, load_zone
from mmactors.mm.page_alloc.zonelist import build_zonelists
from mmactors.mm.vmstat import (
    NR_FREE_PAGES,
    NUMA_HIT,
    NUMA_LOCAL,
    NUMA_OTHER,
    PGALLOC_DMA,
    PGFREE,
    VmStat,
)
from mmactors.rules import Rules

AllocPath = tuple[Any, ...]
"""What `alloc_pcp` needs for one request, see `PageAllocator._alloc_path`."""
FreePath = tuple[Any, int, Any, dict[int, int]]
"""Words of a CPU's lists, number of the first, words of the zone, pindex by order and type."""


@frozen(kw_only=True)
class ZoneSpec:
    """Which zone this is."""

    node: int
    index: int
    name: str


class PageAllocator:
    """All zones of a machine, with their per-CPU lists and counters."""

    def __init__(
        self,
        *,
        arena: Arena,
        pages: PageColumns,
        zones: Sequence[ZoneSpec],
        zonelists: Sequence[Sequence[tuple[int, int]]],
        cpu_node: Sequence[int],
        rules: Rules | None = None,
    ) -> None:
        nr_cpus, nr_zones = len(cpu_node), len(zones)
        nr_nodes = 1 + max(spec.node for spec in zones)
        self.pages: Final = pages
        self.cpu_node: Final = tuple(cpu_node)
        self.vmstat: Final = VmStat(arena, nr_cpus=nr_cpus, nr_zones=nr_zones, nr_nodes=nr_nodes)
        nr_pageblocks = -(-pages.nr_frames // PAGEBLOCK_PAGES)
        self.pageblocks: Final = arena.array("pageblock", nr_pageblocks, np.int8)
        self._pageblock_view: Final = self.pageblocks.data
        words = arena.array("zone", (nr_zones, NR_ZONE_WORDS))
        pcp_words = arena.array("pcp", (nr_cpus, nr_zones, NR_PCP_WORDS))
        boot_words = arena.array("pcp.boot", (nr_cpus, NR_PCP_WORDS))
        self.boot_pageset: Final = [PerCpuPages(pages, words) for words in boot_words]
        """By CPU: the lists of all zones that have none of their own yet."""
        self.zones: Final = tuple(
            Zone(
                number=number,
                node=spec.node,
                index=spec.index,
                name=spec.name,
                words=words[number],
                pages=pages,
                pageblocks=self.pageblocks,
                vmstat=self.vmstat,
                pcps=[PerCpuPages(pages, pcp_words[cpu, number]) for cpu in range(nr_cpus)],
                rules=Rules() if rules is None else rules,
            )
            for number, spec in enumerate(zones)
        )
        at = {(zone.node, zone.index): zone for zone in self.zones}
        populated = {place for order in zonelists for place in order}
        for place in at.keys() - populated:
            at[place].pcps[:] = self.boot_pageset
        self._zonelists: Final = [tuple(at[place] for place in order) for order in zonelists]
        self._search: Final = FreelistSearch(
            pages=pages, vmstat=self.vmstat, zonelists=self._zonelists, cpu_node=self.cpu_node
        )
        self.free_unref: Final = FreeUnref(
            pages=pages,
            pageblocks=self.pageblocks,
            vmstat=self.vmstat,
            zones=self.zones,
            cpu_node=self.cpu_node,
        )
        self._alloc_paths: Final[list[dict[int, AllocPath]]] = [{} for _ in cpu_node]
        self._free_paths: Final = [self._free_paths_of(cpu) for cpu in range(nr_cpus)]
        self.settings = ZoneSettings()
        """The sysctls that move limits, and below what came of them."""
        self.min_free_kbytes = 0
        self.has_khugepaged = False
        # The views that the fast paths use, one attribute away.
        self._next: Final = pages.next_view
        self._prev: Final = pages.prev_view
        self._refcount: Final = pages.refcount_view
        self._generation: Final = pages.generation_view
        self._flags: Final = pages.flags_view
        self._mapping: Final = pages.mapping_view
        self._private: Final = pages.private_view
        self._index: Final = pages.index_view
        self._page_zone: Final = pages.zone_view
        self._events: Final = self.vmstat.events

    def _free_paths_of(self, cpu: int) -> list[FreePath]:
        """Return what `free_pcp` needs on a CPU, by the zone number that struct page has."""
        pindexes = {
            order << 3 | migratetype: freed_pindex(migratetype, order)
            for order in (*range(PAGE_ALLOC_COSTLY_ORDER + 1), PAGEBLOCK_ORDER)
            for migratetype in range(MIGRATE_TYPES)
            if migratetype != MIGRATE_ISOLATE
        }
        paths = [
            (zone.pcps[cpu].view, zone.pcps[cpu].heads, zone.view, pindexes) for zone in self.zones
        ]
        # A PFN of no zone ends in the first entry, which lets nothing pass.
        return [(paths[0][0], 0, paths[0][2], {}), *paths]

    @staticmethod
    def nr_list_heads(*, nr_zones: int, nr_cpus: int) -> int:
        """Return how many list heads the allocator claims of the page columns."""
        return nr_zones * (NR_FREE_LISTS + nr_cpus * NR_PCP_LISTS) + nr_cpus * NR_PCP_LISTS

    @classmethod
    def of_layout(
        cls,
        layout: MemoryLayout,
        nr_cpus: int,
        arena: Arena,
        pages: PageColumns,
        rules: Rules | None = None,
    ) -> Self:
        """Make the allocator as it is when boot has handed all free memory over."""
        assert nr_cpus == len(layout.cpu_node), f"{nr_cpus} CPUs, nodes of {layout.cpu_node}"
        allocator = cls(
            arena=arena,
            pages=pages,
            zones=[
                ZoneSpec(node=zone.node, index=zone.index, name=zone.name) for zone in layout.zones
            ],
            zonelists=layout.zonelists,
            cpu_node=layout.cpu_node,
            rules=rules,
        )
        allocator.settings = layout.settings
        allocator.min_free_kbytes = layout.min_free_kbytes
        allocator.has_khugepaged = layout.has_khugepaged
        for zone, zone_layout in zip(allocator.zones, layout.zones, strict=True):
            zone.boot(zone_layout)
            allocator.vmstat.set_thresholds(zone.number, zone.node, zone_layout.stat_threshold)
            zone.pageset_high, zone.pageset_batch = zone_layout.pcp_high, zone_layout.pcp_batch
            for pcp in zone.pcps:
                pcp.view[HIGH] = zone_layout.pcp_high
                pcp.view[BATCH] = zone_layout.pcp_batch
        return allocator

    @classmethod
    def load(
        cls,
        state: dict[str, Any],
        *,
        cpu_node: Sequence[int] | None = None,
        arena: Arena | None = None,
        pages: PageColumns | None = None,
    ) -> Self:
        """Make the allocator in a recorded state (`initial` or `final` of a recording).

        Without `cpu_node` all CPUs are on node 0; without `arena` and `pages` it gets its own.
        """
        zones = state["zones"]
        nr_cpus = len(zones[0]["pcp"])
        arena = arena or Arena()
        if pages is None:
            nr_frames = max(zone["start_pfn"] + zone["spanned"] for zone in zones)
            nr_list_heads = cls.nr_list_heads(nr_zones=len(zones), nr_cpus=nr_cpus)
            pages = PageColumns(arena, nr_frames, nr_list_heads=nr_list_heads)
        nr_lists = 1 + max(int(node) for node in state["zonelists"])
        allocator = cls(
            arena=arena,
            pages=pages,
            zones=[
                ZoneSpec(node=zone["node"], index=zone["idx"], name=zone["name"]) for zone in zones
            ],
            zonelists=[
                [(node, index) for node, index in state["zonelists"].get(str(nid), ())]
                for nid in range(nr_lists)
            ],
            cpu_node=cpu_node or (0,) * nr_cpus,
        )
        for zone, recorded in zip(allocator.zones, zones, strict=True):
            load_zone(zone, allocator.vmstat, recorded)
        return allocator

    def dump(self) -> dict[str, Any]:
        """Return the complete state in the shape of the recordings."""
        return {
            "zonelists": {
                str(node): [[zone.node, zone.index] for zone in order]
                for node, order in enumerate(self._zonelists)
            },
            "zones": [dump_zone(zone, self.vmstat) for zone in self.zones],
        }

    def serve(self, request: AllocRequest) -> AllocAnswer:
        """Execute a request at once, for drivers without actors: nothing can be reclaimed."""
        if isinstance(request, SlowPathRequest):
            return FAILED_AT_ONCE
        return serve_zone(self.zones[request.zone], request)

    def perform(self, steps: AllocSteps | Steps) -> int | None:
        """Drive an operation to its end, its requests served at once."""
        try:
            request = next(steps)
            while True:
                request = steps.send(self.serve(request))
        except StopIteration as done:
            pfn: int | None = done.value
            return pfn

    # Fast paths.

    def alloc_pcp(self, cpu: int, order: int, gfp: int) -> int | None:
        """Take a page from the CPU's list if the first pass of `alloc_pages` would, without a lock.

        None changes nothing and means: run `alloc_pages`. The one copy of __rmqueue_pcplist's pop
        beside PerCpuPages.pop, written out because each page fault comes here.
        """
        path = self._alloc_paths[cpu].get(gfp << 4 | order)
        if path is None:
            path = self._alloc_path(cpu, order, gfp)
            if path is None:
                return None
        view, stat, reserve, zone, pcp, head, nr_pages, events, pgalloc, numa, local = path
        if (
            stat[NR_FREE_PAGES] - view[NR_RESERVED_HIGHATOMIC]
            <= (view[WMARK_LOW] + view[WATERMARK_BOOST] + reserve)
            or view[ZONE_FLAGS] & ZONE_BOOSTED_WATERMARK
        ):
            return None
        links = self._next
        pfn: int = links[head]
        if pfn == head or (order and not zone.has_block(order, 0)):
            return None
        after = links[pfn]
        links[head] = after
        self._prev[after] = head
        pcp[COUNT] -= nr_pages
        factor = pcp[FREE_FACTOR]
        if factor:
            pcp[FREE_FACTOR] = factor >> 1
        events[pgalloc] += nr_pages
        numa[NUMA_HIT] += 1
        numa[local] += 1
        if order:
            prep_new_page(self.pages, pfn, order, gfp)
        else:
            self._refcount[pfn] = 1
            self._generation[pfn] += 1
        return pfn

    def free_pcp(self, cpu: int, pfn: int, order: int) -> bool:
        """Put a block on the CPU's list if nothing needs to be drained then, without a lock.

        False changes nothing and means: run `free_pages`.
        """
        migratetype = self._pageblock_view[pfn >> PAGEBLOCK_ORDER] & PAGEBLOCK_TYPE_MASK
        nr_pages = 1 << order
        pcp, heads, view, pindexes = self._free_paths[cpu][self._page_zone[pfn]]
        pindex = pindexes.get(order << 3 | migratetype)
        if pindex is None or pcp[COUNT] + nr_pages >= pcp[HIGH]:
            return False
        if (order and order <= PAGE_ALLOC_COSTLY_ORDER and pcp[FREE_FACTOR]) or (
            view[ZONE_FLAGS] & ZONE_RECLAIM_ACTIVE
        ):
            return False
        if order:
            free_pages_prepare(self.pages, pfn, order)
        else:
            self._refcount[pfn] = 0
            self._flags[pfn] = 0
            self._mapping[pfn] = 0
            self._private[pfn] = 0
            self._generation[pfn] += 1
        self._index[pfn] = migratetype
        links, back, head = self._next, self._prev, heads + pindex
        after = links[head]
        back[after] = pfn
        links[pfn] = after
        back[pfn] = head
        links[head] = pfn
        pcp[COUNT] += nr_pages
        self._events[cpu][PGFREE] += nr_pages
        return True

    def _alloc_path(self, cpu: int, order: int, gfp: int) -> AllocPath | None:
        """Return what `alloc_pcp` needs for a request, looked up once.

        None if no list has such blocks, or no zone may serve it (GFP_THISNODE, none of that kind).
        """
        context = self._search.context(cpu, gfp)
        if not context.zones or not pcp_allowed_order(order):
            return None
        zone = context.zones[0]
        pcp = zone.pcps[cpu]
        reserve = zone.view[LOWMEM_RESERVE + context.highest_zoneidx] + (1 << order) - 1
        # Below the drift mark the lagging number does not say enough: that is for the slow path.
        reserve += max(0, zone.percpu_drift_mark - zone.view[WMARK_LOW])
        path = (
            zone.view,
            self.vmstat.zones[zone.number],
            reserve,
            zone,
            pcp.view,
            pcp.heads + order_to_pindex(context.migratetype, order),
            1 << order,
            self.vmstat.events[cpu],
            PGALLOC_DMA + zone.index,
            self.vmstat.cpu_zones[cpu][zone.number],
            NUMA_LOCAL if zone.node == self.cpu_node[cpu] else NUMA_OTHER,
        )
        self._alloc_paths[cpu][gfp << 4 | order] = path
        return path

    def alloc_pages(self, cpu: int, order: int, gfp: int, node: int | None = None) -> AllocSteps:
        """Allocate a block of 2**order pages, of a node if it has any; give its PFN, or None."""
        return self._search.alloc_pages(cpu, order, gfp, node)

    def zone_of(self, pfn: int) -> Zone:
        """Return the zone of a page (page_zone)."""
        return self.zones[self._page_zone[pfn] - 1]

    # Zones that come and go.

    def setup_zone_pageset(self, zone: Zone) -> None:
        """Give a zone lists of its own, empty and without room (setup_zone_pageset)."""
        for pcp in zone.own_pcps:
            pcp.words[:] = 0
            pcp.view[BATCH] = 1
        zone.pcps[:] = zone.own_pcps
        zone.pageset_high, zone.pageset_batch = 0, 1
        self.forget_paths()

    def build_all_zonelists(self) -> None:
        """Let requests try all zones that have pages now."""
        at = {(zone.node, zone.index): zone for zone in self.zones if zone.present_pages}
        orders = build_zonelists(list(at), nr_nodes=len(self._zonelists), cpu_node=self.cpu_node)
        self._zonelists[:] = [tuple(at[place] for place in order) for order in orders]
        self._search.forget_contexts()
        self.forget_paths()

    def zonelists_key(self) -> tuple[tuple[int, ...], ...]:
        """Return the order in which each node's requests try zones, by zone number."""
        return tuple(tuple(zone.number for zone in order) for order in self._zonelists)

    def forget_paths(self) -> None:
        """Look up anew what the fast paths know of zones: their lists and limits changed."""
        for cpu, paths in enumerate(self._alloc_paths):
            paths.clear()
            self._free_paths[cpu][:] = self._free_paths_of(cpu)

    # Freeing.

    def free_pages(self, cpu: int, pfn: int, order: int) -> Steps:
        """Give a block back whose last reference is gone (free_the_page)."""
        migratetype = self.free_unref.prepare(pfn, order)
        return self.free_unref.commit(cpu, pfn, order, migratetype)

    def free_page_list(self, cpu: int, pfns: Sequence[int]) -> Steps:
        """Give single pages back whose last references are gone (free_unref_page_list).

        All pages get their migratetype before the first one is put on a list.
        """
        freed, nr_isolated = self.free_unref.prepare_list(pfns)
        return self.free_unref.commit_list(cpu, freed, nr_isolated)

    def drain_pages(self, cpu: int, zones: Iterable[Zone] | None = None) -> Steps:
        """Give all pages of a CPU's lists back, of all zones or some (drain_pages)."""
        return self.free_unref.drain_pages(cpu, zones)

    def refresh_cpu_vm_stats(self, cpu: int) -> Steps:
        """Fold a CPU's deltas, and drain its lists of remote zones (vmstat_update)."""
        return self.free_unref.refresh_cpu_vm_stats(cpu)
