"""The rules of the buddy lists, one by one (mm/page_alloc/buddy.py), through what a zone serves."""

import pytest

from mmactors.arch.arena import Arena
from mmactors.arch.page import PG_LRU, PageColumns
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.buddy import (
    MANAGED_PAGES,
    NR_RESERVED_HIGHATOMIC,
    PAGEBLOCK_PAGES,
    WATERMARK_BOOST,
    WMARK_HIGH,
    ZONE_BOOSTED_WATERMARK,
    ZONE_FLAGS,
)
from mmactors.mm.page_alloc.gfp import (
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
)
from mmactors.mm.page_alloc.layout import MemoryLayout, ZoneLayout
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.page_alloc.serve_zone import serve_zone
from mmactors.mm.page_alloc.zone_request import (
    FreeOnePage,
    ReserveHighatomicPageblock,
    RmqueueBuddy,
    UnreserveHighatomicPageblock,
)


def zone_of(*free_ranges, end_pfn=8192):
    """Make a zone whose free memory is these ranges, all of it in movable pageblocks."""
    layout = ZoneLayout(
        node=0,
        index=1,
        name="DMA32",
        start_pfn=0,
        spanned_pages=end_pfn,
        present_pages=end_pfn,
        managed_pages=end_pfn,
        watermark_min_pages=20,
        watermark_low_pages=30,
        watermark_high_pages=400,
        watermark_promo_pages=500,
        lowmem_reserve_pages=(0, 0, 0, 0),
        stat_threshold=0,
        percpu_drift_mark_pages=0,
        pcp_high=64,
        pcp_batch=8,
        free_ranges=free_ranges,
    )
    machine = MemoryLayout(
        nr_frames=end_pfn, zones=(layout,), zonelists=(((0, 1),),), cpu_node=(0,)
    )
    arena = Arena()
    pages = PageColumns(arena, end_pfn, nr_list_heads=256)
    return PageAllocator.of_layout(machine, 1, arena, pages).zones[0]


def rmqueue(zone, order, migratetype=MIGRATE_MOVABLE, alloc_flags=0):
    request = RmqueueBuddy(
        zone=0, cpu=0, order=order, migratetype=migratetype, alloc_flags=alloc_flags
    )
    return serve_zone(zone, request).pfn


def free(zone, pfn, order, migratetype=MIGRATE_MOVABLE):
    serve_zone(zone, FreeOnePage(zone=0, cpu=0, pfn=pfn, order=order, migratetype=migratetype))


def lists(zone, migratetype=MIGRATE_MOVABLE):
    """Give the lists of a type that are not empty: order -> PFNs, head first."""
    found = {
        order: zone.pages.list_pfns(zone.free_list_head(order, migratetype))
        for order in range(MAX_ORDER)
    }
    return {order: pfns for order, pfns in found.items() if pfns}


def types(zone, nr_blocks=4):
    return [zone.pageblock_migratetype(nth * PAGEBLOCK_PAGES) for nth in range(nr_blocks)]


def test_a_split_keeps_the_low_half():
    """The page handed out is the lowest; each upper half goes to the list of its order."""
    zone = zone_of((1024, 1032))

    pfn = rmqueue(zone, 0)

    assert (1024, {0: [1025], 1: [1026], 2: [1028]}) == (pfn, lists(zone))


def test_freed_buddies_merge_back():
    """Freeing the last part of a split block restores the block."""
    zone = zone_of((1024, 2048))
    pfns = [rmqueue(zone, 0) for _ in range(3)]

    for pfn in pfns:
        free(zone, pfn, 0)

    assert {10: [1024]} == lists(zone)


def test_allocation_takes_the_head_of_a_list():
    """What was freed last is handed out first."""
    zone = zone_of((1024, 2048))
    pfns = [rmqueue(zone, 0) for _ in range(8)]
    free(zone, pfns[0], 0)
    free(zone, pfns[4], 0)

    assert pfns[4] == rmqueue(zone, 0)


def test_a_block_that_may_merge_soon_goes_to_the_tail():
    """While the buddy of the pair one order up is free, the freed block waits at the tail."""
    zone = zone_of((1024, 2048))
    pfns = [rmqueue(zone, 0) for _ in range(16)]
    free(zone, pfns[8], 0)
    free(zone, pfns[2], 0)
    free(zone, pfns[3], 0)  # merges to the pair 2, 3: the buddy of the pair 0, 1

    free(zone, pfns[0], 0)

    assert [pfns[8], pfns[0]] == lists(zone)[0]


