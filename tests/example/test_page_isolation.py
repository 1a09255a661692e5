"""Isolated pageblocks: what leaves the allocator with them, and what comes back."""

import numpy as np
import pytest

from mmactors.arch.arena import Arena
from mmactors.arch.page import PG_MOVABLE_OPS, PG_RESERVED, PageColumns
from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.buddy import NR_ISOLATE_PAGEBLOCK, PAGEBLOCK_PAGES, ZONE_START
from mmactors.mm.page_alloc.gfp import (
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_RECLAIMABLE,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
)
from mmactors.mm.page_alloc.isolation import first_in_use, free_page_before
from mmactors.mm.page_alloc.zone_request import (
    OfflineIsolatedPages,
    SetMigratetypeIsolate,
    SplitFreePage,
    UnsetMigratetypeIsolate,
)
from mmactors.mm.vmstat import NR_FREE_PAGES
from mmactors.rules import Rules
from mmactors.units import MIB

GFP = GFP_KERNEL | GFP_RECLAIMABLE
"""Of a type that nobody else has: the pages come from the start of a block that is whole."""


def machine(*, rules=None):
    """Return an allocator of 64 MiB with two CPUs, and a page that it handed out."""
    layout = boot_memory(MemoryConfig(size=64 * MIB, kernel_image=4 * MIB, initramfs=0), 2)
    arena = Arena()
    pages = PageColumns(arena, layout.nr_frames)
    allocator = PageAllocator.of_layout(layout, 2, arena, pages, rules)
    pfn = allocator.perform(allocator.alloc_pages(0, 0, GFP))
    for cpu in range(2):
        allocator.perform(allocator.drain_pages(cpu))
    return allocator, pfn


def isolate(allocator, pfn):
    zone = allocator.zone_of(pfn)
    start = pfn & -PAGEBLOCK_PAGES
    return allocator.serve(
        SetMigratetypeIsolate(
            zone=zone.number, cpu=0, pfn=start, start_pfn=start, end_pfn=start + PAGEBLOCK_PAGES
        )
    )


def free_counts(allocator, zone):
    """Return the free pages as counted and as on the lists."""
    return allocator.vmstat.zone_page_state_snapshot(zone.number, NR_FREE_PAGES), zone.nr_free


def test_isolated_blocks_stay_on_lists_and_count_as_free_no_more():
    """All but the page in use leave the count; the lists still have them."""
    allocator, pfn = machine()
    allocator.pages.flags_view[pfn] |= PG_MOVABLE_OPS
    zone = allocator.zone_of(pfn)
    counted, listed = free_counts(allocator, zone)

    answer = isolate(allocator, pfn)

    assert (True, PAGEBLOCK_PAGES - 1) == (answer.is_done, answer.nr_moved)
    assert (counted - PAGEBLOCK_PAGES + 1, listed) == free_counts(allocator, zone)
    assert (MIGRATE_ISOLATE, 1) == (
        zone.pageblock_migratetype(pfn),
        zone.view[NR_ISOLATE_PAGEBLOCK],
    )


def test_a_page_that_cannot_be_moved_keeps_its_pageblock():
    """-EBUSY, and nothing has changed."""
    allocator, pfn = machine()
    before = allocator.dump()

    answer = isolate(allocator, pfn)

    assert not answer.is_done
    assert before == allocator.dump()


def test_a_pageblock_is_isolated_once():
    """Who comes second is told."""
    allocator, pfn = machine()
    allocator.pages.flags_view[pfn] |= PG_MOVABLE_OPS
    isolate(allocator, pfn)

    assert not isolate(allocator, pfn).is_done


def test_what_boot_keeps_cannot_be_isolated():
    """Reserved pages are unmovable."""
    allocator, _ = machine()
    reserved = int(np.flatnonzero(allocator.pages.flags & PG_RESERVED)[-1])

    assert not isolate(allocator, reserved).is_done


def test_giving_a_pageblock_back_restores_all():
    """Blocks that were kept apart merge again."""
    allocator, pfn = machine()
    allocator.perform(allocator.free_pages(0, pfn, 0))
    allocator.perform(allocator.drain_pages(0))
    zone = allocator.zone_of(pfn)
    start = pfn & -PAGEBLOCK_PAGES
    counts = free_counts(allocator, zone)
    blocks = [zone.view[order] for order in range(11)]
    cut = SplitFreePage(zone=zone.number, cpu=0, pfn=start, boundary_pfn=start + PAGEBLOCK_PAGES)
    isolate(allocator, pfn)
    allocator.serve(cut)
    apart = [zone.view[order] for order in range(11)]

    allocator.serve(
        UnsetMigratetypeIsolate(zone=zone.number, cpu=0, pfn=start, migratetype=MIGRATE_MOVABLE)
    )

    assert blocks != apart
    assert counts == free_counts(allocator, zone)
    assert blocks == [zone.view[order] for order in range(11)]


def test_a_free_block_over_the_boundary_is_found_and_cut():
    """Each part goes to the lists of its own pageblock; 6.1 does it in a section of its own."""
    allocator, pfn = machine(rules=Rules(isolation_splits_large_blocks=False))
    allocator.perform(allocator.free_pages(0, pfn, 0))
    allocator.perform(allocator.drain_pages(0))
    zone = allocator.zone_of(pfn)
    start = pfn & -PAGEBLOCK_PAGES
    boundary = start + PAGEBLOCK_PAGES

    over = free_page_before(zone, boundary)
    isolate(allocator, pfn)
    answer = allocator.serve(
        SplitFreePage(zone=zone.number, cpu=0, pfn=over, boundary_pfn=boundary)
    )

    assert (start, 2) == (over, answer.nr_moved)
    assert free_page_before(zone, boundary) is None
    head = zone.free_list_head(9, MIGRATE_ISOLATE)
    assert [start] == allocator.pages.list_pfns(head)


