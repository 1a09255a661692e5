"""What an entry of a page table says (arch/x86/include/asm/pgtable.h, Linux 6.1)."""

from mmactors.arch.pte import PKEY_MASK, PRESENT, PROTNONE, RW


def is_access_allowed(entry: int, *, is_write: bool) -> bool:
    """Say whether the hardware serves a data access with this entry."""
    return entry & (PRESENT | PKEY_MASK) == PRESENT and (not is_write or entry & RW != 0)


def is_none(entry: int) -> bool:
    """Say whether nothing is there (pte_none); a swap entry is something."""
    return entry == 0


def is_present(entry: int) -> bool:
    """Say whether a page is mapped, accessible or not (pte_present)."""
    return entry & (PRESENT | PROTNONE) != 0
