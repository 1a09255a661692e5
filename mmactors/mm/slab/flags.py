"""Flags of caches (include/linux/slab.h, mm/slab.h, mm/slub.c; Linux 6.1, x86-64).

What Linux calls __CMPXCHG_DOUBLE and __OBJECT_POISON has no underscores here. Left out: KASAN's,
KFENCE's and debugobjects' flags, which Debian's kernel has off, and SLAB_FAILSLAB.
"""

from typing import Final

SLAB_CONSISTENCY_CHECKS: Final = 0x100
SLAB_RED_ZONE: Final = 0x400
SLAB_POISON: Final = 0x800
SLAB_KMALLOC: Final = 0x1000
SLAB_HWCACHE_ALIGN: Final = 0x2000
SLAB_CACHE_DMA: Final = 0x4000
SLAB_CACHE_DMA32: Final = 0x8000
SLAB_STORE_USER: Final = 0x10000
SLAB_RECLAIM_ACCOUNT: Final = 0x20000
SLAB_PANIC: Final = 0x40000
SLAB_TYPESAFE_BY_RCU: Final = 0x80000
SLAB_MEM_SPREAD: Final = 0x100000
SLAB_TRACE: Final = 0x200000
SLAB_NOLEAKTRACE: Final = 0x800000
SLAB_ACCOUNT: Final = 0x4000000
SLAB_NO_USER_FLAGS: Final = 0x10000000
CMPXCHG_DOUBLE: Final = 0x40000000
"""The CPU changes two words at once: struct slab needs no lock of its own."""
OBJECT_POISON: Final = 0x80000000
"""Free objects are filled with a pattern: their users must not look at them."""

SLAB_DEBUG_FLAGS: Final = (
    SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER | SLAB_TRACE | SLAB_CONSISTENCY_CHECKS
)
"""A cache with any of these has no per-CPU slabs: each call goes to the node's lists."""
DEBUG_DEFAULT_FLAGS: Final = SLAB_CONSISTENCY_CHECKS | SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER
"""What `slub_debug` alone means."""
DEBUG_METADATA_FLAGS: Final = SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER
"""These need memory beside the object."""
SLAB_NO_CMPXCHG: Final = SLAB_CONSISTENCY_CHECKS | SLAB_STORE_USER | SLAB_TRACE

SLAB_NEVER_MERGE: Final = (
    SLAB_RED_ZONE
    | SLAB_POISON
    | SLAB_STORE_USER
    | SLAB_TRACE
    | SLAB_TYPESAFE_BY_RCU
    | SLAB_NOLEAKTRACE
)
SLAB_MERGE_SAME: Final = SLAB_RECLAIM_ACCOUNT | SLAB_CACHE_DMA | SLAB_CACHE_DMA32 | SLAB_ACCOUNT
"""Caches that share slabs must agree in these."""

_CORE_FLAGS: Final = (
    SLAB_HWCACHE_ALIGN | SLAB_CACHE_DMA | SLAB_CACHE_DMA32 | SLAB_PANIC | SLAB_TYPESAFE_BY_RCU
)
CACHE_CREATE_MASK: Final = (
    _CORE_FLAGS
    | SLAB_DEBUG_FLAGS
    | SLAB_NOLEAKTRACE
    | SLAB_RECLAIM_ACCOUNT
    | SLAB_ACCOUNT
    | SLAB_NO_USER_FLAGS
)
"""What SLUB takes notice of."""
SLAB_FLAGS_PERMITTED: Final = CACHE_CREATE_MASK | SLAB_MEM_SPREAD
"""kmem_cache_create refuses all others."""
