"""Sets of extents that nobody uses, by class of size, eset_t (jemalloc 5.3.0, eset.c).

Each class has a heap, and beside it a copy of its first extent's age and address, so that a search
over classes reads no extent but the one it takes. A bitmap says which heaps are not empty. All of
them are in one list, as they came.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.pages.edata import (
    ADDRESS,
    INACTIVE_LINK,
    SERIAL,
    base_of,
    bytes_of,
)
from mmactors.malloc.jemalloc.pages.page_classes import (
    NR_PAGE_CLASSES,
    bytes_of_class,
    page_class_of,
    quantize_ceil,
    quantize_floor,
)
from mmactors.malloc.jemalloc.pages.pairing_heap import (
    BY_SERIAL,
    first_of,
    heap_insert,
    heap_remove,
)
from mmactors.malloc.jemalloc.ring import append_element, new_element, remove_element
from mmactors.malloc.jemalloc.size_classes import lg_floor
from mmactors.malloc.user_words import add_to, load_word, store_word, to_word
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

ESET_BYTES: Final = 9656
NR_HEAPS: Final = NR_PAGE_CLASSES + 1
BITMAP: Final = 0
BINS: Final = 32
BIN_BYTES: Final = 32
HEAP_MIN: Final = 16
"""In a bin: the serial number of its first extent, then its address."""
BIN_STATS: Final = 6432
"""By class how many extents, and their bytes."""
LRU: Final = 9632
NPAGES: Final = 9640
ESET_STATE: Final = 9648
_GROUP: Final = 64
_TOP_BIT: Final = -(1 << 63)
ANY_FIT: Final = 63
"""As `lg_max_fit`: however much larger an extent is."""


@compiled
def npages_of(words: Words, log: Words, eset: int) -> int:
    """Return how many pages a set has (eset_npages_get)."""
    return load_word(words, log, eset + NPAGES)


@compiled
def _bit(index: int) -> int:
    return _TOP_BIT if index & _GROUP - 1 == _GROUP - 1 else 1 << (index & _GROUP - 1)


@compiled
def _set_bit(words: Words, log: Words, eset: int, index: int, on: int) -> None:
    at = eset + BITMAP + 8 * (index // _GROUP)
    group = load_word(words, log, at) & ~_bit(index)
    store_word(words, log, at, group | _bit(index) if on else group)


@compiled
def next_class(words: Words, log: Words, eset: int, index: int) -> int:
    """Return the first class from one on that has extents; NR_HEAPS: there is none (fb_ffs)."""
    while index < NR_HEAPS:
        group = load_word(words, log, eset + BITMAP + 8 * (index // _GROUP))
        group = to_word(group & -1 << (index & _GROUP - 1))
        if group:
            lowest = group & -group
            place = _GROUP - 1 if lowest < 0 else lg_floor(lowest)
            return index // _GROUP * _GROUP + place
        index = (index // _GROUP + 1) * _GROUP
    return NR_HEAPS


@compiled
def _count(words: Words, log: Words, eset: int, index: int, number: int, nr_bytes: int) -> None:
    at = eset + BIN_STATS + 16 * index
    add_to(words, log, at, number)
    add_to(words, log, at + 8, nr_bytes)


@compiled
def _note_min(words: Words, log: Words, at: int, edata: int) -> None:
    store_word(words, log, at + HEAP_MIN, load_word(words, log, edata + SERIAL))
    store_word(words, log, at + HEAP_MIN + 8, load_word(words, log, edata + ADDRESS))


@compiled
def _compare_to_min(words: Words, log: Words, at: int, serial: int, address: int) -> int:
    """Return -1, 0 or 1: an age and address come before a heap's first extent, are its, or not."""
    least = load_word(words, log, at + HEAP_MIN)
    if serial != least:
        return -1 if serial < least else 1
    lowest = load_word(words, log, at + HEAP_MIN + 8)
    if address != lowest:
        return -1 if address < lowest else 1
    return 0