@pytest.mark.parametrize("nth", [0, 1])
def test_a_pageblock_of_a_larger_free_block_takes_its_pages_along(nth):
    """Its first or its second: the other one stays free, and counts."""
    allocator, pfn = machine()
    allocator.perform(allocator.free_pages(0, pfn, 0))
    allocator.perform(allocator.drain_pages(0))
    zone = allocator.zone_of(pfn)
    start = (pfn & -(2 * PAGEBLOCK_PAGES)) + nth * PAGEBLOCK_PAGES
    counted, listed = free_counts(allocator, zone)

    isolate(allocator, start)

    assert (counted - PAGEBLOCK_PAGES, listed) == free_counts(allocator, zone)
    assert [start] == allocator.pages.list_pfns(zone.free_list_head(9, MIGRATE_ISOLATE))
    assert free_page_before(zone, start + PAGEBLOCK_PAGES) is None

    allocator.serve(
        UnsetMigratetypeIsolate(zone=zone.number, cpu=0, pfn=start, migratetype=MIGRATE_MOVABLE)
    )

    assert (counted, listed) == free_counts(allocator, zone)


@pytest.mark.parametrize(("keeps_rule", "too_many"), [(True, 0), (False, PAGEBLOCK_PAGES)])
def test_pages_handed_out_while_a_block_comes_back_are_counted_once(keeps_rule, too_many):
    """Of a free block of two isolated pageblocks, the first is given back, and a page taken.

    With the rule off, as 6.1 has it, both came back with the first, and the second counts again.
    """
    rules = Rules(isolation_splits_large_blocks=keeps_rule)
    layout = boot_memory(
        MemoryConfig(size=32 * MIB, kernel_image=4 * MIB, initramfs=0, hotplug=4 * MIB), 2
    )
    arena = Arena()
    pages = PageColumns(arena, layout.nr_frames)
    allocator = PageAllocator.of_layout(layout, 2, arena, pages, rules)
    zone = allocator.zones[-1]
    allocator.setup_zone_pageset(zone)
    zone.online(cpu=0)
    allocator.build_all_zonelists()
    first, second = (int(zone.view[ZONE_START]) + nth * PAGEBLOCK_PAGES for nth in range(2))

    def give_back(pfn):
        request = UnsetMigratetypeIsolate(
            zone=zone.number, cpu=0, pfn=pfn, migratetype=MIGRATE_MOVABLE
        )
        allocator.serve(request)

    give_back(first)
    taken = allocator.perform(allocator.alloc_pages(0, 0, GFP_HIGHUSER_MOVABLE))
    give_back(second)

    assert first <= taken < second
    allocator.perform(allocator.free_pages(0, taken, 0))
    allocator.perform(allocator.drain_pages(0))
    on_lists = 2 * PAGEBLOCK_PAGES
    assert (on_lists + too_many, on_lists) == free_counts(allocator, zone)


@pytest.mark.parametrize(("keeps_rule", "too_many"), [(True, 0), (False, 1)])
def test_a_page_of_a_cpus_list_is_counted_by_its_pageblock(keeps_rule, too_many):
    """With the rule off it counts as free in a pageblock that does not."""
    rules = Rules(free_pcppages_rereads_isolated_type=keeps_rule)
    allocator, pfn = machine(rules=rules)
    zone = allocator.zone_of(pfn)
    allocator.perform(allocator.free_pages(0, pfn, 0))
    isolate(allocator, pfn)
    counted, _ = free_counts(allocator, zone)

    allocator.perform(allocator.drain_pages(0))

    assert counted + too_many == free_counts(allocator, zone)[0]


def test_pages_taken_offline_are_on_no_list():
    """And the pageblock is isolated no more: it is gone."""
    allocator, pfn = machine()
    allocator.perform(allocator.free_pages(0, pfn, 0))
    zone = allocator.zone_of(pfn)
    isolate(allocator, pfn)
    allocator.perform(allocator.drain_pages(0))
    start = pfn & -PAGEBLOCK_PAGES
    end = start + PAGEBLOCK_PAGES
    listed = zone.nr_free
    allocator.serve(SplitFreePage(zone=zone.number, cpu=0, pfn=start, boundary_pfn=end))

    allocator.serve(OfflineIsolatedPages(zone=zone.number, cpu=0, start_pfn=start, end_pfn=end))

    assert (listed - PAGEBLOCK_PAGES, 0) == (zone.nr_free, zone.view[NR_ISOLATE_PAGEBLOCK])
    assert start == first_in_use(zone, start, end)


def test_a_cpu_drains_the_lists_of_another():
    """The pages are the other's, the counters those of who does it."""
    allocator, pfn = machine()
    allocator.perform(allocator.free_pages(1, pfn, 0))
    zone = allocator.zone_of(pfn)
    deltas = [allocator.vmstat.cpu_zones[cpu][zone.number][NR_FREE_PAGES] for cpu in range(2)]

    allocator.perform(allocator.free_unref.drain_pages(0, of_cpu=1))

    assert zone.nr_free == allocator.vmstat.zone_page_state_snapshot(zone.number, NR_FREE_PAGES)
    assert deltas[1] == allocator.vmstat.cpu_zones[1][zone.number][NR_FREE_PAGES]