def test_pageblocks_of_reserved_types_do_not_merge():
    """From a pageblock on, highatomic memory stays apart from the rest."""
    zone = zone_of((1024, 2048))
    low, high = rmqueue(zone, 9), rmqueue(zone, 9)
    serve_zone(zone, ReserveHighatomicPageblock(zone=0, cpu=0, pfn=low))
    free(zone, low, 9, MIGRATE_HIGHATOMIC)

    free(zone, high, 9)

    assert ({9: [low]}, {9: [high]}) == (lists(zone, MIGRATE_HIGHATOMIC), lists(zone))


def test_blocks_of_two_zones_do_not_merge():
    """A free buddy that belongs to another zone is left alone."""
    zone = zone_of((1024, 1032))
    rmqueue(zone, 2)
    zone.pages.zone[1028:1032] = 9

    free(zone, 1024, 2)

    assert {2: [1024, 1028]} == lists(zone)


def test_a_fallback_takes_the_largest_block_with_its_pageblock():
    """From order 9 on, the block changes its type and its list."""
    zone = zone_of((512, 1024), (1024, 1028))

    pfn = rmqueue(zone, 0, MIGRATE_UNMOVABLE)

    assert (512, MIGRATE_UNMOVABLE, {2: [1024]}) == (pfn, types(zone)[1], lists(zone))


def test_nofragment_takes_whole_pageblocks_only():
    """A request that must not mix types gets nothing from smaller blocks."""
    zone = zone_of((1024, 1028))

    assert rmqueue(zone, 0, MIGRATE_UNMOVABLE, ALLOC_NOFRAGMENT) is None


