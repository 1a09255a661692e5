"""What MADV_FREE does to single entries and pages (madvise_free_pte_range, Linux 6.1)."""

import pytest
from areas import PLACE, Areas, pages

from mmactors.arch.page import PG_DIRTY, PG_LOCKED, PG_SWAPBACKED
from mmactors.arch.pte import ACCESSED, DIRTY, pte_pfn
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.madvise import do_madvise


@pytest.mark.parametrize(
    ("flags", "is_given_up"),
    [(0, True), (PG_LOCKED, True), (PG_DIRTY, True), (PG_DIRTY | PG_LOCKED, False)],
)
def test_a_dirty_page_that_somebody_has_locked_is_not_given_up(flags, is_given_up):
    """Who reclaims it looks at what is dirty: its lock is tried; of a clean page nobody asks."""
    areas = Areas.new()
    areas.map(0, 1)
    areas.write(0)
    _, index = areas.mm.page_table.walk(PLACE)
    view, columns = areas.mm.page_table.memory.view, areas.machine.pages
    pfn = pte_pfn(view[index])
    columns.flags_view[pfn] |= flags

    assert 0 == areas.call(do_madvise(areas.mm, **pages(0, 1), advice=mman.MADV_FREE))
    areas.machine.wired.kernel.lru[0].drain()

    assert is_given_up == (not view[index] & (ACCESSED | DIRTY))
    assert is_given_up == (not columns.flags_view[pfn] & PG_SWAPBACKED)
    columns.flags_view[pfn] &= ~(PG_LOCKED | PG_DIRTY)
