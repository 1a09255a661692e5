"""What has to be flushed after entries were cleared, and where pages wait for it."""

import numpy as np
import pytest
from areas import Areas

from mmactors.mm.entries.mmu_gather import (
    MAX_GATHER_BATCH,
    MAX_GATHER_BATCH_COUNT,
    MMU_GATHER_BUNDLE,
    FlushRange,
    MmuGather,
)
from mmactors.mm.entries.tlb_state import TLB_FLUSH_ALL
from mmactors.mm.page_table.page_table import PMD_LEVEL, PMD_SHIFT, PTE_LEVEL, PUD_LEVEL, FreedTable
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

BASE = 0x7D_0000_0000


def gather_of(**options):
    return MmuGather(Areas.new().mm, (BASE, BASE + (1 << 30)), **options)


def fill(gather, nr_pages, *, has_memory=True):
    """Let pages wait until a flush is due; return how many do, and how many batches were asked."""
    waiting = nr_asked = 0
    while waiting < nr_pages:
        count = min(gather.room, nr_pages - waiting)
        steps = gather.add_pages(np.arange(waiting, waiting + count))
        waiting += count
        answer = None
        try:
            while True:
                steps.send(answer)
                nr_asked += 1
                answer = 1 << 20 if has_memory else None
        except StopIteration as done:
            if done.value:
                break
    return waiting, nr_asked


def test_the_range_covers_all_entries_that_were_cleared():
    """The lowest and the highest page, whatever lies between."""
    gather = gather_of()
    gather.flush_pte_range(BASE + 5 * PAGE_SIZE, BASE + 6 * PAGE_SIZE)
    gather.flush_pte_range(BASE, BASE + PAGE_SIZE)

    assert gather.take_flush() == FlushRange(
        start=BASE, end=BASE + 6 * PAGE_SIZE, stride_shift=PAGE_SHIFT, freed_tables=False
    )
    assert gather.take_flush() is None


def test_where_only_tables_went_one_entry_a_table_is_flushed():
    """No page entry was cleared: the stride is what a PMD entry covers."""
    gather = gather_of()
    gather.free_table(FreedTable(PTE_LEVEL, 7, BASE))
    flush = gather.take_flush()

    assert flush == FlushRange(
        start=BASE, end=BASE + PAGE_SIZE, stride_shift=PMD_SHIFT, freed_tables=True
    )


@pytest.mark.parametrize("level", [PTE_LEVEL, PMD_LEVEL, PUD_LEVEL])
def test_a_table_of_any_level_is_told_to_the_flush(level):
    """Page entries went, too: the stride stays a page."""
    gather = gather_of()
    gather.flush_pte_range(BASE, BASE + PAGE_SIZE)
    gather.free_table(FreedTable(level, 7, BASE))
    flush = gather.take_flush()

    assert flush is not None
    assert (PAGE_SHIFT, True) == (flush.stride_shift, flush.freed_tables)


def test_an_address_space_that_ends_is_flushed_as_a_whole():
    """Whatever was cleared."""
    gather = gather_of(full_mm=True)
    gather.flush_pte_range(BASE, BASE + PAGE_SIZE)
    flush = gather.take_flush()

    assert flush is not None
    assert (0, TLB_FLUSH_ALL) == (flush.start, flush.end)


def test_nothing_cleared_is_nothing_to_flush():
    """Unmapping what was never touched."""
    assert gather_of().take_flush() is None


def test_batches_grow_by_pages_up_to_their_limit():
    """8 pages inside the gather, then 510 a page, 19 pages at most."""
    gather = gather_of()
    most = MMU_GATHER_BUNDLE + MAX_GATHER_BATCH_COUNT * MAX_GATHER_BATCH

    assert (8, 510, 19) == (MMU_GATHER_BUNDLE, MAX_GATHER_BATCH, MAX_GATHER_BATCH_COUNT)
    assert (most, MAX_GATHER_BATCH_COUNT) == fill(gather, 2 * most)
    taken = gather.take_pages()
    assert list(range(most)) == np.concatenate(taken).tolist()
    assert [MMU_GATHER_BUNDLE] + [MAX_GATHER_BATCH] * MAX_GATHER_BATCH_COUNT == list(
        map(len, taken)
    )


def test_batches_are_used_again_after_a_flush():
    """Their pages stay until the gather is used up."""
    gather = gather_of()
    fill(gather, 600)
    gather.take_pages()

    assert (600, 0) == fill(gather, 600)
    assert 2 == len(gather.take_batches())


def test_without_memory_every_bundle_is_flushed():
    """The batch inside the gather is all there is."""
    gather = gather_of()

    assert (MMU_GATHER_BUNDLE, 1) == fill(gather, 100, has_memory=False)
    gather.take_pages()
    assert (MMU_GATHER_BUNDLE, 1) == fill(gather, 100, has_memory=False)


def test_a_nested_flush_is_of_everything():
    """Others may have cleared, and not yet flushed, what was found clear; tables count as freed."""
    gather = gather_of()
    gather.flush_pte_range(BASE, BASE + PAGE_SIZE)
    gather.flush_everything()
    flush = gather.take_flush()

    assert flush is not None
    assert (TLB_FLUSH_ALL, True) == (flush.end, flush.freed_tables)
