"""Isolating pageblocks: what of it happens under zone->lock (mm/page_isolation.c, Linux 6.1).

An isolated pageblock's free blocks wait on lists of their own, from which nobody allocates, and do
not count as free. Pages that are freed into it later join them: who frees looks at the pageblock
under the lock as long as any is isolated. What is asked in which order is in
actors/alloc/page_isolation.py.

Left out: CMA, hwpoisoned and offline pages, huge pages, and moving pages that are in use.

Invariant: NR_FREE_PAGES counts the blocks on all lists but those of MIGRATE_ISOLATE.
"""

from typing import Final, assert_never

from mmactors.arch.page import PG_LRU, PG_MOVABLE_OPS, PG_RESERVED
from mmactors.mm.page_alloc.buddy import (
    NR_ISOLATE_PAGEBLOCK,
    PAGEBLOCK_PAGES,
    ZONE_START,
    set_pageblock_migratetype,
)
from mmactors.mm.page_alloc.gfp import MIGRATE_ISOLATE, ZONE_MOVABLE
from mmactors.mm.page_alloc.order import (
    MAX_ORDER,
    PAGEBLOCK_ORDER,
)
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.page_alloc.zone_request import (
    IsolationRequest,
    OfflineIsolatedPages,
    SetMigratetypeIsolate,
    SplitFreePage,
    TestPagesIsolated,
    UnsetMigratetypeIsolate,
    ZoneAnswer,
)

MAX_ORDER_NR_PAGES: Final = 1 << (MAX_ORDER - 1)


def serve_isolation(zone: Zone, request: IsolationRequest) -> ZoneAnswer:
    """Execute one request under the zone's lock."""
    match request:
        case SetMigratetypeIsolate():
            return _set_migratetype_isolate(zone, request)
        case UnsetMigratetypeIsolate():
            return _unset_migratetype_isolate(zone, request)
        case SplitFreePage():
            return _split_free_page(zone, request)
        case TestPagesIsolated():
            pfn = first_in_use(zone, request.start_pfn, request.end_pfn)
            return ZoneAnswer(pfn=pfn, is_done=pfn is None)
        case OfflineIsolatedPages():
            return ZoneAnswer(nr_moved=_offline_isolated_pages(zone, request))
        case _:
            assert_never(request)


def has_unmovable_pages(zone: Zone, start_pfn: int, end_pfn: int) -> bool:
    """Return whether a part of a pageblock has a page in use that cannot be moved."""
    pages = zone.pages
    pfn = start_pfn
    while pfn < end_pfn:
        flags = pages.flags_view[pfn]
        if flags & PG_RESERVED:
            return True
        if zone.index != ZONE_MOVABLE:
            if pages.refcount_view[pfn]:
                if not flags & (PG_LRU | PG_MOVABLE_OPS):
                    return True
            elif pages.buddy_view[pfn]:
                pfn += 1 << (pages.buddy_view[pfn] - 1)
                continue
        pfn += 1
    return False


def _set_migratetype_isolate(zone: Zone, request: SetMigratetypeIsolate) -> ZoneAnswer:
    pfn = request.pfn
    migratetype = zone.pageblock_migratetype(pfn)
    if migratetype == MIGRATE_ISOLATE:
        return ZoneAnswer(is_done=False)
    block_end = (pfn | (PAGEBLOCK_PAGES - 1)) + 1
    start_pfn = max(pfn, request.start_pfn)
    if has_unmovable_pages(zone, start_pfn, min(block_end, request.end_pfn)):
        return ZoneAnswer(is_done=False)
    zone.view[NR_ISOLATE_PAGEBLOCK] += 1
    nr_pages = _split_large_block(zone, pfn, MIGRATE_ISOLATE, cpu=request.cpu)
    if not nr_pages:
        set_pageblock_migratetype(zone.pageblocks, pfn, MIGRATE_ISOLATE)
        nr_pages = zone.move_freepages_block(pfn, MIGRATE_ISOLATE)
        zone.mod_freepage_state(request.cpu, -nr_pages)
    return ZoneAnswer(nr_moved=nr_pages)


def _unset_migratetype_isolate(zone: Zone, request: UnsetMigratetypeIsolate) -> ZoneAnswer:
    pfn, migratetype = request.pfn, request.migratetype
    if zone.pageblock_migratetype(pfn) != MIGRATE_ISOLATE:
        return ZoneAnswer(is_done=False)
    nr_pages = _split_large_block(zone, pfn, migratetype, cpu=request.cpu)
    if nr_pages:
        zone.view[NR_ISOLATE_PAGEBLOCK] -= 1
        return ZoneAnswer(nr_moved=nr_pages)
    # A free block of a whole pageblock was kept from merging with its buddy, whose type differs.
    order = zone.pages.buddy_view[pfn] - 1
    must_merge = PAGEBLOCK_ORDER <= order < MAX_ORDER - 1 and _has_other_buddy(zone, pfn, order)
    if must_merge:
        zone.del_page_from_free_list(pfn, order)
    else:
        nr_pages = zone.move_freepages_block(pfn, migratetype)
        zone.mod_freepage_state(request.cpu, nr_pages)
    set_pageblock_migratetype(zone.pageblocks, pfn, migratetype)
    if must_merge:
        zone.free_one_page(pfn, order, migratetype, cpu=request.cpu, to_tail=1)
        nr_pages = 1 << order
    zone.view[NR_ISOLATE_PAGEBLOCK] -= 1
    return ZoneAnswer(nr_moved=nr_pages)


