"""Page work of MADV_FREE, MADV_COLD and MADV_PAGEOUT (mm/madvise.c, Linux 6.1).

The entries of one table at a time, under its lock; the flush follows. Left out: swap, huge pages.
"""

from mmactors.arch.page import PG_DIRTY, PG_LOCKED, PG_SWAPBACKED, PageColumns
from mmactors.arch.pte import ACCESSED, DIRTY, PFN_MASK, PFN_SHIFT, SPECIAL
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.entries.change_protection import Changed
from mmactors.mm.lru.folio_batch import FolioBatches
from mmactors.mm.page_table.entry import is_present
from mmactors.mm.page_table.leaf_entries import LeafRange
from mmactors.mm.reclaim.vmscan import Isolated
from mmactors.units import PAGE_SIZE


def madvise_free_pte_range(
    mm: MmStruct, pages: PageColumns, leaves: LeafRange, lru: FolioBatches | None = None
) -> Changed:
    """Make entries of anonymous memory clean and old; a page mapped once may be freed lazily.

    Pages are marked as such in a batch of `lru`; without one they are marked at once.
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
        flags = pages.flags_view[pfn]
        if flags & PG_DIRTY:
            # Its lock is tried, not waited for: somebody reclaims the page just now.
            if flags & PG_LOCKED or pages.mapcount_view[pfn] != 1:
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


def madvise_cold_pte_range(
    mm: MmStruct,
    pages: PageColumns,
    leaves: LeafRange,
    lru: FolioBatches | None = None,
    isolated: list[Isolated] | None = None,
) -> Changed:
    """Make the entries of pages on an LRU list that are mapped once old; deactivate the pages.

    With `isolated` they are taken off their lists instead and added there, for who reclaims them.
    Without `lru`, all pages count as listed.
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
        is_listed = lru is None or lru.is_listed(pfn)
        if not is_listed or pages.mapcount_view[pfn] != 1:
            continue
        if entry & ACCESSED:
            view[index] = entry & ~ACCESSED
            changed += 1
            address = leaves.address + offset * PAGE_SIZE
            first = address if first is None else first
            end = address + PAGE_SIZE
        if lru is not None:
            lru.clear_referenced(pfn)
            if isolated is None:
                lru.deactivate_page(pfn)
            else:
                _isolate(lru, isolated, index, leaves.address + offset * PAGE_SIZE, pfn)
    return Changed(nr_changed=changed, first=first, end=end)


def _isolate(
    lru: FolioBatches, isolated: list[Isolated], index: int, address: int, pfn: int
) -> None:
    """Take a page that is on a list off it, with a reference (isolate_lru_page)."""
    if lru.isolate_page(pfn):
        isolated.append(Isolated(index=index, address=address, pfn=pfn))
