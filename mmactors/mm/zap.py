"""Taking pages away from an address space (mm/memory.c, zap_pte_range, Linux 6.1).

The entries of one table at a time, under its lock. The pages without a reference are the caller's
to give back after the flush. Left out: swap, huge pages.
"""

from mmactors.arch.page import PG_DIRTY, PageColumns
from mmactors.arch.pte import DIRTY, PFN_MASK, PFN_SHIFT, SPECIAL
from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.page_table import LeafRange
from mmactors.mm.rmap import is_anon, mm_counter, page_remove_rmap


def zap_pte_range(mm: MmStruct, pages: PageColumns, leaves: LeafRange) -> list[int]:
    """Clear entries, count the pages out of rss; return the pages that nobody refers to."""
    unused = []
    for entry in mm.page_table.clear(leaves).entries.tolist():
        if entry & SPECIAL:
            continue
        pfn = (entry & PFN_MASK) >> PFN_SHIFT
        if entry & DIRTY and not is_anon(pages, pfn):
            pages.flags_view[pfn] |= PG_DIRTY
        mm.add_mm_counter(mm_counter(pages, pfn), -1)
        if page_remove_rmap(pages, pfn):
            unused.append(pfn)
    return unused


def zap_range(mm: MmStruct, pages: PageColumns, start: int, end: int) -> list[int]:
    """Clear all entries of `[start, end)`; return the pages that nobody refers to."""
    unused: list[int] = []
    for leaves in list(mm.page_table.leaf_ranges(start, end)):
        unused += zap_pte_range(mm, pages, leaves)
    return unused
