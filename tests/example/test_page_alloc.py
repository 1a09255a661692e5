"""The rules of allocation across zones and passes (mm/page_alloc/allocator.py and freelist.py)."""

import pytest

from mmactors.arch.arena import Arena
from mmactors.arch.page import PG_HEAD, PG_LRU, PageColumns
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.buddy import (
    NR_RESERVED_HIGHATOMIC,
    WATERMARK_BOOST,
    ZONE_BOOSTED_WATERMARK,
    ZONE_FLAGS,
)
from mmactors.mm.page_alloc.gfp import (
    ALLOC_NOFRAGMENT,
    GFP_ATOMIC,
    GFP_COMP,
    GFP_DMA,
    GFP_DMA32,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_KSWAPD_RECLAIM,
    GFP_MEMALLOC,
    GFP_MOVABLE,
    GFP_NOFAIL,
    GFP_NOWAIT,
    GFP_NOWARN,
    GFP_RECLAIMABLE,
    GFP_THISNODE,
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    gfp_migratetype,
    gfp_zone,
)
from mmactors.mm.page_alloc.layout import MemoryLayout, ZoneLayout
from mmactors.mm.page_alloc.pcp import COUNT
from mmactors.mm.page_alloc.slow_path import WakeupKswapd
from mmactors.mm.page_alloc.zone_request import (
    FreeOnePage,
    FreePcppagesBulk,
    ReserveHighatomicPageblock,
    RmqueueBuddy,
    RmqueueBulk,
    UnreserveHighatomicPageblock,
)
from mmactors.mm.vmstat import (
    NR_FREE_PAGES,
    NR_VM_ZONE_STAT_ITEMS,
    NUMA_EVENT_NAMES,
    PGALLOC_DMA,
    PGFREE,
)

NAMES = ("DMA", "DMA32", "Normal", "Movable")


def zone_layout(index, start_pfn, nr_pages, *, node=0, watermarks=(16, 24, 32), reserve=()):
    low = start_pfn or 512  # the first frames are never free
    return ZoneLayout(
        node=node,
        index=index,
        name=NAMES[index],
        start_pfn=start_pfn,
        spanned_pages=nr_pages,
        present_pages=nr_pages,
        managed_pages=nr_pages,
        watermark_min_pages=watermarks[0],
        watermark_low_pages=watermarks[1],
        watermark_high_pages=watermarks[2],
        watermark_promo_pages=watermarks[2],
        lowmem_reserve_pages=reserve,
        stat_threshold=2,
        percpu_drift_mark_pages=0,
        pcp_high=32,
        pcp_batch=4,
        free_ranges=((low, start_pfn + nr_pages),),
    )


def machine(*zones, zonelists=None, cpu_node=(0,)):
    nr_frames = max(zone.start_pfn + zone.spanned_pages for zone in zones)
    order = tuple((zone.node, zone.index) for zone in reversed(zones))
    memory = MemoryLayout(
        nr_frames=nr_frames,
        zones=zones,
        zonelists=zonelists or (order,),
        cpu_node=cpu_node,
    )
    arena = Arena()
    pages = PageColumns(arena, nr_frames, nr_list_heads=1024)
    allocator = PageAllocator.of_layout(memory, len(cpu_node), arena, pages)
    allocator.arena = arena
    return allocator


def one_zone(**more):
    return machine(zone_layout(1, 0, 4096, **more))


def three_zones():
    return machine(
        zone_layout(0, 0, 2048, reserve=(0, 100, 200, 200)),
        zone_layout(1, 2048, 2048, reserve=(0, 0, 100, 100)),
        zone_layout(2, 4096, 2048),
    )


def two_nodes():
    return machine(
        zone_layout(1, 0, 2048),
        zone_layout(1, 2048, 2048, node=1),
        zonelists=(((0, 1), (1, 1)), ((1, 1), (0, 1))),
        cpu_node=(0, 1),
    )


def allocate(allocator, order=0, gfp=GFP_KERNEL, cpu=0):
    return allocator.perform(allocator.alloc_pages(cpu, order, gfp))


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


def exhaust(allocator, gfp=GFP_NOWAIT, order=0):
    pfns = []
    while (pfn := allocate(allocator, order, gfp)) is not None:
        pfns.append(pfn)
    return pfns


