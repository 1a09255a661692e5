"""New protection for entries that exist (mm/mprotect.c, change_pte_range, Linux 6.1).

The entries of one table at a time, under its lock; the flush follows. Left out: swap, NUMA hints,
huge pages, soft-dirty, userfaultfd.
"""

from typing import Final

from attrs import frozen

from mmactors.arch.page import PageColumns
from mmactors.arch.pte import (
    ACCESSED,
    DIRTY,
    NX,
    PFN_MASK,
    PFN_SHIFT,
    PKEY_MASK,
    PRESENT,
    PROTNONE,
    RW,
    SPECIAL,
    USER,
)
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.page_prot import vma_page_prot
from mmactors.mm.area.vm_flags import VM_SHARED, VM_WRITE
from mmactors.mm.area.vma import Vma
from mmactors.mm.page_table.leaf_entries import LeafRange
from mmactors.mm.page_table.swap_entry import (
    is_migration_entry,
    is_writable_migration_entry,
    make_readable_migration_entry,
    migration_entry_pfn,
)
from mmactors.mm.rmap.rmap import PG_ANON_EXCLUSIVE, is_anon
from mmactors.units import PAGE_SIZE

_PAGE_CHG_MASK: Final = PFN_MASK | SPECIAL | ACCESSED | DIRTY
"""What an entry keeps of itself, whatever its new protection says of these bits."""


@frozen(kw_only=True)
class Changed:
    """What became of the entries of one table."""

    nr_changed: int
    first: int | None
    """Address of the first page that some CPU may know otherwise; None: there is none."""
    end: int
    """End of the last one."""


def change_pte_range(mm: MmStruct, pages: PageColumns, vma: Vma, leaves: LeafRange) -> Changed:
    """Give present entries the protection of `vma`.

    A dirty page that would only be marked writable again by a fault is marked at once: private
    memory if it is exclusive, shared memory always.
    """
    view = mm.page_table.memory.view
    prot = vma_page_prot(vma) & ~_PAGE_CHG_MASK
    tries_writable = vma.vm_flags & VM_WRITE != 0
    changed = 0
    first, end = None, 0
    for offset in range(leaves.count):
        entry = view[leaves.index + offset]
        if not entry & (PRESENT | PROTNONE):
            if is_migration_entry(entry) and is_writable_migration_entry(entry):
                is_own = is_anon(pages, migration_entry_pfn(entry))
                readable = make_readable_migration_entry(entry, is_exclusive=is_own)
                view[leaves.index + offset] = readable
                changed += 1
            continue
        new = entry & _PAGE_CHG_MASK | prot
        if (
            tries_writable
            and new & (PRESENT | DIRTY | RW) == PRESENT | DIRTY
            and _can_change_writable(pages, vma, new)
        ):
            new |= RW
        view[leaves.index + offset] = new
        changed += 1
        if pte_needs_flush(entry, new):
            address = leaves.address + offset * PAGE_SIZE
            first = address if first is None else first
            end = address + PAGE_SIZE
    return Changed(nr_changed=changed, first=first, end=end)


def pte_needs_flush(old: int, new: int) -> bool:
    """Say whether a CPU may know an entry in a way that its new flags forbid or do not show.

    (arch/x86/include/asm/tlbflush.h.) The frame is the same; one that was not present is in no
    TLB; a lost DIRTY or PRESENT matters, and every change of what is allowed.
    """
    if not old & PRESENT:
        return False
    changed = old ^ new
    return changed & old & (DIRTY | PRESENT) != 0 or changed & (RW | USER | NX | PKEY_MASK) != 0


def _can_change_writable(pages: PageColumns, vma: Vma, entry: int) -> bool:
    if vma.vm_flags & VM_SHARED:
        return True
    pfn = (entry & PFN_MASK) >> PFN_SHIFT
    return not entry & SPECIAL and pages.flags_view[pfn] & PG_ANON_EXCLUSIVE != 0
