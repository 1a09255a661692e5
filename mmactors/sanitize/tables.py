"""Page tables as a checker reads them: from the words of memory, without any mechanism's help."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import PRESENT, PROTNONE, PSE, PTRS_PER_TABLE, pte_pfn, table_index
from mmactors.mm.page_table import PTE_LEVEL, PageTable

Words = NDArray[np.int64]


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


def tables_below(memory: PhysicalMemory, pfn: int, level: int) -> Iterator[tuple[int, int]]:
    """Yield all tables of a tree as (level, frame), the top one first."""
    yield level, pfn
    if level > PTE_LEVEL:
        first = pfn * PTRS_PER_TABLE
        words = memory.words[first : first + PTRS_PER_TABLE]
        for index in np.flatnonzero(words & PRESENT).tolist():
            entry = int(words[index])
            if not entry & PSE:
                yield from tables_below(memory, pte_pfn(entry), level - 1)


def leaf_entries(memory: PhysicalMemory, tables: list[tuple[int, int]]) -> Words:
    """Return all entries of the PTE tables among `tables` that have a page."""
    parts = []
    for level, pfn in tables:
        if level == PTE_LEVEL:
            words = memory.words[pfn * PTRS_PER_TABLE : (pfn + 1) * PTRS_PER_TABLE]
            parts.append(words[words & (PRESENT | PROTNONE) != 0])
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
