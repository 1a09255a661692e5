"""What leaves a thread's cache, in passes by bin of an arena (tcache_bin_flush_impl, tcache.c).

A pass is about the blocks that are of the bin that the first of them is of; the others come to
the front, for the next pass. What a pass knows besides is in an array, as on the library's stack:
how many slabs have become empty, the extents of all blocks, then the empty slabs.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.bins.bin import (
    BIN_BYTES,
    LOCK,
    NR_FLUSHES,
    NR_REQUESTS,
    count_given,
    give_block,
)
from mmactors.malloc.jemalloc.bins.slab import shard_of
from mmactors.malloc.jemalloc.large_block import count_large_dalloc, count_large_flush
from mmactors.malloc.jemalloc.mutex import note_locked, note_unlocked
from mmactors.malloc.jemalloc.pages.at_once import extent_dalloc, takes_at_once
from mmactors.malloc.jemalloc.pages.edata import arena_index_of
from mmactors.malloc.jemalloc.pages.emap import edata_of
from mmactors.malloc.jemalloc.par import DATA_AT, LARGE_PAD
from mmactors.malloc.jemalloc.size_classes import index2size
from mmactors.malloc.jemalloc.statics import (
    ARENAS,
    ARENAS_MOST,
    BIN_INFO_BYTES,
    BIN_INFOS,
    BIN_OFFSETS,
    DIV_INFOS,
    NR_REGIONS,
    REGION_BYTES,
    SLAB_BYTES,
)
from mmactors.malloc.jemalloc.tcache.cache_bin import (
    cached_in,
    empty_position,
    finish_flush,
    take_requests,
)
from mmactors.malloc.jemalloc.tcache.tcache import SLOW_ARENA, cache_bin_of
from mmactors.malloc.jemalloc.tcache.ticker import tick, ticks_left
from mmactors.malloc.jemalloc.tsd import ARENA, BINSHARDS
from mmactors.malloc.user_words import add_to, load_bits, load_word, store_word

NR_EMPTY: Final = 0
"""How many slabs have become empty."""
IS_MERGED: Final = 1
"""1: what the cache's owner asked for was counted in its arena."""
FIRST_EDATA: Final = 2
_END_OF_ADDRESSES: Final = 1 << 47
FLUSH_STACK: Final = FIRST_EDATA + 2 * 8192 + 1
"""What the largest flush needs."""


@compiled
def arena_at(words: Words, log: Words, par: Words, index: int) -> int:
    """Return the address of an arena by its number; 0: there is none (arena_get).

    What is no address of a program was overwritten, and is none either.
    """
    if index >= ARENAS_MOST:
        return 0
    arena = load_word(words, log, int(par[DATA_AT]) + ARENAS + 8 * index)
    return arena if 0 < arena < _END_OF_ADDRESSES else 0


@compiled
def region_bytes_of(words: Words, log: Words, par: Words, index: int) -> int:
    """Return the bytes of a small class's regions."""
    at = int(par[DATA_AT]) + BIN_INFOS + BIN_INFO_BYTES * index
    return load_word(words, log, at + REGION_BYTES)


@compiled
def nr_regions_of(words: Words, log: Words, par: Words, index: int) -> int:
    """Return how many regions a slab of a class has."""
    at = int(par[DATA_AT]) + BIN_INFOS + BIN_INFO_BYTES * index
    return load_bits(words, log, at + NR_REGIONS, 4)


@compiled
def inverse_of(words: Words, log: Words, par: Words, index: int) -> int:
    """Return what to multiply by instead of a division by a class's bytes."""
    return load_bits(words, log, int(par[DATA_AT]) + DIV_INFOS + 4 * index, 4)


@compiled
def bin_at(words: Words, log: Words, par: Words, arena: int, index: int, shard: int) -> int:
    """Return the address of a bin (arena_get_bin)."""
    offset = load_bits(words, log, int(par[DATA_AT]) + BIN_OFFSETS + 4 * index, 4)
    return arena + offset + BIN_BYTES * shard


