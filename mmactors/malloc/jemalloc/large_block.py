"""What an arena counts of its large blocks, by class, and where in their extents these begin.

jemalloc 5.3.0, arena_stats.h, arena_inlines_b.h.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.pages.edata import ADDRESS
from mmactors.malloc.jemalloc.par import LARGE_PAD
from mmactors.malloc.jemalloc.prng import random_bits
from mmactors.malloc.jemalloc.size_classes import (
    LARGE_MINCLASS,
    NR_BINS,
    lg_floor,
    size2index,
)
from mmactors.malloc.jemalloc.tsd import PRNG_STATE
from mmactors.malloc.user_words import add_to, load_word, store_word
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

CACHELINE: Final = 64
STATS_LARGE: Final = 24 + 952
"""stats.lstats of an arena."""
LARGE_STATS_BYTES: Final = 48
NR_MALLOC: Final = 0
NR_DALLOC: Final = 8
NR_REQUESTS: Final = 16
NR_FLUSHES: Final = 32
LARGE_COLUMNS: Final = (NR_MALLOC, NR_DALLOC, NR_REQUESTS, NR_FLUSHES)


@compiled
def _stats_of(arena: int, index: int) -> int:
    return arena + STATS_LARGE + LARGE_STATS_BYTES * max(index - NR_BINS, 0)


@compiled
def count_large_malloc(words: Words, log: Words, arena: int, usable: int) -> None:
    """Count a large block that an arena gave (arena_large_malloc_stats_update)."""
    index = size2index(max(usable, LARGE_MINCLASS))
    add_to(words, log, _stats_of(arena, index) + NR_MALLOC, 1)


@compiled
def count_large_dalloc(words: Words, log: Words, arena: int, usable: int) -> None:
    """Count a large block that an arena got back (arena_large_dalloc_stats_update)."""
    index = size2index(max(usable, LARGE_MINCLASS))
    add_to(words, log, _stats_of(arena, index) + NR_DALLOC, 1)


@compiled
def count_large_flush(words: Words, log: Words, arena: int, index: int, requests: int) -> None:
    """Count a flush of a cache's bin, and what its owner asked for."""
    add_to(words, log, _stats_of(arena, index) + NR_REQUESTS, requests)
    add_to(words, log, _stats_of(arena, index) + NR_FLUSHES, 1)


@compiled
def place_block(words: Words, log: Words, par: Words, tsd: int, edata: int, alignment: int) -> int:
    """Let a block begin at a random place of its extent's first page, if it is less aligned.

    arena_cache_oblivious_randomize. Return where it is.
    """
    address = load_word(words, log, edata + ADDRESS)
    if par[LARGE_PAD] and alignment < PAGE_SIZE:
        aligned = alignment + CACHELINE - 1 & -CACHELINE
        nr_bits = PAGE_SHIFT - lg_floor(aligned)
        address += random_bits(words, log, tsd + PRNG_STATE, nr_bits) << PAGE_SHIFT - nr_bits
        store_word(words, log, edata + ADDRESS, address)
    return address
