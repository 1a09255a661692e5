"""Taking pages away from an address space (mm/memory.c, zap_pte_range, Linux 6.1).

The entries of one table at a time, under its lock. A page loses its mapping at once and keeps the
entry's reference until the TLBs are flushed: who zaps holds it until then and lets go of it with
`release_pages`. Who unmaps a part of a file passes over the copies that a process wrote to, unless
the file ends before them (even_cows). What an entry knows of the use of a page of a file is told to
the page's LRU list, and pages of a locked area are unlocked. Left out: swap, huge pages.

Invariant: each present entry that is cleared, but of special pages, hands over one reference.
"""

from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.column import Table
from mmactors.arch.jit import compiled
from mmactors.arch.page import PG_DIRTY, PG_SWAPBACKED, PageColumns
from mmactors.arch.pte import ACCESSED, DIRTY, PFN_MASK, PFN_SHIFT, PRESENT, PROTNONE, SPECIAL
from mmactors.mm.area.mm_struct import (
    MM_ANONPAGES,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    NR_MM_COUNTERS,
    MmStruct,
)
from mmactors.mm.area.vm_flags import VM_SEQ_READ
from mmactors.mm.lru.folio_batch import FolioBatches, is_lockable
from mmactors.mm.page_table.leaf_entries import LeafRange
from mmactors.mm.page_table.swap_entry import (
    OFFSET_SHIFT,
    PFN_OFFSET_MASK,
    SWP_MIGRATION_READ,
    SWP_MIGRATION_WRITE,
    TYPE_MASK,
    TYPE_SHIFT,
)
from mmactors.mm.rmap.rmap import PAGE_MAPPING_ANON

Words = NDArray[np.int64]
Columns = NDArray[np.int32]

_PTE_PRESENT: Final = PRESENT | PROTNONE

_CLEARED: Final = NR_MM_COUNTERS
_FIRST: Final = NR_MM_COUNTERS + 1
_LAST: Final = NR_MM_COUNTERS + 2
_TAKEN: Final = NR_MM_COUNTERS + 3
_DIRTY: Final = NR_MM_COUNTERS + 4
_STOPPED: Final = NR_MM_COUNTERS + 5
_YOUNG: Final = NR_MM_COUNTERS + 6
_NR_WORDS: Final = NR_MM_COUNTERS + 7
"""Words of what `zap_entries` reports; the first ones are pages by rss counter."""


@frozen(kw_only=True)
class Zapped:
    """What came of the entries of one table."""

    pfns: Words
    """Pages of which the caller now holds a reference, one for each entry."""
    nr_cleared: int
    """Entries that were present; those of special pages count too."""
    first: int
    last: int
    """Word indices of the first and the last entry that was present."""
    unmapped: tuple[tuple[int, int], ...]
    """By node: anonymous pages and pages of files that nobody maps any more (NR_ANON_MAPPED,
    NR_FILE_MAPPED)."""
    was_dirty: bool
    """A page of a file could be written: no CPU may do so once the table's lock is released."""
    stopped: int
    """Word index of the entry to go on with."""


def zap_pte_range(
    mm: MmStruct,
    pages: PageColumns,
    leaves: LeafRange,
    *,
    zone_node: Words,
    room: int | None = None,
    even_cows: bool = True,
    vm_flags: int = 0,
    lru: FolioBatches | None = None,
) -> Zapped:
    """Clear present entries and count their pages out of rss; stop after `room` pages.

    `zone_node`: by zone number its node. `even_cows` False: anonymous pages stay (should_zap_page).
    `vm_flags`: the area's. `lru`: where
    pages that are used or unlocked wait; None: nowhere.
    """
    if room is None:
        room = leaves.count
    taken = np.empty(min(room, leaves.count), np.int64)
    is_young = np.zeros(len(taken), np.int64)
    report = np.zeros(_NR_WORDS, np.int64)
    unmapped = np.zeros((int(zone_node.max()) + 1, 2), np.int64)
    zap_entries(
        mm.page_table.memory.words,
        leaves.index,
        leaves.count,
        pages.flags,
        pages.mapping,
        pages.mapcount,
        even_cows,
        pages.zone,
        zone_node,
        taken,
        is_young,
        unmapped,
        report,
    )
    words = report.tolist()
    for member in (MM_FILEPAGES, MM_ANONPAGES, MM_SHMEMPAGES):
        if words[member]:
            mm.add_mm_counter(member, -words[member])
    if lru is not None and (words[_YOUNG] or is_lockable(vm_flags)):
        _tell_lists(lru, vm_flags, taken[: words[_TAKEN]], is_young)
    return Zapped(
        pfns=taken[: words[_TAKEN]],
        nr_cleared=words[_CLEARED],
        first=words[_FIRST],
        last=words[_LAST],
        unmapped=tuple((anon, of_file) for anon, of_file in unmapped.tolist()),
        was_dirty=words[_DIRTY] != 0,
        stopped=words[_STOPPED],
    )


