"""A thread's cache of blocks of one class, cache_bin_t (jemalloc 5.3.0, cache_bin.h).

It is a stack that grows down to a full position. Of its marks only the low 16 bits are kept. The
low water mark says how few blocks there have been since the last collection.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.user_words import add_to, load_bits, load_word, store_bits, store_word

CACHE_BIN_BYTES: Final = 24
STACK_HEAD: Final = 0
NR_REQUESTS: Final = 8
"""Since the last flush or fill: bins of arenas have the sums."""
LOW_WATER: Final = 16
FULL: Final = 18
EMPTY: Final = 20

_BITS: Final = 0xFFFF
_POINTER: Final = 8


@compiled
def cached_in(words: Words, log: Words, cache_bin: int) -> int:
    """Return how many blocks a bin has (cache_bin_ncached_get_local)."""
    head = load_word(words, log, cache_bin + STACK_HEAD)
    return (load_bits(words, log, cache_bin + EMPTY, 2) - head & _BITS) // _POINTER


@compiled
def low_water_of(words: Words, log: Words, cache_bin: int) -> int:
    """Return how few blocks there were since the mark was set (cache_bin_low_water_get)."""
    low_water = load_bits(words, log, cache_bin + LOW_WATER, 2)
    return (load_bits(words, log, cache_bin + EMPTY, 2) - low_water & _BITS) // _POINTER


@compiled
def set_low_water(words: Words, log: Words, cache_bin: int) -> None:
    """Let the mark be where the stack is now (cache_bin_low_water_set)."""
    head = load_word(words, log, cache_bin + STACK_HEAD)
    store_bits(words, log, cache_bin + LOW_WATER, 2, head & _BITS)


@compiled
def empty_position(words: Words, log: Words, cache_bin: int) -> int:
    """Return the address behind a bin's stack (cache_bin_empty_position_get)."""
    head = load_word(words, log, cache_bin + STACK_HEAD)
    return head + (load_bits(words, log, cache_bin + EMPTY, 2) - head & _BITS)


@compiled
def pop_block(words: Words, log: Words, cache_bin: int) -> int:
    """Take the newest block (cache_bin_alloc); 0: the bin is empty."""
    head = load_word(words, log, cache_bin + STACK_HEAD)
    block = load_word(words, log, head)
    if head & _BITS == load_bits(words, log, cache_bin + LOW_WATER, 2):
        if head & _BITS == load_bits(words, log, cache_bin + EMPTY, 2):
            return 0
        store_bits(words, log, cache_bin + LOW_WATER, 2, head + _POINTER & _BITS)
    store_word(words, log, cache_bin + STACK_HEAD, head + _POINTER)
    return block


@compiled
def push_block(words: Words, log: Words, cache_bin: int, block: int) -> bool:
    """Let a bin have a block (cache_bin_dalloc_easy); False: it is full."""
    head = load_word(words, log, cache_bin + STACK_HEAD)
    if head & _BITS == load_bits(words, log, cache_bin + FULL, 2):
        return False
    store_word(words, log, cache_bin + STACK_HEAD, head - _POINTER)
    store_word(words, log, head - _POINTER, block)
    return True


@compiled
def count_request(words: Words, log: Words, cache_bin: int) -> None:
    """Count a block that the cache's owner gets."""
    add_to(words, log, cache_bin + NR_REQUESTS, 1)


@compiled
def take_requests(words: Words, log: Words, cache_bin: int) -> int:
    """Return how many requests were counted, and count from 0 again."""
    nr_requests = load_word(words, log, cache_bin + NR_REQUESTS)
    store_word(words, log, cache_bin + NR_REQUESTS, 0)
    return nr_requests


@compiled
def finish_fill(words: Words, log: Words, cache_bin: int, wanted: int, filled: int) -> None:
    """Let blocks be cached that were written below the empty position (cache_bin_finish_fill).

    If these are fewer than `wanted`, they move up to where they belong.
    """
    end = empty_position(words, log, cache_bin)
    if filled < wanted:
        _move_up(words, log, end - wanted * _POINTER, end - filled * _POINTER, filled)
    store_word(words, log, cache_bin + STACK_HEAD, end - filled * _POINTER)


@compiled
def finish_flush(words: Words, log: Words, cache_bin: int, flushed: int) -> None:
    """Close the gap that the oldest blocks have left (cache_bin_finish_flush)."""
    head = load_word(words, log, cache_bin + STACK_HEAD)
    rest = cached_in(words, log, cache_bin) - flushed
    _move_up(words, log, head, head + flushed * _POINTER, rest)
    store_word(words, log, cache_bin + STACK_HEAD, head + flushed * _POINTER)
    if rest < low_water_of(words, log, cache_bin):
        set_low_water(words, log, cache_bin)


@compiled
def _move_up(words: Words, log: Words, source: int, target: int, nr_blocks: int) -> None:
    """Move pointers to where they may overlap themselves (memmove), the last one first."""
    for place in range((nr_blocks - 1) * _POINTER, -1, -_POINTER):
        store_word(words, log, target + place, load_word(words, log, source + place))


@compiled
def init_cache_bin(words: Words, log: Words, cache_bin: int, stack: int, most: int) -> int:
    """Let a bin be empty, with room for `most` blocks from `stack` on; return what is behind.

    cache_bin_init.
    """
    end = stack + most * _POINTER
    store_word(words, log, cache_bin + STACK_HEAD, end)
    store_bits(words, log, cache_bin + LOW_WATER, 2, end & _BITS)
    store_bits(words, log, cache_bin + FULL, 2, stack & _BITS)
    store_bits(words, log, cache_bin + EMPTY, 2, end & _BITS)
    return end
