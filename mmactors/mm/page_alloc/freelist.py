"""Finding pages for a request: zonelist, passes, the CPU's list or the buddy lists.

Models __alloc_pages, get_page_from_freelist, __alloc_pages_slowpath and rmqueue of mm/page_alloc.c
(v6.1). Everything is a generator that yields the sections under zone->lock as requests; a request
that fails is None.

What is asked for beside them when zones are short is in slow_path.py.

Left out: draining all CPUs' lists after reclaim, retries as long as much could be reclaimed
(should_reclaim_retry, should_compact_retry), cpusets, memory policies, PF_MEMALLOC tasks,
dirty-page spreading.
"""

from collections.abc import Generator, Sequence
from typing import Final

from attrs import frozen

from mmactors.arch.page import PG_HEAD, PageColumns
from mmactors.mm.page_alloc.buddy import (
    MANAGED_PAGES,
    NR_RESERVED_HIGHATOMIC,
    ZONE_BOOSTED_WATERMARK,
    ZONE_FLAGS,
)
from mmactors.mm.page_alloc.gfp import (
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_WMARK_LOW,
    GFP_COMP,
    GFP_DIRECT_RECLAIM,
    GFP_IO,
    GFP_KSWAPD_RECLAIM,
    GFP_NOFAIL,
    GFP_NORETRY,
    GFP_RETRY_MAYFAIL,
    GFP_THISNODE,
    MIGRATE_MOVABLE,
    ZONE_DMA32,
    ZONE_NORMAL,
    gfp_migratetype,
    gfp_reserve_flags,
    gfp_to_alloc_flags,
    gfp_zone,
)
from mmactors.mm.page_alloc.order import (
    MAX_ORDER,
    PAGE_ALLOC_COSTLY_ORDER,
)
from mmactors.mm.page_alloc.pcp import FREE_FACTOR, order_to_pindex, pcp_allowed_order, wipe_page
from mmactors.mm.page_alloc.slow_path import (
    CompactResult,
    DirectCompact,
    DirectReclaim,
    OutOfMemory,
    SlowPathAnswer,
    WakeupKswapd,
)
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.page_alloc.zone_request import (
    AllocAnswer,
    AllocRequest,
    AllocSteps,
    ReserveHighatomicPageblock,
    RmqueueBuddy,
    RmqueueBulk,
    UnreserveHighatomicPageblock,
    ZoneAnswer,
    nr_moved,
)
from mmactors.mm.vmstat import (
    NUMA_FOREIGN,
    NUMA_HIT,
    NUMA_LOCAL,
    NUMA_MISS,
    NUMA_OTHER,
    PGALLOC_DMA,
    VmStat,
)


@frozen(kw_only=True)
class AllocContext:
    """What a GFP mask means on a node (struct alloc_context)."""

    zones: tuple[Zone, ...]
    """In the order in which they are tried; the first is the preferred one."""
    highest_zoneidx: int
    migratetype: int
    alloc_flags: int
    """Of the first pass."""


