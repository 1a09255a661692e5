"""Memory of the library's own, which is never given back, base_t (jemalloc 5.3.0, base.c).

It comes in blocks of multiples of 2 MiB, each larger than the last. A block is given out from its
begin to its end; the free rests of all are in heaps by class of size. What is here takes from
rests that are there.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.pages.edata import (
    ADDRESS,
    EDATA_BYTES,
    SERIAL,
    SIZE_ESN,
    init_base_edata,
)
from mmactors.malloc.jemalloc.pages.pairing_heap import (
    BY_MEMORY,
    first_of,
    heap_insert,
    heap_remove_first,
    insert_into,
    remove_from,
)
from mmactors.malloc.jemalloc.size_classes import NR_SIZES, size2index
from mmactors.malloc.user_words import add_to, load_word, store_bits, store_word
from mmactors.units import PAGE_SIZE

BASE_BYTES: Final = 3912
BASE_LOCK: Final = 32
PIND_LAST: Final = 148
EXTENT_SN_NEXT: Final = 152
BLOCKS: Final = 160
AVAIL: Final = 168
ALLOCATED: Final = 3880
RESIDENT: Final = 3888
MAPPED: Final = 3896
BLOCK_HEADER_BYTES: Final = 144
BLOCK_NEXT: Final = 8
BLOCK_EDATA: Final = 16
QUANTUM: Final = 16

CACHE_COUNT: Final = 16
CACHE_LOCK: Final = 24
CACHE_BASE: Final = 136
"""In an edata_cache, whose heap is at its begin."""


@compiled
def init_block(words: Words, log: Words, block: int, block_bytes: int, serial: int) -> None:
    """Write a new block's header; behind it all is free (base_block_alloc)."""
    store_word(words, log, block, block_bytes)
    store_word(words, log, block + BLOCK_NEXT, 0)
    free = block + BLOCK_HEADER_BYTES
    rest = block_bytes - BLOCK_HEADER_BYTES
    init_base_edata(words, log, block + BLOCK_EDATA, free, rest, serial)


@compiled
def bump(words: Words, log: Words, edata: int, size: int, alignment: int) -> tuple[int, int]:
    """Take memory from the begin of a rest; return where it is, and the gap before it.

    base_extent_bump_alloc_helper.
    """
    address = load_word(words, log, edata + ADDRESS)
    gap = -address & alignment - 1
    rest = load_word(words, log, edata + SIZE_ESN) - gap - size
    serial = load_word(words, log, edata + SERIAL)
    init_base_edata(words, log, edata, address + gap + size, rest, serial)
    return address + gap, gap


@compiled
def keep_rest(
    words: Words, log: Words, base: int, edata: int, address: int, gap: int, size: int
) -> None:
    """Let a base have the rest of a block, and count what was taken (..._bump_alloc_post)."""
    rest = load_word(words, log, edata + SIZE_ESN)
    if rest > 0:
        index = size2index(rest + 1) - 1
        heap_insert(words, log, base + AVAIL + 16 * index, edata)
    add_to(words, log, base + ALLOCATED, size)
    end = address + size + PAGE_SIZE - 1 & -PAGE_SIZE
    begin = address - gap + PAGE_SIZE - 1 & -PAGE_SIZE
    add_to(words, log, base + RESIDENT, end - begin)


@compiled
def take_from(words: Words, log: Words, base: int, edata: int, size: int, alignment: int) -> int:
    """Take memory from a rest that is large enough, and in no heap."""
    address, gap = bump(words, log, edata, size, alignment)
    keep_rest(words, log, base, edata, address, gap, size)
    return address


@compiled
def take_memory(words: Words, log: Words, base: int, size: int, alignment: int) -> tuple[int, int]:
    """Take memory from a base; return it, and its serial number; 0: it needs another block.

    The first part of base_alloc_impl. Size and alignment are multiples of 16 and of the alignment.
    """
    for index in range(size2index(size + alignment - QUANTUM), NR_SIZES):
        edata = heap_remove_first(words, log, base + AVAIL + 16 * index)
        if edata:
            address = take_from(words, log, base, edata, size, alignment)
            return address, load_word(words, log, edata + SERIAL)
    return 0, 0


@compiled
def take_edata(words: Words, log: Words, base: int) -> int:
    """Take an edata from a base; 0: it needs another block (base_alloc_edata)."""
    edata, serial = take_memory(words, log, base, EDATA_BYTES, EDATA_BYTES)
    if edata:
        number_edata(words, log, edata, serial)
    return edata


@compiled
def has_room_for_edata(words: Words, log: Words, base: int) -> bool:
    """Return whether a base has memory for an edata, whatever the alignment costs."""
    for index in range(size2index(2 * EDATA_BYTES - QUANTUM), NR_SIZES):
        if load_word(words, log, base + AVAIL + 16 * index):
            return True
    return False


@compiled
def number_edata(words: Words, log: Words, edata: int, serial: int) -> None:
    """Write into a new edata of which memory it is (edata_esn_set)."""
    store_word(words, log, edata + SIZE_ESN, serial & PAGE_SIZE - 1)


@compiled
def take_cached(words: Words, log: Words, cache: int) -> int:
    """Return an edata that nobody uses; 0: there is none (edata_cache_get)."""
    edata = first_of(words, log, BY_MEMORY, cache)
    if edata:
        remove_from(words, log, BY_MEMORY, cache, edata)
        add_to(words, log, cache + CACHE_COUNT, -1)
    return edata


@compiled
def put_cached(words: Words, log: Words, cache: int, edata: int) -> None:
    """Take an edata that nobody uses any more (edata_cache_put)."""
    insert_into(words, log, BY_MEMORY, cache, edata)
    add_to(words, log, cache + CACHE_COUNT, 1)


@compiled
def init_base(words: Words, log: Words, base: int, block: int, pind_last: int) -> None:
    """Write a new base, in its first block (base_new)."""
    store_bits(words, log, base + PIND_LAST, 4, pind_last)
    store_word(words, log, base + EXTENT_SN_NEXT, 1)
    store_word(words, log, base + BLOCKS, block)
    store_word(words, log, base + ALLOCATED, BLOCK_HEADER_BYTES)
    store_word(words, log, base + RESIDENT, PAGE_SIZE)
    store_word(words, log, base + MAPPED, load_word(words, log, block))
