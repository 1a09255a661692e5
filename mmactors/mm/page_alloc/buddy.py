"""The buddy lists of one zone: what happens under zone->lock (mm/page_alloc.c, v6.1).

Free blocks hang on lists by order and migratetype, linked through the struct page columns, so list
order is the kernel's order. The functions are compiled; they get single arrays. The words of a
zone (struct zone) are one row of int64, addressed by the constants below.

Left out: CMA, guard pages, page reporting, shuffling, capture by compaction, hot-plugged holes.

Invariants: `zone[order]` (nr_free) is the number of blocks of that order on all lists; a block is
aligned to its size; two free buddies of one order exist only where merging is forbidden (pageblocks
of types that must not mix).

A trace is an int64 array whose first word counts the words used; one of length 1 takes nothing.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.arch.page import PG_LRU, PG_MOVABLE_OPS, Links, list_add, list_add_tail, list_del
from mmactors.mm.page_alloc.gfp import (
    ALLOC_KSWAPD,
    ALLOC_NOFRAGMENT,
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_RECLAIMABLE,
    MIGRATE_TYPES,
    MIGRATE_UNMOVABLE,
)
from mmactors.mm.page_alloc.order import MAX_ORDER, PAGE_ALLOC_COSTLY_ORDER, PAGEBLOCK_ORDER
from mmactors.mm.vmstat import NR_FREE_PAGES, Words, mod_page_state

Bytes = NDArray[np.int8]
ZoneNumbers = NDArray[np.int16]

PAGEBLOCK_PAGES: Final = 1 << PAGEBLOCK_ORDER
PAGEBLOCK_TYPE_MASK: Final = 7
"""The low bits of a pageblock's byte are its migratetype; bit 3 is compaction's skip bit."""
PAGEBLOCK_ABSENT: Final = -1
NR_FREE_LISTS: Final = MAX_ORDER * MIGRATE_TYPES

# Words of struct zone. The first MAX_ORDER are free_area[order].nr_free.
ZONE_ID: Final = 11
"""The zone's number as the page columns have it (from 1)."""
ZONE_START: Final = 12
ZONE_END: Final = 13
MANAGED_PAGES: Final = 14
WMARK_MIN: Final = 15
WMARK_LOW: Final = 16
WMARK_HIGH: Final = 17
WMARK_PROMO: Final = 18
WATERMARK_BOOST: Final = 19
NR_RESERVED_HIGHATOMIC: Final = 20
ZONE_FLAGS: Final = 21
NR_ISOLATE_PAGEBLOCK: Final = 22
FREE_LISTS: Final = 23
"""The head of the list (order, migratetype) is this + order * MIGRATE_TYPES + migratetype."""
LOWMEM_RESERVE: Final = 24
MAX_NR_ZONES: Final = 5
NR_ZONE_WORDS: Final = LOWMEM_RESERVE + MAX_NR_ZONES

ZONE_BOOSTED_WATERMARK: Final = 1 << 0
ZONE_RECLAIM_ACTIVE: Final = 1 << 1

WATERMARK_BOOST_FACTOR: Final = 15_000
"""vm.watermark_boost_factor in 1/10000 of the high watermark."""

TRACE_ZONE_LOCKED: Final = 1
TRACE_EXTFRAG: Final = 2
TRACE_PCPU_DRAIN: Final = 3
TRACE_WORDS: Final = 7
"""Words of one fact: kind, pfn, and up to five more."""

NOTHING: Final = -1
"""What a compiled search gives when it finds no page; Python callers turn it into None."""

_mod_page_state = compiled(mod_page_state)


@compiled
def trace_fact(trace: Words, kind: int, pfn: int, a: int, b: int, c: int, d: int, e: int) -> None:
    """Append one fact to the trace, if it takes any; `trace_rows` sees when it was full."""
    used = trace[0]
    if used + TRACE_WORDS < len(trace):
        trace[used + 1] = kind
        trace[used + 2] = pfn
        trace[used + 3] = a
        trace[used + 4] = b
        trace[used + 5] = c
        trace[used + 6] = d
        trace[used + 7] = e
        trace[0] = used + TRACE_WORDS


