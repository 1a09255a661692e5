"""The rules of the per-CPU lists (mm/page_alloc/pcp.py)."""

import pytest

from mmactors.arch.arena import Arena
from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.buddy import NR_ISOLATE_PAGEBLOCK, ZONE_FLAGS, ZONE_RECLAIM_ACTIVE
from mmactors.mm.page_alloc.gfp import (
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
)
from mmactors.mm.page_alloc.layout import MemoryLayout, ZoneLayout
from mmactors.mm.page_alloc.pcp import (
    COUNT,
    FREE_FACTOR,
    order_to_pindex,
    pcp_allowed_order,
    pindex_to_order,
)
from mmactors.mm.page_alloc.zone_request import FreeOnePage, FreePcppagesBulk, RmqueueBulk


def machine(*, high=32, batch=4):
    layout = ZoneLayout(
        node=0,
        index=1,
        name="DMA32",
        start_pfn=0,
        spanned_pages=8192,
        present_pages=8192,
        managed_pages=8192,
        watermark_min_pages=20,
        watermark_low_pages=30,
        watermark_high_pages=40,
        watermark_promo_pages=50,
        lowmem_reserve_pages=(0, 0, 0, 0),
        stat_threshold=4,
        percpu_drift_mark_pages=0,
        pcp_high=high,
        pcp_batch=batch,
        free_ranges=((1024, 8192),),
    )
    memory = MemoryLayout(nr_frames=8192, zones=(layout,), zonelists=(((0, 1),),), cpu_node=(0, 0))
    arena = Arena()
    pages = PageColumns(arena, 8192, nr_list_heads=256)
    return PageAllocator.of_layout(memory, 2, arena, pages)


def requests_of(allocator, steps):
    """Drive steps to their end; give the requests they made."""
    seen = []
    answer = None
    while True:
        try:
            request = steps.send(answer)
        except StopIteration:
            return seen
        seen.append(request)
        answer = allocator.serve(request)


def allocate(allocator, order=0, gfp=GFP_HIGHUSER_MOVABLE, cpu=0):
    return allocator.perform(allocator.alloc_pages(cpu, order, gfp))


def free(allocator, pfn, order=0, cpu=0):
    return requests_of(allocator, allocator.free_pages(cpu, pfn, order))


def pcp_list(allocator, pindex, cpu=0):
    return allocator.pages.list_pfns(allocator.zones[0].pcps[cpu].heads + pindex)


@pytest.mark.parametrize(
    ("migratetype", "order", "pindex"),
    [
        (MIGRATE_UNMOVABLE, 0, 0),
        (MIGRATE_RECLAIMABLE, 3, 11),
        (MIGRATE_UNMOVABLE, 9, 12),
        (MIGRATE_RECLAIMABLE, 9, 12),
        (MIGRATE_MOVABLE, 9, 13),
    ],
)
def test_lists_are_by_order_and_type(migratetype, order, pindex):
    """Three types for each order up to 3; order 9 only knows movable and not."""
    assert (pindex, order) == (order_to_pindex(migratetype, order), pindex_to_order(pindex))


def test_only_cheap_orders_and_huge_pages_go_through_the_lists():
    """Orders 0 to 3 and 9 have lists."""
    assert [0, 1, 2, 3, 9] == [order for order in range(11) if pcp_allowed_order(order)]


@pytest.mark.parametrize(("order", "count"), [(0, 4), (1, 2), (2, 2), (3, 2), (9, 2)])
def test_a_refill_scales_with_the_order(order, count):
    """`batch` blocks of order 0, fewer of higher orders, two at least."""
    allocator = machine()

    request = next(allocator.alloc_pages(0, order, GFP_HIGHUSER_MOVABLE))

    assert (count, order, RmqueueBulk) == (request.count, request.order, type(request))


