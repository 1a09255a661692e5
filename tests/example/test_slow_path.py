"""What the allocator asks for when zones are short, in which order, and what comes of answers."""

import pytest

from mmactors.arch.arena import Arena
from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.gfp import (
    GFP_DIRECT_RECLAIM,
    GFP_HIGHUSER_MOVABLE,
    GFP_IO,
    GFP_KERNEL,
    GFP_MEMALLOC,
    GFP_NORETRY,
    GFP_NOWAIT,
    GFP_RETRY_MAYFAIL,
    GFP_THISNODE,
)
from mmactors.mm.page_alloc.layout import MemoryLayout, ZoneLayout
from mmactors.mm.page_alloc.slow_path import (
    FAILED_AT_ONCE,
    CompactResult,
    DirectCompact,
    DirectReclaim,
    OutOfMemory,
    SlowPathAnswer,
    SlowPathRequest,
    WakeupKswapd,
)

NR_PAGES = 2048
PROGRESS = SlowPathAnswer(did_some_progress=True)


@pytest.fixture
def allocator():
    """One zone (Normal), all of whose pages are taken but those below the min watermark."""
    memory = MemoryLayout(
        nr_frames=2 * NR_PAGES,
        zones=(
            ZoneLayout(
                node=0,
                index=2,
                name="Normal",
                start_pfn=NR_PAGES,
                spanned_pages=NR_PAGES,
                present_pages=NR_PAGES,
                managed_pages=NR_PAGES,
                watermark_min_pages=16,
                watermark_low_pages=24,
                watermark_high_pages=32,
                watermark_promo_pages=32,
                lowmem_reserve_pages=(),
                stat_threshold=2,
                percpu_drift_mark_pages=0,
                pcp_high=0,
                pcp_batch=1,
                free_ranges=((NR_PAGES, 2 * NR_PAGES),),
            ),
        ),
        zonelists=(((0, 2),),),
        cpu_node=(0,),
    )
    arena = Arena()
    allocator = PageAllocator.of_layout(
        memory,
        1,
        arena,
        PageColumns(
            arena,
            memory.nr_frames,
            nr_list_heads=PageAllocator.nr_list_heads(nr_zones=1, nr_cpus=1),
        ),
    )
    allocator.taken = []
    while (pfn := allocator.perform(allocator.alloc_pages(0, 0, GFP_KERNEL))) is not None:
        allocator.taken.append(pfn)
    return allocator


def free(allocator, nr_pages):
    for _ in range(nr_pages):
        allocator.perform(allocator.free_pages(0, allocator.taken.pop(), 0))
    allocator.perform(allocator.drain_pages(0))


def drive(allocator, order, gfp, answer=lambda _request: FAILED_AT_ONCE):
    """Allocate; return the page, and what was asked for beside sections under the lock."""
    steps = allocator.alloc_pages(0, order, gfp)
    asked, reply = [], None
    while True:
        try:
            request = steps.send(reply)
        except StopIteration as done:
            return done.value, asked
        if isinstance(request, SlowPathRequest):
            asked.append(request)
            reply = None if isinstance(request, WakeupKswapd) else answer(request)
        else:
            reply = allocator.serve(request)


def kinds(asked):
    return [type(request) for request in asked if not isinstance(request, WakeupKswapd)]


def test_a_request_that_may_wait_reclaims_and_then_lets_somebody_die(allocator):
    """Each is asked once if nothing comes of it; kswapd was woken twice before."""
    pfn, asked = drive(allocator, 0, GFP_KERNEL)

    assert (None, [DirectReclaim, OutOfMemory]) == (pfn, kinds(asked))
    assert [WakeupKswapd, WakeupKswapd] == [type(request) for request in asked[:2]]
    assert DirectReclaim(order=0, gfp=GFP_KERNEL, node=0, highest_zoneidx=2) == asked[2]


@pytest.mark.parametrize("gfp", [GFP_NOWAIT, GFP_IO])
def test_a_request_that_may_not_wait_asks_for_nothing(allocator, gfp):
    """Without __GFP_DIRECT_RECLAIM there is neither reclaim, compaction nor killing."""
    pfn, asked = drive(allocator, 3, gfp)

    assert (None, []) == (pfn, kinds(asked))


