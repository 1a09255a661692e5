"""What MALLOC_CONF can say of a process's jemalloc, as far as its rules need it (opt.*).

Names and defaults are those of jemalloc 5.3.0's malloc_conf_init, as Debian builds it.
"""

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

MEBIBYTE: Final = 1 << 20


@frozen(kw_only=True)
class JemallocOptions:
    """The options of a process, after all that sets them was read."""

    narenas: int = 0
    """0: `narenas_ratio` for each CPU."""
    narenas_ratio: int = 4 << 16
    """Arenas for each CPU if there are several, in 65536ths; with one CPU there is one."""
    dirty_decay_ms: int = 10_000
    """0: at once; -1: never."""
    muzzy_decay_ms: int = 0
    tcache: bool = True
    tcache_max: int = 1 << 15
    """Bytes of the largest class that caches keep."""
    tcache_nslots_small_min: int = 20
    tcache_nslots_small_max: int = 200
    tcache_nslots_large: int = 20
    lg_tcache_nslots_mul: int = 1
    tcache_gc_incr_bytes: int = 65536
    tcache_gc_delay_bytes: int = 0
    lg_tcache_flush_small_div: int = 1
    lg_tcache_flush_large_div: int = 1
    oversize_threshold: int = 8 * MEBIBYTE
    """Requests from here on have an arena of their own; 0: there is none."""
    retain: bool = True
    """Address space is kept when its pages go."""
    lg_extent_max_active_fit: int = 6
    mutex_max_spin: int = 600
    """How often who finds a lock taken looks again before it sleeps; -1: for ever."""
    zero: bool = False
    """Each block is filled with zeros."""
    zero_realloc: str = "free"
    """What realloc(block, 0) does: `free`, `alloc` or `abort`."""
    percpu_arena: str = "disabled"
    metadata_thp: str = "disabled"
    thp: str = "default"
    dss: str = "secondary"
    slab_bytes: Mapping[int, int] = field(factory=dict)
    """By index of a small class the bytes of its slabs, where they are not the usual ones."""
    bin_shards: Mapping[int, int] = field(factory=dict)
    """By index of a small class how many bins an arena has for it, where it is not one."""
