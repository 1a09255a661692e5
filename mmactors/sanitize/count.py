"""Counting what structures really hold, in compiled loops: a search does it after every schedule.

Each function walks a structure as the hardware or the allocator would, and trusts none of the
counters. Arrays are the machine's own, or the caller's to note things in, all by page.
"""

from typing import Final

from mmactors.arch.column import Bytes, Column, Shorts, Table, Words
from mmactors.arch.jit import compiled
from mmactors.arch.page import PG_LRU, PG_MLOCKED, PG_RESERVED, PG_SLAB, PG_SWAPBACKED
from mmactors.arch.pte import PFN_MASK, PFN_SHIFT, PRESENT, PROTNONE, PSE, PTRS_PER_TABLE, SPECIAL
from mmactors.mm.lru.move_folios import LISTS, folio_lru_list
from mmactors.mm.page_alloc.buddy import PAGEBLOCK_TYPE_MASK
from mmactors.mm.page_alloc.gfp import MIGRATE_ISOLATE
from mmactors.mm.page_alloc.order import PAGEBLOCK_ORDER
from mmactors.mm.rmap.rmap import PAGE_MAPPING_ANON
from mmactors.sanitize.page_state import ALLOCATED

ANON: Final = 0
SHMEM: Final = 1
FILE: Final = 2
TABLES: Final = 3
"""Words of what `count_mapped` counts: entries by kind of page; from TABLES on tables by level."""
NR_COUNTS: Final = TABLES + 6

NR_LRU_COUNTS: Final = len(LISTS) + 1
"""Words of what `count_lru` counts: pages of each list, locked pages."""

_REACHED_BY_KIND: Final = PG_SLAB | PG_RESERVED
_PTE_PRESENT: Final = PRESENT | PROTNONE


@compiled
def count_buddies(
    buddy: Bytes,
    zone: Shorts,
    pageblocks: Bytes,
    nr_frames: int,
    listed: Bytes,
    free: Words,
    isolated: Words,
) -> None:
    """Count the pages of all blocks on the buddy lists, by zone; note each page in `listed`."""
    for pfn in range(nr_frames):
        if buddy[pfn] == 0:
            continue
        size = 1 << (int(buddy[pfn]) - 1)
        number = zone[pfn] - 1
        free[number] += size
        if pageblocks[pfn >> PAGEBLOCK_ORDER] & PAGEBLOCK_TYPE_MASK == MIGRATE_ISOLATE:
            isolated[number] += size
        for page in range(pfn, min(pfn + size, nr_frames)):
            listed[page] += 1


@compiled
def count_list(
    links: Column, back: Column, head: int, size: int, nr_frames: int, listed: Bytes
) -> int:
    """Return how many pages a list of blocks of `size` holds; minus one minus where it breaks."""
    nr_pages = 0
    before = head
    pfn = links[head]
    while pfn != head:
        if pfn >= nr_frames or back[pfn] != before or listed[pfn] > 1:
            return -1 - pfn  # type: ignore[no-any-return]
        for page in range(pfn, min(pfn + size, nr_frames)):
            listed[page] += 1
        nr_pages += size
        before = pfn
        pfn = links[pfn]
    return nr_pages


@compiled
def count_mapped(
    words: Words,
    pgd: int,
    levels: int,
    mapping: Words,
    flags: Column,
    mapcount: Column,
    is_table: Bytes,
    counts: Words,
    path: Words,
    first: int,
    end: int,
) -> None:
    """Walk the tables below entries `[first, end)` of a top table; `path` has two words a level.

    Each entry of a page is counted in `mapcount` and by its kind in `counts`, special ones apart;
    each table is noted in `is_table` and counted by its level.
    """
    level = levels
    path[2 * level], path[2 * level + 1] = pgd, first
    is_table[pgd] = 1
    counts[TABLES + level] += 1
    while level <= levels:
        index = path[2 * level + 1]
        if index == (end if level == levels else PTRS_PER_TABLE):
            level += 1
            continue
        path[2 * level + 1] = index + 1
        entry = words[path[2 * level] * PTRS_PER_TABLE + index]
        pfn = (entry & PFN_MASK) >> PFN_SHIFT
        if level > 1:
            if entry & PRESENT and not entry & PSE:
                level -= 1
                path[2 * level], path[2 * level + 1] = pfn, 0
                is_table[pfn] = 1
                counts[TABLES + level] += 1
        elif entry & _PTE_PRESENT and not entry & SPECIAL:
            mapcount[pfn] += 1
            if mapping[pfn] & PAGE_MAPPING_ANON:
                counts[ANON] += 1
            else:
                counts[SHMEM if flags[pfn] & PG_SWAPBACKED else FILE] += 1


@compiled
def count_lru(flags: Column, zone: Shorts, nr_frames: int, counts: Table) -> None:
    """Count by zone the pages on each LRU list, as their flags name it, and the locked ones."""
    for pfn in range(nr_frames):
        if flags[pfn] & PG_LRU:
            counts[zone[pfn] - 1, folio_lru_list(flags[pfn])] += 1
        if flags[pfn] & PG_MLOCKED:
            counts[zone[pfn] - 1, NR_LRU_COUNTS - 1] += 1


@compiled
def compare_mapcounts(
    counted: Column, true: Column, mapping: Words, nr_frames: int, found: Words, counts: Words
) -> int:
    """Note in `found` the pages whose mapcount is wrong; return how many there are.

    Counts in `counts` the mapped pages, anonymous ones and others.
    """
    nr_wrong = 0
    for pfn in range(nr_frames):
        if true[pfn] > 0:
            counts[0 if mapping[pfn] & PAGE_MAPPING_ANON else 1] += 1
        if counted[pfn] != true[pfn]:
            if nr_wrong < len(found):
                found[nr_wrong] = pfn
            nr_wrong += 1
    return nr_wrong


@compiled
def find_above(column: Bytes, limit: int, nr_frames: int, found: Words) -> int:
    """Note in `found` the pages for which a column is above a limit; return how many there are."""
    count = 0
    for pfn in range(nr_frames):
        if column[pfn] > limit:
            if count < len(found):
                found[count] = pfn
            count += 1
    return count


@compiled
def find_lost(
    state: Bytes, mapcount: Column, reached: Bytes, flags: Column, nr_frames: int, found: Words
) -> int:
    """Note in `found` the pages that were handed out and are nowhere; return how many there are."""
    count = 0
    for pfn in range(nr_frames):
        if state[pfn] == ALLOCATED and mapcount[pfn] == 0 and reached[pfn] == 0:
            if flags[pfn] & _REACHED_BY_KIND:
                continue
            if count < len(found):
                found[count] = pfn
            count += 1
    return count
