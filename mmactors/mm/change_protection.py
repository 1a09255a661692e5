"""New protection for entries that exist (mm/mprotect.c, change_pte_range, Linux 6.1).

The entries of one table at a time, under its lock; the flush follows. Left out: swap, NUMA hints,
huge pages, soft-dirty, userfaultfd.
"""

from mmactors.arch.page import PageColumns
from mmactors.arch.pte import ACCESSED, DIRTY, PFN_MASK, PFN_SHIFT, PRESENT, PROTNONE, RW, SPECIAL
from mmactors.mm.fault import vma_page_prot
from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.page_table import LeafRange
from mmactors.mm.rmap import PG_ANON_EXCLUSIVE
from mmactors.mm.vma import VM_SHARED, VM_WRITE, Vma

_KEPT: int = PFN_MASK | SPECIAL | ACCESSED | DIRTY
"""What an entry keeps of itself (_PAGE_CHG_MASK)."""


def change_pte_range(mm: MmStruct, pages: PageColumns, vma: Vma, leaves: LeafRange) -> int:
    """Give present entries the protection of `vma`; return how many there are.

    A dirty page that would only be marked writable again by a fault is marked at once: private
    memory if it is exclusive, shared memory always.
    """
    view = mm.page_table.memory.view
    prot = vma_page_prot(vma)
    tries_writable = vma.vm_flags & VM_WRITE != 0
    changed = 0
    for index in range(leaves.index, leaves.index + leaves.count):
        entry = view[index]
        if not entry & (PRESENT | PROTNONE):
            continue
        new = entry & _KEPT | prot
        if (
            tries_writable
            and new & (PRESENT | DIRTY | RW) == PRESENT | DIRTY
            and _can_change_writable(pages, vma, new)
        ):
            new |= RW
        view[index] = new
        changed += 1
    return changed


def change_protection(mm: MmStruct, pages: PageColumns, vma: Vma, start: int, end: int) -> int:
    """Give the entries of `[start, end)` the protection of `vma`; return how many there are."""
    return sum(
        change_pte_range(mm, pages, vma, leaves)
        for leaves in list(mm.page_table.leaf_ranges(start, end))
    )


def _can_change_writable(pages: PageColumns, vma: Vma, entry: int) -> bool:
    if vma.vm_flags & VM_SHARED:
        return True
    pfn = (entry & PFN_MASK) >> PFN_SHIFT
    return not entry & SPECIAL and pages.flags_view[pfn] & PG_ANON_EXCLUSIVE != 0
