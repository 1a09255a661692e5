"""How many bytes of tcmalloc's are where, for who looks from outside: nothing is accessed."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.library import HeapBytes
from mmactors.malloc.tcmalloc.cache.thread_cache import load_int
from mmactors.malloc.tcmalloc.central.size_map import batch_of, nr_classes, peek_class_size
from mmactors.malloc.tcmalloc.layout import (
    CACHED_BYTES,
    CENTRAL_BYTES,
    CENTRAL_CACHE,
    COUNTER,
    FREE_BYTES,
    NEXT_CACHE,
    SYSTEM_BYTES,
    THREAD_HEAPS,
    UNMAPPED_BYTES,
    USED_SLOTS,
)
from mmactors.malloc.tcmalloc.task import longest_list
from mmactors.malloc.tcmalloc.tcmalloc_par import DATA_AT, METADATA_BYTES
from mmactors.malloc.user_words import UNWATCHED, UserWords, peek_word, to_word

_FREE: Final = 0
_CACHED: Final = 1
_NR: Final = 2


@compiled
def sum_lists(words: Words, log: Words, par: Words, sums: Words) -> None:
    """Sum the free blocks of central lists, with what is ready to be moved, and of caches."""
    data = int(par[DATA_AT])
    for number in range(1, nr_classes(words, log, par)):
        central = data + CENTRAL_CACHE + CENTRAL_BYTES * number
        slots = load_int(words, log, central + USED_SLOTS)
        count = peek_word(words, central + COUNTER) + slots * batch_of(words, log, par, number)
        nr_bytes = count * peek_class_size(words, par, number)
        sums[_FREE] = to_word(int(sums[_FREE]) + nr_bytes)
    cache = peek_word(words, data + THREAD_HEAPS)
    left = longest_list(words)
    while cache and left:
        left -= 1
        sums[_CACHED] += load_int(words, log, cache + CACHED_BYTES)
        cache = peek_word(words, cache + NEXT_CACHE)


def heap_bytes(user: UserWords, par: NDArray[np.int64]) -> HeapBytes:
    """Return what is where; the library's own structures count as got from the system."""
    sums = np.zeros(_NR, dtype=np.int64)
    sum_lists(user.words, UNWATCHED, par, sums)
    data = int(par[DATA_AT])
    returned = user.peek(data + UNMAPPED_BYTES)
    system = user.peek(data + SYSTEM_BYTES) + int(par[METADATA_BYTES])
    free = user.peek(data + FREE_BYTES) + int(sums[_FREE])
    return HeapBytes(system=system - returned, free=free, cached=int(sums[_CACHED]))