@compiled
def binshard_of(words: Words, log: Words, tsd: int, index: int) -> int:
    """Return which of an arena's bins of a class a thread has (arena_bin_choose)."""
    if load_word(words, log, tsd + ARENA) == 0:
        return 0
    return load_bits(words, log, tsd + BINSHARDS + index, 1)


@compiled
def bin_of_slab(words: Words, log: Words, par: Words, index: int, slab: int) -> int:
    """Return the bin that a slab is of."""
    arena = arena_at(words, log, par, arena_index_of(words, log, slab))
    return bin_at(words, log, par, arena, index, shard_of(words, log, slab))


@compiled
def look_up_edatas(
    words: Words, log: Words, par: Words, tsd: int, blocks: int, nr_blocks: int, stack: Words
) -> None:
    """Find the extents of blocks, whose addresses are in a row (tcache_bin_flush_edatas_lookup)."""
    stack[NR_EMPTY] = 0
    stack[IS_MERGED] = 0
    for place in range(nr_blocks):
        block = load_word(words, log, blocks + 8 * place)
        stack[FIRST_EDATA + place] = edata_of(words, log, par, tsd, block)


@compiled
def flush_small_pass(
    words: Words,
    log: Words,
    par: Words,
    tsd: int,
    index: int,
    blocks: int,
    nr_blocks: int,
    first_empty: int,
    stack: Words,
) -> int:
    """Give blocks of one bin back, whose lock is held; return how many are left, of others.

    Empty slabs go to `stack` from `first_empty` on.
    """
    first = int(stack[FIRST_EDATA])
    arena_index = arena_index_of(words, log, first)
    shard = shard_of(words, log, first)
    arena = arena_at(words, log, par, arena_index)
    arena_bin = bin_at(words, log, par, arena, index, shard)
    inverse = inverse_of(words, log, par, index)
    nr_regions = nr_regions_of(words, log, par, index)
    if stack[IS_MERGED] == 0 and load_word(words, log, tsd + SLOW_ARENA) == arena:
        stack[IS_MERGED] = 1
        count_flush(words, log, tsd, index, arena_bin)
    nr_left = 0
    for place in range(nr_blocks):
        block = load_word(words, log, blocks + 8 * place)
        edata = int(stack[FIRST_EDATA + place])
        if arena_index_of(words, log, edata) != arena_index or shard_of(words, log, edata) != shard:
            store_word(words, log, blocks + 8 * nr_left, block)
            stack[FIRST_EDATA + nr_left] = edata
            nr_left += 1
        elif give_block(words, log, arena_bin, inverse, nr_regions, edata, block):
            stack[first_empty + stack[NR_EMPTY]] = edata
            stack[NR_EMPTY] += 1
    count_given(words, log, arena_bin, nr_blocks - nr_left)
    return nr_left


@compiled
def slab_bytes_of(words: Words, log: Words, par: Words, index: int) -> int:
    """Return the bytes of a class's slabs."""
    at = int(par[DATA_AT]) + BIN_INFOS + BIN_INFO_BYTES * index
    return load_word(words, log, at + SLAB_BYTES)


@compiled
def _give_slabs(
    words: Words, log: Words, par: Words, tsd: int, first_empty: int, stack: Words
) -> int:
    """Give empty slabs back as long as the pages take them at once; return how many are left."""
    for place in range(stack[NR_EMPTY]):
        slab = int(stack[first_empty + place])
        arena = arena_at(words, log, par, arena_index_of(words, log, slab))
        if not extent_dalloc(words, log, par, tsd, arena, slab):
            left = int(stack[NR_EMPTY]) - place
            for each in range(left):
                stack[first_empty + each] = stack[first_empty + place + each]
            stack[NR_EMPTY] = left
            return left
    stack[NR_EMPTY] = 0
    return 0


