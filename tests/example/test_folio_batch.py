"""Batches of pages on their way to the LRU lists: when they move, what counts, who holds them."""

import numpy as np
import pytest

from mmactors.arch.arena import Arena
from mmactors.arch.page import PG_ACTIVE, PG_DIRTY, PG_LRU, PG_SWAPBACKED, PageColumns
from mmactors.mm.area.vm_flags import VM_LOCKED
from mmactors.mm.lru.folio_batch import PAGEVEC_SIZE, FolioBatches
from mmactors.mm.rmap.rmap import PAGE_MAPPING_ANON
from mmactors.mm.vmstat import VmStat


class Lists:
    """Two CPUs' batches, what they counted, and pages to put into them."""

    def __init__(self):
        arena = Arena()
        self.vmstat = VmStat(arena, nr_cpus=2, nr_zones=2, nr_nodes=2)
        self.pages = PageColumns(arena, 1024, nr_list_heads=1)
        self.pages.zone[:512] = 1
        self.pages.zone[512:] = 2
        self.next = 0
        self.batches, self.others = (
            FolioBatches(
                pages=self.pages, vmstat=self.vmstat, zone_node=np.array([0, 1], np.int64), cpu=cpu
            )
            for cpu in range(2)
        )

    @property
    def counts(self):
        return dict(self.vmstat.vmstat())

    def new_page(self, vm_flags=0, *, is_anon=True, pfn=None):
        if pfn is None:
            pfn = self.next
            self.next += 1
        self.pages.refcount_view[pfn] = 1
        if is_anon:
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


def test_a_page_counts_in_its_own_zone_and_node(lists):
    """Whichever CPU works its batch off."""
    lists.new_page(pfn=600)
    lists.batches.drain()

    assert [0, 1] == [lists.vmstat.node_page_state(node, 0) for node in range(2)]
    assert [0, 1] == [lists.vmstat.zone_page_state(zone, 1) for zone in range(2)]


def test_pages_that_only_the_batch_holds_are_to_be_freed_when_it_moves(lists):
    """Their users let go of them while they waited; the last one is freed first."""
    pfns = [lists.new_page() for _ in range(3)]
    for pfn in pfns[:2]:
        lists.pages.refcount_view[pfn] -= 1
    lists.batches.drain()

    assert [pfns[1], pfns[0]] == lists.batches.released
    assert 1 == lists.counts["nr_inactive_anon"]
    assert not lists.pages.flags_view[pfns[0]] & PG_LRU


def test_what_waits_is_known_once_for_each_reference(lists):
    """A page may wait in several batches."""
    pfn = lists.new_page()
    lists.batches.munlock_page(pfn)

    assert [pfn, pfn] == list(lists.batches.held_pages())
    assert (lists.batches.is_idle(), lists.others.is_idle()) == (False, True)


def test_batches_that_are_switched_off_keep_no_page(lists):
    """Each page goes to its list at once (lru_cache_disable)."""
    lists.batches.size = 1
    lists.new_page()

    assert (1, True) == (lists.counts["nr_inactive_anon"], lists.batches.is_idle())


def test_new_pages_of_locked_memory_go_to_the_unevictable_list(lists):
    """They count as locked at once, as culled when the batch is worked off."""
    lists.new_page(VM_LOCKED)
    at_once = lists.counts["nr_mlock"], lists.counts["unevictable_pgs_culled"]
    lists.batches.drain()

    assert (1, 0) == at_once
    assert (1, 1) == (lists.counts["nr_unevictable"], lists.counts["unevictable_pgs_culled"])


def test_a_page_locked_on_two_cpus_is_rescued_by_the_second_unlock(lists):
    """Each area counts, wherever it was locked; NR_MLOCK counts the page once."""
    pfn = lists.new_page(VM_LOCKED)
    lists.batches.drain()
    lists.others.mlock_page(pfn)
    lists.others.drain()
    lists.batches.munlock_page(pfn)
    lists.batches.drain()
    after_first = lists.counts["nr_mlock"], lists.counts["nr_unevictable"]
    lists.others.munlock_page(pfn)
    lists.others.drain()

    assert (1, 1) == after_first
    counts = lists.counts
    assert (0, 0, 1) == (
        counts["nr_mlock"],
        counts["nr_unevictable"],
        counts["unevictable_pgs_rescued"],
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
    counts = lists.counts
    assert (0, 1, 1) == (counts["nr_active_anon"], counts["pgactivate"], counts["pgdeactivate"])


def test_a_new_page_used_twice_becomes_active_only_where_it_waits(lists):
    """Another CPU does not look into the batch (__lru_cache_activate_folio)."""
    here, elsewhere = lists.new_page(), lists.new_page()
    for _ in range(2):
        lists.batches.mark_accessed(here)
        lists.others.mark_accessed(elsewhere)
    lists.batches.drain()

    assert (1, 1) == (lists.counts["nr_active_anon"], lists.counts["nr_inactive_anon"])
    assert 0 == lists.counts["pgactivate"]


def test_lazily_freed_pages_move_to_the_list_of_files(lists):
    """They are clean, and need no swap to be dropped."""
    pfn = lists.new_page()
    lists.batches.drain()
    lists.batches.mark_lazyfree(pfn)
    lists.batches.drain()

    counts = lists.counts
    assert (0, 1, 1) == (
        counts["nr_inactive_anon"],
        counts["nr_inactive_file"],
        counts["pglazyfree"],
    )


@pytest.mark.parametrize(("flags", "nr_rotated"), [(0, 1), (PG_DIRTY, 0)])
def test_a_page_of_a_file_that_stays_is_the_next_to_go(lists, flags, nr_rotated):
    """A clean one comes to the end of the list, another one is written first."""
    pfn = lists.new_page(is_anon=False)
    lists.pages.flags_view[pfn] |= flags | PG_ACTIVE
    lists.batches.drain()
    lists.batches.deactivate_file_page(pfn)
    lists.batches.drain()

    counts = lists.counts
    assert (1, 1, nr_rotated) == (
        counts["nr_inactive_file"],
        counts["pgdeactivate"],
        counts["pgrotated"],
    )


def test_an_isolated_page_is_on_no_list_and_comes_back(lists):
    """Who isolates it has a reference; a page on no list cannot be isolated."""
    pfn = lists.new_page()
    before = lists.batches.isolate_page(pfn)
    lists.batches.drain()
    is_isolated = lists.batches.isolate_page(pfn)
    during = lists.counts["nr_inactive_anon"], lists.pages.refcount_view[pfn]
    lists.batches.activate_isolated(pfn)
    lists.batches.add_page(pfn)
    lists.batches.drain()

    assert (False, True, (0, 2)) == (before, is_isolated, during)
    assert (1, 1) == (lists.counts["nr_active_anon"], lists.counts["pgactivate"])


def test_a_freed_page_leaves_its_list(lists):
    """Also one that is still locked, which is counted apart."""
    pfn = lists.new_page(VM_LOCKED)
    lists.batches.drain()
    lists.batches.forget_page(pfn)

    counts = lists.counts
    assert (0, 0, 1) == (
        counts["nr_unevictable"],
        counts["nr_mlock"],
        counts["unevictable_pgs_cleared"],
    )
