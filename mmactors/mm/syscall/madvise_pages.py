"""Page work of MADV_FREE and MADV_COLD (mm/madvise.c and mm/swap.c, Linux 6.1).

The entries of one table at a time, under its lock; the flush follows. Left out: swap, huge pages;
moving pages to the lists from which they are reclaimed, and with it that marking a page as lazily
freed waits in a batch of the CPU.
"""

from mmactors.arch.page import PG_DIRTY, PG_SWAPBACKED, PageColumns
from mmactors.arch.pte import ACCESSED, DIRTY, PFN_MASK, PFN_SHIFT, SPECIAL
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.entries.change_protection import Changed
from mmactors.mm.lru.folio_batch import FolioBatches
from mmactors.mm.page_table.entry import is_present
from mmactors.mm.page_table.leaf_entries import LeafRange
from mmactors.units import PAGE_SIZE


def madvise_free_pte_range(
    mm: MmStruct, pages: PageColumns, leaves: LeafRange, lru: FolioBatches | None = None
) -> Changed:
    """Make entries of anonymous memory clean and old; a page mapped once may be freed lazily.

    With `lru`, marking the pages waits in a batch; without, they are marked at once.
    """
    view = mm.page_table.memory.view
    changed = 0
    first, end = None, 0
    for offset in range(leaves.count):
        index = leaves.index + offset
        entry = view[index]
        if not is_present(entry) or entry & SPECIAL:
            continue
        pfn = (entry & PFN_MASK) >> PFN_SHIFT
        if pages.flags_view[pfn] & PG_DIRTY:
            if pages.mapcount_view[pfn] != 1:
                continue
            pages.flags_view[pfn] &= ~PG_DIRTY
        if entry & (ACCESSED | DIRTY):
            view[index] = entry & ~(ACCESSED | DIRTY)
            changed += 1
            address = leaves.address + offset * PAGE_SIZE
            first = address if first is None else first
            end = address + PAGE_SIZE
        if lru is None:
            pages.flags_view[pfn] &= ~PG_SWAPBACKED
        else:
            lru.mark_lazyfree(pfn)
    return Changed(nr_changed=changed, first=first, end=end)


def madvise_cold_pte_range(mm: MmStruct, pages: PageColumns, leaves: LeafRange) -> Changed:
    """Make the entries of pages that are mapped once old (MADV_COLD)."""
    view = mm.page_table.memory.view
    changed = 0
    first, end = None, 0
    for offset in range(leaves.count):
        index = leaves.index + offset
        entry = view[index]
        if not is_present(entry) or entry & SPECIAL or not entry & ACCESSED:
            continue
        pfn = (entry & PFN_MASK) >> PFN_SHIFT
        if pages.mapcount_view[pfn] == 1:
            view[index] = entry & ~ACCESSED
            changed += 1
            address = leaves.address + offset * PAGE_SIZE
            first = address if first is None else first
            end = address + PAGE_SIZE
    return Changed(nr_changed=changed, first=first, end=end)
