"""Faults on entries that are not present and not nothing (mm/memory.c, do_swap_page, Linux 6.1).

Who touches a page that is being moved waits until it has come to its new place, and then tries
again (mm/migrate.c, migration_entry_wait). Left out: pages in swap, on devices, poisoned.
"""

from mmactors.label import Label, Mode, pte
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.fault.fault import FaultSteps
from mmactors.mm.page_table.swap_entry import is_migration_entry, migration_entry_pfn
from mmactors.mm.request import UNLOCK_PTES, LockPage, LockPtes, UnlockPage


def do_swap_page(mm: MmStruct, index: int) -> FaultSteps:
    """Wait for the page whose migration entry stands at word `index`; end with 0."""
    yield LockPtes(index)
    if mm.page_table.wants_step():
        yield Label("look again", ((pte(index), Mode.READ),))
    entry = mm.page_table.memory.view[index]
    yield UNLOCK_PTES
    if is_migration_entry(entry):
        pfn = migration_entry_pfn(entry)
        yield LockPage(pfn=pfn)
        yield UnlockPage(pfn=pfn)
    return 0
