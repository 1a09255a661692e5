"""A thread's cache of free blocks (tcache_perthread_struct of malloc/malloc.c).

It lies in a chunk of the heap: how many blocks of each of 64 sizes, then the first of each. A block
in it has the link to the next, hidden by where it is kept, and a key in its first two words; its
chunk counts as used. Cached are blocks, not chunks: addresses that malloc returns.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.chunk import (
    ALIGN_MASK,
    CHUNK_HDR_SZ,
    MINSIZE,
    protect_pointer,
    reveal,
)
from mmactors.malloc.ptmalloc.malloc_par import (
    TCACHE_BINS,
    TCACHE_COUNT,
    TCACHE_KEY,
    TCACHE_MAX_BINS,
)
from mmactors.malloc.ptmalloc.messages import LOST, number_of
from mmactors.malloc.user_words import load_bits, load_word, peek_word, store_bits, store_word

ENTRIES: Final = 0x80
TCACHE_SIZE: Final = 0x280
KEY: Final = 8

_UNALIGNED: Final = number_of("malloc(): unaligned tcache chunk detected")
_TOO_MANY: Final = number_of("free(): too many chunks detected in tcache")
_UNALIGNED_IN_LIST: Final = number_of("free(): unaligned chunk detected in tcache 2")
_DOUBLE_FREE: Final = number_of("free(): double free detected in tcache 2")


@compiled
def csize2tidx(size: int) -> int:
    """Return the number of the list for chunks of a size; TCACHE_BINS or more: none."""
    return (size - MINSIZE + ALIGN_MASK) >> 4


@compiled
def has_list(par: Words, tcache: int, index: int) -> bool:
    """Return whether a thread's cache, if it has one, takes blocks of a size."""
    return bool(tcache != 0 and 0 <= index < par[TCACHE_BINS])


@compiled
def nr_cached(words: Words, log: Words, tcache: int, index: int) -> int:
    """Return how many blocks a list says it has."""
    return load_bits(words, log, tcache + 2 * index, 2)


@compiled
def has_place(words: Words, log: Words, par: Words, tcache: int, index: int) -> bool:
    """Return whether a list takes one more block."""
    return bool(nr_cached(words, log, tcache, index) < par[TCACHE_COUNT])


@compiled
def tcache_put(words: Words, log: Words, par: Words, tcache: int, chunk: int, index: int) -> None:
    """Put a chunk's block at the front of a list."""
    block = chunk + CHUNK_HDR_SZ
    head = tcache + ENTRIES + 8 * index
    store_word(words, log, block + KEY, int(par[TCACHE_KEY]))
    store_word(words, log, block, protect_pointer(block, load_word(words, log, head)))
    store_word(words, log, head, block)
    count = nr_cached(words, log, tcache, index)
    store_bits(words, log, tcache + 2 * index, 2, count + 1)


@compiled
def tcache_get(words: Words, log: Words, tcache: int, index: int) -> int:
    """Take the first block of a list that is not empty, or return what is wrong with it."""
    head = tcache + ENTRIES + 8 * index
    block = load_word(words, log, head)
    if block & ALIGN_MASK:
        return _UNALIGNED
    if block < 0:
        load_word(words, log, block)
        return LOST
    store_word(words, log, head, reveal(words, log, block))
    count = nr_cached(words, log, tcache, index)
    store_bits(words, log, tcache + 2 * index, 2, count - 1)
    store_word(words, log, block + KEY, 0)
    return block


@compiled
def tcache_malloc(words: Words, log: Words, par: Words, tcache: int, size: int) -> int:
    """Return a cached block of a chunk's size; 0: there is none; or what is wrong with it."""
    index = csize2tidx(size)
    if not has_list(par, tcache, index) or nr_cached(words, log, tcache, index) == 0:
        return 0
    return tcache_get(words, log, tcache, index)


@compiled
def tcache_free(words: Words, log: Words, par: Words, tcache: int, chunk: int, size: int) -> int:
    """Put a block that is freed into the cache; 1: done, 0: no place for it; or what is wrong."""
    index = csize2tidx(size)
    if not has_list(par, tcache, index):
        return 0
    block = chunk + CHUNK_HDR_SZ
    if load_word(words, log, block + KEY) == par[TCACHE_KEY]:
        wrong = _find_twice(words, log, par, block, tcache + ENTRIES + 8 * index)
        if wrong:
            return wrong
    if not has_place(words, log, par, tcache, index):
        return 0
    tcache_put(words, log, par, tcache, chunk, index)
    return 1


@compiled
def _find_twice(words: Words, log: Words, par: Words, block: int, head: int) -> int:
    """Return what is wrong with a block that has the key; 0: it has it by chance."""
    cached = load_word(words, log, head)
    count = 0
    while cached:
        if count >= par[TCACHE_COUNT]:
            return _TOO_MANY
        if cached & ALIGN_MASK:
            return _UNALIGNED_IN_LIST
        if cached == block:
            return _DOUBLE_FREE
        cached = reveal(words, log, cached)
        count += 1
    return 0


@compiled
def tcache_bytes(words: Words, tcache: int) -> int:
    """Return the bytes of all chunks that a cache says it has, without an access."""
    total = 0
    for index in range(TCACHE_MAX_BINS):
        count = peek_word(words, tcache + (index & ~3) * 2) >> (index & 3) * 16 & 0xFFFF
        total += count * (MINSIZE + index * (ALIGN_MASK + 1))
    return total


@compiled
def malloc_hit(words: Words, log: Words, par: Words, tcache: int, size: int) -> int:
    """Return a cached block of a chunk's size; 0: there is none that is right, nothing was done."""
    noted = log[0] if log.shape[0] else 0
    block = tcache_malloc(words, log, par, tcache, size)
    if block > 0:
        return block
    if log.shape[0]:
        log[0] = noted
    return 0
