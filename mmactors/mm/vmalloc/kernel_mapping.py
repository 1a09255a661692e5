"""Kernel addresses: mappings in init_mm, and the top-level entries that all share (Linux 6.1).

As mm/vmalloc.c and arch/x86/mm/init_64.c have it: entries are made in init_mm's tables and are
global; a new entry in its top table is copied to the top tables of all address spaces
(sync_global_pgds), which then share the tables below. A new address space gets the kernel's half
of the top table (pgd_ctor). Left out: finding room, unmapping and with it lazy purging, huge pages.

Invariant: an address space's top table has, in the kernel's half, what init_mm's has or nothing.
"""

from typing import Final

from mmactors.arch.pte import (
    ACCESSED,
    DIRTY,
    GLOBAL,
    NX,
    PRESENT,
    PTRS_PER_TABLE,
    RW,
    TABLE_SHIFT,
    make_pte,
    table_index,
)
from mmactors.mm.page_table.page_table import PageTable

VMALLOC_START: Final = 0xFFFF_C900_0000_0000 - (1 << 64)
"""Addresses are signed words, as entries are."""
PAGE_KERNEL: Final = PRESENT | RW | ACCESSED | DIRTY | GLOBAL | NX
_KERNEL_PGD_BOUNDARY: Final = PTRS_PER_TABLE // 2


def set_kernel_pte(table: PageTable, index: int, pfn: int) -> None:
    """Map a page of the kernel's own."""
    table.memory.view[index] = make_pte(pfn, PAGE_KERNEL)


def clone_kernel_pgd(table: PageTable, init: PageTable) -> None:
    """Give a new top table the kernel's half (pgd_ctor)."""
    words = table.memory.words
    own = (table.pgd_pfn << TABLE_SHIFT) + _KERNEL_PGD_BOUNDARY
    shared = (init.pgd_pfn << TABLE_SHIFT) + _KERNEL_PGD_BOUNDARY
    words[own : own + _KERNEL_PGD_BOUNDARY] = words[shared : shared + _KERNEL_PGD_BOUNDARY]


def pgd_index(table: PageTable, address: int) -> int:
    """Return the word index of the entry for `address` in the top table."""
    return (table.pgd_pfn << TABLE_SHIFT) + table_index(address, table.levels)


def sync_pgd(table: PageTable, init: PageTable, address: int) -> None:
    """Let a top table have init_mm's entry for `address`, if it has none."""
    view = table.memory.view
    index = pgd_index(table, address)
    if not view[index] & PRESENT:
        view[index] = view[pgd_index(init, address)]