def test_what_was_reclaimed_is_allocated(allocator):
    """After progress the lists are looked at again."""

    def reclaim(request):
        assert isinstance(request, DirectReclaim)
        free(allocator, 8)
        return PROGRESS

    pfn, asked = drive(allocator, 0, GFP_KERNEL, reclaim)

    assert (True, [DirectReclaim]) == (pfn is not None, kinds(asked))


def test_reclaim_goes_on_as_long_as_it_gets_on(allocator):
    """Progress that was not enough is no reason to kill."""
    answers = iter([PROGRESS, PROGRESS, PROGRESS])

    def answer(request):
        if isinstance(request, DirectReclaim):
            return next(answers, FAILED_AT_ONCE)
        return FAILED_AT_ONCE

    _, asked = drive(allocator, 0, GFP_KERNEL, answer)

    assert [DirectReclaim] * 4 + [OutOfMemory] == kinds(asked)


def test_who_may_not_retry_is_content_with_one_reclaim(allocator):
    """__GFP_NORETRY never kills."""
    _, asked = drive(allocator, 0, GFP_KERNEL | GFP_NORETRY)

    assert [DirectReclaim] == kinds(asked)


@pytest.mark.parametrize("flag", [GFP_RETRY_MAYFAIL, GFP_THISNODE])
def test_who_may_fail_or_wants_one_node_kills_nobody(allocator, flag):
    """__alloc_pages_may_oom: killing need not free memory there, or who asks has another way."""
    _, asked = drive(allocator, 0, GFP_KERNEL | flag)

    assert [DirectReclaim] == kinds(asked)


def test_a_death_lets_the_request_try_again(allocator):
    """What the victim leaves is found by the next pass."""

    def answer(request):
        if not isinstance(request, OutOfMemory):
            return FAILED_AT_ONCE
        free(allocator, 8)
        return PROGRESS

    pfn, asked = drive(allocator, 0, GFP_KERNEL, answer)

    assert (True, [DirectReclaim, OutOfMemory]) == (pfn is not None, kinds(asked))


def test_kernel_blocks_and_costly_ones_are_compacted_for_first(allocator):
    """Order 1 of movable memory reclaims first; of the kernel's it compacts first."""
    _, movable = drive(allocator, 1, GFP_HIGHUSER_MOVABLE)
    _, unmovable = drive(allocator, 1, GFP_KERNEL)
    _, costly = drive(allocator, 4, GFP_HIGHUSER_MOVABLE)

    assert [DirectReclaim, DirectCompact, OutOfMemory] == kinds(movable)
    assert [DirectCompact, DirectReclaim, DirectCompact, OutOfMemory] == kinds(unmovable)
    assert [DirectCompact, DirectReclaim, DirectCompact] == kinds(costly)


def test_who_may_do_no_io_does_not_compact(allocator):
    """gfp_compaction_allowed asks for __GFP_IO."""
    _, asked = drive(allocator, 4, GFP_DIRECT_RECLAIM)

    assert [DirectReclaim] == kinds(asked)


def test_who_may_use_every_page_does_not_compact_first(allocator):
    """The pass without watermarks has not been made yet."""
    _, asked = drive(allocator, 9, GFP_KERNEL | GFP_MEMALLOC)

    assert [DirectReclaim, DirectCompact] == kinds(asked)


@pytest.mark.parametrize(
    ("result", "then"),
    [
        (CompactResult.SKIPPED, []),
        (CompactResult.DEFERRED, []),
        (CompactResult.COMPLETE, [DirectReclaim, DirectCompact]),
    ],
)
def test_a_costly_request_without_retry_fails_where_compaction_is_hopeless(allocator, result, then):
    """As those of huge pages do."""
    _, asked = drive(
        allocator,
        9,
        GFP_HIGHUSER_MOVABLE | GFP_NORETRY,
        lambda _request: SlowPathAnswer(compact_result=result),
    )

    assert [DirectCompact, *then] == kinds(asked)


def test_a_block_that_compaction_made_is_allocated(allocator):
    """Success means to look again."""

    def compact(request):
        assert isinstance(request, DirectCompact)
        free(allocator, len(allocator.taken))
        return SlowPathAnswer(compact_result=CompactResult.SUCCESS)

    pfn, asked = drive(allocator, 4, GFP_KERNEL, compact)

    assert (True, [DirectCompact]) == (pfn is not None, kinds(asked))
