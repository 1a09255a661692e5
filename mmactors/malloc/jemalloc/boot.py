"""What the library sets up at its first call (malloc_init_hard_a0_locked, jemalloc 5.3.0).

Its settings follow from its options and the CPUs; its tables from the size classes.
"""

from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.malloc.jemalloc.arenas import ARENA_BINS
from mmactors.malloc.jemalloc.bins.bin import BIN_BYTES
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.par import (
    DATA_AT,
    HUGE_ARENA,
    IS_PLAIN_REALLOC,
    IS_SLOW,
    LARGE_PAD,
    LG_FLUSH_LARGE_DIV,
    LG_FLUSH_SMALL_DIV,
    LG_MAX_ACTIVE_FIT,
    MUTEX_SPINS,
    NR_ARENAS_AUTO,
    NR_CACHE_BINS,
    NR_PARAMETERS,
    OVERSIZE_THRESHOLD,
    RETAIN,
    TCACHE_GC_DELAY_BYTES,
    TCACHE_GC_INCR_BYTES,
    ZERO_ALL,
)
from mmactors.malloc.jemalloc.size_classes import (
    LARGE_MAXCLASS,
    LARGE_MINCLASS,
    LOOKUP_MAXCLASS,
    NR_BINS,
    NR_SIZES,
    index2size,
    size2index,
)
from mmactors.malloc.jemalloc.statics import (
    ARENAS_MOST,
    BIN_INFO_BYTES,
    BIN_INFOS,
    BIN_OFFSETS,
    DIV_INFOS,
    INDEX2SIZE_TABLE,
    SIZE2INDEX_TABLE,
    TICKER_GEOM_TABLE,
)
from mmactors.malloc.jemalloc.tcache.ticker import GEOM_TABLE
from mmactors.malloc.user_words import UserWords, note_access
from mmactors.units import PAGE_SIZE

_WORD: Final = 8
_BITMAP_GROUP: Final = 64
_FIXED_POINT_MASK: Final = (1 << 32) - 1
_HALF: Final = 1 << 15
"""In 65536ths."""
_NEVER: Final = (1 << 63) - 1
"""No program comes so far."""
_CACHE_BIN_MOST: Final = 8191
"""CACHE_BIN_NCACHED_MAX."""


def nr_arenas_of(options: JemallocOptions, nr_cpus: int) -> int:
    """Return how many arenas threads are spread over (malloc_init_narenas)."""
    goal = options.narenas_ratio * nr_cpus & _FIXED_POINT_MASK
    usual = goal + _HALF >> 16 if nr_cpus > 1 else 1
    return min(options.narenas or usual or 1, ARENAS_MOST - 1)


def slab_bytes_of(options: JemallocOptions, index: int) -> int:
    """Return the bytes of a class's slabs: the fewest pages without a rest (sc.c, slab_size)."""
    region = index2size(index)
    usual = region * PAGE_SIZE // gcd(region, PAGE_SIZE)
    return options.slab_bytes.get(index, usual)


def shards_of(options: JemallocOptions, index: int) -> int:
    """Return how many bins of a class an arena has."""
    return options.bin_shards.get(index, 1)


def set_up_par(data_at: int, options: JemallocOptions, nr_cpus: int) -> NDArray[np.int64]:
    """Return the settings of a process."""
    par = np.zeros(NR_PARAMETERS, dtype=np.int64)
    nr_arenas = nr_arenas_of(options, nr_cpus)
    has_huge = LARGE_MINCLASS <= options.oversize_threshold <= LARGE_MAXCLASS
    par[DATA_AT] = data_at
    par[NR_ARENAS_AUTO] = nr_arenas
    par[NR_CACHE_BINS] = size2index(options.tcache_max) + 1
    par[OVERSIZE_THRESHOLD] = options.oversize_threshold if has_huge else LARGE_MAXCLASS + PAGE_SIZE
    par[HUGE_ARENA] = nr_arenas if has_huge else 0
    par[LARGE_PAD] = PAGE_SIZE
    par[TCACHE_GC_INCR_BYTES] = min(options.tcache_gc_incr_bytes, _NEVER)
    par[TCACHE_GC_DELAY_BYTES] = min(options.tcache_gc_delay_bytes, _NEVER)
    par[LG_FLUSH_SMALL_DIV] = options.lg_tcache_flush_small_div
    par[LG_FLUSH_LARGE_DIV] = options.lg_tcache_flush_large_div
    spins = options.mutex_max_spin
    par[MUTEX_SPINS] = spins if spins < 0 else min(spins + 1, _NEVER) if nr_cpus > 1 else 0
    par[IS_PLAIN_REALLOC] = options.zero_realloc == "free"
    par[LG_MAX_ACTIVE_FIT] = options.lg_extent_max_active_fit
    par[RETAIN] = options.retain
    par[IS_SLOW] = par[ZERO_ALL] = options.zero
    return par


