"""The map from addresses to extents, a radix tree of two levels (jemalloc 5.3.0, rtree.h, emap.c).

The root is in the library's data, 2^18 pointers; a leaf, for 1 GiB of addresses, is 2 MiB of base
memory. Each page of a slab has an element, of other extents the first and the last. An element is a
word: the edata's address, its class, state and flags. A thread remembers leaves: 16 by their
address, and eight that these have displaced.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.pages.edata import (
    BITS,
    IS_HEAD,
    MERGING,
    STATE_MASK,
    STATE_SHIFT,
    base_of,
    bytes_of,
    has_bit,
    set_state,
)
from mmactors.malloc.jemalloc.par import DATA_AT
from mmactors.malloc.jemalloc.size_classes import NR_SIZES
from mmactors.malloc.jemalloc.statics import EMAP_ROOT
from mmactors.malloc.jemalloc.tsd import RTREE_CTX
from mmactors.malloc.user_words import load_word, store_word, to_word
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

LEAF_SHIFT: Final = 30
LEAF_ELEMENTS: Final = 1 << LEAF_SHIFT - PAGE_SHIFT
LEAF_BYTES: Final = 8 * LEAF_ELEMENTS
NR_ROOT_ELEMENTS: Final = 1 << 18
_ADDRESS_BITS: Final = 48
_ADDRESS_MASK: Final = (1 << _ADDRESS_BITS) - 128
_SLAB: Final = 1
_HEAD: Final = 2
_STATE_SHIFT: Final = 2
_STATE_BITS: Final = 7 << _STATE_SHIFT
NO_EXTENT: Final = to_word(NR_SIZES << _ADDRESS_BITS)
"""The element of a page of no extent."""

_NR_CACHED: Final = 16
_NR_CACHED_L2: Final = 8
_L2: Final = RTREE_CTX + 16 * _NR_CACHED
_INVALID: Final = 1
"""RTREE_LEAFKEY_INVALID."""


@compiled
def init_rtree_ctx(words: Words, log: Words, tsd: int) -> None:
    """Let a thread remember no leaf (rtree_ctx_data_init)."""
    for place in range(_NR_CACHED + _NR_CACHED_L2):
        store_word(words, log, tsd + RTREE_CTX + 16 * place, _INVALID)
        store_word(words, log, tsd + RTREE_CTX + 16 * place + 8, 0)


@compiled
def root_element(par: Words, address: int) -> int:
    """Return where the root has the leaf of an address."""
    return int(par[DATA_AT]) + EMAP_ROOT + 8 * (address >> LEAF_SHIFT & NR_ROOT_ELEMENTS - 1)


@compiled
def _copy_pair(words: Words, log: Words, source: int, target: int) -> None:
    store_word(words, log, target, load_word(words, log, source))
    store_word(words, log, target + 8, load_word(words, log, source + 8))


@compiled
def leaf_of(words: Words, log: Words, par: Words, tsd: int, address: int) -> int:
    """Return the leaf of an address; 0: there is none (rtree_leaf_elm_lookup).

    `tsd` 0: nobody remembers any.
    """
    if tsd == 0:
        return load_word(words, log, root_element(par, address))
    key = address >> LEAF_SHIFT << LEAF_SHIFT
    slot = tsd + RTREE_CTX + 16 * (address >> LEAF_SHIFT & _NR_CACHED - 1)
    if load_word(words, log, slot) == key:
        return load_word(words, log, slot + 8)
    for place in range(_NR_CACHED_L2):
        at = tsd + _L2 + 16 * place
        if load_word(words, log, at) == key:
            leaf = load_word(words, log, at + 8)
            if place:
                _copy_pair(words, log, at - 16, at)
                _copy_pair(words, log, slot, at - 16)
            else:
                _copy_pair(words, log, slot, at)
            store_word(words, log, slot, key)
            store_word(words, log, slot + 8, leaf)
            return leaf
    leaf = load_word(words, log, root_element(par, address))
    if leaf:
        for place in range(_NR_CACHED_L2 - 1, 0, -1):
            at = tsd + _L2 + 16 * place
            _copy_pair(words, log, at - 16, at)
        _copy_pair(words, log, slot, tsd + _L2)
        store_word(words, log, slot, key)
        store_word(words, log, slot + 8, leaf)
    return leaf


@compiled
def element_of(words: Words, log: Words, par: Words, tsd: int, address: int) -> int:
    """Return where the element of an address is; 0: there is no leaf."""
    leaf = leaf_of(words, log, par, tsd, address)
    if leaf == 0:
        return 0
    return leaf + 8 * (address >> PAGE_SHIFT & LEAF_ELEMENTS - 1)


@compiled
def _contents_of(words: Words, log: Words, par: Words, tsd: int, address: int) -> int:
    element = element_of(words, log, par, tsd, address)
    return load_word(words, log, element) if element else 0


@compiled
def _edata_in(contents: int) -> int:
    """Return the edata's address: bit 47 is the sign of those above."""
    address = contents & _ADDRESS_MASK
    return (address ^ 1 << _ADDRESS_BITS - 1) - (1 << _ADDRESS_BITS - 1)


@compiled
def edata_of(words: Words, log: Words, par: Words, tsd: int, block: int) -> int:
    """Return the extent that a block is in; 0: in none (emap_edata_lookup)."""
    return _edata_in(_contents_of(words, log, par, tsd, block))


@compiled
def class_at(words: Words, log: Words, par: Words, tsd: int, block: int) -> int:
    """Return the class of a block; NR_SIZES or more: there is none (emap_alloc_ctx_lookup)."""
    contents = _contents_of(words, log, par, tsd, block)
    if contents & _ADDRESS_MASK == 0:
        return NR_SIZES
    return contents >> _ADDRESS_BITS & 0xFF