@compiled
def free_one_page(
    links: Links,
    back: Links,
    buddy: Bytes,
    page_zone: ZoneNumbers,
    pageblock: Bytes,
    zone: Words,
    stat: Words,
    cpu_stat: Words,
    pfn: int,
    order: int,
    migratetype: int,
    to_tail: int,
) -> None:
    """Put a block on the buddy lists and merge it upwards (__free_one_page).

    `to_tail` is FPI_TO_TAIL. Otherwise a block that is likely to merge again soon goes to the tail
    and any other to the head.
    """
    if migratetype != MIGRATE_ISOLATE:
        _mod_page_state(stat, cpu_stat, NR_FREE_PAGES, 1 << order)
    buddy_pfn = pfn
    while order < MAX_ORDER - 1:
        buddy_pfn = pfn ^ (1 << order)
        if buddy[buddy_pfn] != order + 1 or page_zone[buddy_pfn] != zone[ZONE_ID]:
            break
        if order >= PAGEBLOCK_ORDER:
            # Pageblocks of types without fallbacks must keep their pages apart from the others.
            buddy_type = pageblock[buddy_pfn >> PAGEBLOCK_ORDER] & PAGEBLOCK_TYPE_MASK
            if migratetype != buddy_type and (
                migratetype >= MIGRATE_PCPTYPES or buddy_type >= MIGRATE_PCPTYPES
            ):
                break
        list_del(links, back, buddy_pfn)
        buddy[buddy_pfn] = 0
        zone[order] -= 1
        pfn &= buddy_pfn
        order += 1
    buddy[pfn] = order + 1
    tail = to_tail != 0
    if not tail and order < MAX_ORDER - 2:
        higher = pfn & buddy_pfn
        higher_buddy = higher ^ (2 << order)
        tail = buddy[higher_buddy] == order + 2 and page_zone[higher_buddy] == page_zone[higher]
    head = zone[FREE_LISTS] + order * MIGRATE_TYPES + migratetype
    if tail:
        list_add_tail(links, back, pfn, head)
    else:
        list_add(links, back, pfn, head)
    zone[order] += 1


@compiled
def rmqueue_smallest(
    links: Links,
    back: Links,
    buddy: Bytes,
    index: Words,
    zone: Words,
    trace: Words,
    order: int,
    migratetype: int,
) -> int:
    """Take the head of the first list that has a large enough block, split it, return its PFN.

    Models __rmqueue_smallest and expand: of each split the upper half goes back, to the head.
    """
    for high in range(order, MAX_ORDER):
        head = zone[FREE_LISTS] + high * MIGRATE_TYPES + migratetype
        pfn = int(links[head])
        if pfn == head:
            continue
        list_del(links, back, pfn)
        buddy[pfn] = 0
        zone[high] -= 1
        for half in range(high - 1, order - 1, -1):
            upper = pfn + (1 << half)
            list_add(links, back, upper, zone[FREE_LISTS] + half * MIGRATE_TYPES + migratetype)
            buddy[upper] = half + 1
            zone[half] += 1
        index[pfn] = migratetype
        percpu_refill = migratetype < MIGRATE_PCPTYPES and (
            order <= PAGE_ALLOC_COSTLY_ORDER or order == PAGEBLOCK_ORDER
        )
        trace_fact(trace, TRACE_ZONE_LOCKED, pfn, order, migratetype, int(percpu_refill), 0, 0)
        return pfn
    return NOTHING


@compiled
def move_freepages_block(
    links: Links,
    back: Links,
    buddy: Bytes,
    flags: NDArray[np.int32],
    zone: Words,
    pfn: int,
    migratetype: int,
) -> tuple[int, int]:
    """Move the free blocks of a pageblock to the tails of another type's lists.

    Return the pages moved and, of the others, how many count as movable. A pageblock that the zone
    ends in is left alone; one that begins before the zone is scanned from `pfn` on.
    """
    start = pfn & ~(PAGEBLOCK_PAGES - 1)
    end = start + PAGEBLOCK_PAGES
    if start < zone[ZONE_START]:
        start = pfn
    if end > zone[ZONE_END]:
        return 0, 0
    nr_moved = 0
    nr_movable = 0
    pfn = start
    while pfn < end:
        if buddy[pfn] == 0:
            if flags[pfn] & (PG_LRU | PG_MOVABLE_OPS):
                nr_movable += 1
            pfn += 1
            continue
        order = int(buddy[pfn]) - 1
        list_del(links, back, pfn)
        list_add_tail(links, back, pfn, zone[FREE_LISTS] + order * MIGRATE_TYPES + migratetype)
        pfn += 1 << order
        nr_moved += 1 << order
    return nr_moved, nr_movable