def zone_of(allocator, pfn):
    return allocator.zones[allocator.pages.zone_view[pfn] - 1].name


def set_free_pages(allocator, nr_pages, zone=0):
    """Let watermark checks see a number of free pages."""
    allocator.vmstat.zones[zone][NR_FREE_PAGES] = nr_pages
    allocator.vmstat.cpu_zone_words[:, zone, NR_FREE_PAGES] = 0


def is_allowed(allocator, gfp, nr_free, order=0):
    """Return whether a request succeeds when the counter says `nr_free`."""
    set_free_pages(allocator, nr_free)
    return allocate(allocator, order, gfp) is not None


@pytest.mark.parametrize(
    ("gfp", "migratetype"), [(GFP_KERNEL, 0), (GFP_HIGHUSER_MOVABLE, 1), (GFP_RECLAIMABLE, 2)]
)
def test_the_mask_says_the_migratetype(gfp, migratetype):
    """Two bits of the mask choose the lists."""
    assert migratetype == gfp_migratetype(gfp)


@pytest.mark.parametrize(
    ("gfp", "index"),
    [(GFP_DMA, 0), (GFP_DMA32, 1), (GFP_KERNEL, 2), (GFP_HIGHUSER_MOVABLE, 3), (GFP_MOVABLE, 2)],
)
def test_the_mask_says_the_highest_zone(gfp, index):
    """GFP_ZONE_TABLE: movable memory may come from ZONE_MOVABLE only with HIGHMEM."""
    assert index == gfp_zone(gfp)


@pytest.mark.parametrize(
    ("gfp", "name"), [(GFP_KERNEL, "Normal"), (GFP_DMA32, "DMA32"), (GFP_DMA, "DMA")]
)
def test_the_highest_zone_is_preferred(gfp, name):
    """A request is served from the highest zone it may use."""
    allocator = three_zones()

    assert name == zone_of(allocator, allocate(allocator, 0, gfp))


def test_a_full_zone_spills_into_the_next_and_spares_its_reserve():
    """Lower zones are used down to their watermark plus lowmem_reserve."""
    allocator = three_zones()

    names = [zone_of(allocator, pfn) for pfn in exhaust(allocator)]

    assert (["Normal", "DMA32", "DMA"], True) == (
        list(dict.fromkeys(names)),
        200 < allocator.zones[0].nr_free < 240,
    )


def test_the_own_node_comes_first():
    """Each CPU is served from its node; when that is full, from the other."""
    allocator = two_nodes()
    first = allocator.zones[allocator.pages.zone_view[allocate(allocator, cpu=1)] - 1].node

    pfns = [allocate(allocator, cpu=1) for _ in range(2500)]

    assert (1, {1, 2}) == (first, set(allocator.pages.zone[pfns].tolist()))


def test_numa_events_tell_where_pages_came_from():
    """A spill is a miss of the zone that served and foreign to the preferred one."""
    allocator = two_nodes()
    hits = [allocate(allocator, cpu=1) for _ in range(2500)]

    remote = dict(zip(NUMA_EVENT_NAMES, allocator.vmstat.numa_events(0), strict=True))
    local = dict(zip(NUMA_EVENT_NAMES, allocator.vmstat.numa_events(1), strict=True))

    assert (remote["numa_miss"], remote["numa_other"], len(hits)) == (
        local["numa_foreign"],
        local["numa_foreign"],
        local["numa_hit"] + remote["numa_miss"],
    )


def test_thisnode_does_not_spill():
    """GFP_THISNODE fails when the node is full."""
    allocator = two_nodes()

    pfns = exhaust(allocator, GFP_NOWAIT | GFP_THISNODE)

    assert {1} == set(allocator.pages.zone[pfns].tolist())


def test_thisnode_fails_on_a_node_without_memory():
    """A CPU's node may have no zones; then GFP_THISNODE has nowhere to look."""
    allocator = machine(zone_layout(1, 0, 2048), zonelists=(((0, 1),), ((0, 1),)), cpu_node=(0, 1))
    gfp = GFP_NOWAIT | GFP_THISNODE

    pfns = [allocator.alloc_pcp(1, 0, gfp), allocate(allocator, 0, gfp, cpu=1)]

    assert [None, None] == pfns


