"""Page tables as a checker reads them: from the words of memory, without any mechanism's help."""

from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import PRESENT, PSE, PTRS_PER_TABLE, pte_pfn, table_index
from mmactors.mm.page_table.page_table import PTE_LEVEL, PageTable


def entry_of(memory: PhysicalMemory, table: PageTable, address: int) -> int:
    """Return the entry that maps `address`, whatever its level; 0 if no table leads there."""
    words = memory.words
    pfn = table.pgd_pfn
    for level in range(table.levels, PTE_LEVEL - 1, -1):
        entry = int(words[pfn * PTRS_PER_TABLE + table_index(address, level)])
        if level == PTE_LEVEL or not entry & PRESENT or entry & PSE:
            return entry
        pfn = pte_pfn(entry)
    return 0
