"""What an entry of a page table says (arch/x86/include/asm/pgtable.h, Linux 6.1)."""

from mmactors.arch.pte import PRESENT, PROTNONE


def is_none(entry: int) -> bool:
    """Say whether nothing is there (pte_none); a swap entry is something."""
    return entry == 0


def is_present(entry: int) -> bool:
    """Say whether a page is mapped, accessible or not (pte_present)."""
    return entry & (PRESENT | PROTNONE) != 0