def most_cached_of(options: JemallocOptions, index: int) -> int:
    """Return how many blocks of a class a cache keeps (tcache_ncached_max_compute)."""
    if index >= NR_BINS:
        return options.tcache_nslots_large
    most = min(options.tcache_nslots_small_max, _CACHE_BIN_MOST)
    most = max(most - most % 2, 2)
    least = options.tcache_nslots_small_min
    least = min(max(least + least % 2, 2), most)
    nr_regions = slab_bytes_of(options, index) // index2size(index)
    shift = options.lg_tcache_nslots_mul
    wanted = nr_regions >> -shift if shift < 0 else nr_regions << shift
    return min(max(wanted + wanted % 2, least), most)


def arena_bytes(options: JemallocOptions) -> int:
    """Return the bytes of an arena, with its bins."""
    return ARENA_BINS + BIN_BYTES * sum(shards_of(options, index) for index in range(NR_BINS))


def write_tables(words: UserWords, data_at: int, options: JemallocOptions) -> None:
    """Write the library's tables (sz_boot, bin_info_boot, arena_boot)."""
    table = bytearray(LOOKUP_MAXCLASS // _WORD + _WORD)
    for place in range(LOOKUP_MAXCLASS // _WORD + 1):
        table[place] = size2index(place * _WORD)
    _write(words, data_at + SIZE2INDEX_TABLE, bytes(table))
    sizes = np.array([index2size(index) for index in range(NR_SIZES)], dtype=np.int64)
    _write(words, data_at + INDEX2SIZE_TABLE, sizes.tobytes())
    offset = ARENA_BINS
    offsets, inverses = [], []
    for index in range(NR_BINS):
        region = index2size(index)
        slab_bytes = slab_bytes_of(options, index)
        nr_regions = slab_bytes // region
        nr_groups = -(-nr_regions // _BITMAP_GROUP)
        info = [region, slab_bytes, nr_regions | shards_of(options, index) << 32]
        at = data_at + BIN_INFOS + BIN_INFO_BYTES * index
        _write(words, at, np.array([*info, nr_regions, nr_groups], dtype=np.int64).tobytes())
        offsets.append(offset)
        inverses.append(-(-(1 << 32) // region))
        offset += BIN_BYTES * shards_of(options, index)
    _write(words, data_at + BIN_OFFSETS, np.array(offsets, dtype=np.uint32).tobytes())
    _write(words, data_at + DIV_INFOS, np.array(inverses, dtype=np.uint32).tobytes())


def map_tables(words: UserWords, data_at: int) -> None:
    """Let what the library's file has of its tables be there: mapping it is no access."""
    with words.unwatched():
        _write(words, data_at + TICKER_GEOM_TABLE, GEOM_TABLE)


def write_cache_sizes(words: UserWords, at: int, options: JemallocOptions) -> None:
    """Write how many blocks of each class a cache keeps (tcache_boot)."""
    nr_bins = max(size2index(options.tcache_max) + 1, NR_BINS)
    most = [
        most_cached_of(options, index) if index < size2index(options.tcache_max) + 1 else 0
        for index in range(nr_bins)
    ]
    _write(words, at, np.array(most, dtype=np.uint16).tobytes())


def _write(words: UserWords, at: int, data: bytes) -> None:
    """Write bytes, from a whole word on."""
    padded = data + bytes(-len(data) % _WORD)
    for place, word in enumerate(np.frombuffer(padded, dtype=np.int64).tolist()):
        words.put(at + _WORD * place, word)
    note_access(words.log, at, len(data), 1)
