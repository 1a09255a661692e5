"""Thread-specific data, tsd_t: where its fields lie (jemalloc 5.3.0, tsd.h, as Debian builds it).

It is in the thread-local storage of each thread, right below the thread pointer.
"""

from typing import Final

TSD_BYTES: Final = 2632

TCACHE_ENABLED: Final = 0
REENTRANCY_LEVEL: Final = 1
ALLOCATED_LAST_EVENT: Final = 8
ALLOCATED_NEXT_EVENT: Final = 16
DEALLOCATED_LAST_EVENT: Final = 24
DEALLOCATED_NEXT_EVENT: Final = 32
TCACHE_GC_WAIT: Final = 40
TCACHE_GC_DALLOC_WAIT: Final = 48
PEAK_ALLOC_WAIT: Final = 88
PEAK_DALLOC_WAIT: Final = 96
PRNG_STATE: Final = 112
SAN_UNTIL_GUARD_SMALL: Final = 120
IARENA: Final = 136
ARENA: Final = 144
DECAY_TICKER: Final = 152
SEC_SHARD: Final = 160
BINSHARDS: Final = 161
TSD_LINK: Final = 200
PEAK: Final = 224
TCACHE_SLOW: Final = 256
RTREE_CTX: Final = 432
STATE: Final = 816
ALLOCATED: Final = 824
ALLOCATED_NEXT_EVENT_FAST: Final = 832
DEALLOCATED: Final = 840
DEALLOCATED_NEXT_EVENT_FAST: Final = 848
TCACHE: Final = 856

STATE_NOMINAL: Final = 0
STATE_NOMINAL_SLOW: Final = 1
STATE_NOMINAL_MAX: Final = 2
STATE_MINIMAL_INITIALIZED: Final = 3
STATE_PURGATORY: Final = 4
STATE_REINCARNATED: Final = 5
STATE_UNINITIALIZED: Final = 6
