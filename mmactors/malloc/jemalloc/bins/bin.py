"""A bin of an arena, bin_t: the slabs of one class (jemalloc 5.3.0, bin.h, arena.c).

One slab is current. Those that have free regions are in a heap, the oldest and lowest first; full
ones are nowhere, as automatic arenas keep them. Who calls holds the bin's lock.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.bins.slab import (
    give_region,
    nr_free_in,
    take_region,
    take_regions,
)
from mmactors.malloc.jemalloc.pages.edata import is_before
from mmactors.malloc.jemalloc.pages.pairing_heap import (
    heap_insert,
    heap_remove,
    heap_remove_first,
)
from mmactors.malloc.user_words import add_to, load_word, longest_walk, store_word

BIN_BYTES: Final = 224
LOCK: Final = 0
NR_MALLOC: Final = 112
NR_DALLOC: Final = 120
NR_REQUESTS: Final = 128
CUR_REGIONS: Final = 136
NR_FILLS: Final = 144
NR_FLUSHES: Final = 152
NR_SLABS: Final = 160
RE_SLABS: Final = 168
CUR_SLABS: Final = 176
NONFULL_SLABS: Final = 184
SLABCUR: Final = 192
SLABS_NONFULL: Final = 200


@compiled
def _next_slab(words: Words, log: Words, arena_bin: int) -> int:
    """Let the first slab that has free regions be current; 0: there is none.

    arena_bin_refill_slabcur_no_fresh_slab.
    """
    slab = heap_remove_first(words, log, arena_bin + SLABS_NONFULL)
    if slab:
        add_to(words, log, arena_bin + RE_SLABS, 1)
        add_to(words, log, arena_bin + NONFULL_SLABS, -1)
    store_word(words, log, arena_bin + SLABCUR, slab)
    return slab


@compiled
def _begin_slab(words: Words, log: Words, arena_bin: int, slab: int) -> None:
    """Let a new slab be current (arena_bin_refill_slabcur_with_fresh_slab)."""
    add_to(words, log, arena_bin + NR_SLABS, 1)
    add_to(words, log, arena_bin + CUR_SLABS, 1)
    store_word(words, log, arena_bin + SLABCUR, slab)


@compiled
def fill_blocks(
    words: Words,
    log: Words,
    arena_bin: int,
    region_bytes: int,
    target: int,
    filled: int,
    wanted: int,
    fresh: int,
) -> tuple[int, int]:
    """Write blocks to `target`, after those that are there (arena_cache_bin_fill_small's loop).

    `fresh` is a new slab that the bin may have, or 0. Return how many blocks are there, and the new
    slab if it was not needed.
    """
    nr_steps = 0
    while filled < wanted and nr_steps <= longest_walk(words):
        nr_steps += 1
        slab = load_word(words, log, arena_bin + SLABCUR)
        nr_free = nr_free_in(words, log, slab) if slab else 0
        if nr_free:
            count = min(wanted - filled, nr_free)
            taken = take_regions(words, log, slab, region_bytes, count, target + 8 * filled)
            filled += taken
            if taken:
                continue
        if _next_slab(words, log, arena_bin):
            continue
        if fresh == 0:
            break
        _begin_slab(words, log, arena_bin, fresh)
        fresh = 0
    return filled, fresh


@compiled
def count_fill(words: Words, log: Words, arena_bin: int, filled: int, requests: int) -> None:
    """Count what a cache got, and what its owner asked for since the last time."""
    add_to(words, log, arena_bin + NR_MALLOC, filled)
    add_to(words, log, arena_bin + NR_REQUESTS, requests)
    add_to(words, log, arena_bin + CUR_REGIONS, filled)
    add_to(words, log, arena_bin + NR_FILLS, 1)


@compiled
def take_block(words: Words, log: Words, arena_bin: int, region_bytes: int, fresh: int) -> int:
    """Return a block of a bin; 0: it needs a new slab (arena_malloc_small).

    `fresh` is one that it may have, if it has no other free region; 0: there is none.
    """
    slab = load_word(words, log, arena_bin + SLABCUR)
    if slab == 0 or nr_free_in(words, log, slab) == 0:
        slab = _next_slab(words, log, arena_bin)
    if slab == 0:
        if fresh == 0:
            return 0
        _begin_slab(words, log, arena_bin, fresh)
        slab = fresh
    block = take_region(words, log, slab, region_bytes)
    add_to(words, log, arena_bin + NR_MALLOC, 1)
    add_to(words, log, arena_bin + NR_REQUESTS, 1)
    add_to(words, log, arena_bin + CUR_REGIONS, 1)
    return block


@compiled
def give_block(
    words: Words,
    log: Words,
    arena_bin: int,
    inverse: int,
    nr_regions: int,
    slab: int,
    block: int,
) -> bool:
    """Let a region of a slab be free; return whether the slab is empty, and is no more the bin's.

    arena_dalloc_bin_locked_step. The bin's counters are for `count_given`.
    """
    nr_free = give_region(words, log, slab, inverse, block)
    if nr_free == nr_regions:
        _leave_bin(words, log, arena_bin, nr_regions, slab)
        return True
    if nr_free == 1 and slab != load_word(words, log, arena_bin + SLABCUR):
        _lower_slab(words, log, arena_bin, slab)
    return False


@compiled
def count_given(words: Words, log: Words, arena_bin: int, nr_blocks: int) -> None:
    """Count regions that were given back (arena_dalloc_bin_locked_finish)."""
    add_to(words, log, arena_bin + NR_DALLOC, nr_blocks)
    add_to(words, log, arena_bin + CUR_REGIONS, -nr_blocks)


@compiled
def _leave_bin(words: Words, log: Words, arena_bin: int, nr_regions: int, slab: int) -> None:
    """Take an empty slab from its bin (arena_dissociate_bin_slab)."""
    if slab == load_word(words, log, arena_bin + SLABCUR):
        store_word(words, log, arena_bin + SLABCUR, 0)
    elif nr_regions > 1:
        heap_remove(words, log, arena_bin + SLABS_NONFULL, slab)
        add_to(words, log, arena_bin + NONFULL_SLABS, -1)
    add_to(words, log, arena_bin + CUR_SLABS, -1)


@compiled
def _lower_slab(words: Words, log: Words, arena_bin: int, slab: int) -> None:
    """Let a slab that was full be current, if it is older, or one of the heap's.

    arena_bin_lower_slab.
    """
    current = load_word(words, log, arena_bin + SLABCUR)
    if current and is_before(words, log, slab, current):
        if nr_free_in(words, log, current):
            heap_insert(words, log, arena_bin + SLABS_NONFULL, current)
            add_to(words, log, arena_bin + NONFULL_SLABS, 1)
        store_word(words, log, arena_bin + SLABCUR, slab)
        add_to(words, log, arena_bin + RE_SLABS, 1)
    else:
        heap_insert(words, log, arena_bin + SLABS_NONFULL, slab)
        add_to(words, log, arena_bin + NONFULL_SLABS, 1)
