"""x86-64 page-table entries as Linux 6.1 uses them (arch/x86/include/asm/pgtable_types.h).

An entry is a signed 64-bit word everywhere (Numba and NumPy disagree about uint64 mixed with
int64), so bit 63, NX, is the sign. Physical addresses are at most 52 bits wide.
"""

from typing import Final

PRESENT: Final = 1 << 0
RW: Final = 1 << 1
USER: Final = 1 << 2
PWT: Final = 1 << 3
PCD: Final = 1 << 4
ACCESSED: Final = 1 << 5
DIRTY: Final = 1 << 6
PSE: Final = 1 << 7
"""In a PMD or PUD entry: it maps a 2 MiB or 1 GiB page."""
GLOBAL: Final = 1 << 8
PROTNONE: Final = GLOBAL
"""_PAGE_PROTNONE: the entry is not PRESENT, but the page is there; access is forbidden."""
SPECIAL: Final = 1 << 9
"""_PAGE_BIT_SOFTW1: no struct page behind it for rmap (the zero page)."""
NX: Final = -(1 << 63)
PKEY_SHIFT: Final = 59
PKEY_MASK: Final = 0xF << PKEY_SHIFT
"""The protection key (_PAGE_PKEY_MASK), in entries that map pages."""
PFN_MASK: Final = 0x000F_FFFF_FFFF_F000
PFN_SHIFT: Final = 12

PTRS_PER_TABLE: Final = 512
TABLE_SHIFT: Final = 9

TABLE_FLAGS: Final = PRESENT | RW | USER | ACCESSED | DIRTY
"""_PAGE_TABLE: what the kernel writes into an entry that points to a user page table."""


def pte_pfn(entry: int) -> int:
    """Return the frame an entry points to."""
    return (entry & PFN_MASK) >> PFN_SHIFT


def make_pte(pfn: int, flags: int) -> int:
    """Return the entry that maps frame `pfn` with `flags`."""
    return (pfn << PFN_SHIFT) | flags


def table_index(address: int, level: int) -> int:
    """Return the index of `address` in a table of `level`: 1 PTE, 2 PMD, 3 PUD, 4 P4D, 5 PGD."""
    return (address >> (PFN_SHIFT + TABLE_SHIFT * (level - 1))) & (PTRS_PER_TABLE - 1)