def _tell_lists(lru: FolioBatches, vm_flags: int, pfns: Words, is_young: Words) -> None:
    """Mark what was used as accessed (but in areas that are read once), unlock what was locked."""
    is_marked = not vm_flags & VM_SEQ_READ
    is_locked = is_lockable(vm_flags)
    for pfn, young in zip(pfns.tolist(), is_young.tolist(), strict=False):
        if young and is_marked:
            lru.mark_accessed(pfn)
        if is_locked:
            lru.munlock_page(pfn)


def release_pages(pages: PageColumns, pfns: Words) -> Words:
    """Let go of one reference of each page; return those that have none left."""
    nr_unused = put_references(pages.refcount, pfns)
    return pfns[:nr_unused]


@compiled
def zap_entries(
    words: Words,
    first: int,
    count: int,
    flags: Columns,
    mapping: Words,
    mapcount: Columns,
    even_cows: bool,  # noqa: FBT001  compiled functions take no keywords
    zone: NDArray[np.int16],
    zone_node: Words,
    taken: Words,
    is_young: Words,
    unmapped: Table,
    report: Words,
) -> None:
    """Clear present entries until `taken` is full of their pages; leave counts in `report`.

    `unmapped`: by node, pages that nobody maps any more, anonymous ones and others. `is_young`:
    which of them were pages of files that were accessed through the entry.
    """
    nr_taken = 0
    index = first
    while index < first + count and nr_taken < len(taken):
        entry = words[index]
        if not entry & _PTE_PRESENT:
            if SWP_MIGRATION_READ <= (entry >> TYPE_SHIFT & TYPE_MASK) <= SWP_MIGRATION_WRITE:
                # A page that is being moved: it lost its mapping and its reference before.
                pfn = ~entry >> OFFSET_SHIFT & PFN_OFFSET_MASK
                is_anon = mapping[pfn] & PAGE_MAPPING_ANON != 0
                if is_anon and not even_cows:
                    index += 1
                    continue
                words[index] = 0
                if is_anon:
                    report[MM_ANONPAGES] += 1
                else:
                    report[MM_SHMEMPAGES if flags[pfn] & PG_SWAPBACKED else MM_FILEPAGES] += 1
            index += 1
            continue
        pfn = (entry & PFN_MASK) >> PFN_SHIFT
        is_anon = not entry & SPECIAL and mapping[pfn] & PAGE_MAPPING_ANON != 0
        if is_anon and not even_cows:
            index += 1
            continue
        words[index] = 0
        if report[_CLEARED] == 0:
            report[_FIRST] = index
        report[_LAST] = index
        report[_CLEARED] += 1
        index += 1
        if entry & SPECIAL:
            continue
        taken[nr_taken] = pfn
        nr_taken += 1
        mapcount[pfn] -= 1
        if mapcount[pfn] == 0:
            unmapped[zone_node[zone[pfn] - 1], 0 if is_anon else 1] += 1
        if is_anon:
            report[MM_ANONPAGES] += 1
            continue
        if entry & DIRTY:
            flags[pfn] |= PG_DIRTY
            report[_DIRTY] = 1
        if entry & ACCESSED:
            is_young[nr_taken - 1] = 1
            report[_YOUNG] += 1
        report[MM_SHMEMPAGES if flags[pfn] & PG_SWAPBACKED else MM_FILEPAGES] += 1
    report[_TAKEN] = nr_taken
    report[_STOPPED] = index


@compiled
def put_references(refcount: Columns, pfns: Words) -> int:
    """Take a reference from each page; move those without one to the front, return how many."""
    nr_unused = 0
    for nth in range(len(pfns)):
        pfn = pfns[nth]
        refcount[pfn] -= 1
        if refcount[pfn] == 0:
            pfns[nr_unused] = pfn
            nr_unused += 1
    return nr_unused
