"""The phases of a row, as far as they need nobody: get a block, give one, then what is due.

A phase that needs new pages, gives pages back, or will look at the decay, stops the row: either it
has done nothing, or `stop` says what there is of it. Calls go on there.
"""

# ruff: noqa: FBT001 -- compiled functions take their arguments by place.

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.arenas import CACHELINE
from mmactors.malloc.jemalloc.bins.bin import (
    LOCK,
    count_fill,
    count_given,
    fill_blocks,
    give_block,
    take_block,
)
from mmactors.malloc.jemalloc.bins.slab import init_slab
from mmactors.malloc.jemalloc.large_block import (
    count_large_dalloc,
    count_large_malloc,
    place_block,
)
from mmactors.malloc.jemalloc.mutex import note_locked, note_unlocked
from mmactors.malloc.jemalloc.pages.at_once import extent_alloc, extent_dalloc, takes_at_once
from mmactors.malloc.jemalloc.pages.edata import arena_index_of, bytes_of
from mmactors.malloc.jemalloc.pages.emap import edata_of
from mmactors.malloc.jemalloc.par import (
    LARGE_PAD,
    LG_FLUSH_LARGE_DIV,
    LG_FLUSH_SMALL_DIV,
    NR_CACHE_BINS,
    OVERSIZE_THRESHOLD,
)
from mmactors.malloc.jemalloc.size_classes import NR_BINS, index2size
from mmactors.malloc.jemalloc.tcache.cache_bin import (
    count_request,
    empty_position,
    finish_fill,
    pop_block,
    push_block,
    take_requests,
)
from mmactors.malloc.jemalloc.tcache.events import COLLECTION_IS_DUE, PEAK_IS_DUE, update_peak
from mmactors.malloc.jemalloc.tcache.flush import (
    FIRST_EDATA,
    arena_at,
    bin_at,
    bin_of_slab,
    binshard_of,
    flush_large,
    flush_small,
    inverse_of,
    nr_regions_of,
    region_bytes_of,
    slab_bytes_of,
)
from mmactors.malloc.jemalloc.tcache.tcache import (
    BIN_REFILLED,
    cache_bin_of,
    end_collection,
    fill_count,
    most_cached,
    plan_collection,
)
from mmactors.malloc.jemalloc.tcache.ticker import tick, ticks_left
from mmactors.malloc.jemalloc.tsd import ARENA
from mmactors.malloc.user_words import clear_words, load_word, store_bits

NOT_DONE: Final = -1
"""A phase has done nothing."""
NEEDS_SLAB: Final = -2
"""The bin of an arena has no more free regions."""
NEEDS_DALLOC: Final = -3
"""Slabs have become empty."""

PHASE: Final = 1
INDEX: Final = 2
"""The class that a flush or a fill is about."""
COUNT: Final = 3
"""How many blocks there are of a fill, or that a flush is about."""
BLOCK: Final = 4
"""The block that the row returns."""
DUE: Final = 5
"""The events that are due."""
OLD_USABLE: Final = 6
"""The bytes of the block that the row gives."""
USABLE: Final = 7
"""The bytes of the one that it gets."""

GET: Final = 0
GIVE: Final = 1
ALLOCATED_EVENTS: Final = 2
DEALLOCATED_EVENTS: Final = 3


@compiled
def get_block(
    words: Words,
    log: Words,
    par: Words,
    tsd: int,
    index: int,
    has_cache: bool,
    zero: bool,
    stop: Words,
) -> int:
    """Return a block of a small class, or a large one of the cache; NOT_DONE, NEEDS_SLAB."""
    if index >= NR_BINS and (not has_cache or index >= par[NR_CACHE_BINS]):
        return NOT_DONE if zero else _get_large(words, log, par, tsd, index)
    if not has_cache or (index < NR_BINS and most_cached(words, log, par, index) == 0):
        return _get_uncached(words, log, par, tsd, index, zero, stop)
    cache_bin = cache_bin_of(tsd, index)
    block = pop_block(words, log, cache_bin)
    if block == 0:
        if index >= NR_BINS:
            return NOT_DONE if zero else _get_large(words, log, par, tsd, index)
        code = _fill(words, log, par, tsd, index, stop)
        if code:
            return code
        block = pop_block(words, log, cache_bin)
    if zero:
        clear_words(words, log, block, index2size(index))
    count_request(words, log, cache_bin)
    return block


