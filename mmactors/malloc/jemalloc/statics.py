"""jemalloc's own data (.data, .bss): where it lies, from the address that a process has it at.

Sizes and contents are those of jemalloc 5.3.0; the order is the one of this list.
"""

from typing import Final

from mmactors.malloc.jemalloc.size_classes import NR_BINS, NR_SIZES
from mmactors.units import PAGE_SIZE

SIZE2INDEX_TABLE: Final = 0
"""sz_size2index_tab: a byte for each 8 bytes up to 4096."""
INDEX2SIZE_TABLE: Final = 576
"""sz_index2size_tab."""
BIN_INFOS: Final = INDEX2SIZE_TABLE + 8 * NR_SIZES
"""bin_infos: of each small class its region's and slab's bytes, regions of a slab, shards."""
BIN_INFO_BYTES: Final = 40
REGION_BYTES: Final = 0
SLAB_BYTES: Final = 8
NR_REGIONS: Final = 16
NR_SHARDS: Final = 20
BIN_OFFSETS: Final = BIN_INFOS + BIN_INFO_BYTES * NR_BINS
"""arena_bin_offsets: where the bins of each class begin in an arena, 4 bytes each."""
TCACHE_BIN_INFO: Final = BIN_OFFSETS + 160
"""tcache_bin_info: the address of the most blocks of each bin of a cache, 2 bytes each."""
TICKER_GEOM_TABLE: Final = TCACHE_BIN_INFO + 32
"""ticker_geom_table: 64 bytes."""
DIV_INFOS: Final = TICKER_GEOM_TABLE + 64
"""arena_binind_div_info: 4 bytes of each small class, to divide by."""
ARENAS_LOCK: Final = DIV_INFOS + 192
"""arenas_lock."""
NOMINAL_TSDS: Final = ARENAS_LOCK + 112
"""tsd_nominal_tsds: the first of the threads that are neither new nor ending."""
NOMINAL_TSDS_LOCK: Final = NOMINAL_TSDS + 16
INIT_LOCK: Final = NOMINAL_TSDS_LOCK + 112
"""init_lock."""
ZERO_REALLOCS: Final = INIT_LOCK + 112
"""zero_realloc_count: how often realloc(block, 0) was called."""
ARENAS: Final = INIT_LOCK + 128
"""arenas: the address of each arena."""
ARENAS_MOST: Final = 4095
"""MALLOCX_ARENA_LIMIT."""
FRONT_BYTES: Final = (ARENAS + 8 * ARENAS_MOST + PAGE_SIZE - 1) & -PAGE_SIZE
"""What is behind is the page allocator's."""
EMAP: Final = FRONT_BYTES
"""arena_emap_global: its base, then its lock, init_lock."""
EMAP_LOCK: Final = EMAP + 8
EMAP_ROOT: Final = EMAP + 120
B0: Final = EMAP_ROOT + (1 << 21)
"""b0: the base of the library's own memory."""
DATA_BYTES: Final = (B0 + 8 + PAGE_SIZE - 1) & -PAGE_SIZE
"""All of it."""
