"""What becomes of the pages of a batch, in one compiled call (mm/swap.c, mm/mlock.c, Linux 6.1).

A batch is words: how many pages wait, then a PFN each; in the batch of pages that are locked or
unlocked the two lowest bits say which it is. Arguments that all functions have: the columns of
pages, by zone number its node, the machine's counters and the CPU's own.

Invariant: a page with PG_LRU counts in exactly one list of its node and of its zone, which its
other flags name.
"""

from typing import Final

from mmactors.arch.column import Column, Shorts, Table, Words
from mmactors.arch.jit import compiled
from mmactors.arch.page import (
    PG_ACTIVE,
    PG_DIRTY,
    PG_LRU,
    PG_MLOCKED,
    PG_RECLAIM,
    PG_REFERENCED,
    PG_SWAPBACKED,
    PG_UNEVICTABLE,
    PG_WRITEBACK,
)
from mmactors.mm.rmap.rmap import PAGE_MAPPING_ANON
from mmactors.mm.vmstat import (
    EVENT_ITEM,
    NODE_ITEM,
    NODE_STAT_THRESHOLD,
    NR_MLOCK,
    STAT_THRESHOLD,
    ZONE_ITEM,
)

LRU_ADD: Final = 0
DEACTIVATE_FILE: Final = 1
DEACTIVATE: Final = 2
LAZYFREE: Final = 3
ACTIVATE: Final = 4
MLOCK: Final = 5
NR_BATCHES: Final = 6
"""Batches in the order in which they are drained."""

PVEC_SHIFT: Final = 2
UNLOCKED_PAGE: Final = 0
OLD_PAGE: Final = 1
NEW_PAGE: Final = 2
"""Marks in the batch MLOCK: munlock_page, mlock_folio (LRU_PAGE), mlock_new_page (NEW_PAGE)."""

LISTS: Final = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")
NR_LRU_BASE: Final = NODE_ITEM["nr_inactive_anon"]
NR_ZONE_LRU_BASE: Final = ZONE_ITEM["nr_zone_inactive_anon"]
"""The items of the other lists follow."""
LRU_UNEVICTABLE: Final = 4

PGACTIVATE: Final = EVENT_ITEM["pgactivate"]
PGDEACTIVATE: Final = EVENT_ITEM["pgdeactivate"]
PGLAZYFREE: Final = EVENT_ITEM["pglazyfree"]
PGROTATED: Final = EVENT_ITEM["pgrotated"]
UNEVICTABLE_PGCULLED: Final = EVENT_ITEM["unevictable_pgs_culled"]
UNEVICTABLE_PGRESCUED: Final = EVENT_ITEM["unevictable_pgs_rescued"]
UNEVICTABLE_PGMLOCKED: Final = EVENT_ITEM["unevictable_pgs_mlocked"]
UNEVICTABLE_PGMUNLOCKED: Final = EVENT_ITEM["unevictable_pgs_munlocked"]
UNEVICTABLE_PGCLEARED: Final = EVENT_ITEM["unevictable_pgs_cleared"]
UNEVICTABLE_PGSTRANDED: Final = EVENT_ITEM["unevictable_pgs_stranded"]


@compiled
def folio_lru_list(flags: int) -> int:
    """Return the list that a page's flags name."""
    if flags & PG_UNEVICTABLE:
        return LRU_UNEVICTABLE
    number = 0 if flags & PG_SWAPBACKED else 2
    if flags & PG_ACTIVE:
        number += 1
    return number


@compiled
def _mod_state(
    stat: Table, row: int, cpu_stat: Table, item: int, threshold: int, delta: int
) -> None:
    """Add to an item, as mod_page_state of mm/vmstat.py does."""
    value = cpu_stat[row, item] + delta
    if abs(value) > cpu_stat[row, threshold]:
        stat[row, item] += value
        value = 0
    cpu_stat[row, item] = value


