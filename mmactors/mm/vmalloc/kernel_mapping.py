"""Kernel addresses: mappings in init_mm, and the top-level entries that all share (Linux 6.1).

As mm/vmalloc.c and arch/x86/mm/init_64.c have it: entries are made in init_mm's tables and are
global; a new entry in its top table is copied to the top tables of all address spaces
(sync_global_pgds), which then share the tables below. A new address space gets the kernel's half
of the top table (pgd_ctor). Entries are cleared page by page; tables stay for good. TLBs are the
caller's. Left out: huge pages.

Invariant: an address space's top table has, in the kernel's half, what init_mm's has or nothing.
"""

from collections.abc import Generator, Sequence
from typing import Final

import numpy as np

from mmactors.arch.pte import (
    ACCESSED,
    DIRTY,
    GLOBAL,
    NX,
    PFN_SHIFT,
    PRESENT,
    PTRS_PER_TABLE,
    RW,
    TABLE_SHIFT,
    make_pte,
    table_index,
)
from mmactors.label import Label, Mode, pte
from mmactors.mm.page_table.page_table import PMD_MASK, PMD_SIZE, PTE_LEVEL, PageTable
from mmactors.units import PAGE_SHIFT

VMALLOC_START: Final = 0xFFFF_C900_0000_0000 - (1 << 64)
"""Addresses are signed words, as entries are."""
PAGE_KERNEL: Final = PRESENT | RW | ACCESSED | DIRTY | GLOBAL | NX
MappingSteps = Generator[Label, int | None, None]
_KERNEL_PGD_BOUNDARY: Final = PTRS_PER_TABLE // 2


def set_kernel_ptes(
    table: PageTable, index: int, pfns: Sequence[int]
) -> Generator[Label, int | None, None]:
    """Map pages of the kernel's own from the entry at `index` on (vmap_pages_pte_range).

    They lie in one table, and nothing is mapped there.
    """
    if not table.wants_step():
        entries = np.array(pfns, np.int64) << PFN_SHIFT | PAGE_KERNEL
        table.memory.words[index : index + len(pfns)] = entries
        return
    for nth, pfn in enumerate(pfns, index):
        yield Label("map kernel page", ((pte(nth), Mode.WRITE),))
        table.memory.view[nth] = make_pte(pfn, PAGE_KERNEL)


def vunmap_range(table: PageTable, start: int, end: int) -> MappingSteps:
    """Clear all entries of a range of kernel addresses, the lowest first (vunmap_range_noflush)."""
    address = start
    while address < end:
        following = min(end, (address & PMD_MASK) + PMD_SIZE)
        if table.wants_step():
            yield from table.find_tables_step(address, following)
        level, index = table.walk(address)
        if level != PTE_LEVEL:
            size = 1 << (PFN_SHIFT + TABLE_SHIFT * (level - 1))
            address = (address & -size) + size
            continue
        count = (following - address) >> PAGE_SHIFT
        if table.wants_step():
            for nth in range(index, index + count):
                yield Label("unmap kernel page", ((pte(nth), Mode.WRITE),))
                table.memory.view[nth] = 0
        else:
            table.memory.words[index : index + count] = 0
        address = following


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
