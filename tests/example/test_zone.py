"""What boot hands to a zone, what a zone says of itself, what its answers tell
(page_alloc/zone.py)."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmactors.arch.arena import Arena
from mmactors.arch.page import PageColumns, list_del
from mmactors.events import MmPageAllocExtfrag, MmPageAllocZoneLocked, MmPagePcpuDrain
from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.buddy import NR_ISOLATE_PAGEBLOCK
from mmactors.mm.page_alloc.gfp import (
    ALLOC_HIGHATOMIC,
    ALLOC_MIN_RESERVE,
    ALLOC_OOM,
    MIGRATE_MOVABLE,
    MIGRATE_UNMOVABLE,
)
from mmactors.mm.page_alloc.layout import MemoryLayout, ZoneLayout
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.page_alloc.serve_zone import serve_zone
from mmactors.mm.page_alloc.zone_request import (
    FreePcppagesBulk,
    RmqueueBuddy,
    RmqueueBulk,
)
from mmactors.mm.vmstat import NR_FREE_PAGES
from mmactors.units import GIB

THP = Path(__file__).parent.parent / "reference/linux-6.1/kernel/buddy/256M-c1-thp-s1.json"


def machine(*free_ranges, start_pfn=0, end_pfn=4096):
    layout = ZoneLayout(
        node=0,
        index=1,
        name="DMA32",
        start_pfn=start_pfn,
        spanned_pages=end_pfn - start_pfn,
        present_pages=end_pfn - start_pfn,
        managed_pages=end_pfn - start_pfn,
        watermark_min_pages=16,
        watermark_low_pages=24,
        watermark_high_pages=32,
        watermark_promo_pages=40,
        lowmem_reserve_pages=(0, 0, 7),
        stat_threshold=3,
        percpu_drift_mark_pages=0,
        pcp_high=32,
        pcp_batch=4,
        free_ranges=free_ranges,
    )
    memory = MemoryLayout(
        nr_frames=end_pfn, zones=(layout,), zonelists=(((0, 1),),), cpu_node=(0, 0)
    )
    arena = Arena()
    return PageAllocator.of_layout(memory, 2, arena, PageColumns(arena, end_pfn))


def movable_lists(allocator):
    zone = allocator.zones[0]
    found = {
        order: zone.pages.list_pfns(zone.free_list_head(order, MIGRATE_MOVABLE))
        for order in range(MAX_ORDER)
    }
    return {order: pfns for order, pfns in found.items() if pfns}


def test_boot_cuts_ranges_into_the_largest_aligned_blocks():
    """Ascending, each block at the tail of its list."""
    allocator = machine((3, 17), (2048, 4096))

    assert {0: [3, 16], 2: [4], 3: [8], 10: [2048, 3072]} == movable_lists(allocator)


def test_boot_makes_all_pageblocks_movable():
    """Also the pageblocks whose pages the kernel keeps."""
    allocator = machine((512, 1024))

    assert "1" * 8 == allocator.dump()["zones"][0]["pageblocks"]


def test_boot_leaves_no_delta_behind():
    """While memory is handed over there are no thresholds, so the global count is exact."""
    allocator = machine((3, 17), (2048, 4096))

    assert (2062, 0, 3) == (
        allocator.vmstat.zones[0][NR_FREE_PAGES],
        allocator.vmstat.cpu_zones[0][0][NR_FREE_PAGES],
        allocator.dump()["zones"][0]["pcp"][1]["stat_threshold"],
    )


def test_only_the_zone_has_struct_pages():
    """Page frames below the zone belong to none."""
    allocator = machine((2048, 4096), start_pfn=1024)

    assert (0, 1) == (allocator.pages.zone_view[1023], allocator.pages.zone_view[1024])


@pytest.mark.parametrize(
    ("order", "mark", "alloc_flags", "free_pages", "expected"),
    [
        (0, 16, 0, 17, True),
        (0, 16, 0, 16, False),
        (0, 16, ALLOC_MIN_RESERVE, 9, True),
        (0, 16, ALLOC_OOM, 9, True),
        (0, 16, ALLOC_MIN_RESERVE | ALLOC_OOM, 5, True),
        (0, 16, ALLOC_MIN_RESERVE | ALLOC_OOM, 4, False),
        (3, 16, 0, 24, True),
        (3, 16, 0, 23, False),
        (4, 16, 0, 4000, False),  # no block of order 4
        (4, 16, ALLOC_HIGHATOMIC, 4000, False),
    ],
)
def test_watermarks_are_exact_to_the_page(order, mark, alloc_flags, free_pages, expected):
    """__zone_watermark_ok: more free pages than the mark, and a block of the order."""
    zone = machine((8, 16)).zones[0]

    assert expected is zone.watermark_ok(
        order, mark=mark, highest_zoneidx=1, alloc_flags=alloc_flags, free_pages=free_pages
    )


def test_the_reserve_for_lower_requests_counts():
    """A request that could use a higher zone must leave lowmem_reserve."""
    zone = machine((8, 16)).zones[0]

    seen = [
        zone.watermark_ok(0, mark=16, highest_zoneidx=2, alloc_flags=0, free_pages=free_pages)
        for free_pages in (23, 24)
    ]

    assert [False, True] == seen


def test_a_state_is_dumped_as_it_was_loaded():
    """Loading and dumping a recording gives the recording."""
    recorded = json.loads(THP.read_text())["initial"]

    dumped = PageAllocator.load(recorded).dump()

    for zone in recorded["zones"]:
        del zone["compact"]
    assert (recorded["zones"], recorded["zonelists"]) == (dumped["zones"], dumped["zonelists"])


def test_isolated_pageblocks_are_counted_when_loaded():
    """A state with an isolated pageblock frees by pageblock, as the kernel would."""
    recorded = json.loads(THP.read_text())["initial"]
    recorded["zones"][0]["pageblocks"] = "4" + recorded["zones"][0]["pageblocks"][1:]

    allocator = PageAllocator.load(recorded)

    assert [1, 0] == [zone.view[NR_ISOLATE_PAGEBLOCK] for zone in allocator.zones]


def test_answers_tell_what_happened_under_the_lock():
    """With trace_events on, a refill tells of its fallback and of each block."""
    allocator = machine((512, 516))
    zone = allocator.zones[0]
    zone.trace_events = True

    answer = serve_zone(
        zone,
        RmqueueBulk(
            zone=0, cpu=0, order=1, count=2, migratetype=MIGRATE_UNMOVABLE, alloc_flags=0, pindex=3
        ),
    )

    assert (
        MmPageAllocExtfrag(
            pfn=512,
            alloc_order=1,
            fallback_order=2,
            alloc_migratetype=0,
            fallback_migratetype=1,
            change_ownership=True,
        ),
        MmPageAllocZoneLocked(pfn=512, order=1, migratetype=0, percpu_refill=True),
        MmPageAllocZoneLocked(pfn=514, order=1, migratetype=0, percpu_refill=True),
    ) == answer.events


def test_a_drain_tells_of_each_page():
    """mm_page_pcpu_drain for every page, in the order in which they went."""
    allocator = machine((512, 520))
    zone = allocator.zones[0]
    refill = RmqueueBulk(
        zone=0, cpu=0, order=0, count=2, migratetype=MIGRATE_MOVABLE, alloc_flags=0, pindex=1
    )
    serve_zone(zone, refill)
    zone.trace_events = True

    answer = serve_zone(zone, FreePcppagesBulk(zone=0, cpu=0, count=2, pindex=1))

    assert (
        MmPagePcpuDrain(pfn=513, order=0, migratetype=1),
        MmPagePcpuDrain(pfn=512, order=0, migratetype=1),
    ) == answer.events


def test_events_cost_nothing_when_nobody_listens():
    """Switched off again, answers carry none."""
    allocator = machine((512, 520))
    zone = allocator.zones[0]
    zone.trace_events = True
    zone.trace_events = False

    answer = serve_zone(
        zone, RmqueueBuddy(zone=0, cpu=0, order=0, migratetype=MIGRATE_MOVABLE, alloc_flags=0)
    )

    assert ((), 512, False) == (answer.events, answer.pfn, zone.trace_events)


def test_a_page_that_is_free_cannot_be_freed():
    """The zone refuses what would break its lists."""
    zone = machine((512, 1024)).zones[0]

    with pytest.raises(AssertionError, match="free already"):
        zone.free_one_page(512, 0, MIGRATE_MOVABLE, cpu=0)


def test_lists_can_be_taken_apart():
    """A page leaves its list without the list being named."""
    pages = PageColumns(Arena(), 64, nr_list_heads=2)
    head = pages.claim_list_heads(2)
    for pfn in (5, 9, 7):
        pages.list_add_tail(pfn, head)

    list_del(pages.next, pages.prev, 9)

    assert ([5, 7], []) == (pages.list_pfns(head), pages.list_pfns(head + 1))


def test_sixty_four_gib_cost_little():
    """64 GiB for 64 CPUs are under 4 GiB of columns, 60 bytes a page at most."""
    layout = boot_memory(MemoryConfig(size=64 * GIB), 64)
    arena = Arena()

    allocator = PageAllocator.of_layout(layout, 64, arena, PageColumns(arena, layout.nr_frames))

    nr_free = sum(zone.nr_free for zone in allocator.zones)
    assert (True, True) == (nr_free > 62 * GIB >> 12, arena.nr_bytes < 60 * layout.nr_frames)


def test_every_column_has_its_type():
    """The columns are as narrow as stated: 56 bytes a page."""
    arena = Arena()
    PageColumns(arena, 1024, nr_list_heads=0)

    assert 56 == sum(np.dtype(arena[name].dtype).itemsize for name in arena)