@compiled
def _update_lru_size(
    flags: int,
    zone: int,
    node: int,
    zones: Table,
    cpu_zones: Table,
    nodes: Table,
    cpu_nodes: Table,
    delta: int,
) -> None:
    """Count a page of the list that `flags` name."""
    number = folio_lru_list(flags)
    _mod_state(nodes, node, cpu_nodes, NR_LRU_BASE + number, NODE_STAT_THRESHOLD, delta)
    _mod_state(zones, zone, cpu_zones, NR_ZONE_LRU_BASE + number, STAT_THRESHOLD, delta)


@compiled
def count_page(
    flags: Column,
    page_zone: Shorts,
    zone_node: Words,
    zones: Table,
    cpu_zones: Table,
    nodes: Table,
    cpu_nodes: Table,
    events: Words,  # noqa: ARG001 - all functions take the same
    pfn: int,
    delta: int,
) -> None:
    """Count a page of its list."""
    zone = page_zone[pfn] - 1
    _update_lru_size(flags[pfn], zone, zone_node[zone], zones, cpu_zones, nodes, cpu_nodes, delta)


@compiled
def forget_pages(
    flags: Column,
    page_zone: Shorts,
    zone_node: Words,
    zones: Table,
    cpu_zones: Table,
    nodes: Table,
    cpu_nodes: Table,
    events: Words,
    pfns: Words,
) -> None:
    """Take pages off their lists that are being freed; locked ones do not count any more."""
    for nth in range(len(pfns)):
        pfn = pfns[nth]
        _forget_page(flags, page_zone, zone_node, zones, cpu_zones, nodes, cpu_nodes, events, pfn)


@compiled
def _forget_page(
    flags: Column,
    page_zone: Shorts,
    zone_node: Words,
    zones: Table,
    cpu_zones: Table,
    nodes: Table,
    cpu_nodes: Table,
    events: Words,
    pfn: int,
) -> None:
    zone = page_zone[pfn] - 1
    if flags[pfn] & PG_LRU:
        _update_lru_size(flags[pfn], zone, zone_node[zone], zones, cpu_zones, nodes, cpu_nodes, -1)
        flags[pfn] &= ~(PG_LRU | PG_ACTIVE | PG_UNEVICTABLE)
    if flags[pfn] & PG_MLOCKED:
        flags[pfn] &= ~PG_MLOCKED
        _mod_state(zones, zone, cpu_zones, NR_MLOCK, STAT_THRESHOLD, -1)
        events[UNEVICTABLE_PGCLEARED] += 1


@compiled
def move_folios(
    flags: Column,
    page_zone: Shorts,
    zone_node: Words,
    zones: Table,
    cpu_zones: Table,
    nodes: Table,
    cpu_nodes: Table,
    events: Words,
    kind: int,
    batch: Words,
    refcount: Column,
    mapping: Words,
    mapcount: Column,
    mlock_count: Column,
) -> int:
    """Work off a batch and empty it; return how many pages are to be freed: `batch[1:]`.

    (folio_batch_move_lru, mlock_pagevec, and release_pages of the batch's references.)
    """
    nr = batch[0]
    for nth in range(1, nr + 1):
        word = batch[nth]
        if kind == MLOCK:
            pfn = word >> PVEC_SHIFT
            batch[nth] = pfn
        else:
            pfn = word
        old = flags[pfn]
        if kind == LRU_ADD:
            new = _lru_add(old, pfn, mlock_count, events)
        elif kind == MLOCK:
            new = _mlock(old, word & 3, pfn, mlock_count, events)
            if old & PG_MLOCKED and not new & PG_MLOCKED:
                zone = page_zone[pfn] - 1
                _mod_state(zones, zone, cpu_zones, NR_MLOCK, STAT_THRESHOLD, -1)
        elif old & PG_LRU:
            new = _move(old, kind, mapping[pfn], mapcount[pfn], events)
        else:
            continue
        flags[pfn] = new
        is_same = old & PG_LRU == new & PG_LRU and folio_lru_list(old) == folio_lru_list(new)
        if not is_same:
            zone = page_zone[pfn] - 1
            node = zone_node[zone]
            if old & PG_LRU:
                _update_lru_size(old, zone, node, zones, cpu_zones, nodes, cpu_nodes, -1)
            if new & PG_LRU:
                _update_lru_size(new, zone, node, zones, cpu_zones, nodes, cpu_nodes, 1)
    batch[0] = 0
    nr_released = 0
    for nth in range(1, nr + 1):
        pfn = batch[nth]
        refcount[pfn] -= 1
        if refcount[pfn] == 0:
            nr_released += 1
            batch[nr_released] = pfn
            _forget_page(
                flags, page_zone, zone_node, zones, cpu_zones, nodes, cpu_nodes, events, pfn
            )
    return nr_released