@compiled
def _new_slab(words: Words, log: Words, par: Words, tsd: int, arena: int, index: int) -> int:
    """Return a new slab, if the pages have one at once; 0: they have not (arena_slab_alloc)."""
    slab_bytes = slab_bytes_of(words, log, par, index)
    slab = extent_alloc(words, log, par, tsd, arena, slab_bytes, 1, index)
    if slab:
        shard = binshard_of(words, log, tsd, index)
        init_slab(words, log, slab, nr_regions_of(words, log, par, index), shard)
    return slab


@compiled
def _get_large(words: Words, log: Words, par: Words, tsd: int, index: int) -> int:
    """Return a large block, if the pages have one at once (large_malloc)."""
    arena = load_word(words, log, tsd + ARENA)
    usable = index2size(index)
    if arena == 0 or usable >= par[OVERSIZE_THRESHOLD] or ticks_left(words, log, tsd) < 1:
        return NOT_DONE
    edata = extent_alloc(words, log, par, tsd, arena, usable + int(par[LARGE_PAD]), 0, index)
    if edata == 0:
        return NOT_DONE
    count_large_malloc(words, log, arena, usable)
    address = place_block(words, log, par, tsd, edata, CACHELINE)
    tick(words, log, par, tsd, 1)
    return address


@compiled
def _get_uncached(
    words: Words, log: Words, par: Words, tsd: int, index: int, zero: bool, stop: Words
) -> int:
    """Return a block of a bin (arena_malloc_small)."""
    arena = load_word(words, log, tsd + ARENA)
    if index >= NR_BINS or arena == 0 or ticks_left(words, log, tsd) < 1:
        return NOT_DONE
    arena_bin = bin_at(words, log, par, arena, index, binshard_of(words, log, tsd, index))
    note_locked(words, log, arena_bin + LOCK, tsd)
    region_bytes = region_bytes_of(words, log, par, index)
    block = take_block(words, log, arena_bin, region_bytes, 0)
    note_unlocked(words, log, arena_bin + LOCK)
    slab = _new_slab(words, log, par, tsd, arena, index) if block == 0 else 0
    if slab:
        note_locked(words, log, arena_bin + LOCK, tsd)
        block = take_block(words, log, arena_bin, region_bytes, slab)
        note_unlocked(words, log, arena_bin + LOCK)
    if block == 0:
        stop[PHASE] = GET
        stop[INDEX] = index
        return NEEDS_SLAB
    if zero:
        clear_words(words, log, block, index2size(index))
    tick(words, log, par, tsd, 1)
    return block


@compiled
def _fill(words: Words, log: Words, par: Words, tsd: int, index: int, stop: Words) -> int:
    """Let an empty bin of the cache have blocks (arena_cache_bin_fill_small); 0, or the code."""
    arena = load_word(words, log, tsd + ARENA)
    if arena == 0 or ticks_left(words, log, tsd) < 1:
        return NOT_DONE
    cache_bin = cache_bin_of(tsd, index)
    wanted = fill_count(words, log, par, tsd, index)
    target = empty_position(words, log, cache_bin) - 8 * wanted
    arena_bin = bin_at(words, log, par, arena, index, binshard_of(words, log, tsd, index))
    region_bytes = region_bytes_of(words, log, par, index)
    note_locked(words, log, arena_bin + LOCK, tsd)
    filled, _ = fill_blocks(words, log, arena_bin, region_bytes, target, 0, wanted, 0)
    while filled < wanted:
        note_unlocked(words, log, arena_bin + LOCK)
        slab = _new_slab(words, log, par, tsd, arena, index)
        if slab == 0:
            stop[PHASE] = GET
            stop[INDEX] = index
            stop[COUNT] = filled
            return NEEDS_SLAB
        note_locked(words, log, arena_bin + LOCK, tsd)
        before = filled
        filled, _ = fill_blocks(words, log, arena_bin, region_bytes, target, filled, wanted, slab)
        if filled == before:
            break
    count_fill(words, log, arena_bin, filled, take_requests(words, log, cache_bin))
    note_unlocked(words, log, arena_bin + LOCK)
    finish_fill(words, log, cache_bin, wanted, filled)
    tick(words, log, par, tsd, 1)
    store_bits(words, log, tsd + BIN_REFILLED + index, 1, 1)
    return 0


