"""Page work of MADV_FREE and MADV_COLD (mm/madvise.c and mm/swap.c, Linux 6.1).

The entries of one table at a time, under its lock; the flush follows. Left out: swap, huge pages;
moving pages to the lists from which they are reclaimed, and with it that marking a page as lazily
freed waits in a batch of the CPU.
"""

from mmactors.arch.page import PG_DIRTY, PG_SWAPBACKED, PageColumns
from mmactors.arch.pte import ACCESSED, DIRTY, PFN_MASK, PFN_SHIFT, SPECIAL
from mmactors.mm.fault import is_none
from mmactors.mm.mm_struct import MmStruct


def madvise_free_range(mm: MmStruct, pages: PageColumns, start: int, end: int) -> None:
    """Make entries of anonymous memory clean and old; a page mapped once may be freed lazily."""
    view = mm.page_table.memory.view
    for leaves in mm.page_table.leaf_ranges(start, end):
        for index in range(leaves.index, leaves.index + leaves.count):
            entry = view[index]
            if is_none(entry) or entry & SPECIAL:
                continue
            pfn = (entry & PFN_MASK) >> PFN_SHIFT
            if pages.flags_view[pfn] & PG_DIRTY:
                if pages.mapcount_view[pfn] != 1:
                    continue
                pages.flags_view[pfn] &= ~PG_DIRTY
            view[index] = entry & ~(ACCESSED | DIRTY)
            pages.flags_view[pfn] &= ~PG_SWAPBACKED


def madvise_cold_range(mm: MmStruct, pages: PageColumns, start: int, end: int) -> None:
    """Make the entries of pages that are mapped once old (MADV_COLD)."""
    view = mm.page_table.memory.view
    for leaves in mm.page_table.leaf_ranges(start, end):
        for index in range(leaves.index, leaves.index + leaves.count):
            entry = view[index]
            if is_none(entry) or entry & SPECIAL:
                continue
            pfn = (entry & PFN_MASK) >> PFN_SHIFT
            if pages.mapcount_view[pfn] == 1:
                view[index] = entry & ~ACCESSED
