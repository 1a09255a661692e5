"""What the library knows of an extent, edata_t: 128 bytes (jemalloc 5.3.0, edata.h).

A run of pages that are of one arena and in one state. The first word has what is a few bits wide.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.size_classes import NR_SIZES
from mmactors.malloc.user_words import load_word, store_word, to_word
from mmactors.units import PAGE_SIZE

EDATA_BYTES: Final = 128
"""And their alignment (EDATA_ALIGNMENT)."""
BITS: Final = 0
ADDRESS: Final = 8
SIZE_ESN: Final = 16
"""Bytes of the extent, and in the low bits the number of the memory that the edata is in."""
SERIAL: Final = 32
"""e_sn: the lower, the older the mapping."""
HEAP_LINK: Final = 40
INACTIVE_LINK: Final = 64
"""In the list of the set's extents, as they came."""
PROF_TCTX: Final = 80

ACTIVE: Final = 0
DIRTY: Final = 1
MUZZY: Final = 2
RETAINED: Final = 3
MERGING: Final = 5

ARENA_MASK: Final = 0xFFF
NO_ARENA: Final = 0xFFF
SLAB: Final = 1 << 12
COMMITTED: Final = 1 << 13
ZEROED: Final = 1 << 15
STATE_SHIFT: Final = 17
STATE_MASK: Final = 7
SZIND_SHIFT: Final = 20
SZIND_MASK: Final = 0xFF
IS_HEAD: Final = 1 << 44
_INITIALIZED: Final = (
    ARENA_MASK
    | SLAB
    | COMMITTED
    | 1 << 14
    | ZEROED
    | 1 << 16
    | STATE_MASK << STATE_SHIFT
    | SZIND_MASK << SZIND_SHIFT
    | IS_HEAD
)
"""The bits that edata_init sets."""


@compiled
def base_of(words: Words, log: Words, edata: int) -> int:
    """Return where an extent begins (edata_base_get)."""
    return load_word(words, log, edata + ADDRESS) & -PAGE_SIZE


@compiled
def bytes_of(words: Words, log: Words, edata: int) -> int:
    """Return an extent's bytes (edata_size_get)."""
    return load_word(words, log, edata + SIZE_ESN) & -PAGE_SIZE


@compiled
def set_bytes(words: Words, log: Words, edata: int, nr_bytes: int) -> None:
    """Let an extent have so many bytes (edata_size_set)."""
    rest = load_word(words, log, edata + SIZE_ESN) & PAGE_SIZE - 1
    store_word(words, log, edata + SIZE_ESN, nr_bytes | rest)


@compiled
def arena_index_of(words: Words, log: Words, edata: int) -> int:
    """Return the number of the arena that an extent is of (edata_arena_ind_get)."""
    return load_word(words, log, edata + BITS) & ARENA_MASK


@compiled
def class_of(words: Words, log: Words, edata: int) -> int:
    """Return the class of an extent in use (edata_szind_get)."""
    return load_word(words, log, edata + BITS) >> SZIND_SHIFT & SZIND_MASK


@compiled
def has_bit(words: Words, log: Words, edata: int, bit: int) -> bool:
    """Return whether one of an extent's flags is set."""
    return load_word(words, log, edata + BITS) & bit != 0


@compiled
def set_field(words: Words, log: Words, edata: int, mask: int, value: int) -> None:
    """Change the bits of `mask` in an extent's first word."""
    bits = load_word(words, log, edata + BITS)
    store_word(words, log, edata + BITS, bits & ~mask | value)


@compiled
def set_state(words: Words, log: Words, edata: int, state: int) -> None:
    """Let an extent be in another state."""
    set_field(words, log, edata, STATE_MASK << STATE_SHIFT, state << STATE_SHIFT)


@compiled
def set_class(words: Words, log: Words, edata: int, index: int, is_slab: int) -> None:
    """Let an extent be of a class, and a slab or not."""
    mask = SZIND_MASK << SZIND_SHIFT | SLAB
    set_field(words, log, edata, mask, index << SZIND_SHIFT | SLAB * is_slab)


@compiled
def init_edata(
    words: Words,
    log: Words,
    edata: int,
    arena_index: int,
    address: int,
    nr_bytes: int,
    serial: int,
    flags: int,
    state: int,
) -> None:
    """Let an edata be of an extent that no block is in (edata_init).

    `flags`: COMMITTED, ZEROED, IS_HEAD.
    """
    value = arena_index | flags | state << STATE_SHIFT | NR_SIZES << SZIND_SHIFT
    set_field(words, log, edata, _INITIALIZED, value)
    store_word(words, log, edata + ADDRESS, address)
    set_bytes(words, log, edata, nr_bytes)
    store_word(words, log, edata + SERIAL, serial)
    store_word(words, log, edata + PROF_TCTX, 0)


@compiled
def init_base_edata(
    words: Words, log: Words, edata: int, address: int, nr_bytes: int, serial: int
) -> None:
    """Let an edata be of the free rest of a base block, to the byte (edata_binit)."""
    value = NO_ARENA | COMMITTED | ZEROED | NR_SIZES << SZIND_SHIFT
    set_field(words, log, edata, _INITIALIZED, value)
    store_word(words, log, edata + ADDRESS, address)
    store_word(words, log, edata + SIZE_ESN, nr_bytes)
    store_word(words, log, edata + SERIAL, serial)


@compiled
def is_before(words: Words, log: Words, edata: int, other: int) -> bool:
    """Return whether an extent is older than another, or as old and lower (edata_snad_comp)."""
    serial = load_word(words, log, edata + SERIAL)
    other_serial = load_word(words, log, other + SERIAL)
    if serial != other_serial:
        return serial < other_serial
    address = load_word(words, log, edata + ADDRESS)
    return address < load_word(words, log, other + ADDRESS)


@compiled
def past_of(words: Words, log: Words, edata: int) -> int:
    """Return the address behind an extent (edata_past_get)."""
    return to_word(base_of(words, log, edata) + bytes_of(words, log, edata))
