"""Slabs: extents cut into regions of one class, with a bit for each that is free.

jemalloc 5.3.0, edata.h (nfree, binshard), slab_data.h, bitmap.h (flat), arena_slab_reg_alloc.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.pages.edata import ADDRESS, BITS, set_field
from mmactors.malloc.jemalloc.size_classes import lg_floor
from mmactors.malloc.user_words import load_word, store_word, to_word

BITMAP: Final = 64
"""e_slab_data: a bit for each region, set if it is free."""

_NFREE_SHIFT: Final = 28
_NFREE_MASK: Final = 0x3FF
_BINSHARD_SHIFT: Final = 38
_BINSHARD_MASK: Final = 0x3F
_GROUP: Final = 64
_TOP_BIT: Final = -(1 << 63)
_GROUPS_MOST: Final = 8
"""There is room for no more: 512 regions."""


@compiled
def nr_free_in(words: Words, log: Words, slab: int) -> int:
    """Return how many regions of a slab are free (edata_nfree_get)."""
    return load_word(words, log, slab + BITS) >> _NFREE_SHIFT & _NFREE_MASK


@compiled
def shard_of(words: Words, log: Words, slab: int) -> int:
    """Return which of the bins of its class a slab is of (edata_binshard_get)."""
    return load_word(words, log, slab + BITS) >> _BINSHARD_SHIFT & _BINSHARD_MASK


@compiled
def init_slab(words: Words, log: Words, slab: int, nr_regions: int, shard: int) -> None:
    """Let all regions of a new slab be free."""
    mask = _NFREE_MASK << _NFREE_SHIFT | _BINSHARD_MASK << _BINSHARD_SHIFT
    bits = (nr_regions & _NFREE_MASK) << _NFREE_SHIFT
    set_field(words, log, slab, mask, bits | (shard & _BINSHARD_MASK) << _BINSHARD_SHIFT)
    group = 0
    while nr_regions > 0 and group < _GROUPS_MOST:
        free = -1 if nr_regions >= _GROUP else (1 << nr_regions) - 1
        store_word(words, log, slab + BITMAP + 8 * group, free)
        nr_regions -= _GROUP
        group += 1


@compiled
def _add_free(words: Words, log: Words, slab: int, difference: int) -> int:
    """Change how many regions are free, and return it: the field wraps round."""
    bits = load_word(words, log, slab + BITS)
    nr_free = (bits >> _NFREE_SHIFT) + difference & _NFREE_MASK
    store_word(
        words, log, slab + BITS, bits & ~(_NFREE_MASK << _NFREE_SHIFT) | nr_free << _NFREE_SHIFT
    )
    return nr_free


@compiled
def take_regions(
    words: Words, log: Words, slab: int, region_bytes: int, wanted: int, target: int
) -> int:
    """Take the first free regions, and write where they are to `target`; return how many.

    arena_slab_reg_alloc_batch: fewer than are wanted only of a slab whose bits were overwritten.
    """
    base = load_word(words, log, slab + ADDRESS)
    taken = 0
    group = 0
    while taken < wanted and group < _GROUPS_MOST:
        bits = load_word(words, log, slab + BITMAP + 8 * group)
        rest = bits
        while rest and taken < wanted:
            lowest = rest & -rest
            region = group * _GROUP + (63 if lowest < 0 else lg_floor(lowest))
            store_word(words, log, target + 8 * taken, to_word(base + region * region_bytes))
            rest = to_word(rest & rest - 1)
            taken += 1
        if rest != bits:
            store_word(words, log, slab + BITMAP + 8 * group, rest)
        group += 1
    _add_free(words, log, slab, -taken)
    return taken


@compiled
def take_region(words: Words, log: Words, slab: int, region_bytes: int) -> int:
    """Take the first free region (arena_slab_reg_alloc); 0: the bits say that there is none."""
    for group in range(_GROUPS_MOST):
        bits = load_word(words, log, slab + BITMAP + 8 * group)
        if bits:
            lowest = bits & -bits
            region = group * _GROUP + (63 if lowest < 0 else lg_floor(lowest))
            store_word(words, log, slab + BITMAP + 8 * group, bits & bits - 1)
            base = load_word(words, log, slab + ADDRESS)
            _add_free(words, log, slab, -1)
            return to_word(base + region * region_bytes)
    return 0


@compiled
def give_region(words: Words, log: Words, slab: int, inverse: int, block: int) -> int:
    """Let a region be free, and return how many are (arena_dalloc_bin_locked_step).

    Without checks, as the library does it: of a block that is free already, or in the middle of a
    region, too. `inverse`: what to multiply by, instead of a division (div.h).
    """
    base = load_word(words, log, slab + ADDRESS)
    region = to_word((block - base) * inverse) >> 32 & 0xFFFF_FFFF
    place = slab + BITMAP + 8 * (region // _GROUP)
    bit = region % _GROUP
    mask = _TOP_BIT if bit == _GROUP - 1 else 1 << bit
    store_word(words, log, place, load_word(words, log, place) ^ mask)
    return _add_free(words, log, slab, 1)
