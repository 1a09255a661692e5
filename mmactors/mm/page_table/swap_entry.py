"""Entries that are not present and yet say something (include/linux/swapops.h, Linux 6.1, x86-64).

A swap entry is a type and an offset. Types above those of swap devices stand for other things: a
migration entry says that a page is being moved, and what the entry before it allowed. The offset
is stored inverted (arch/x86/include/asm/pgtable_64.h), so that no real memory lies there for a CPU
that looks at it speculatively. Left out: swap devices, device-private pages, poisoned pages,
markers.

Invariant: neither PRESENT nor PROTNONE is set in such an entry, and it is not zero.
"""

from typing import Final

from mmactors.arch.pte import ACCESSED, DIRTY, PRESENT, PROTNONE, RW

TYPE_SHIFT: Final = 59
TYPE_MASK: Final = 31
OFFSET_SHIFT: Final = 9
"""The offset begins above PROTNONE and ends below the type."""
_OFFSET_MASK: Final = (1 << TYPE_SHIFT - OFFSET_SHIFT) - 1

SWP_MIGRATION_READ: Final = 23
SWP_MIGRATION_READ_EXCLUSIVE: Final = 24
SWP_MIGRATION_WRITE: Final = 25
"""With Debian's configuration there are 22 swap devices and one type for poisoned pages."""

_PFN_BITS: Final = 40
"""MAX_PHYSMEM_BITS 52, less the page shift."""
PFN_OFFSET_MASK: Final = (1 << _PFN_BITS) - 1
_YOUNG: Final = 1 << _PFN_BITS
_MIG_DIRTY: Final = 1 << _PFN_BITS + 1


def swp_entry(kind: int, offset: int) -> int:
    """Return the page-table word of a swap entry."""
    word = kind << TYPE_SHIFT | (~offset & _OFFSET_MASK) << OFFSET_SHIFT
    return word - (1 << 64) if word >> 63 else word


def swp_type(entry: int) -> int:
    """Return the type of a swap entry."""
    return entry >> TYPE_SHIFT & TYPE_MASK


def swp_offset(entry: int) -> int:
    """Return the offset of a swap entry."""
    return ~entry >> OFFSET_SHIFT & _OFFSET_MASK


def is_swap_pte(entry: int) -> bool:
    """Say whether a page-table word is a swap entry of any type."""
    return entry != 0 and not entry & (PRESENT | PROTNONE)


def make_migration_entry(pfn: int, before: int, *, is_exclusive: bool) -> int:
    """Return the entry that stands for page `pfn` while it moves, where `before` stood."""
    kind = SWP_MIGRATION_READ
    if before & RW:
        kind = SWP_MIGRATION_WRITE
    elif is_exclusive:
        kind = SWP_MIGRATION_READ_EXCLUSIVE
    young = _YOUNG if before & ACCESSED else 0
    dirty = _MIG_DIRTY if before & DIRTY else 0
    return swp_entry(kind, pfn | young | dirty)


def make_readable_migration_entry(entry: int, *, is_exclusive: bool) -> int:
    """Return a migration entry that will not be writable when the page is back."""
    kind = SWP_MIGRATION_READ_EXCLUSIVE if is_exclusive else SWP_MIGRATION_READ
    return swp_entry(kind, swp_offset(entry))


def is_migration_entry(entry: int) -> bool:
    """Say whether a page-table word stands for a page that is being moved."""
    return is_swap_pte(entry) and SWP_MIGRATION_READ <= swp_type(entry) <= SWP_MIGRATION_WRITE


def is_writable_migration_entry(entry: int) -> bool:
    """Say whether the entry before had RW."""
    return swp_type(entry) == SWP_MIGRATION_WRITE


def is_readable_migration_entry(entry: int) -> bool:
    """Say whether other processes could reach the page, too."""
    return swp_type(entry) == SWP_MIGRATION_READ


def migration_entry_pfn(entry: int) -> int:
    """Return the page that is being moved."""
    return swp_offset(entry) & PFN_OFFSET_MASK


def migration_entry_flags(entry: int) -> int:
    """Return ACCESSED and DIRTY as they were before."""
    offset = swp_offset(entry)
    return (ACCESSED if offset & _YOUNG else 0) | (DIRTY if offset & _MIG_DIRTY else 0)
