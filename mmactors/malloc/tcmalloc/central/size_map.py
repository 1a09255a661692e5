"""Classes of blocks by size (SizeMap of src/common.h, src/common.cc).

A class has blocks of one size, cut from spans of so many pages that an eighth is wasted at most,
and that a quarter of a transfer fits in. Sizes that fit a span equally often are one class. Which
class serves a size stands in a table, by steps of 8 bytes up to 1024, of 128 above.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.layout import (
    CLASS_TO_PAGES,
    CLASS_TO_SIZE,
    CLASSES_MAX,
    MAX_SIZE,
    NUM_OBJECTS_TO_MOVE,
    NUM_SIZE_CLASSES,
    PAGE_BYTES,
    PAGE_SHIFT,
    SIZE_MAP,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import DATA_AT, TRANSFER_NUM_OBJ
from mmactors.malloc.user_words import load_bits, load_word, peek_word, store_bits, store_word

ALIGNMENT: Final = 8
MIN_ALIGN: Final = 16
_SMALL_MAX: Final = 1024
_TRANSFER_BYTES: Final = 64 * 1024
_LARGE_BASE: Final = 127 + (120 << 7)


@compiled
def class_index(size: int) -> int:
    """Return a size's place in the table of classes."""
    return (size + 7) >> 3 if size <= _SMALL_MAX else (size + _LARGE_BASE) >> 7


@compiled
def class_for(words: Words, log: Words, par: Words, size: int) -> int:
    """Return the class of a size; -1: it is too large for any, or negative."""
    if size < 0 or size > MAX_SIZE:
        return -1
    return load_bits(words, log, int(par[DATA_AT]) + SIZE_MAP + class_index(size), 1)


@compiled
def class_size(words: Words, log: Words, par: Words, number: int) -> int:
    """Return the bytes of a class's blocks."""
    return load_bits(words, log, int(par[DATA_AT]) + CLASS_TO_SIZE + 4 * number, 4)


@compiled
def peek_class_size(words: Words, par: Words, number: int) -> int:
    """Return the bytes of a class's blocks, without an access."""
    place = int(par[DATA_AT]) + CLASS_TO_SIZE + 4 * number
    return peek_word(words, place) >> (place & 4) * 8 & 0xFFFF_FFFF


@compiled
def class_pages(words: Words, log: Words, par: Words, number: int) -> int:
    """Return the pages of a class's spans."""
    return load_word(words, log, int(par[DATA_AT]) + CLASS_TO_PAGES + 8 * number)


@compiled
def batch_of(words: Words, log: Words, par: Words, number: int) -> int:
    """Return how many blocks of a class are moved at a time (num_objects_to_move)."""
    return load_bits(words, log, int(par[DATA_AT]) + NUM_OBJECTS_TO_MOVE + 4 * number, 4)


@compiled
def nr_classes(words: Words, log: Words, par: Words) -> int:
    """Return how many classes there are, with class 0, which has no blocks."""
    return min(load_bits(words, log, int(par[DATA_AT]) + NUM_SIZE_CLASSES, 4), CLASSES_MAX)


@compiled
def alignment_for(size: int) -> int:
    """Return what a class for a size is a multiple of (AlignmentForSize)."""
    if size > MAX_SIZE:
        return PAGE_BYTES
    if size >= 128:
        power = 128
        while 2 * power <= size:
            power *= 2
        return min(power // 8, PAGE_BYTES)
    return MIN_ALIGN if size >= MIN_ALIGN else ALIGNMENT


@compiled
def move_size(par: Words, size: int) -> int:
    """Return how many blocks of a size are moved at a time (NumMoveSize)."""
    return min(max(_TRANSFER_BYTES // size, 2), int(par[TRANSFER_NUM_OBJ]))


@compiled
def _span_pages(par: Words, size: int) -> int:
    nr_bytes = 0
    while True:
        nr_bytes += PAGE_BYTES
        while nr_bytes % size > nr_bytes >> 3:
            nr_bytes += PAGE_BYTES
        if nr_bytes // size >= int(move_size(par, size) / 4):
            return nr_bytes >> PAGE_SHIFT


@compiled
def init_size_map(words: Words, log: Words, par: Words) -> None:
    """Choose the classes, and fill the tables (SizeMap::Init)."""
    data = int(par[DATA_AT])
    number = 0
    pages = 0
    biggest = 0
    size = ALIGNMENT
    while size <= MAX_SIZE:
        its_pages = _span_pages(par, size)
        is_same = number > 0 and its_pages == pages
        if is_same:
            nr_bytes = pages << PAGE_SHIFT
            is_same = nr_bytes // size == nr_bytes // biggest
        if not is_same:
            number += 1
            pages = its_pages
            store_word(words, log, data + CLASS_TO_PAGES + 8 * number, pages)
        store_bits(words, log, data + CLASS_TO_SIZE + 4 * number, 4, size)
        biggest = size
        size += alignment_for(size)
    store_bits(words, log, data + NUM_SIZE_CLASSES, 4, number + 1)
    size = 0
    for each in range(1, number + 1):
        biggest = class_size(words, log, par, each)
        while size <= biggest:
            store_bits(words, log, data + SIZE_MAP + class_index(size), 1, each)
            size += ALIGNMENT
        batch = move_size(par, biggest)
        store_bits(words, log, data + NUM_OBJECTS_TO_MOVE + 4 * each, 4, batch)
