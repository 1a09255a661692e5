"""The settings of a process's jemalloc that compiled paths read (opt_*, and what follows of them).

They lie in the library's own data, which is read and shared by all: no accesses are noted.
"""

from typing import Final

DATA_AT: Final = 0
"""The address of the library's own data (statics.py)."""
NR_ARENAS_AUTO: Final = 1
"""narenas_auto."""
NR_CACHE_BINS: Final = 2
"""nhbins: classes that threads' caches have bins for."""
TCACHE_MAXCLASS: Final = 3
TCACHE_BIN_INFO_AT: Final = 4
"""The address of what tcache_bin_info points to."""
OVERSIZE_THRESHOLD: Final = 5
HUGE_ARENA: Final = 6
"""huge_arena_ind; 0: there is none."""
LARGE_PAD: Final = 7
"""sz_large_pad: bytes that an extent has more than its class, to place the block in."""
TCACHE_GC_INCR_BYTES: Final = 8
TCACHE_GC_DELAY_BYTES: Final = 9
LG_FLUSH_SMALL_DIV: Final = 10
LG_FLUSH_LARGE_DIV: Final = 11
IS_SLOW: Final = 12
"""malloc_slow: options that only the slow paths know are on."""
ZERO_ALL: Final = 13
"""opt_zero."""
IS_PLAIN_REALLOC: Final = 14
"""realloc(block, 0) frees (opt_zero_realloc_action)."""
MUTEX_SPINS: Final = 15
"""How often who finds a lock taken looks again before it sleeps; -1: for ever."""
NR_FRONT_PARAMETERS: Final = 48
"""What is behind is the page allocator's."""
LG_MAX_ACTIVE_FIT: Final = 48
"""opt_lg_extent_max_active_fit."""
RETAIN: Final = 49
"""opt_retain."""
NR_PARAMETERS: Final = 96