@compiled
def flush_large(
    words: Words, log: Words, par: Words, tsd: int, index: int, nr_blocks: int, stack: Words
) -> int:
    """Give the oldest large blocks of a cache's bin back, if the pages take them at once.

    As LargeBlocks.flush, while nobody else runs; 0, or -1: nothing was done.
    """
    cache_bin = cache_bin_of(tsd, index)
    nr_blocks = min(nr_blocks, cached_in(words, log, cache_bin))
    if ticks_left(words, log, tsd) < nr_blocks:
        return -1
    blocks = empty_position(words, log, cache_bin) - 8 * nr_blocks
    look_up_edatas(words, log, par, tsd, blocks, nr_blocks, stack)
    own = load_word(words, log, tsd + SLOW_ARENA)
    usable = index2size(index)
    most = nr_blocks * (usable + int(par[LARGE_PAD]))
    for place in range(nr_blocks):
        edata = int(stack[FIRST_EDATA + place])
        arena = arena_at(words, log, par, arena_index_of(words, log, edata)) if edata else 0
        if arena != own or not takes_at_once(words, log, arena, most):
            return -1
    count_large_flush(words, log, own, index, take_requests(words, log, cache_bin))
    for _ in range(nr_blocks):
        count_large_dalloc(words, log, own, usable)
    for place in range(nr_blocks):
        extent_dalloc(words, log, par, tsd, own, int(stack[FIRST_EDATA + place]))
    tick(words, log, par, tsd, nr_blocks)
    finish_flush(words, log, cache_bin, nr_blocks)
    return 0


@compiled
def flush_small(
    words: Words, log: Words, par: Words, tsd: int, index: int, nr_blocks: int, stack: Words
) -> int:
    """Give the oldest blocks of a cache's bin back, while nobody else runs.

    Return 0, or how many slabs have become empty: with them it ends (SmallBlocks.end_flush). -1:
    nothing was done, as a block is nobody's, or it will be time to look at the decay.
    """
    cache_bin = cache_bin_of(tsd, index)
    nr_blocks = min(nr_blocks, cached_in(words, log, cache_bin))
    if ticks_left(words, log, tsd) < nr_blocks:
        return -1
    blocks = empty_position(words, log, cache_bin) - 8 * nr_blocks
    look_up_edatas(words, log, par, tsd, blocks, nr_blocks, stack)
    for place in range(nr_blocks):
        if stack[FIRST_EDATA + place] == 0:
            return -1
    left = nr_blocks
    while left:
        arena_bin = bin_of_slab(words, log, par, index, int(stack[FIRST_EDATA]))
        note_locked(words, log, arena_bin + LOCK, tsd)
        rest = flush_small_pass(
            words, log, par, tsd, index, blocks, left, FIRST_EDATA + nr_blocks, stack
        )
        note_unlocked(words, log, arena_bin + LOCK)
        tick(words, log, par, tsd, left - rest)
        left = rest
    nr_left = _give_slabs(words, log, par, tsd, FIRST_EDATA + nr_blocks, stack)
    if nr_left:
        return nr_left
    if stack[IS_MERGED] == 0:
        arena = load_word(words, log, tsd + SLOW_ARENA)
        arena_bin = bin_at(words, log, par, arena, index, binshard_of(words, log, tsd, index))
        note_locked(words, log, arena_bin + LOCK, tsd)
        count_flush(words, log, tsd, index, arena_bin)
        note_unlocked(words, log, arena_bin + LOCK)
    finish_flush(words, log, cache_bin, nr_blocks)
    return 0


@compiled
def count_flush(words: Words, log: Words, tsd: int, index: int, arena_bin: int) -> None:
    """Count a flush, and what the cache's owner asked for, in a bin whose lock is held."""
    add_to(words, log, arena_bin + NR_FLUSHES, 1)
    requests = take_requests(words, log, cache_bin_of(tsd, index))
    add_to(words, log, arena_bin + NR_REQUESTS, requests)