@compiled
def _lru_add(flags: int, pfn: int, mlock_count: Column, events: Words) -> int:
    """Return the flags of a page that comes to its list (lru_add_fn)."""
    was_unevictable = flags & PG_UNEVICTABLE
    flags &= ~PG_UNEVICTABLE
    if not flags & PG_MLOCKED:
        if was_unevictable:
            events[UNEVICTABLE_PGRESCUED] += 1
    else:
        flags = flags & ~PG_ACTIVE | PG_UNEVICTABLE
        mlock_count[pfn] = 0
        if not was_unevictable:
            events[UNEVICTABLE_PGCULLED] += 1
    return flags | PG_LRU


@compiled
def _move(flags: int, kind: int, mapping: int, mapcount: int, events: Words) -> int:
    """Return the flags of a page that changes its list."""
    if flags & PG_UNEVICTABLE:
        return flags
    if kind == ACTIVATE:
        if not flags & PG_ACTIVE:
            events[PGACTIVATE] += 1
            flags |= PG_ACTIVE
    elif kind == DEACTIVATE:
        if flags & PG_ACTIVE:
            events[PGDEACTIVATE] += 1
            flags &= ~(PG_ACTIVE | PG_REFERENCED)
    elif kind == LAZYFREE:
        if mapping & PAGE_MAPPING_ANON and flags & PG_SWAPBACKED:
            events[PGLAZYFREE] += 1
            flags &= ~(PG_ACTIVE | PG_REFERENCED | PG_SWAPBACKED)
    elif mapcount == 0:  # DEACTIVATE_FILE
        if flags & PG_ACTIVE:
            events[PGDEACTIVATE] += 1
        flags &= ~(PG_ACTIVE | PG_REFERENCED)
        if flags & (PG_WRITEBACK | PG_DIRTY):
            flags |= PG_RECLAIM
        else:
            events[PGROTATED] += 1
    return flags


@compiled
def _mlock(flags: int, mark: int, pfn: int, mlock_count: Column, events: Words) -> int:
    """Return the flags of a page that is locked or unlocked."""
    if mark == NEW_PAGE:
        if flags & PG_MLOCKED:
            flags |= PG_UNEVICTABLE
            mlock_count[pfn] = 1
            events[UNEVICTABLE_PGCULLED] += 1
        return flags | PG_LRU
    if mark == OLD_PAGE:
        if not flags & PG_LRU:
            return flags
        if not flags & PG_MLOCKED:
            if flags & PG_UNEVICTABLE:
                flags &= ~PG_UNEVICTABLE
                events[UNEVICTABLE_PGRESCUED] += 1
        elif flags & PG_UNEVICTABLE:
            mlock_count[pfn] += 1
        else:
            flags = flags & ~PG_ACTIVE | PG_UNEVICTABLE
            mlock_count[pfn] = 1
            events[UNEVICTABLE_PGCULLED] += 1
        return flags
    is_isolated = flags & PG_LRU != 0
    if is_isolated and flags & PG_UNEVICTABLE:
        if mlock_count[pfn] > 0:
            mlock_count[pfn] -= 1
        if mlock_count[pfn] > 0:
            return flags
    if flags & PG_MLOCKED:
        flags &= ~PG_MLOCKED
        if is_isolated or not flags & PG_UNEVICTABLE:
            events[UNEVICTABLE_PGMUNLOCKED] += 1
        else:
            events[UNEVICTABLE_PGSTRANDED] += 1
    if is_isolated and flags & PG_UNEVICTABLE:
        flags &= ~PG_UNEVICTABLE
        events[UNEVICTABLE_PGRESCUED] += 1
    return flags