@compiled
def give_block_back(
    words: Words,
    log: Words,
    par: Words,
    tsd: int,
    block: int,
    index: int,
    has_cache: bool,
    stop: Words,
    stack: Words,
) -> int:
    """Let the cache or the bin have a block; 0, NOT_DONE or NEEDS_DALLOC."""
    if has_cache and index < par[NR_CACHE_BINS]:
        cache_bin = cache_bin_of(tsd, index)
        if push_block(words, log, cache_bin, block):
            return 0
        most = most_cached(words, log, par, index)
        if most == 0:
            return NOT_DONE
        division = par[LG_FLUSH_SMALL_DIV] if index < NR_BINS else par[LG_FLUSH_LARGE_DIV]
        nr_blocks = most - (most >> int(division))
        code = _flush(words, log, par, tsd, index, nr_blocks, stop, stack)
        if code:
            stop[PHASE] = GIVE
            return code
        push_block(words, log, cache_bin, block)
        return 0
    slab = edata_of(words, log, par, tsd, block)
    if slab == 0 or ticks_left(words, log, tsd) < 1:
        return NOT_DONE
    if index >= NR_BINS:
        return _give_large(words, log, par, tsd, slab, index)
    arena_bin = bin_of_slab(words, log, par, index, slab)
    inverse = inverse_of(words, log, par, index)
    nr_regions = nr_regions_of(words, log, par, index)
    note_locked(words, log, arena_bin + LOCK, tsd)
    is_empty = give_block(words, log, arena_bin, inverse, nr_regions, slab, block)
    count_given(words, log, arena_bin, 1)
    note_unlocked(words, log, arena_bin + LOCK)
    arena = arena_at(words, log, par, arena_index_of(words, log, slab))
    if is_empty and not extent_dalloc(words, log, par, tsd, arena, slab):
        stop[PHASE] = GIVE
        stop[COUNT] = 0
        stack[FIRST_EDATA] = slab
        return NEEDS_DALLOC
    tick(words, log, par, tsd, 1)
    return 0


@compiled
def _give_large(words: Words, log: Words, par: Words, tsd: int, edata: int, index: int) -> int:
    """Let the pages have a large block's extent, if they take it at once (large_dalloc)."""
    arena = arena_at(words, log, par, arena_index_of(words, log, edata))
    if not takes_at_once(words, log, arena, bytes_of(words, log, edata)):
        return NOT_DONE
    count_large_dalloc(words, log, arena, index2size(index))
    extent_dalloc(words, log, par, tsd, arena, edata)
    tick(words, log, par, tsd, 1)
    return 0


@compiled
def _flush(
    words: Words,
    log: Words,
    par: Words,
    tsd: int,
    index: int,
    nr_blocks: int,
    stop: Words,
    stack: Words,
) -> int:
    """Flush blocks of a class; 0, NOT_DONE or NEEDS_DALLOC."""
    if index < NR_BINS:
        nr_empty = flush_small(words, log, par, tsd, index, nr_blocks, stack)
    else:
        nr_empty = flush_large(words, log, par, tsd, index, nr_blocks, stack)
    stop[INDEX] = index
    stop[COUNT] = nr_blocks
    if nr_empty < 0:
        return NOT_DONE
    return NEEDS_DALLOC if nr_empty else 0


@compiled
def do_events(
    words: Words,
    log: Words,
    par: Words,
    tsd: int,
    due: int,
    has_cache: bool,
    stop: Words,
    stack: Words,
) -> int:
    """Do what is due; 0, NOT_DONE (the flush that `stop` tells of) or NEEDS_DALLOC."""
    if due & COLLECTION_IS_DUE and has_cache:
        index, nr_blocks = plan_collection(words, log, par, tsd)
        if nr_blocks:
            code = _flush(words, log, par, tsd, index, nr_blocks, stop, stack)
            if code:
                stop[DUE] = due
                return code
        end_collection(words, log, par, tsd, index, nr_blocks)
    if due & PEAK_IS_DUE:
        update_peak(words, log, tsd)
    return 0