@compiled
def insert_extent(words: Words, log: Words, par: Words, eset: int, edata: int) -> None:
    """Take an extent, whose state is the set's (eset_insert)."""
    nr_bytes = bytes_of(words, log, edata)
    index = page_class_of(quantize_floor(par, nr_bytes))
    at = eset + BINS + BIN_BYTES * index
    serial = load_word(words, log, edata + SERIAL)
    address = load_word(words, log, edata + ADDRESS)
    if load_word(words, log, at) == 0:
        _set_bit(words, log, eset, index, 1)
        _note_min(words, log, at, edata)
    elif _compare_to_min(words, log, at, serial, address) < 0:
        _note_min(words, log, at, edata)
    heap_insert(words, log, at, edata)
    _count(words, log, eset, index, 1, nr_bytes)
    new_element(words, log, edata + INACTIVE_LINK)
    append_element(words, log, eset + LRU, edata + INACTIVE_LINK)
    add_to(words, log, eset + NPAGES, nr_bytes >> PAGE_SHIFT)


@compiled
def remove_extent(words: Words, log: Words, par: Words, eset: int, edata: int) -> None:
    """Let an extent go (eset_remove)."""
    nr_bytes = bytes_of(words, log, edata)
    index = page_class_of(quantize_floor(par, nr_bytes))
    _count(words, log, eset, index, -1, -nr_bytes)
    at = eset + BINS + BIN_BYTES * index
    serial = load_word(words, log, edata + SERIAL)
    address = load_word(words, log, edata + ADDRESS)
    heap_remove(words, log, at, edata)
    if load_word(words, log, at) == 0:
        _set_bit(words, log, eset, index, 0)
    elif _compare_to_min(words, log, at, serial, address) == 0:
        _note_min(words, log, at, first_of(words, log, BY_SERIAL, at))
    remove_element(words, log, eset + LRU, edata + INACTIVE_LINK)
    add_to(words, log, eset + NPAGES, -(nr_bytes >> PAGE_SHIFT))


@compiled
def oldest_extent(words: Words, log: Words, eset: int) -> int:
    """Return the extent that has been in a set for longest; 0: there is none."""
    link = load_word(words, log, eset + LRU)
    return link - INACTIVE_LINK if link else 0


@compiled
def _first_fit(words: Words, log: Words, par: Words, eset: int, size: int, lg_max_fit: int) -> int:
    """Return the oldest, lowest extent of at least so many bytes (eset_first_fit); 0: none.

    None that is larger than 2^lg_max_fit times that.
    """
    found = 0
    serial = address = 0
    index = next_class(words, log, eset, page_class_of(quantize_ceil(par, size)))
    while index < NR_HEAPS:
        if bytes_of_class(index) >> lg_max_fit > size:
            break
        at = eset + BINS + BIN_BYTES * index
        least = load_word(words, log, at + HEAP_MIN)
        lowest = load_word(words, log, at + HEAP_MIN + 8)
        if found == 0 or least < serial or (least == serial and lowest < address):
            found = first_of(words, log, BY_SERIAL, at)
            serial, address = least, lowest
        if index == NR_PAGE_CLASSES:
            break
        index = next_class(words, log, eset, index + 1)
    return found


@compiled
def _fit_alignment(
    words: Words, log: Words, par: Words, eset: int, size: int, max_size: int, alignment: int
) -> int:
    """Return a smaller extent that has an aligned place all the same (eset_fit_alignment)."""
    index = next_class(words, log, eset, page_class_of(quantize_ceil(par, size)))
    index_max = page_class_of(quantize_ceil(par, max_size))
    while index < index_max:
        edata = first_of(words, log, BY_SERIAL, eset + BINS + BIN_BYTES * index)
        base = base_of(words, log, edata)
        lead = to_word(-base & alignment - 1)
        nr_bytes = bytes_of(words, log, edata)
        if lead < nr_bytes and nr_bytes - lead >= size:
            return edata
        index = next_class(words, log, eset, index + 1)
    return 0


@compiled
def fit_extent(
    words: Words, log: Words, par: Words, eset: int, size: int, alignment: int, lg_max_fit: int
) -> int:
    """Return an extent with a place for so many bytes, aligned (eset_fit); 0: there is none."""
    alignment = max(alignment + PAGE_SIZE - 1 & -PAGE_SIZE, PAGE_SIZE)
    max_size = to_word(size + alignment - PAGE_SIZE)
    if max_size < size:
        return 0
    edata = _first_fit(words, log, par, eset, max_size, lg_max_fit)
    if edata == 0 and alignment > PAGE_SIZE:
        edata = _fit_alignment(words, log, par, eset, size, max_size, alignment)
    return edata