def test_a_node_that_is_asked_for_is_tried_first():
    """__alloc_pages_node: then comes what its zonelist has; hits are those of the node wanted."""
    allocator = two_nodes()
    near = allocate(allocator, gfp=GFP_NOWAIT)
    steps = [allocator.alloc_pages(0, order, GFP_NOWAIT, 1) for order in (0, 5)]
    far = [allocator.perform(each) for each in steps]
    thisnode = GFP_NOWAIT | GFP_THISNODE
    while allocator.perform(allocator.alloc_pages(0, 0, thisnode, 1)) is not None:
        pass
    before = allocator.vmstat.numa_events(1)
    fallen_back = allocator.perform(allocator.alloc_pages(0, 0, GFP_NOWAIT, 1))
    local, remote = (
        dict(zip(NUMA_EVENT_NAMES, allocator.vmstat.numa_events(zone), strict=True))
        for zone in (0, 1)
    )

    assert [1, 2, 2, 1] == allocator.pages.zone[[near, *far, fallen_back]].tolist()
    assert (1, 1, 2) == (local["numa_hit"], local["numa_miss"], local["numa_local"])
    assert (1, 0) == (remote["numa_foreign"], remote["numa_local"])
    assert remote["numa_hit"] == remote["numa_other"] == before[NUMA_EVENT_NAMES.index("numa_hit")]


def test_a_node_without_memory_gives_what_the_next_one_has():
    """Its zonelist begins with another node; with GFP_THISNODE it is empty."""
    allocator = machine(
        zone_layout(1, 0, 2048),
        zone_layout(1, 2048, 2048, node=1),
        zonelists=(((0, 1), (1, 1)), ((1, 1), (0, 1)), ((1, 1), (0, 1))),
        cpu_node=(0,),
    )
    pfn = allocator.perform(allocator.alloc_pages(0, 0, GFP_KERNEL, 2))
    alone = allocator.perform(allocator.alloc_pages(0, 0, GFP_KERNEL | GFP_THISNODE, 2))

    assert (2, None) == (allocator.pages.zone[pfn], alone)


def test_who_asks_for_a_node_wakes_its_kswapd_first():
    """The slow path goes through the zonelist of the node, too."""
    allocator = two_nodes()
    while allocator.perform(allocator.alloc_pages(0, 0, GFP_NOWAIT, 1)) is not None:
        pass
    asked = requests_of(allocator, allocator.alloc_pages(0, 0, GFP_NOWAIT, 1))

    assert [1, 0] == [each.node for each in asked if isinstance(each, WakeupKswapd)][:2]


def test_normal_spills_before_it_mixes_types():
    """The first pass of a request for Normal does not fall back below order 9."""
    allocator = three_zones()

    flags = [
        allocator._search.context(0, gfp).alloc_flags & ALLOC_NOFRAGMENT
        for gfp in (GFP_KERNEL, GFP_DMA32)
    ]

    assert [ALLOC_NOFRAGMENT, 0] == flags


@pytest.mark.parametrize("has_dma32", [True, False])
def test_a_mixed_local_pageblock_is_better_than_a_remote_page(has_dma32):
    """With several nodes, Normal mixes types before a remote node is asked.

    Only a node that has DMA32 avoids mixing at first.
    """
    zones = [zone_layout(2, 4096, 2048), zone_layout(2, 6144, 2048, node=1)]
    order = ((0, 2), (1, 2))
    if has_dma32:
        zones.insert(0, zone_layout(1, 0, 1024))
        order = ((0, 2), (0, 1), (1, 2))
    allocator = machine(*zones, zonelists=(order, ((1, 2), (0, 2))), cpu_node=(0,))
    flags = allocator._search.context(0, GFP_KERNEL).alloc_flags & ALLOC_NOFRAGMENT
    small = [allocate(allocator, 8, GFP_HIGHUSER_MOVABLE) for _ in range(7)]
    local_dma32 = allocator.zones[0].nr_free if has_dma32 else 0
    while has_dma32 and allocate(allocator, 0, GFP_DMA32 | GFP_MEMALLOC) is not None:
        pass

    pfn = allocate(allocator)

    assert (has_dma32, 0, True, True) == (
        bool(flags),
        allocator.zones[allocator.pages.zone_view[pfn] - 1].node,
        local_dma32 == 512 * has_dma32,
        None not in small,
    )


