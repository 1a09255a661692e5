"""What is done under zone->lock: one request value after the other (mm/page_alloc.c, Linux 6.1).

`serve_zone` executes one section completely, and answers. The reserve for high-order atomic
requests is in highatomic.py, isolation in isolation.py.
"""

from typing import Final, assert_never

from mmactors.mm.page_alloc import buddy
from mmactors.mm.page_alloc.buddy import NOTHING, NR_ISOLATE_PAGEBLOCK
from mmactors.mm.page_alloc.gfp import (
    ALLOC_HIGHATOMIC,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
)
from mmactors.mm.page_alloc.highatomic import (
    reserve_highatomic_pageblock,
    unreserve_highatomic_pageblock,
)
from mmactors.mm.page_alloc.isolation import serve_isolation
from mmactors.mm.page_alloc.pcp import COUNT, free_pcppages_bulk
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.page_alloc.zone_request import (
    FreeOnePage,
    FreePcppagesBulk,
    OfflineIsolatedPages,
    OnlinePages,
    ReserveHighatomicPageblock,
    RmqueueBuddy,
    RmqueueBulk,
    SetMigratetypeIsolate,
    SplitFreePage,
    TestPagesIsolated,
    UnreserveHighatomicPageblock,
    UnsetMigratetypeIsolate,
    ZoneAnswer,
    ZoneRequest,
    events_of,
)

_DONE: Final = ZoneAnswer(nr_moved=1)


def serve_zone(zone: Zone, request: ZoneRequest) -> ZoneAnswer:
    """Execute one request under the lock."""
    assert request.zone == zone.number, f"{request} came to zone {zone.number}"
    match request:
        case RmqueueBulk():
            return _answer(zone, None, _rmqueue_bulk(zone, request))
        case RmqueueBuddy():
            pfn = _rmqueue_buddy(zone, request)
            return _answer(zone, pfn, int(pfn is not None))
        case FreePcppagesBulk():
            return _answer(zone, None, _free_pcppages_bulk(zone, request))
        case FreeOnePage():
            migratetype = request.migratetype
            if zone.view[NR_ISOLATE_PAGEBLOCK] or migratetype == MIGRATE_ISOLATE:
                migratetype = zone.pageblock_migratetype(request.pfn)
            zone.free_one_page(request.pfn, request.order, migratetype, cpu=request.cpu)
            return _DONE
        case ReserveHighatomicPageblock():
            reserve_highatomic_pageblock(zone, request.pfn)
            return _DONE
        case UnreserveHighatomicPageblock():
            nr_moved = unreserve_highatomic_pageblock(zone, request.migratetype)
            return _answer(zone, None, nr_moved)
        case OnlinePages():
            return ZoneAnswer(nr_moved=zone.online(cpu=request.cpu))
        case (
            SetMigratetypeIsolate()
            | UnsetMigratetypeIsolate()
            | SplitFreePage()
            | TestPagesIsolated()
            | OfflineIsolatedPages()
        ):
            return serve_isolation(zone, request)
        case _:
            assert_never(request)


def _answer(zone: Zone, pfn: int | None, nr_moved: int) -> ZoneAnswer:
    trace = zone.trace
    happened = events_of(buddy.trace_rows(trace)) if len(trace) > 1 else ()
    return ZoneAnswer(pfn=pfn, nr_moved=nr_moved, events=happened)


def _free_pcppages_bulk(zone: Zone, request: FreePcppagesBulk) -> int:
    pages = zone.pages
    pcp = zone.pcps[request.cpu if request.pcp_cpu is None else request.pcp_cpu]
    return free_pcppages_bulk(
        pages.next,
        pages.prev,
        pages.buddy,
        pages.zone,
        pages.index,
        zone.pageblocks,
        zone.words,
        zone.stat,
        zone.cpu_stats[request.cpu],
        zone.trace,
        pcp.words,
        pcp.heads,
        request.count,
        request.pindex,
        zone.rules.free_pcppages_rereads_isolated_type,
    )


def _rmqueue_bulk(zone: Zone, request: RmqueueBulk) -> int:
    pages, pcp = zone.pages, zone.pcps[request.cpu]
    nr_blocks: int = buddy.rmqueue_bulk(
        pages.next,
        pages.prev,
        pages.buddy,
        pages.flags,
        pages.index,
        zone.pageblocks,
        zone.words,
        zone.stat,
        zone.cpu_stats[request.cpu],
        zone.trace,
        request.order,
        request.count,
        request.migratetype,
        request.alloc_flags,
        pcp.heads + request.pindex,
    )
    pcp.view[COUNT] += nr_blocks << request.order
    return nr_blocks


def _rmqueue_buddy(zone: Zone, request: RmqueueBuddy) -> int | None:
    """Take a block; highatomic ones first or last, as the request's flags allow."""
    pages, order, alloc_flags = zone.pages, request.order, request.alloc_flags
    pfn = NOTHING
    if alloc_flags & ALLOC_HIGHATOMIC:
        pfn = _rmqueue_smallest(zone, order, MIGRATE_HIGHATOMIC)
    if pfn == NOTHING:
        pfn = buddy.rmqueue(
            pages.next,
            pages.prev,
            pages.buddy,
            pages.flags,
            pages.index,
            zone.pageblocks,
            zone.words,
            zone.trace,
            order,
            request.migratetype,
            alloc_flags,
        )
        if pfn == NOTHING and alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK):
            # Failing now is worse than failing a high-order atomic request later.
            pfn = _rmqueue_smallest(zone, order, MIGRATE_HIGHATOMIC)
        if pfn == NOTHING:
            return None
    zone.mod_freepage_state(request.cpu, -(1 << order))
    return pfn


def _rmqueue_smallest(zone: Zone, order: int, migratetype: int) -> int:
    pages = zone.pages
    return buddy.rmqueue_smallest(
        pages.next,
        pages.prev,
        pages.buddy,
        pages.index,
        zone.words,
        zone.trace,
        order,
        migratetype,
    )
