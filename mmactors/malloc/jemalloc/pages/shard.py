"""An arena's part of the page allocator, pa_shard_t with its pac_t: where its fields lie.

jemalloc 5.3.0, pa.h, pac.h, ecache.h, as Debian builds them for x86-64.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.pages.decay import init_decay
from mmactors.malloc.jemalloc.pages.edata import DIRTY, RETAINED
from mmactors.malloc.jemalloc.pages.eset import ESET_STATE
from mmactors.malloc.jemalloc.pages.extents import (
    DELAY_COALESCE,
    ECACHE_BYTES,
    ESET,
    GUARDED_ESET,
    INDEX,
    STATE,
)
from mmactors.malloc.jemalloc.pages.page_classes import NR_PAGE_CLASSES, page_class_of
from mmactors.malloc.user_words import load_word, store_bits, store_word

PA_SHARD: Final = 10648
"""In an arena."""
NACTIVE: Final = PA_SHARD + 8
_PAC: Final = PA_SHARD + 24
ECACHE_DIRTY: Final = _PAC + 56
ECACHE_MUZZY: Final = ECACHE_DIRTY + ECACHE_BYTES
ECACHE_RETAINED: Final = ECACHE_MUZZY + ECACHE_BYTES
EXP_GROW_NEXT: Final = _PAC + 58400
EXP_GROW_LIMIT: Final = EXP_GROW_NEXT + 4
GROW_LOCK: Final = _PAC + 58408
PAC_OVERSIZE: Final = _PAC + 58640
DECAY_DIRTY: Final = _PAC + 58648
DECAY_MUZZY: Final = _PAC + 60432
PAC_SN_NEXT: Final = _PAC + 62232
EDATA_CACHE: Final = PA_SHARD + 68096
CACHE_BASE: Final = EDATA_CACHE + 136
SHARD_INDEX: Final = PA_SHARD + 68240
PAC_STATS: Final = 24 + 88 + 8
"""In an arena: of dirty pages how many sweeps, calls of madvise, pages; of muzzy ones; ..."""
STATS_BYTES: Final = 24
NPURGE: Final = 0
NMADVISE: Final = 8
PURGED: Final = 16
PAC_MAPPED: Final = PAC_STATS + 56
HUGEPAGE: Final = 1 << 21


@compiled
def init_shard(
    words: Words,
    log: Words,
    arena: int,
    index: int,
    base: int,
    now_ns: int,
    oversize: int,
    dirty_ms: int,
    muzzy_ms: int,
) -> None:
    """Write a new arena's part, whose memory is zero (pa_shard_init, pac_init)."""
    store_word(words, log, arena + CACHE_BASE, base)
    for state in range(DIRTY, RETAINED + 1):
        ecache = arena + ECACHE_DIRTY + ECACHE_BYTES * (state - DIRTY)
        store_bits(words, log, ecache + STATE, 4, state)
        store_bits(words, log, ecache + INDEX, 4, index)
        store_bits(words, log, ecache + DELAY_COALESCE, 1, 1 if state == DIRTY else 0)
        store_bits(words, log, ecache + ESET + ESET_STATE, 4, state)
        store_bits(words, log, ecache + GUARDED_ESET + ESET_STATE, 4, state)
    store_bits(words, log, arena + EXP_GROW_NEXT, 4, page_class_of(HUGEPAGE))
    store_bits(words, log, arena + EXP_GROW_LIMIT, 4, NR_PAGE_CLASSES - 1)
    store_word(words, log, arena + PAC_OVERSIZE, oversize)
    init_decay(words, log, arena + DECAY_DIRTY, now_ns, dirty_ms)
    init_decay(words, log, arena + DECAY_MUZZY, now_ns, muzzy_ms)
    store_bits(words, log, arena + SHARD_INDEX, 4, index)


@compiled
def next_serial(words: Words, log: Words, arena: int) -> int:
    """Return the next mapping's serial number (extent_sn_next)."""
    serial = load_word(words, log, arena + PAC_SN_NEXT)
    store_word(words, log, arena + PAC_SN_NEXT, serial + 1)
    return serial
