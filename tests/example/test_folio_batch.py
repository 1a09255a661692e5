"""Batches of pages on their way to the LRU lists: when they move, what counts, who holds them."""

from collections import Counter

import pytest

from mmactors.arch.arena import Arena
from mmactors.arch.page import PG_ACTIVE, PG_SWAPBACKED, PageColumns
from mmactors.mm.area.vm_flags import VM_LOCKED
from mmactors.mm.lru.folio_batch import PAGEVEC_SIZE, FolioBatches
from mmactors.mm.rmap.rmap import PAGE_MAPPING_ANON
from mmactors.mm.vmstat import NODE_STAT_NAMES, VM_EVENT_NAMES, ZONE_STAT_NAMES


class Lists:
    """One CPU's batches, what they counted, and pages to put into them."""

    def __init__(self):
        self.counts = Counter()
        self.freed = []
        self.pages = PageColumns(Arena(), 1024, nr_list_heads=1)
        self.next = 0
        self.batches = FolioBatches(
            pages=self.pages,
            count_event=lambda item: self.count(VM_EVENT_NAMES[item], 1),
            count_node=lambda item, change: self.count(NODE_STAT_NAMES[item], change),
            count_zone=lambda item, change: self.count(ZONE_STAT_NAMES[item], change),
            free_page=self.freed.append,
        )

    def count(self, name, change):
        self.counts[name] += change

    def new_page(self, vm_flags=0):
        pfn = self.next
        self.next += 1
        self.pages.refcount_view[pfn] = 1
        self.pages.mapping_view[pfn] = PAGE_MAPPING_ANON
        self.pages.flags_view[pfn] |= PG_SWAPBACKED
        self.batches.add_page(pfn, vm_flags)
        return pfn


@pytest.fixture
def lists():
    return Lists()


def test_the_fifteenth_page_moves_all(lists):
    """Until then nothing is counted, and the batch holds a reference of each."""
    for _ in range(PAGEVEC_SIZE - 1):
        lists.new_page()
    before = lists.counts["nr_inactive_anon"], lists.pages.refcount_view[0]
    lists.new_page()

    assert (0, 2) == before
    assert (15, 15) == (lists.counts["nr_inactive_anon"], lists.counts["nr_zone_inactive_anon"])
    assert 1 == lists.pages.refcount_view[0]


def test_a_page_that_only_the_batch_holds_is_freed_when_it_moves(lists):
    """Its user let go of it while it waited."""
    pfn = lists.new_page()
    lists.pages.refcount_view[pfn] -= 1
    lists.batches.drain()

    assert [pfn] == lists.freed


def test_new_pages_of_locked_memory_go_to_the_unevictable_list(lists):
    """They count as locked at once, as culled when the batch is worked off."""
    lists.new_page(VM_LOCKED)
    at_once = lists.counts["nr_mlock"], lists.counts["unevictable_pgs_culled"]
    lists.batches.drain()

    assert (1, 0) == at_once
    assert (1, 1) == (lists.counts["nr_unevictable"], lists.counts["unevictable_pgs_culled"])


def test_a_page_locked_twice_is_rescued_by_the_second_unlock(lists):
    """Each area counts; NR_MLOCK counts the page once."""
    pfn = lists.new_page(VM_LOCKED)
    lists.batches.drain()
    lists.batches.mlock_page(pfn)
    lists.batches.drain()
    lists.batches.munlock_page(pfn)
    lists.batches.drain()
    after_first = lists.counts["nr_mlock"], lists.counts["nr_unevictable"]
    lists.batches.munlock_page(pfn)
    lists.batches.drain()

    assert (1, 1) == after_first
    assert (0, 0, 1) == (
        lists.counts["nr_mlock"],
        lists.counts["nr_unevictable"],
        lists.counts["unevictable_pgs_rescued"],
    )


def test_a_page_that_is_used_twice_becomes_active_and_deactivated_inactive(lists):
    """The first use only marks it."""
    pfn = lists.new_page()
    lists.batches.drain()
    lists.batches.mark_accessed(pfn)
    lists.batches.drain()
    after_first = lists.counts["nr_active_anon"]
    lists.batches.mark_accessed(pfn)
    lists.batches.drain()
    after_second = lists.counts["nr_active_anon"], lists.pages.flags_view[pfn] & PG_ACTIVE
    lists.batches.deactivate_page(pfn)
    lists.batches.drain()

    assert (0, (1, PG_ACTIVE)) == (after_first, after_second)
    assert (0, 1, 1) == (
        lists.counts["nr_active_anon"],
        lists.counts["pgactivate"],
        lists.counts["pgdeactivate"],
    )


def test_lazily_freed_pages_move_to_the_list_of_files(lists):
    """They are clean, and need no swap to be dropped."""
    pfn = lists.new_page()
    lists.batches.drain()
    lists.batches.mark_lazyfree(pfn)
    lists.batches.drain()

    assert (0, 1, 1) == (
        lists.counts["nr_inactive_anon"],
        lists.counts["nr_inactive_file"],
        lists.counts["pglazyfree"],
    )


def test_a_freed_page_leaves_its_list(lists):
    """Also one that is still locked, which is counted apart."""
    pfn = lists.new_page(VM_LOCKED)
    lists.batches.drain()
    lists.batches.forget_page(pfn)

    assert (0, 0, 1) == (
        lists.counts["nr_unevictable"],
        lists.counts["nr_mlock"],
        lists.counts["unevictable_pgs_cleared"],
    )