@pytest.mark.parametrize(
    ("gfp", "enough"),
    [
        (GFP_NOWAIT, 17),  # min
        (GFP_ATOMIC, 7),  # half of min, and a quarter less of that
        (GFP_KERNEL, 17),
        (GFP_NOWAIT | GFP_MEMALLOC, 0),
    ],
)
def test_who_may_go_how_low(gfp, enough):
    """Watermark min is 16: how many free pages a request needs to see."""
    allocator = one_zone()

    seen = [is_allowed(allocator, gfp, nr_free) for nr_free in (enough, enough - 1)]

    assert [True, enough == 0] == seen


def test_the_highatomic_reserve_does_not_count():
    """Who may not use the reserve must find enough pages beside it."""
    allocator = one_zone()
    allocator.zones[0].view[NR_RESERVED_HIGHATOMIC] = 512

    seen = [is_allowed(allocator, gfp, 529) for gfp in (GFP_KERNEL, GFP_ATOMIC)]
    seen += [is_allowed(allocator, gfp, 528) for gfp in (GFP_KERNEL, GFP_ATOMIC)]

    assert [True, True, False, True] == seen


def test_an_atomic_page_ignores_the_boost():
    """Single atomic pages are checked against min without the boost, others with it."""
    allocator = one_zone()
    allocator.zones[0].view[WATERMARK_BOOST] = 1000

    seen = [is_allowed(allocator, gfp, 600) for gfp in (GFP_ATOMIC, GFP_NOWAIT)]

    assert [True, False] == seen


def test_a_high_order_needs_a_block():
    """Enough pages do not help when no block is large enough."""
    allocator = one_zone()
    pfns = exhaust(allocator, GFP_NOWAIT | GFP_MEMALLOC)
    for pfn in pfns[::2]:
        allocator.perform(allocator.free_pages(0, pfn, 0))
    allocator.perform(allocator.drain_pages(0))

    assert (None, True) == (allocate(allocator, 1), allocate(allocator) is not None)


def test_kswapd_is_woken_when_the_low_watermark_is_missed():
    """The second pass begins with waking kswapd, unless the mask forbids it."""
    allocator = one_zone()
    set_free_pages(allocator, 20)

    woken = requests_of(allocator, allocator.alloc_pages(0, 0, GFP_KERNEL))
    set_free_pages(allocator, 20)
    quiet = requests_of(
        allocator, allocator.alloc_pages(0, 0, (GFP_KERNEL | GFP_NOWARN) & ~GFP_KSWAPD_RECLAIM)
    )

    assert (WakeupKswapd(zone=0, node=0, order=0, highest_zoneidx=2, gfp=GFP_KERNEL), 0) == (
        woken[0],
        sum(isinstance(request, WakeupKswapd) for request in quiet),
    )


def test_mixing_types_does_not_lower_the_watermark():
    """Without NOFRAGMENT the zones are tried again, but still above the low watermark."""
    allocator = three_zones()
    for zone in range(3):
        set_free_pages(allocator, 20, zone)

    requests = requests_of(allocator, allocator.alloc_pages(0, 0, GFP_KERNEL))

    assert WakeupKswapd is type(requests[0])


def test_kswapd_is_woken_when_the_watermark_was_boosted():
    """The allocation that mixed types clears the flag and wakes kswapd of the zone."""
    allocator = one_zone()
    pages = [allocate(allocator, 8, GFP_HIGHUSER_MOVABLE) for _ in range(13)]
    assert None not in pages

    requests = requests_of(allocator, allocator.alloc_pages(0, 4, GFP_KERNEL))

    assert (WakeupKswapd(zone=0, node=0, order=0, highest_zoneidx=1, gfp=0), 0) == (
        requests[-1],
        allocator.zones[0].view[ZONE_FLAGS] & ZONE_BOOSTED_WATERMARK,
    )


def test_a_failed_request_is_a_result():
    """Exhausting memory gives None, and the pages come back."""
    allocator = one_zone()
    before = allocator.zones[0].nr_free

    pfns = exhaust(allocator)
    allocator.perform(allocator.free_page_list(0, pfns))
    allocator.perform(allocator.drain_pages(0))

    assert before == allocator.zones[0].nr_free


