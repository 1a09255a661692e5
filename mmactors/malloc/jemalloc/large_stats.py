"""What an arena counts of its large blocks, by class: arena_stats_large_t (arena_stats.h)."""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.bins.bin import add_to
from mmactors.malloc.jemalloc.size_classes import LARGE_MINCLASS, NR_BINS, size2index

STATS_LARGE: Final = 24 + 952
"""stats.lstats of an arena."""
LARGE_STATS_BYTES: Final = 48
NR_MALLOC: Final = 0
NR_DALLOC: Final = 8
NR_REQUESTS: Final = 16
NR_FLUSHES: Final = 32


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