class FreelistSearch:
    """Searches the zones of a machine for free pages."""

    def __init__(
        self,
        *,
        pages: PageColumns,
        vmstat: VmStat,
        zonelists: Sequence[tuple[Zone, ...]],
        cpu_node: tuple[int, ...],
    ) -> None:
        self._pages: Final = pages
        self._vmstat: Final = vmstat
        self._zonelists: Final = zonelists
        self._cpu_node: Final = cpu_node
        self._populated: Final = {(zone.node, zone.index) for order in zonelists for zone in order}
        self._nr_online_nodes: Final = len({node for node, _ in self._populated})
        self._contexts: Final[dict[tuple[int, int], AllocContext]] = {}

    def forget_contexts(self) -> None:
        """Note that the zonelists have changed."""
        self._contexts.clear()

    def context(self, cpu: int, gfp: int, node: int | None = None) -> AllocContext:
        """Return what a GFP mask means on a node, the CPU's if none is said (prepare_alloc_pages).

        GFP_THISNODE leaves the other nodes out of its zonelist (ZONELIST_NOFALLBACK).
        """
        if node is None:
            node = self._cpu_node[cpu]
        context = self._contexts.get((node, gfp))
        if context is None:
            context = self._contexts[node, gfp] = self._make_context(node, gfp)
        return context

    def _make_context(self, node: int, gfp: int) -> AllocContext:
        highest_zoneidx = gfp_zone(gfp)
        zones = tuple(
            zone
            for zone in self._zonelists[node]
            if zone.index <= highest_zoneidx and (zone.node == node or not gfp & GFP_THISNODE)
        )
        alloc_flags = ALLOC_WMARK_LOW | (gfp & GFP_KSWAPD_RECLAIM)
        # Normal spills into DMA32 before it mixes types; DMA is too small to spill into.
        if zones and zones[0].index == ZONE_NORMAL:
            has_dma32 = (zones[0].node, ZONE_DMA32) in self._populated
            if self._nr_online_nodes == 1 or has_dma32:
                alloc_flags |= ALLOC_NOFRAGMENT
        return AllocContext(
            zones=zones,
            highest_zoneidx=highest_zoneidx,
            migratetype=gfp_migratetype(gfp),
            alloc_flags=alloc_flags,
        )

    def alloc_pages(
        self, cpu: int, order: int, gfp: int, preferred_node: int | None = None
    ) -> AllocSteps:
        """Allocate a block of 2**order pages (__alloc_pages; without a node, the CPU's)."""
        assert 0 <= order < MAX_ORDER, f"order {order} is not below {MAX_ORDER}"
        node = self._cpu_node[cpu] if preferred_node is None else preferred_node
        context = self.context(cpu, gfp, node)
        pfn = yield from self._get_page_from_freelist(cpu, node, order, gfp, context.alloc_flags)
        if pfn is None and context.zones:
            pfn = yield from self._alloc_pages_slowpath(cpu, node, order, gfp)
        return pfn

    def _alloc_pages_slowpath(self, cpu: int, node: int, order: int, gfp: int) -> AllocSteps:
        """Wake kswapd and try again below the low watermark (__alloc_pages_slowpath)."""
        alloc_flags = gfp_to_alloc_flags(gfp, order)
        if alloc_flags & ALLOC_KSWAPD:
            yield from self._wake_all_kswapds(cpu, node, order, gfp)
        pfn = yield from self._get_page_from_freelist(cpu, node, order, gfp, alloc_flags)
        is_costly = order > PAGE_ALLOC_COSTLY_ORDER
        can_compact = gfp & GFP_DIRECT_RECLAIM and gfp & GFP_IO and order > 0
        is_movable = self.context(cpu, gfp, node).migratetype == MIGRATE_MOVABLE
        if pfn is None and can_compact and (is_costly or not is_movable):
            pfn, is_hopeless = yield from self._compact_first(cpu, node, order, gfp, alloc_flags)
            if is_hopeless:
                return None
        while pfn is None:
            if alloc_flags & ALLOC_KSWAPD:
                yield from self._wake_all_kswapds(cpu, node, order, gfp)
            reserve_flags = gfp_reserve_flags(gfp)
            if reserve_flags:
                alloc_flags = reserve_flags | (alloc_flags & ALLOC_KSWAPD)
            pfn = yield from self._get_page_from_freelist(cpu, node, order, gfp, alloc_flags)
            if pfn is not None or not gfp & GFP_DIRECT_RECLAIM:
                return pfn
            pfn, has_reclaimed = yield from self._direct_reclaim(cpu, node, order, gfp, alloc_flags)
            if pfn is None and can_compact:
                pfn, _ = yield from self._direct_compact(cpu, node, order, gfp, alloc_flags)
            if pfn is not None or gfp & GFP_NORETRY or is_costly:
                break
            # Before giving up, the reserve is opened (should_reclaim_retry).
            if has_reclaimed or (yield from self._unreserve_highatomic_pageblock(cpu, node, gfp)):
                continue
            if not (yield from self._may_oom(cpu, node, order, gfp)):
                break
        if pfn is None and gfp & GFP_NOFAIL:
            pfn = yield from self._get_page_from_freelist(cpu, node, order, gfp, ALLOC_MIN_RESERVE)
        return pfn

    def _compact_first(
        self, cpu: int, node: int, order: int, gfp: int, alloc_flags: int
    ) -> Generator[AllocRequest, AllocAnswer | None, tuple[int | None, bool]]:
        """Compact before anything is reclaimed; give the page, and whether to give up at once."""
        if gfp_reserve_flags(gfp):
            return None, False
        pfn, result = yield from self._direct_compact(cpu, node, order, gfp, alloc_flags)
        if pfn is not None or order <= PAGE_ALLOC_COSTLY_ORDER or not gfp & GFP_NORETRY:
            return pfn, False
        was_useless = result in (CompactResult.SKIPPED, CompactResult.DEFERRED)
        return None, was_useless or gfp & GFP_THISNODE != 0

    def _direct_reclaim(
        self, cpu: int, node: int, order: int, gfp: int, alloc_flags: int
    ) -> Generator[AllocRequest, AllocAnswer | None, tuple[int | None, bool]]:
        """Reclaim, then look again; give the page, and whether anything was reclaimed."""
        context = self.context(cpu, gfp, node)
        answer = yield DirectReclaim(
            order=order,
            gfp=gfp,
            node=context.zones[0].node,
            highest_zoneidx=context.highest_zoneidx,
        )
        assert isinstance(answer, SlowPathAnswer), f"reclaim answers, not {answer}"
        if not answer.did_some_progress:
            return None, False
        return (yield from self._get_page_from_freelist(cpu, node, order, gfp, alloc_flags)), True

    def _direct_compact(
        self, cpu: int, node: int, order: int, gfp: int, alloc_flags: int
    ) -> Generator[AllocRequest, AllocAnswer | None, tuple[int | None, CompactResult]]:
        """Compact, then look again; give the page, and what came of compacting."""
        context = self.context(cpu, gfp, node)
        answer = yield DirectCompact(
            order=order,
            gfp=gfp,
            node=context.zones[0].node,
            highest_zoneidx=context.highest_zoneidx,
            alloc_flags=alloc_flags,
        )
        assert isinstance(answer, SlowPathAnswer), f"compaction answers, not {answer}"
        if answer.compact_result is not CompactResult.SUCCESS:
            return None, answer.compact_result
        pfn = yield from self._get_page_from_freelist(cpu, node, order, gfp, alloc_flags)
        return pfn, answer.compact_result

    def _may_oom(
        self, cpu: int, node: int, order: int, gfp: int
    ) -> Generator[AllocRequest, AllocAnswer | None, bool]:
        """Let somebody die, if that may help this request; say whether somebody does.

        Left out of __alloc_pages_may_oom: oom_lock, and the last look above the high watermark,
        which is for who finds that somebody else has just killed.
        """
        context = self.context(cpu, gfp, node)
        if gfp & (GFP_RETRY_MAYFAIL | GFP_THISNODE) or context.highest_zoneidx < ZONE_NORMAL:
            return False
        answer = yield OutOfMemory(order=order, gfp=gfp, node=context.zones[0].node)
        assert isinstance(answer, SlowPathAnswer), f"the OOM killer answers, not {answer}"
        return answer.did_some_progress

    def _wake_all_kswapds(
        self, cpu: int, node: int, order: int, gfp: int
    ) -> Generator[AllocRequest, AllocAnswer | None, None]:
        context = self.context(cpu, gfp, node)
        last_node = None
        for zone in context.zones:
            if zone.view[MANAGED_PAGES] and zone.node != last_node:
                last_node = zone.node
                yield WakeupKswapd(
                    zone=zone.number,
                    node=zone.node,
                    order=order,
                    highest_zoneidx=context.highest_zoneidx,
                    gfp=gfp,
                )

    def _unreserve_highatomic_pageblock(
        self, cpu: int, node: int, gfp: int
    ) -> Generator[AllocRequest, AllocAnswer | None, bool]:
        """Open one pageblock of the reserve, be it the zone's last (`force` is true)."""
        context = self.context(cpu, gfp, node)
        for zone in context.zones:
            answer = yield UnreserveHighatomicPageblock(
                zone=zone.number, cpu=cpu, migratetype=context.migratetype
            )
            if nr_moved(answer):
                return True
        return False

    def _get_page_from_freelist(
        self, cpu: int, node: int, order: int, gfp: int, alloc_flags: int
    ) -> AllocSteps:
        """Try the zones in order; with NOFRAGMENT, a second time without it."""
        context = self.context(cpu, gfp, node)
        again = True
        while again:
            again = bool(alloc_flags & ALLOC_NOFRAGMENT)
            for zone in context.zones:
                if again and zone.node != context.zones[0].node:
                    # A local page in a mixed pageblock is better than a remote one.
                    break
                if not (
                    zone.watermark_fast(
                        order,
                        highest_zoneidx=context.highest_zoneidx,
                        alloc_flags=alloc_flags,
                        gfp=gfp,
                    )
                    or alloc_flags & ALLOC_NO_WATERMARKS
                ):
                    continue
                pfn = yield from self._rmqueue(cpu, order, context, zone, alloc_flags)
                if pfn is None:
                    continue
                prep_new_page(self._pages, pfn, order, gfp)
                # Looked at without the lock, and again under it.
                if alloc_flags & ALLOC_HIGHATOMIC and (
                    zone.view[NR_RESERVED_HIGHATOMIC] < zone.highatomic_limit()
                ):
                    yield ReserveHighatomicPageblock(zone=zone.number, cpu=cpu, pfn=pfn)
                return pfn
            alloc_flags &= ~ALLOC_NOFRAGMENT
        return None

    def _rmqueue(
        self, cpu: int, order: int, context: AllocContext, zone: Zone, alloc_flags: int
    ) -> AllocSteps:
        """Take a block from the zone: from the CPU's list, refilled if need be, or directly."""
        pfn = None
        migratetype = context.migratetype
        if pcp_allowed_order(order):
            pfn = yield from self._rmqueue_pcplist(cpu, order, migratetype, zone, alloc_flags)
        if pfn is None:
            answer = yield RmqueueBuddy(
                zone=zone.number,
                cpu=cpu,
                order=order,
                migratetype=migratetype,
                alloc_flags=alloc_flags,
            )
            if isinstance(answer, ZoneAnswer):
                pfn = answer.pfn
        if pfn is not None:
            self._vmstat.events[cpu][PGALLOC_DMA + zone.index] += 1 << order
            self._zone_statistics(cpu, context.zones[0], zone)
        if zone.view[ZONE_FLAGS] & ZONE_BOOSTED_WATERMARK:
            zone.view[ZONE_FLAGS] &= ~ZONE_BOOSTED_WATERMARK
            yield WakeupKswapd(
                zone=zone.number, node=zone.node, order=0, highest_zoneidx=zone.index, gfp=0
            )
        return pfn

    def _rmqueue_pcplist(
        self, cpu: int, order: int, migratetype: int, zone: Zone, alloc_flags: int
    ) -> AllocSteps:
        pcp = zone.pcps[cpu]
        pcp.view[FREE_FACTOR] >>= 1
        pindex = order_to_pindex(migratetype, order)
        pfn = pcp.pop(pindex, order)
        if pfn is None:
            yield RmqueueBulk(
                zone=zone.number,
                cpu=cpu,
                order=order,
                count=pcp.refill_count(order),
                migratetype=migratetype,
                alloc_flags=alloc_flags,
                pindex=pindex,
            )
            pfn = pcp.pop(pindex, order)
        return pfn

    def _zone_statistics(self, cpu: int, preferred: Zone, zone: Zone) -> None:
        counters = self._vmstat.cpu_zones[cpu]
        if zone.node == preferred.node:
            counters[zone.number][NUMA_HIT] += 1
        else:
            counters[zone.number][NUMA_MISS] += 1
            counters[preferred.number][NUMA_FOREIGN] += 1
        local = NUMA_LOCAL if zone.node == self._cpu_node[cpu] else NUMA_OTHER
        counters[zone.number][local] += 1


def prep_new_page(pages: PageColumns, pfn: int, order: int, gfp: int) -> None:
    """Make a block the caller's: one reference to its head, a new generation of all its pages."""
    pages.refcount_view[pfn] = 1
    if order == 0:
        pages.generation_view[pfn] += 1
        return
    pages.generation[pfn : pfn + (1 << order)] += 1
    if gfp & GFP_COMP:
        pages.order_view[pfn] = order
        pages.flags_view[pfn] |= PG_HEAD


def free_pages_prepare(pages: PageColumns, pfn: int, order: int) -> None:
    """Wipe what the last user left in the struct pages of a block."""
    if order == 0:
        wipe_page(
            pages.refcount_view,
            pages.flags_view,
            pages.mapping_view,
            pages.private_view,
            pages.generation_view,
            pfn,
        )
        return
    pages.order_view[pfn] = 0
    end = pfn + (1 << order)
    for column in (pages.refcount, pages.flags, pages.mapping, pages.private):
        column[pfn:end] = 0
    pages.generation[pfn:end] += 1
