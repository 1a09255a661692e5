"""Size classes: 8, multiples of 16 to 64, then four a doubling (jemalloc 5.3.0, src/sc.c, sz.h).

A class has an index. Those below NR_BINS are small: regions of a slab. The others are large: an
extent each.
"""

from typing import Final

from mmactors.arch.jit import compiled
from mmactors.units import PAGE_SIZE

NR_BINS: Final = 36
"""SC_NBINS: how many classes are small."""
NR_SIZES: Final = 232
"""SC_NSIZES: how many there are; as an index: none."""
LOOKUP_MAXCLASS: Final = 4096
"""Up to which the library looks a size up in a table, and the fast path goes."""
SMALL_MAXCLASS: Final = 14336
LARGE_MINCLASS: Final = 16384
LARGE_MAXCLASS: Final = 0x7000_0000_0000_0000

_TINY: Final = 8
_LG_QUANTUM: Final = 4
_LG_GROUP: Final = 2
_FIRST_GROUP: Final = _LG_QUANTUM + _LG_GROUP


@compiled
def lg_floor(number: int) -> int:
    """Return the place of the highest bit of a number above 0."""
    place = 0
    step = 32
    while step:
        if number >> step:
            number >>= step
            place += step
        step >>= 1
    return place


@compiled
def size2index(size: int) -> int:
    """Return the class that a size gets (sz_size2index); NR_SIZES: there is none so large."""
    if size < 0 or size > LARGE_MAXCLASS:
        return NR_SIZES
    if size <= _TINY:
        return 0
    high = lg_floor(size - 1) + 1
    group = max(high - _FIRST_GROUP, 0)
    lg_delta = max(high - _LG_GROUP - 1, _LG_QUANTUM)
    return 1 + (group << _LG_GROUP) + ((size - 1) >> lg_delta & (1 << _LG_GROUP) - 1)


@compiled
def index2size(index: int) -> int:
    """Return the bytes of a class (sz_index2size); what is no class is the largest."""
    index = min(index, NR_SIZES - 1)
    if index == 0:
        return _TINY
    group = (index - 1) >> _LG_GROUP
    place = (index - 1 & (1 << _LG_GROUP) - 1) + 1
    if group == 0:
        return place << _LG_QUANTUM
    return (1 << _FIRST_GROUP + group - 1) + (place << _LG_QUANTUM + group - 1)


@compiled
def usable_of(size: int) -> int:
    """Return the bytes that a request gets (sz_s2u); 0: no class is so large."""
    index = size2index(size)
    return index2size(index) if index < NR_SIZES else 0


@compiled
def usable_aligned(size: int, alignment: int) -> int:
    """Return the bytes that an aligned request gets (sz_sa2u); 0: it can not be had.

    A small class serves if its slabs are aligned so; else the class is large.
    """
    if size < 0:
        return 0
    if size <= SMALL_MAXCLASS and alignment <= PAGE_SIZE:
        usable = usable_of(size + alignment - 1 & -alignment)
        if usable < LARGE_MINCLASS:
            return usable
    if alignment < 0 or alignment > LARGE_MAXCLASS:
        return 0
    usable = LARGE_MINCLASS if size <= LARGE_MINCLASS else usable_of(size)
    if usable > LARGE_MAXCLASS or usable < size:
        return 0
    return usable