def test_an_atomic_high_order_reserves_its_pageblock():
    """Below the low watermark, an atomic request of order > 0 reserves where it was served."""
    allocator = one_zone()
    set_free_pages(allocator, 20)

    requests = requests_of(allocator, allocator.alloc_pages(0, 1, GFP_ATOMIC))

    assert (ReserveHighatomicPageblock, 512) == (
        type(requests[-1]),
        allocator.zones[0].view[NR_RESERVED_HIGHATOMIC],
    )


def test_the_reserve_is_opened_before_a_request_fails():
    """A request that may wait gets the highatomic reserve when nothing else is left."""
    allocator = one_zone()
    allocator.serve(ReserveHighatomicPageblock(zone=0, cpu=0, pfn=512))
    pfns = exhaust(allocator, GFP_NOWAIT & ~GFP_KSWAPD_RECLAIM)

    requests = requests_of(allocator, allocator.alloc_pages(0, 0, GFP_KERNEL))

    assert (True, True) == (
        len(pfns) > 1000,
        any(isinstance(request, UnreserveHighatomicPageblock) for request in requests),
    )


def test_nofail_may_use_half_of_the_reserve():
    """GFP_NOFAIL has one more pass that goes to half of min."""
    allocator = one_zone()

    seen = [is_allowed(allocator, gfp, 10) for gfp in (GFP_KERNEL, GFP_KERNEL | GFP_NOFAIL)]

    assert [False, True] == seen


def test_an_empty_refill_is_followed_by_the_buddy_lists():
    """When the refill gets nothing, the lists are tried directly before the request fails."""
    allocator = one_zone()
    exhaust(allocator, GFP_NOWAIT | GFP_MEMALLOC)
    set_free_pages(allocator, 100)

    requests = requests_of(allocator, allocator.alloc_pages(0, 0, GFP_NOWAIT))

    assert [RmqueueBulk, RmqueueBuddy] == [type(request) for request in requests[:2]]


def test_large_orders_go_to_the_buddy_lists():
    """Orders that have no per-CPU list are one request."""
    allocator = one_zone()

    (request,) = requests_of(allocator, allocator.alloc_pages(0, 5, GFP_KERNEL))

    assert (RmqueueBuddy, 5) == (type(request), request.order)


def test_the_fast_path_allocates_as_the_slow_one():
    """alloc_pcp gives the page and leaves the state that alloc_pages does."""
    fast, slow = three_zones(), three_zones()
    allocate(fast)
    allocate(slow)

    pfns = [fast.alloc_pcp(0, 0, GFP_KERNEL) for _ in range(3)]
    slow_pfns = [allocate(slow) for _ in range(3)]

    assert (slow_pfns, slow.arena.key()) == (pfns, fast.arena.key())


@pytest.mark.parametrize("order", [0, 1, 9])
def test_the_fast_path_needs_pages_on_the_list(order):
    """With an empty list it gives nothing and changes nothing."""
    allocator = one_zone()
    before = allocator.arena.key()

    assert (None, before) == (allocator.alloc_pcp(0, order, GFP_KERNEL), allocator.arena.key())


def test_the_fast_path_keeps_to_the_low_watermark():
    """Below it, or with a boost to report, the slow path is asked."""
    allocator = one_zone()
    allocate(allocator)
    set_free_pages(allocator, 24)
    low = allocator.alloc_pcp(0, 0, GFP_KERNEL)
    set_free_pages(allocator, 100)
    allocator.zones[0].view[ZONE_FLAGS] |= ZONE_BOOSTED_WATERMARK
    boosted = allocator.alloc_pcp(0, 0, GFP_KERNEL)
    allocator.zones[0].view[ZONE_FLAGS] = 0

    assert (None, None, True) == (
        low,
        boosted,
        allocator.alloc_pcp(0, 0, GFP_KERNEL) is not None,
    )


@pytest.mark.parametrize("order", [0, 2])
def test_a_page_is_born_and_dies(order):
    """One reference, and a new generation of every page at allocation and at free."""
    allocator = one_zone()
    pages = allocator.pages
    pfn = allocate(allocator, order, GFP_KERNEL | GFP_COMP)
    born = (pages.refcount_view[pfn], pages.flags_view[pfn], pages.order_view[pfn])
    pages.flags_view[pfn] |= PG_LRU
    pages.mapping_view[pfn] = 7

    allocator.perform(allocator.free_pages(0, pfn, order))

    assert ((1, PG_HEAD if order else 0, order), (0, 0, 0), [2] * (1 << order)) == (
        born,
        (pages.refcount_view[pfn], pages.flags_view[pfn], pages.mapping_view[pfn]),
        pages.generation[pfn : pfn + (1 << order)].tolist(),
    )


