"""The reserve below the min watermark: what hides that it is touched, and who notices."""

import pytest

from mmactors.arch.arena import Arena
from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.gfp import GFP_KERNEL
from mmactors.mm.page_alloc.layout import MemoryLayout, ZoneLayout
from mmactors.mm.vmstat import NR_FREE_PAGES
from mmactors.rules import Rules
from mmactors.sanitize.reserve import reserve_problem

NR_CPUS = 4
THRESHOLD = 6


def machine(*, drift_mark, keeps_rule=True):
    """Return a zone of 64 pages; its watermarks are 20, 22 and 24."""
    layout = ZoneLayout(
        node=0,
        index=1,
        name="DMA32",
        start_pfn=0,
        spanned_pages=512,
        present_pages=512,
        managed_pages=64,
        watermark_min_pages=20,
        watermark_low_pages=22,
        watermark_high_pages=24,
        watermark_promo_pages=26,
        lowmem_reserve_pages=(0,),
        stat_threshold=THRESHOLD,
        percpu_drift_mark_pages=drift_mark,
        pcp_high=0,
        pcp_batch=1,
        free_ranges=((64, 128),),
    )
    memory = MemoryLayout(
        nr_frames=512, zones=(layout,), zonelists=(((0, 1),),), cpu_node=(0,) * NR_CPUS
    )
    arena = Arena()
    pages = PageColumns(arena, 512)
    rules = Rules(watermarks_see_percpu_drift=keeps_rule)
    return PageAllocator.of_layout(memory, NR_CPUS, arena, pages, rules)


def take_all(allocator):
    """Let each CPU take what it gets, one after the other; return how many pages are left."""
    for cpu in range(NR_CPUS):
        for _ in range(64):
            if allocator.perform(allocator.alloc_pages(cpu, 0, GFP_KERNEL)) is None:
                break
    return allocator.zones[0].nr_free


def test_a_check_that_sums_up_leaves_the_min_watermark():
    """Whatever the CPUs have not counted."""
    assert 20 == take_all(machine(drift_mark=48))


@pytest.mark.parametrize(("drift_mark", "keeps_rule"), [(48, False), (0, True)])
def test_a_check_that_lags_takes_the_reserve(drift_mark, keeps_rule):
    """Each CPU takes up to its threshold more; without a mark the kernel tolerates that."""
    left = take_all(machine(drift_mark=drift_mark, keeps_rule=keeps_rule))

    assert 20 - NR_CPUS * THRESHOLD < left < 20


def test_above_the_mark_the_lagging_number_is_good_enough():
    """Nothing is summed up there."""
    allocator = machine(drift_mark=30)
    allocator.vmstat.cpu_zones[1][0][NR_FREE_PAGES] = -5

    assert 64 == allocator.zones[0].nr_free_to_check()


def test_the_fast_path_leaves_doubtful_cases_to_the_slow_one():
    """Below the mark alloc_pcp decides nothing."""
    allocator = machine(drift_mark=100)
    pfn = allocator.perform(allocator.alloc_pages(0, 0, GFP_KERNEL))
    allocator.zones[0].pcps[0].push(pfn, 0, 0)

    assert allocator.alloc_pcp(0, 0, GFP_KERNEL) is None


def test_a_breach_is_found_when_it_is_more_than_the_lag_that_is_tolerated():
    """Low minus min: 2 pages here."""
    allocator = machine(drift_mark=48, keeps_rule=False)
    zone = allocator.zones[0]
    found = []
    while zone.nr_free > 16:
        cpu = zone.nr_free % NR_CPUS
        assert allocator.perform(allocator.alloc_pages(cpu, 0, GFP_KERNEL)) is not None
        found.append((zone.nr_free, reserve_problem(zone, 0)))

    assert {None} == {problem for left, problem in found if left > 18}
    assert all("1 pages passed the min watermark (20)" in problem for _, problem in found[-3:])
