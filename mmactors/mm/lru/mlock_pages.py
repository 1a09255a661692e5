"""Locking and unlocking pages that are present (mm/mlock.c, mlock_pte_range, Linux 6.1).

The entries of one table at a time, under its lock. Left out: huge pages, pages of devices.
"""

from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import SPECIAL, pte_pfn
from mmactors.mm.lru.folio_batch import FolioBatches
from mmactors.mm.page_table.entry import is_present
from mmactors.mm.page_table.leaf_entries import LeafRange


def mlock_pte_range(
    memory: PhysicalMemory, lru: FolioBatches, leaves: LeafRange, *, is_locked: bool
) -> None:
    """Lock the pages of a table's entries, or unlock them."""
    view = memory.view
    change = lru.mlock_page if is_locked else lru.munlock_page
    for index in range(leaves.index, leaves.index + leaves.count):
        entry = view[index]
        if is_present(entry) and not entry & SPECIAL:
            change(pte_pfn(entry))