def test_a_batch_of_one_prefetches_nothing():
    """In small zones a refill takes one block, whatever its order."""
    allocator = machine(batch=1)

    assert 1 == next(allocator.alloc_pages(0, 1, GFP_KERNEL)).count


def test_a_refill_is_handed_out_in_the_order_taken():
    """Pages of a refill are appended, so they are handed out by ascending address."""
    allocator = machine()

    pfns = [allocate(allocator) for _ in range(4)]

    assert list(range(pfns[0], pfns[0] + 4)) == pfns


def test_the_page_freed_last_is_handed_out_first():
    """A free puts at the head, an allocation takes the head."""
    allocator = machine()
    pfns = [allocate(allocator) for _ in range(4)]

    free(allocator, pfns[1])
    free(allocator, pfns[3])

    assert (pfns[3], pfns[1]) == (allocate(allocator), allocate(allocator))


def test_each_cpu_has_its_own_list():
    """What one CPU frees, another does not get."""
    allocator = machine()
    pfn = allocate(allocator, cpu=0)
    free(allocator, pfn, cpu=1)

    assert (allocate(allocator, cpu=0) != pfn, pfn) == (True, allocate(allocator, cpu=1))


def test_too_many_pages_are_drained_from_the_tail():
    """At `high` pages a batch goes back: those that were freed first."""
    allocator = machine(high=8, batch=2)
    pfns = [allocate(allocator) for _ in range(12)]
    allocator.zones[0].pcps[0].view[FREE_FACTOR] = 0

    requests = [free(allocator, pfn) for pfn in pfns[:8]]

    assert ([FreePcppagesBulk(zone=0, cpu=0, count=2, pindex=1)], pfns[7:1:-1]) == (
        requests[-1],
        pcp_list(allocator, 1),
    )


def test_drains_double_while_nothing_is_allocated():
    """Each drain in a row doubles the next, up to what leaves a batch on the lists."""
    allocator = machine(high=32, batch=4)
    pfns = [allocate(allocator) for _ in range(200)]
    allocator.zones[0].pcps[0].view[FREE_FACTOR] = 0

    counts = [request.count for pfn in pfns for request in free(allocator, pfn)]

    assert [4, 8, 16, 28, 28] == counts[:5]


def test_a_drain_never_exceeds_what_high_leaves_above_a_batch():
    """When `high` is less than two batches, high - batch is the limit, not the batch."""
    allocator = machine(high=6, batch=4)
    pfns = [allocate(allocator) for _ in range(12)]
    allocator.zones[0].pcps[0].view[FREE_FACTOR] = 0

    counts = [request.count for pfn in pfns for request in free(allocator, pfn)]

    assert {2} == set(counts)


def test_an_allocation_halves_the_drain():
    """free_factor is halved by each allocation through the lists."""
    allocator = machine()
    view = allocator.zones[0].pcps[0].view
    view[FREE_FACTOR] = 5

    allocate(allocator)
    after_slow = view[FREE_FACTOR]
    allocator.alloc_pcp(0, 0, GFP_HIGHUSER_MOVABLE)

    assert (2, 1) == (after_slow, view[FREE_FACTOR])


def test_freeing_high_orders_without_allocating_drains_everything():
    """Blocks of order 1 to 3 do not gather on a CPU that only frees."""
    allocator = machine()
    pfns = [allocate(allocator, 2) for _ in range(3)]
    view = allocator.zones[0].pcps[0].view
    view[FREE_FACTOR] = 1

    (request,) = free(allocator, pfns[0], 2)

    assert (0, FreePcppagesBulk) == (view[COUNT], type(request))


def test_lists_are_short_while_the_zone_is_reclaimed():
    """With ZONE_RECLAIM_ACTIVE the limit is four batches."""
    allocator = machine(high=1000, batch=2)
    pfns = [allocate(allocator) for _ in range(40)]
    allocator.zones[0].view[ZONE_FLAGS] |= ZONE_RECLAIM_ACTIVE

    nr_before_drain = next(nth for nth, pfn in enumerate(pfns, start=1) if free(allocator, pfn))

    assert 8 == nr_before_drain