@compiled
def set_pageblock_migratetype(pageblock: Bytes, pfn: int, migratetype: int) -> None:
    """Give the pageblock of `pfn` a type; its skip bit stays."""
    block = pfn >> PAGEBLOCK_ORDER
    pageblock[block] = (pageblock[block] & ~PAGEBLOCK_TYPE_MASK) | migratetype


@compiled
def _boost_watermark(zone: Words) -> bool:
    """Raise the zone's watermarks because types are about to mix; return whether it applies."""
    if zone[MANAGED_PAGES] < 4 * PAGEBLOCK_PAGES:
        return False
    limit = zone[WMARK_HIGH] * WATERMARK_BOOST_FACTOR // 10_000
    if limit == 0:
        return False
    limit = max(PAGEBLOCK_PAGES, limit)
    zone[WATERMARK_BOOST] = min(zone[WATERMARK_BOOST] + PAGEBLOCK_PAGES, limit)
    return True


@compiled
def _steal_suitable_fallback(
    links: Links,
    back: Links,
    buddy: Bytes,
    flags: NDArray[np.int32],
    pageblock: Bytes,
    zone: Words,
    pfn: int,
    alloc_flags: int,
    start_type: int,
    whole_block: bool,  # noqa: FBT001  compiled functions take no keywords
) -> bool:
    """Move `pfn`, and perhaps its pageblock, to the lists of `start_type`.

    Return whether the pageblock then belongs to `start_type`.
    """
    order = int(buddy[pfn]) - 1
    old_type = pageblock[pfn >> PAGEBLOCK_ORDER] & PAGEBLOCK_TYPE_MASK
    single = old_type == MIGRATE_HIGHATOMIC
    if not single and order >= PAGEBLOCK_ORDER:
        for nth in range(1 << (order - PAGEBLOCK_ORDER)):
            set_pageblock_migratetype(pageblock, pfn + nth * PAGEBLOCK_PAGES, start_type)
        single = True
    if not single:
        if _boost_watermark(zone) and alloc_flags & ALLOC_KSWAPD:
            zone[ZONE_FLAGS] |= ZONE_BOOSTED_WATERMARK
        single = not whole_block
    if not single:
        nr_moved, nr_movable = move_freepages_block(
            links, back, buddy, flags, zone, pfn, start_type
        )
        if start_type == MIGRATE_MOVABLE:
            nr_alike = nr_movable
        elif old_type == MIGRATE_MOVABLE:
            # All that is in use and not movable there is as unmovable as what comes.
            nr_alike = PAGEBLOCK_PAGES - (nr_moved + nr_movable)
        else:
            nr_alike = 0
        if nr_moved and nr_moved + nr_alike >= PAGEBLOCK_PAGES // 2:
            set_pageblock_migratetype(pageblock, pfn, start_type)
        single = nr_moved == 0
    if single:
        list_del(links, back, pfn)
        list_add_tail(links, back, pfn, zone[FREE_LISTS] + order * MIGRATE_TYPES + start_type)
    return bool((pageblock[pfn >> PAGEBLOCK_ORDER] & PAGEBLOCK_TYPE_MASK) == start_type)


@compiled
def _find_suitable_fallback(links: Links, zone: Words, order: int, migratetype: int) -> int:
    """Return the type whose list of this order is taken from next, or NOTHING.

    The order of types is the kernel's table `fallbacks`.
    """
    if zone[order] == 0:
        return NOTHING
    for choice in range(2):
        if migratetype == MIGRATE_RECLAIMABLE:
            other = MIGRATE_MOVABLE if choice else MIGRATE_UNMOVABLE
        elif choice == 0:
            other = MIGRATE_RECLAIMABLE
        else:
            other = MIGRATE_UNMOVABLE if migratetype == MIGRATE_MOVABLE else MIGRATE_MOVABLE
        head = zone[FREE_LISTS] + order * MIGRATE_TYPES + other
        if links[head] != head:
            return other
    return NOTHING


