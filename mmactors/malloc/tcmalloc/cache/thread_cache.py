"""A thread's lists of free blocks, one for each class (ThreadCache of src/thread_cache.h).

A list has a length, the least length since the cache was last looked through, the length that it
may have, and how often it was longer. What is not found here, or not taken, is left to the steps
of the cache (scavenge.py).
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.central.size_map import class_for, class_size
from mmactors.malloc.tcmalloc.heap.page_map import UNKNOWN, cached_class, page_of
from mmactors.malloc.tcmalloc.layout import (
    CACHED_BYTES,
    CLASSES_MAX,
    DELETE_HOOKS,
    FREE_LIST_SIZE,
    LENGTH,
    LIST,
    LOWATER,
    MAX_CACHED_BYTES,
    MAX_LENGTH,
    NEW_HOOKS,
    OBJECT_SIZE,
    OVERAGES,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import DATA_AT
from mmactors.malloc.user_words import load_bits, load_word, store_bits, store_word

_INT_SIGN: Final = 1 << 31


@compiled
def list_at(cache: int, number: int) -> int:
    """Return where a cache has the list of a class."""
    return cache + FREE_LIST_SIZE * (number & CLASSES_MAX - 1)


@compiled
def load_int(words: Words, log: Words, address: int) -> int:
    """Return a number of 4 bytes with a sign."""
    return (load_bits(words, log, address, 4) ^ _INT_SIGN) - _INT_SIGN


@compiled
def add_cached(words: Words, log: Words, cache: int, nr_bytes: int) -> int:
    """Count bytes of a cache's blocks; return how many it has."""
    size = load_int(words, log, cache + CACHED_BYTES) + nr_bytes
    store_bits(words, log, cache + CACHED_BYTES, 4, size)
    return size


@compiled
def is_over(words: Words, log: Words, cache: int) -> bool:
    """Return whether a cache has more bytes than it may have."""
    size = load_int(words, log, cache + CACHED_BYTES)
    return size > load_int(words, log, cache + MAX_CACHED_BYTES)


@compiled
def init_list(words: Words, log: Words, par: Words, cache: int, number: int) -> None:
    """Make an empty list (FreeList::Init)."""
    place = list_at(cache, number)
    store_word(words, log, place + LIST, 0)
    store_bits(words, log, place + LENGTH, 4, 0)
    store_bits(words, log, place + LOWATER, 4, 0)
    store_bits(words, log, place + MAX_LENGTH, 4, 1)
    store_bits(words, log, place + OVERAGES, 4, 0)
    store_bits(words, log, place + OBJECT_SIZE, 4, class_size(words, log, par, number))


@compiled
def pop(words: Words, log: Words, cache: int, number: int) -> int:
    """Take the first block of a list; 0: it has none; negative: it is no address of a program."""
    place = list_at(cache, number)
    size = load_bits(words, log, place + OBJECT_SIZE, 4)
    block = load_word(words, log, place + LIST)
    if block <= 0:
        return block
    store_word(words, log, place + LIST, load_word(words, log, block))
    shorten(words, log, place, 1)
    add_cached(words, log, cache, -size)
    return block


@compiled
def shorten(words: Words, log: Words, place: int, count: int) -> None:
    """Count blocks that leave a list."""
    length = load_bits(words, log, place + LENGTH, 4) - count
    store_bits(words, log, place + LENGTH, 4, length)
    if length & 0xFFFF_FFFF < load_bits(words, log, place + LOWATER, 4):
        store_bits(words, log, place + LOWATER, 4, length)


@compiled
def push(words: Words, log: Words, cache: int, number: int, block: int) -> bool:
    """Put a block at the front of a list; return whether it is too long now."""
    place = list_at(cache, number)
    length = load_bits(words, log, place + LENGTH, 4) + 1
    store_word(words, log, block, load_word(words, log, place + LIST))
    store_word(words, log, place + LIST, block)
    store_bits(words, log, place + LENGTH, 4, length)
    return length > load_bits(words, log, place + MAX_LENGTH, 4)


@compiled
def malloc_hit(words: Words, log: Words, par: Words, cache: int, size: int) -> int:
    """Return a cached block for a size; 0: there is none, and nothing was done."""
    noted = log[0] if log.shape[0] else 0
    load_word(words, log, int(par[DATA_AT]) + NEW_HOOKS)
    number = class_for(words, log, par, size)
    block = pop(words, log, cache, number) if number >= 0 else 0
    if block <= 0 and log.shape[0]:
        log[0] = noted
    return max(block, 0)


@compiled
def free_hit(words: Words, log: Words, par: Words, cache: int, block: int) -> bool:
    """Put a block into its list, if that takes it; False: it does not, and nothing was done.

    Only a block whose class is in the table of pages comes here: others need the map.
    """
    noted = log[0] if log.shape[0] else 0
    load_word(words, log, int(par[DATA_AT]) + DELETE_HOOKS)
    number = cached_class(words, log, par, page_of(block))
    if number != UNKNOWN:
        place = list_at(cache, number)
        length = load_bits(words, log, place + LENGTH, 4)
        size = load_bits(words, log, place + OBJECT_SIZE, 4)
        most = load_int(words, log, cache + MAX_CACHED_BYTES)
        is_taken = length < load_bits(words, log, place + MAX_LENGTH, 4)
        if is_taken and load_int(words, log, cache + CACHED_BYTES) + size <= most:
            if log.shape[0]:
                log[0] = noted
            load_word(words, log, int(par[DATA_AT]) + DELETE_HOOKS)
            cached_class(words, log, par, page_of(block))
            push(words, log, cache, number, block)
            load_bits(words, log, place + OBJECT_SIZE, 4)
            add_cached(words, log, cache, size)
            load_bits(words, log, cache + MAX_CACHED_BYTES, 4)
            return True
    if log.shape[0]:
        log[0] = noted
    return False