def test_events_count_pages():
    """pgalloc of the zone and pgfree count pages, not blocks."""
    allocator = one_zone()
    for order in (0, 3, 5):
        allocator.perform(allocator.free_pages(0, allocate(allocator, order), order))

    counted = [allocator.vmstat.event(item) for item in (PGALLOC_DMA + 1, PGFREE)]

    assert [41, 41] == counted


def test_a_list_of_pages_is_freed_as_the_pages_are():
    """free_page_list leaves the state that freeing one by one leaves."""
    listed, single = two_nodes(), two_nodes()
    pfns = [[allocate(allocator, cpu=0) for _ in range(2300)] for allocator in (listed, single)]
    assert pfns[0] == pfns[1]

    listed.perform(listed.free_page_list(1, pfns[0][100:]))
    for pfn in pfns[1][100:]:
        single.perform(single.free_pages(1, pfn, 0))

    assert single.arena.key() == listed.arena.key()


def test_isolated_pages_of_a_list_go_first():
    """They bypass the per-CPU lists; the others are batched, highatomic ones among the movable."""
    allocator = one_zone()
    pfns = [allocate(allocator, gfp=GFP_HIGHUSER_MOVABLE) for _ in range(600)]
    allocator.pageblocks[1:3] = MIGRATE_ISOLATE, MIGRATE_HIGHATOMIC

    requests = requests_of(allocator, allocator.free_page_list(0, pfns))

    nr_isolated = sum(pfn >> 9 == 1 for pfn in pfns)
    kinds = [type(request) for request in requests]
    assert (512, [FreeOnePage] * 512, {FreePcppagesBulk}, {MIGRATE_MOVABLE}) == (
        nr_isolated,
        kinds[:nr_isolated],
        set(kinds[nr_isolated:]),
        {request.pindex for request in requests[nr_isolated:]},
    )


def test_draining_empties_the_lists():
    """drain_pages gives back all pages of a CPU."""
    allocator = one_zone()
    pfn = allocate(allocator)
    allocator.perform(allocator.free_pages(0, pfn, 0))

    allocator.perform(allocator.drain_pages(0))

    assert (0, 4096 - 512) == (allocator.zones[0].pcps[0].view[COUNT], allocator.zones[0].nr_free)


def test_remote_lists_are_drained_after_three_idle_rounds():
    """A CPU that holds pages of another node and no longer uses them gives a batch back."""
    allocator = two_nodes()
    pfns = [allocate(allocator, gfp=GFP_KERNEL, cpu=1) for _ in range(4)]
    allocator.perform(allocator.free_page_list(0, pfns))  # remote for CPU 0
    allocator.vmstat.mod_zone_page_state(0, 1, NR_FREE_PAGES + 1, 1)

    rounds = [requests_of(allocator, allocator.refresh_cpu_vm_stats(0)) for _ in range(4)]

    assert ([0, 0, 1, 0], 0) == (
        [len(requests) for requests in rounds],
        allocator.zones[1].pcps[0].view[COUNT],
    )


def test_local_lists_are_kept():
    """The CPU's own node is never drained by the refresh, and the deltas are folded."""
    allocator = one_zone()
    allocate(allocator)
    allocator.vmstat.inc_zone_page_state(0, 0, NR_FREE_PAGES + 1)

    requests = requests_of(allocator, allocator.refresh_cpu_vm_stats(0))

    assert ([], [0] * NR_VM_ZONE_STAT_ITEMS) == (
        requests,
        allocator.vmstat.cpu_zone_words[0, 0, :NR_VM_ZONE_STAT_ITEMS].tolist(),
    )


def test_a_snapshot_brings_everything_back():
    """After restoring the arena the same allocations give the same pages."""
    allocator = three_zones()
    allocate(allocator)
    snapshot = allocator.arena.snapshot()
    first = [allocate(allocator, order) for order in (0, 3, 5, 0, 9)]

    allocator.arena.restore(snapshot)

    assert first == [allocate(allocator, order) for order in (0, 3, 5, 0, 9)]