@compiled
def is_slab_at(words: Words, log: Words, par: Words, tsd: int, block: int) -> bool:
    """Return whether a block is in a slab."""
    return _contents_of(words, log, par, tsd, block) & _SLAB == _SLAB


@compiled
def _encode(words: Words, log: Words, edata: int, index: int, is_slab: int) -> int:
    """Return the element of an extent (rtree_leaf_elm_bits_encode)."""
    bits = load_word(words, log, edata + BITS)
    state = bits >> STATE_SHIFT & STATE_MASK
    head = _HEAD if bits & IS_HEAD else 0
    address = edata & (1 << _ADDRESS_BITS) - 1
    return to_word(index << _ADDRESS_BITS | address | state << _STATE_SHIFT | head | is_slab)


@compiled
def last_page_of(words: Words, log: Words, edata: int) -> int:
    """Return where the last page of an extent begins (edata_last_get)."""
    return base_of(words, log, edata) + bytes_of(words, log, edata) - PAGE_SIZE


@compiled
def write_boundary(
    words: Words, log: Words, par: Words, tsd: int, edata: int, index: int, is_slab: int
) -> None:
    """Let the first and the last page be an extent's (emap_rtree_write_acquired)."""
    contents = _encode(words, log, edata, index, is_slab)
    first = element_of(words, log, par, tsd, base_of(words, log, edata))
    last = element_of(words, log, par, tsd, last_page_of(words, log, edata))
    if first and last:
        store_word(words, log, first, contents)
        store_word(words, log, last, contents)


@compiled
def clear_element(words: Words, log: Words, par: Words, tsd: int, address: int) -> None:
    """Let a page be of no extent."""
    element = element_of(words, log, par, tsd, address)
    if element:
        store_word(words, log, element, NO_EXTENT)


@compiled
def deregister_boundary(words: Words, log: Words, par: Words, tsd: int, edata: int) -> None:
    """Let an extent be no more in the map (emap_deregister_boundary)."""
    clear_element(words, log, par, tsd, base_of(words, log, edata))
    clear_element(words, log, par, tsd, last_page_of(words, log, edata))


@compiled
def update_state(words: Words, log: Words, par: Words, tsd: int, edata: int, state: int) -> None:
    """Let an extent be in another state, in the map, too (emap_update_edata_state)."""
    set_state(words, log, edata, state)
    first = element_of(words, log, par, tsd, base_of(words, log, edata))
    if first == 0:
        return
    bits = load_word(words, log, first) & ~_STATE_BITS | state << _STATE_SHIFT
    store_word(words, log, first, bits)
    if bytes_of(words, log, edata) != PAGE_SIZE:
        last = element_of(words, log, par, tsd, last_page_of(words, log, edata))
        if last:
            store_word(words, log, last, bits)


@compiled
def remap(
    words: Words, log: Words, par: Words, tsd: int, edata: int, index: int, is_slab: int
) -> None:
    """Say of which class the blocks of an extent are (emap_remap, emap_register_interior)."""
    contents = _encode(words, log, edata, index, is_slab)
    base = base_of(words, log, edata)
    first = element_of(words, log, par, tsd, base)
    if first:
        store_word(words, log, first, contents)
    nr_bytes = bytes_of(words, log, edata)
    if is_slab and nr_bytes > PAGE_SIZE:
        last = element_of(words, log, par, tsd, base + nr_bytes - PAGE_SIZE)
        if last:
            store_word(words, log, last, contents)
        write_interior(words, log, par, tsd, edata, contents & ~_HEAD)


@compiled
def write_interior(
    words: Words, log: Words, par: Words, tsd: int, edata: int, contents: int
) -> None:
    """Write the pages of a slab between the first and the last one (rtree_write_range)."""
    base = base_of(words, log, edata)
    end = base + bytes_of(words, log, edata) - PAGE_SIZE
    element = 0
    address = base + PAGE_SIZE
    while address < end:
        if element == 0 or address & (1 << LEAF_SHIFT) - 1 == 0:
            element = element_of(words, log, par, tsd, address)
            if element == 0:
                return
        store_word(words, log, element, contents)
        element += 8
        address += PAGE_SIZE


@compiled
def acquire_neighbor(
    words: Words, log: Words, par: Words, tsd: int, edata: int, state: int, is_forward: int
) -> int:
    """Return the extent beside one, if it can be merged with it; it is being merged then.

    emap_try_acquire_edata_neighbor: it is in `state`, and no mapping begins between them. 0: none.
    """
    if is_forward:
        address = base_of(words, log, edata) + bytes_of(words, log, edata)
    else:
        address = base_of(words, log, edata) - PAGE_SIZE
    if address <= 0:
        return 0
    contents = _contents_of(words, log, par, tsd, address)
    neighbor = _edata_in(contents)
    if neighbor == 0:
        return 0
    is_head = contents & _HEAD != 0 if is_forward else has_bit(words, log, edata, IS_HEAD)
    if is_head or (contents & _STATE_BITS) >> _STATE_SHIFT != state:
        return 0
    update_state(words, log, par, tsd, neighbor, MERGING)
    return neighbor


@compiled
def merge_elements(
    words: Words, log: Words, par: Words, tsd: int, lead: int, trail_base: int
) -> None:
    """Let the map know one extent where two were, `lead` as large as both (emap_merge_commit).

    `trail_base`: where the higher one began.
    """
    if trail_base - PAGE_SIZE != base_of(words, log, lead):
        clear_element(words, log, par, tsd, trail_base - PAGE_SIZE)
    if trail_base != last_page_of(words, log, lead):
        clear_element(words, log, par, tsd, trail_base)
    write_boundary(words, log, par, tsd, lead, NR_SIZES, 0)
