"""Bitmaps in the words of an array (lib/find_bit.c, lib/bitmap.c; Linux 6.1).

A bitmap begins at a word of its array, bit 0 is the lowest bit of that word. A search gives the
size where there is no such bit. Numbers count bits.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled

BITS_PER_LONG: Final = 64
_LAST: Final = BITS_PER_LONG - 1
_SHIFT: Final = 6


def nr_longs(nr_bits: int) -> int:
    """Return how many words so many bits take (BITS_TO_LONGS)."""
    return (nr_bits + _LAST) >> _SHIFT


@compiled
def _ffs(word: int) -> int:
    """Return the number of the lowest bit of a word that is not 0 (__ffs)."""
    bit = 0
    step = BITS_PER_LONG >> 1
    while step:
        if word & ((1 << step) - 1) == 0:
            bit += step
            word >>= step
        step >>= 1
    return bit


@compiled
def _fls(word: int) -> int:
    """Return the number of the highest bit of a word that is not 0 (__fls)."""
    if word < 0:
        return _LAST
    bit = 0
    step = BITS_PER_LONG >> 1
    while step:
        if word >> step:
            bit += step
            word >>= step
        step >>= 1
    return bit


@compiled
def _find_next(words: Words, base: int, size: int, start: int, flip: int) -> int:
    if start >= size:
        return size
    word = (words[base + (start >> _SHIFT)] ^ flip) & (-1 << (start & _LAST))
    start &= ~_LAST
    while word == 0:
        start += BITS_PER_LONG
        if start >= size:
            return size
        word = words[base + (start >> _SHIFT)] ^ flip
    bit: int = start + _ffs(word)
    return min(bit, size)


@compiled
def find_next_bit(words: Words, base: int, size: int, start: int) -> int:
    """Return the first bit from `start` on that is set."""
    return _find_next(words, base, size, start, 0)


@compiled
def find_next_zero_bit(words: Words, base: int, size: int, start: int) -> int:
    """Return the first bit from `start` on that is not set."""
    return _find_next(words, base, size, start, -1)


@compiled
def find_last_bit(words: Words, base: int, size: int) -> int:
    """Return the last bit below `size` that is set."""
    if size == 0:
        return size
    nth = (size - 1) >> _SHIFT
    word = words[base + nth]
    used = size & _LAST
    if used:
        word &= ~(-1 << used)
    while word == 0:
        if nth == 0:
            return size
        nth -= 1
        word = words[base + nth]
    return (nth << _SHIFT) + _fls(word)


@compiled
def bitmap_set(words: Words, base: int, start: int, nr_bits: int) -> None:
    """Set bits."""
    end = start + nr_bits
    while start < end:
        mask = -1 << (start & _LAST)
        following = (start | _LAST) + 1
        if following > end:
            mask &= ~(-1 << (end & _LAST))
        words[base + (start >> _SHIFT)] |= mask
        start = following


@compiled
def bitmap_clear(words: Words, base: int, start: int, nr_bits: int) -> None:
    """Clear bits."""
    end = start + nr_bits
    while start < end:
        mask = -1 << (start & _LAST)
        following = (start | _LAST) + 1
        if following > end:
            mask &= ~(-1 << (end & _LAST))
        words[base + (start >> _SHIFT)] &= ~mask
        start = following