@compiled
def _rmqueue_fallback(
    links: Links,
    back: Links,
    buddy: Bytes,
    flags: NDArray[np.int32],
    pageblock: Bytes,
    zone: Words,
    trace: Words,
    order: int,
    start_type: int,
    alloc_flags: int,
) -> bool:
    """Bring a block of another type to the lists of `start_type`; return whether there was one."""
    lowest = order
    if order < PAGEBLOCK_ORDER and alloc_flags & ALLOC_NOFRAGMENT:
        lowest = PAGEBLOCK_ORDER
    current = MAX_ORDER - 1
    fallback_type = NOTHING
    while current >= lowest:
        fallback_type = _find_suitable_fallback(links, zone, current, start_type)
        if fallback_type != NOTHING:
            break
        current -= 1
    if fallback_type == NOTHING:
        return False
    can_steal = current >= PAGEBLOCK_ORDER // 2 or start_type != MIGRATE_MOVABLE
    if not can_steal and current > order:
        # Only this block can be had, and movable pages do no lasting harm there: spare the large.
        current = order
        fallback_type = _find_suitable_fallback(links, zone, current, start_type)
        while fallback_type == NOTHING:
            current += 1
            fallback_type = _find_suitable_fallback(links, zone, current, start_type)
    pfn = int(links[zone[FREE_LISTS] + current * MIGRATE_TYPES + fallback_type])
    owned = _steal_suitable_fallback(
        links, back, buddy, flags, pageblock, zone, pfn, alloc_flags, start_type, can_steal
    )
    trace_fact(trace, TRACE_EXTFRAG, pfn, order, current, start_type, fallback_type, int(owned))
    return True


@compiled
def rmqueue(
    links: Links,
    back: Links,
    buddy: Bytes,
    flags: NDArray[np.int32],
    index: Words,
    pageblock: Bytes,
    zone: Words,
    trace: Words,
    order: int,
    migratetype: int,
    alloc_flags: int,
) -> int:
    """Take a block of `migratetype`, from another type's lists if need be (__rmqueue)."""
    while True:
        pfn = rmqueue_smallest(links, back, buddy, index, zone, trace, order, migratetype)
        if pfn != NOTHING:
            return pfn
        if not _rmqueue_fallback(
            links, back, buddy, flags, pageblock, zone, trace, order, migratetype, alloc_flags
        ):
            return NOTHING


@compiled
def rmqueue_bulk(
    links: Links,
    back: Links,
    buddy: Bytes,
    flags: NDArray[np.int32],
    index: Words,
    pageblock: Bytes,
    zone: Words,
    stat: Words,
    cpu_stat: Words,
    trace: Words,
    order: int,
    count: int,
    migratetype: int,
    alloc_flags: int,
    head: int,
) -> int:
    """Take up to `count` blocks to the tail of a per-CPU list; return how many there were."""
    nr_taken = 0
    while nr_taken < count:
        pfn = rmqueue(
            links,
            back,
            buddy,
            flags,
            index,
            pageblock,
            zone,
            trace,
            order,
            migratetype,
            alloc_flags,
        )
        if pfn == NOTHING:
            break
        list_add_tail(links, back, pfn, head)
        nr_taken += 1
    _mod_page_state(stat, cpu_stat, NR_FREE_PAGES, -(nr_taken << order))
    return nr_taken


def trace_rows(trace: Words) -> list[list[int]]:
    """Return the facts that a trace took, oldest first, and empty it."""
    used = int(trace[0])
    assert used + TRACE_WORDS < len(trace), f"a trace of {len(trace)} words was too short"
    rows: list[list[int]] = trace[1 : used + 1].reshape(-1, TRACE_WORDS).tolist()
    trace[0] = 0
    return rows


def no_trace() -> Words:
    """Return a trace that takes nothing."""
    return np.zeros(1, np.int64)
