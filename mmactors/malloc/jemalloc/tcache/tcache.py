"""The cache of a thread, tcache_t and tcache_slow_t (jemalloc 5.3.0, tcache_structs.h, tcache.c).

Both are in the thread's tsd; the stacks of its bins are a block of arena 0.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.par import (
    NR_CACHE_BINS,
    TCACHE_BIN_INFO_AT,
    TCACHE_GC_DELAY_BYTES,
)
from mmactors.malloc.jemalloc.size_classes import NR_BINS, index2size
from mmactors.malloc.jemalloc.tcache.cache_bin import (
    CACHE_BIN_BYTES,
    cached_in,
    init_cache_bin,
    low_water_of,
    set_low_water,
)
from mmactors.malloc.jemalloc.tsd import TCACHE, TCACHE_SLOW
from mmactors.malloc.user_words import (
    clear_words,
    load_bits,
    load_word,
    store_bits,
    store_word,
)

SLOW_LINK: Final = TCACHE_SLOW
DESCRIPTOR: Final = TCACHE_SLOW + 16
SLOW_ARENA: Final = TCACHE_SLOW + 40
NEXT_GC_BIN: Final = TCACHE_SLOW + 48
LG_FILL_DIV: Final = TCACHE_SLOW + 52
BIN_REFILLED: Final = TCACHE_SLOW + 88
FLUSH_DELAY: Final = TCACHE_SLOW + 124
DYN_ALLOC: Final = TCACHE_SLOW + 160
SLOW_TCACHE: Final = TCACHE_SLOW + 168
BINS: Final = TCACHE + 8
"""From the tsd on."""

_PRECEDING_JUNK: Final = 0x7A7A7A7A7A7A7A7A
_TRAILING_JUNK: Final = 0xA7A7A7A7A7A7A7A7 - (1 << 64)
_DELAY_MOST: Final = 255


@compiled
def cache_bin_of(tsd: int, index: int) -> int:
    """Return the address of the bin of a class."""
    return tsd + BINS + CACHE_BIN_BYTES * index


@compiled
def most_cached(words: Words, log: Words, par: Words, index: int) -> int:
    """Return how many blocks of a class a cache keeps (ncached_max)."""
    return load_bits(words, log, int(par[TCACHE_BIN_INFO_AT]) + 2 * index, 2)


@compiled
def fill_count(words: Words, log: Words, par: Words, tsd: int, index: int) -> int:
    """Return how many blocks a small bin asks for (tcache_alloc_small_hard)."""
    shift = load_bits(words, log, tsd + LG_FILL_DIV + index, 1)
    return most_cached(words, log, par, index) >> min(shift, 16)


@compiled
def item_delay(par: Words, index: int) -> int:
    """Return how many blocks need not be flushed at first (tcache_gc_item_delay_compute)."""
    return min(int(par[TCACHE_GC_DELAY_BYTES]) // index2size(index), _DELAY_MOST)


@compiled
def init_tcache(words: Words, log: Words, par: Words, tsd: int, stacks: int) -> None:
    """Let a thread's cache be empty, its stacks in a block (tcache_init)."""
    nr_bins = int(par[NR_CACHE_BINS])
    store_word(words, log, tsd + TCACHE, tsd + TCACHE_SLOW)
    store_word(words, log, tsd + SLOW_TCACHE, tsd + TCACHE)
    store_word(words, log, tsd + SLOW_LINK, 0)
    store_word(words, log, tsd + SLOW_LINK + 8, 0)
    store_bits(words, log, tsd + NEXT_GC_BIN, 4, 0)
    store_word(words, log, tsd + SLOW_ARENA, 0)
    store_word(words, log, tsd + DYN_ALLOC, stacks)
    clear_words(words, log, tsd + BINS, CACHE_BIN_BYTES * max(nr_bins, NR_BINS))
    store_word(words, log, stacks, _PRECEDING_JUNK)
    end = stacks + 8
    for index in range(nr_bins):
        if index < NR_BINS:
            store_bits(words, log, tsd + LG_FILL_DIV + index, 1, 1)
            store_bits(words, log, tsd + BIN_REFILLED + index, 1, 0)
            store_bits(words, log, tsd + FLUSH_DELAY + index, 1, item_delay(par, index))
        most = most_cached(words, log, par, index)
        end = init_cache_bin(words, log, cache_bin_of(tsd, index), end, most)
    for index in range(nr_bins, NR_BINS):
        init_cache_bin(words, log, cache_bin_of(tsd, index), stacks, 0)
    store_word(words, log, end, _TRAILING_JUNK)


@compiled
def plan_collection(words: Words, log: Words, par: Words, tsd: int) -> tuple[int, int]:
    """Return which bin a step of the collection is about, and how many blocks it flushes.

    tcache_event: three quarters of the blocks that nobody needed since the last time.
    """
    index = load_bits(words, log, tsd + NEXT_GC_BIN, 4)
    if index >= par[NR_CACHE_BINS]:
        index = 0
    low_water = low_water_of(words, log, cache_bin_of(tsd, index))
    if low_water <= 0:
        refilled = tsd + BIN_REFILLED + index
        if index < NR_BINS and load_bits(words, log, refilled, 1):
            shift = load_bits(words, log, tsd + LG_FILL_DIV + index, 1)
            if shift > 1:
                store_bits(words, log, tsd + LG_FILL_DIV + index, 1, shift - 1)
            store_bits(words, log, refilled, 1, 0)
        return index, 0
    nr_blocks = low_water - (low_water >> 2)
    if index < NR_BINS:
        delay = load_bits(words, log, tsd + FLUSH_DELAY + index, 1)
        if nr_blocks < delay:
            store_bits(words, log, tsd + FLUSH_DELAY + index, 1, delay - nr_blocks)
            return index, 0
        store_bits(words, log, tsd + FLUSH_DELAY + index, 1, item_delay(par, index))
    return index, min(nr_blocks, cached_in(words, log, cache_bin_of(tsd, index)))


@compiled
def end_collection(
    words: Words, log: Words, par: Words, tsd: int, index: int, flushed: int
) -> None:
    """Let a small bin that was flushed ask for less, and the next step be about the next bin."""
    if flushed and index < NR_BINS:
        shift = load_bits(words, log, tsd + LG_FILL_DIV + index, 1) + 1
        if most_cached(words, log, par, index) >> min(shift, 16) >= 1:
            store_bits(words, log, tsd + LG_FILL_DIV + index, 1, shift)
    set_low_water(words, log, cache_bin_of(tsd, index))
    following = index + 1
    store_bits(
        words, log, tsd + NEXT_GC_BIN, 4, 0 if following == par[NR_CACHE_BINS] else following
    )


@compiled
def stacks_of(words: Words, log: Words, tsd: int) -> int:
    """Return the block that the stacks of a thread's bins are in."""
    return load_word(words, log, tsd + DYN_ALLOC)