def test_a_movable_request_takes_the_smallest_block_it_cannot_own():
    """Below order 4 a movable page cannot claim the pageblock, so large blocks are spared."""
    zone = zone_of((1024, 1032), (2048, 2050))
    for start in (1024, 2048):
        zone.pageblocks[start // PAGEBLOCK_PAGES] = MIGRATE_UNMOVABLE
    for order, pfn in ((3, 1024), (1, 2048)):
        assert pfn == rmqueue(zone, order)
        free(zone, pfn, order, MIGRATE_UNMOVABLE)

    pfn = rmqueue(zone, 0)

    assert (2048, MIGRATE_UNMOVABLE) == (pfn, types(zone, 5)[4])


def test_a_mostly_free_pageblock_is_claimed():
    """Free and alike pages of at least half a pageblock give it to the requester."""
    zone = zone_of((1024, 1024 + 256))

    rmqueue(zone, 0, MIGRATE_UNMOVABLE)

    assert (MIGRATE_UNMOVABLE, {}) == (types(zone)[2], lists(zone))


def test_movable_pages_in_use_keep_a_pageblock():
    """For an unmovable request, pages that could be moved do not count as alike."""
    zone = zone_of((1024, 1024 + 64))
    zone.pages.flags[1088:1536] |= PG_LRU

    rmqueue(zone, 0, MIGRATE_UNMOVABLE)

    assert (MIGRATE_MOVABLE, {}) == (types(zone)[2], lists(zone))


def test_mixing_types_boosts_the_watermark():
    """A fallback below order 9 adds a pageblock's pages, up to 1.5 times the high watermark."""
    zone = zone_of((1024, 1028), (2048, 2052))

    rmqueue(zone, 2, MIGRATE_UNMOVABLE, ALLOC_KSWAPD)
    rmqueue(zone, 2, MIGRATE_UNMOVABLE, ALLOC_KSWAPD)

    assert (600, ZONE_BOOSTED_WATERMARK) == (zone.view[WATERMARK_BOOST], zone.view[ZONE_FLAGS])


@pytest.mark.parametrize(("word", "value"), [(WMARK_HIGH, 0), (MANAGED_PAGES, 2047)])
def test_small_or_unset_zones_are_not_boosted(word, value):
    """Below four pageblocks, or before the watermarks are set, mixing has no price."""
    zone = zone_of((1024, 1028))
    zone.view[word] = value

    rmqueue(zone, 2, MIGRATE_UNMOVABLE, ALLOC_KSWAPD)

    assert (0, 0) == (zone.view[WATERMARK_BOOST], zone.view[ZONE_FLAGS])


def test_a_block_in_a_reserved_pageblock_is_taken_alone():
    """On a movable list while its pageblock is highatomic: the reserve stays as it is."""
    zone = zone_of((1024, 1028), (1032, 1033))
    zone.pageblocks[2] = MIGRATE_HIGHATOMIC

    pfn = rmqueue(zone, 2, MIGRATE_UNMOVABLE, ALLOC_KSWAPD)

    assert (1024, MIGRATE_HIGHATOMIC, {0: [1032]}, 0) == (
        pfn,
        types(zone)[2],
        lists(zone),
        zone.view[WATERMARK_BOOST],
    )


def test_fallback_prefers_reclaimable_over_movable():
    """Unmovable requests go to reclaimable memory before movable."""
    zone = zone_of((1024, 1028), (2048, 2052))
    free(zone, rmqueue(zone, 2), 2, MIGRATE_RECLAIMABLE)
    reclaimable = lists(zone, MIGRATE_RECLAIMABLE)[2]

    pfn = rmqueue(zone, 2, MIGRATE_UNMOVABLE)

    assert reclaimable == [pfn]


def test_a_reserved_pageblock_serves_atomic_requests_first():
    """Its free blocks move to the highatomic lists, which ALLOC_HIGHATOMIC tries first."""
    zone = zone_of((1024, 1032), (2048, 4096))
    pfn = rmqueue(zone, 1)
    serve_zone(zone, ReserveHighatomicPageblock(zone=0, cpu=0, pfn=pfn))

    served = rmqueue(zone, 1, MIGRATE_UNMOVABLE, ALLOC_HIGHATOMIC)

    assert (512, MIGRATE_HIGHATOMIC, 1026) == (
        zone.view[NR_RESERVED_HIGHATOMIC],
        types(zone)[2],
        served,
    )


def test_the_reserve_is_the_last_resort_of_who_cannot_wait():
    """Without other memory, a non-blocking request gets a highatomic page, any other fails."""
    zone = zone_of((1024, 1032))
    serve_zone(zone, ReserveHighatomicPageblock(zone=0, cpu=0, pfn=1024))

    answers = [rmqueue(zone, 0), rmqueue(zone, 0, alloc_flags=ALLOC_NON_BLOCK)]

    assert [None, 1024] == answers


def test_the_reserve_has_a_limit():
    """No pageblock is reserved from 1 % of the zone and one pageblock on."""
    zone = zone_of((0, 8192))

    for nth in range(4):
        serve_zone(zone, ReserveHighatomicPageblock(zone=0, cpu=0, pfn=nth * PAGEBLOCK_PAGES))

    assert 2 * PAGEBLOCK_PAGES == zone.view[NR_RESERVED_HIGHATOMIC]


def test_unreserving_gives_a_pageblock_to_the_requester():
    """The pageblock takes the requester's type and its free pages change lists."""
    zone = zone_of((1024, 1032))
    serve_zone(zone, ReserveHighatomicPageblock(zone=0, cpu=0, pfn=1024))

    answer = serve_zone(
        zone, UnreserveHighatomicPageblock(zone=0, cpu=0, migratetype=MIGRATE_UNMOVABLE)
    )

    assert (8, 0, {3: [1024]}) == (
        answer.nr_moved,
        zone.view[NR_RESERVED_HIGHATOMIC],
        lists(zone, MIGRATE_UNMOVABLE),
    )


def test_a_pageblock_cut_by_the_zone_end_moves_one_block_only():
    """The zone ends inside the pageblock: only the block itself changes lists."""
    zone = zone_of((1024, 1032), (1040, 1048), end_pfn=1100)

    rmqueue(zone, 3, MIGRATE_UNMOVABLE)

    assert (MIGRATE_MOVABLE, 1) == (types(zone, 3)[2], len(lists(zone)[3]))


def test_moved_blocks_go_to_the_tail_in_order_of_address():
    """Stealing a pageblock appends its free blocks by ascending PFN."""
    zone = zone_of((1024, 1025), (1026, 1027), (1028, 1029), (1040, 1056))

    rmqueue(zone, 4, MIGRATE_UNMOVABLE)

    assert {0: [1024, 1026, 1028]} == lists(zone, MIGRATE_UNMOVABLE)