def test_a_drain_goes_on_with_the_next_list():
    """When the list of the freed page is empty, the next higher one is drained."""
    allocator = machine()
    allocate(allocator, 0, GFP_KERNEL)
    allocate(allocator, 1, GFP_KERNEL)
    pcp = allocator.zones[0].pcps[0]
    nr_low, nr_high = len(pcp_list(allocator, 0)), len(pcp_list(allocator, 3))

    answer = allocator.serve(FreePcppagesBulk(zone=0, cpu=0, count=nr_low + 1, pindex=0))

    assert (nr_low + 1, [], nr_high - 1, 0) == (
        answer.nr_moved,
        pcp_list(allocator, 0),
        len(pcp_list(allocator, 3)),
        pcp.view[COUNT],
    )


def test_a_highatomic_page_waits_among_the_movable_ones():
    """It keeps its type, so that a drain brings it back to the reserve."""
    allocator = machine()
    pfn = allocate(allocator)
    allocator.pageblocks[pfn >> 9] = MIGRATE_HIGHATOMIC

    free(allocator, pfn)

    assert (pfn, MIGRATE_HIGHATOMIC) == (
        pcp_list(allocator, MIGRATE_MOVABLE)[0],
        allocator.pages.index_view[pfn],
    )


def test_an_isolated_page_bypasses_the_lists():
    """A page of an isolated pageblock goes to the buddy lists at once and counts as not free."""
    allocator = machine()
    pfn = allocate(allocator)
    allocator.pageblocks[pfn >> 9] = MIGRATE_ISOLATE
    allocator.zones[0].view[NR_ISOLATE_PAGEBLOCK] = 1
    before = allocator.vmstat.zone_page_state_snapshot(0, 0)

    (request,) = free(allocator, pfn)

    assert (FreeOnePage, before) == (
        type(request),
        allocator.vmstat.zone_page_state_snapshot(0, 0),
    )


def test_the_fast_path_frees_as_the_slow_one():
    """free_pcp leaves the state that free_pages leaves."""
    fast, slow = machine(), machine()
    pfns = [allocate(fast) for _ in range(6)]
    assert pfns == [allocate(slow) for _ in range(6)]

    for pfn in pfns:
        assert fast.free_pcp(0, pfn, 0)
        free(slow, pfn)

    assert slow.dump() == fast.dump()


def test_the_fast_path_leaves_drains_to_the_slow_one():
    """free_pcp changes nothing when a drain would be due."""
    allocator = machine(high=5, batch=2)
    pfns = [allocate(allocator) for _ in range(6)]
    while allocator.free_pcp(0, pfns[0], 0):
        pfns.pop(0)
    before = allocator.dump()

    assert (False, before) == (allocator.free_pcp(0, pfns[0], 0), allocator.dump())


def test_lists_that_are_switched_off_keep_nothing():
    """With `high` 0 every freed page goes on at once, one at a time."""
    allocator = machine(high=0, batch=1)
    pfn = allocate(allocator)

    (request,) = free(allocator, pfn)

    assert (1, 0) == (request.count, allocator.zones[0].pcps[0].view[COUNT])


def test_a_drain_sees_that_a_pageblock_was_isolated_meanwhile():
    """Pages go back with the type that their pageblock has by then."""
    allocator = machine()
    pfn = allocate(allocator)
    free(allocator, pfn)
    allocator.pageblocks[pfn >> 9] = MIGRATE_ISOLATE
    zone = allocator.zones[0]
    zone.view[NR_ISOLATE_PAGEBLOCK] = 1

    allocator.serve(FreePcppagesBulk(zone=0, cpu=0, count=1, pindex=1))

    head = zone.free_list_head(0, MIGRATE_ISOLATE)
    assert 1 == len(allocator.pages.list_pfns(head))