def _split_large_block(zone: Zone, pfn: int, migratetype: int, *, cpu: int) -> int:
    """Give a pageblock its type; cut the free block of which it is a part, and of another type.

    Each pageblock goes on to the lists of its own type, and counts as free or not, before anybody
    else has the lock. Return the pages of the pageblock, 0 if no larger block holds it: then
    nothing has changed (move_freepages_block_isolate, split_large_buddy, v6.10).
    """
    if not zone.rules.isolation_splits_large_blocks:
        return 0
    pages = zone.pages
    start = pfn & ~(MAX_ORDER_NR_PAGES - 1)
    if pages.buddy_view[start] != MAX_ORDER:
        return 0
    if zone.pageblock_migratetype(start) != MIGRATE_ISOLATE:
        zone.mod_freepage_state(cpu, -MAX_ORDER_NR_PAGES)
    zone.del_page_from_free_list(start, MAX_ORDER - 1)
    set_pageblock_migratetype(zone.pageblocks, pfn, migratetype)
    for block in range(start, start + MAX_ORDER_NR_PAGES, PAGEBLOCK_PAGES):
        zone.free_one_page(block, PAGEBLOCK_ORDER, zone.pageblock_migratetype(block), cpu=cpu)
    return PAGEBLOCK_PAGES


def _has_other_buddy(zone: Zone, pfn: int, order: int) -> bool:
    """Return whether the block's buddy is free and not isolated."""
    pages = zone.pages
    buddy_pfn = pfn ^ (1 << order)
    is_buddy = (
        pages.buddy_view[buddy_pfn] == order + 1
        and pages.zone_view[buddy_pfn] == pages.zone_view[pfn]
    )
    return is_buddy and zone.pageblock_migratetype(buddy_pfn) != MIGRATE_ISOLATE


def _split_free_page(zone: Zone, request: SplitFreePage) -> ZoneAnswer:
    """Free both parts of a block again, each with the type of its own pageblock."""
    pages = zone.pages
    boundary = request.boundary_pfn
    pfn = request.pfn
    order = pages.buddy_view[pfn] - 1
    if order < 0 or pfn + (1 << order) <= boundary:
        return ZoneAnswer(is_done=False)
    end = pfn + (1 << order)
    if zone.pageblock_migratetype(pfn) != MIGRATE_ISOLATE:
        zone.mod_freepage_state(request.cpu, -(1 << order))
    zone.del_page_from_free_list(pfn, order)
    left = boundary - pfn
    nr_blocks = 0
    while pfn < end:
        alignment = (pfn & -pfn).bit_length() - 1 if pfn else order
        piece = min(alignment, left.bit_length() - 1)
        zone.free_one_page(pfn, piece, zone.pageblock_migratetype(pfn), cpu=request.cpu)
        pfn += 1 << piece
        left -= 1 << piece
        nr_blocks += 1
        if left == 0:
            left = end - pfn
    return ZoneAnswer(nr_moved=nr_blocks)


def first_in_use(zone: Zone, start_pfn: int, end_pfn: int) -> int | None:
    """Return the first page that is on no buddy list (__test_page_isolated_in_pageblock)."""
    buddy = zone.pages.buddy_view
    pfn = start_pfn
    while pfn < end_pfn:
        if buddy[pfn] == 0:
            return pfn
        pfn += 1 << (buddy[pfn] - 1)
    return None


def _offline_isolated_pages(zone: Zone, request: OfflineIsolatedPages) -> int:
    """Take the blocks of the range off their lists; return how many pages they were.

    Their struct pages are nobody's then, as those that boot keeps.
    """
    buddy = zone.pages.buddy_view
    pfn = request.start_pfn
    while pfn < request.end_pfn:
        order = buddy[pfn] - 1
        assert order >= 0, f"page {pfn:#x} is not free"
        zone.del_page_from_free_list(pfn, order)
        pfn += 1 << order
    span = slice(request.start_pfn, request.end_pfn)
    zone.pages.flags[span] = PG_RESERVED
    zone.pages.refcount[span] = 1
    zone.view[NR_ISOLATE_PAGEBLOCK] -= (request.end_pfn - request.start_pfn) >> PAGEBLOCK_ORDER
    return request.end_pfn - request.start_pfn


def free_page_before(zone: Zone, boundary_pfn: int) -> int | None:
    """Return the free block below a boundary that reaches over it, None: there is none.

    A look without the lock, as isolate_single_pageblock scans.
    """
    buddy = zone.pages.buddy_view
    start = boundary_pfn & ~(MAX_ORDER_NR_PAGES - 1)
    pfn = max(start, int(zone.view[ZONE_START]))
    while pfn < boundary_pfn:
        if buddy[pfn]:
            end = pfn + (1 << (buddy[pfn] - 1))
            if end > boundary_pfn:
                return pfn
            pfn = end
        else:
            pfn += 1
    return None
