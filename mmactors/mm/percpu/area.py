"""Finding, taking and giving back an area of a chunk (mm/percpu.c, v6.1). In bits of 4 bytes.

The functions are those of mm/percpu.c, without their pcpu_; -1 is no place. Which list the chunk is
on afterwards is up to who calls (slots.py).
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.mm.percpu.bitmap import (
    bitmap_clear,
    bitmap_set,
    find_next_bit,
    find_next_zero_bit,
)
from mmactors.mm.percpu.block_md import check_block_hint, init_md_block, md_block, next_hint
from mmactors.mm.percpu.hints import (
    block_update_hint_alloc,
    block_update_hint_free,
    block_update_scan,
)
from mmactors.mm.percpu.region import next_fit_region
from mmactors.mm.percpu.struct_chunk import (
    ALLOC_MAP,
    BLOCK_BITS,
    BLOCK_SHIFT,
    BOUND_MAP,
    CHUNK_MD,
    CONTIG_HINT,
    FIRST_FREE,
    FREE_BYTES,
    NR_PAGES,
    PCPU_MIN_ALLOC_SHIFT,
    POPULATED,
)


@compiled
def init_md_blocks(chunk: Words) -> None:
    """Let all of a chunk be free."""
    nr_pages = chunk[NR_PAGES]
    init_md_block(chunk, CHUNK_MD, nr_pages * BLOCK_BITS)
    for index in range(nr_pages):
        init_md_block(chunk, md_block(index), BLOCK_BITS)


@compiled
def _is_populated(chunk: Words, bit_off: int, bits: int) -> int:
    """Return -1 if all pages of some room are there, else where to look on."""
    start = bit_off >> BLOCK_SHIFT
    end = (bit_off + bits + BLOCK_BITS - 1) >> BLOCK_SHIFT
    start = find_next_zero_bit(chunk, chunk[POPULATED], end, start)
    if start >= end:
        return -1
    return find_next_bit(chunk, chunk[POPULATED], end, start + 1) * BLOCK_BITS


@compiled
def _is_empty_and_there(chunk: Words, page: int) -> bool:
    word: int = chunk[chunk[POPULATED] + (page >> 6)]
    return word >> (page & 63) & 1 != 0 and chunk[md_block(page) + CONTIG_HINT] == BLOCK_BITS


@compiled
def last_empty_pages(chunk: Words, end: int) -> tuple[int, int]:
    """Return the last pages below `end` that are there without any area; (0, 0): none are."""
    while end > 0 and not _is_empty_and_there(chunk, end - 1):
        end -= 1
    start = end
    while start > 0 and _is_empty_and_there(chunk, start - 1):
        start -= 1
    return start, end


@compiled
def find_block_fit(chunk: Words, alloc_bits: int, align: int, pop_only: int) -> int:
    """Return where to begin to look for room; `pop_only` is 1: in pages that are there only."""
    if not check_block_hint(chunk, CHUNK_MD, alloc_bits, align):
        return -1
    nr_bits: int = chunk[NR_PAGES] * BLOCK_BITS
    bit_off = next_hint(chunk, CHUNK_MD, alloc_bits)
    bit_off, bits = next_fit_region(chunk, alloc_bits, align, bit_off)
    while bit_off < nr_bits:
        following = _is_populated(chunk, bit_off, bits) if pop_only else -1
        if following < 0:
            return bit_off
        bit_off, bits = next_fit_region(chunk, alloc_bits, align, following)
    return -1


@compiled
def _is_worth_more(area_off: int, than: int) -> bool:
    """Return whether of two rooms of one size the first is better aligned."""
    return than != 0 and (area_off == 0 or (area_off & -area_off) > (than & -than))


@compiled
def _find_zero_area(chunk: Words, size: int, start: int, nr_bits: int, align: int) -> int:
    """Return the first room that is free, -1: none; note the largest that was too small."""
    alloc_map = chunk[ALLOC_MAP]
    largest_off, largest_bits = 0, 0
    while True:
        index = find_next_zero_bit(chunk, alloc_map, size, start)
        index = (index + align - 1) & -align
        end = index + nr_bits
        if end > size:
            return -1
        used = find_next_bit(chunk, alloc_map, end, index)
        if used >= end:
            break
        bits = used - index
        if bits > largest_bits or (bits == largest_bits and _is_worth_more(index, largest_off)):
            largest_off, largest_bits = index, bits
        start = used + 1
    if largest_bits:
        block_update_scan(chunk, largest_off, largest_bits)
    return index


@compiled
def alloc_area(chunk: Words, alloc_bits: int, align: int, start: int) -> int:
    """Take an area, at most a page behind `start`; return its first bit."""
    nr_bits: int = chunk[NR_PAGES] * BLOCK_BITS
    end = min(start + alloc_bits + BLOCK_BITS, nr_bits)
    bit_off = _find_zero_area(chunk, end, start, alloc_bits, align)
    if bit_off < 0:
        return -1
    bound_map = chunk[BOUND_MAP]
    bitmap_set(chunk, chunk[ALLOC_MAP], bit_off, alloc_bits)
    bitmap_set(chunk, bound_map, bit_off, 1)
    bitmap_clear(chunk, bound_map, bit_off + 1, alloc_bits - 1)
    bitmap_set(chunk, bound_map, bit_off + alloc_bits, 1)
    chunk[FREE_BYTES] -= alloc_bits << PCPU_MIN_ALLOC_SHIFT
    if bit_off == chunk[CHUNK_MD + FIRST_FREE]:
        chunk[CHUNK_MD + FIRST_FREE] = find_next_zero_bit(
            chunk, chunk[ALLOC_MAP], nr_bits, bit_off + alloc_bits
        )
    block_update_hint_alloc(chunk, bit_off, alloc_bits)
    return bit_off


@compiled
def free_area(chunk: Words, bit_off: int) -> int:
    """Give back the area that begins with a bit; return its bits."""
    nr_bits: int = chunk[NR_PAGES] * BLOCK_BITS
    end = find_next_bit(chunk, chunk[BOUND_MAP], nr_bits, bit_off + 1)
    bits = end - bit_off
    bitmap_clear(chunk, chunk[ALLOC_MAP], bit_off, bits)
    chunk[FREE_BYTES] += bits << PCPU_MIN_ALLOC_SHIFT
    chunk[CHUNK_MD + FIRST_FREE] = min(chunk[CHUNK_MD + FIRST_FREE], bit_off)
    block_update_hint_free(chunk, bit_off, bits)
    return bits
