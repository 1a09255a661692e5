"""What taking and giving back an area does to the hints of its pages and its chunk (v6.1).

They are looked for anew only where the largest free room was touched; else they are corrected. The
functions are those of mm/percpu.c, without their pcpu_; both count the pages that come to be in
use or empty in the chunk's NR_EMPTY_POP_PAGES.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.mm.percpu.bitmap import find_last_bit, find_next_bit, find_next_zero_bit
from mmactors.mm.percpu.block_md import block_refresh_hint, block_update, init_md_block, md_block
from mmactors.mm.percpu.region import chunk_refresh_hint
from mmactors.mm.percpu.struct_chunk import (
    ALLOC_MAP,
    BLOCK_BITS,
    BLOCK_LONGS,
    BLOCK_SHIFT,
    CHUNK_MD,
    CONTIG_HINT,
    CONTIG_HINT_START,
    FIRST_FREE,
    LEFT_FREE,
    NR_EMPTY_POP_PAGES,
    RIGHT_FREE,
    SCAN_HINT,
    SCAN_HINT_START,
)


@compiled
def _region_overlap(chunk: Words, hint: int, start: int, end: int) -> bool:
    """Return whether a hint, which its start follows, is of room that overlaps with another."""
    hint_start = chunk[hint + 1]
    overlaps: bool = hint_start < end and start < hint_start + chunk[hint]
    return overlaps


@compiled
def _free_from(chunk: Words, index: int, bit: int) -> int:
    """Return where the free room of a page begins that ends before a bit."""
    last = find_last_bit(chunk, chunk[ALLOC_MAP] + index * BLOCK_LONGS, bit)
    return 0 if last == bit else last + 1


@compiled
def block_update_scan(chunk: Words, bit_off: int, bits: int) -> None:
    """Note free room that a search has passed over as too small."""
    start = bit_off & (BLOCK_BITS - 1)
    end = start + bits
    if end > BLOCK_BITS:
        return
    index = bit_off >> BLOCK_SHIFT
    # What was passed over for the alignment is free, too.
    block_update(chunk, md_block(index), _free_from(chunk, index, start), end)


@compiled
def block_update_hint_alloc(chunk: Words, bit_off: int, bits: int) -> None:
    """Correct the hints for an area that was taken, whose bits are set."""
    last = bit_off + bits - 1
    s_index, e_index = bit_off >> BLOCK_SHIFT, last >> BLOCK_SHIFT
    s_off, e_off = bit_off & (BLOCK_BITS - 1), (last & (BLOCK_BITS - 1)) + 1
    nr_empty_pages = _take_from_first(chunk, s_index, e_index, s_off, s_off + bits, e_off)
    if s_index != e_index:
        nr_empty_pages += _take_from_last(chunk, e_index, e_off)
        nr_empty_pages += e_index - s_index - 1
        full = e_index + 1 if e_off == BLOCK_BITS else e_index
        for index in range(s_index + 1, full):
            block = md_block(index)
            chunk[block + SCAN_HINT] = 0
            chunk[block + CONTIG_HINT] = 0
            chunk[block + LEFT_FREE] = 0
            chunk[block + RIGHT_FREE] = 0
    chunk[NR_EMPTY_POP_PAGES] -= nr_empty_pages
    if _region_overlap(chunk, CHUNK_MD + SCAN_HINT, bit_off, last + 1):
        chunk[CHUNK_MD + SCAN_HINT] = 0
    if _region_overlap(chunk, CHUNK_MD + CONTIG_HINT, bit_off, last + 1):
        chunk_refresh_hint(chunk, 0)


@compiled
def _take_from_first(
    chunk: Words, s_index: int, e_index: int, s_off: int, end: int, e_off: int
) -> int:
    """Correct the page in which an area begins; return 1 if that was empty."""
    block = md_block(s_index)
    was_empty = 1 if chunk[block + CONTIG_HINT] == BLOCK_BITS else 0
    if s_off == chunk[block + FIRST_FREE]:
        bits = chunk[ALLOC_MAP] + s_index * BLOCK_LONGS
        chunk[block + FIRST_FREE] = find_next_zero_bit(chunk, bits, BLOCK_BITS, end)
    if _region_overlap(chunk, block + SCAN_HINT, s_off, end):
        chunk[block + SCAN_HINT] = 0
    if _region_overlap(chunk, block + CONTIG_HINT, s_off, end):
        if s_off == 0:
            chunk[block + LEFT_FREE] = 0
        block_refresh_hint(chunk, s_index)
    else:
        chunk[block + LEFT_FREE] = min(chunk[block + LEFT_FREE], s_off)
        right_free = BLOCK_BITS - e_off if s_index == e_index else 0
        chunk[block + RIGHT_FREE] = min(chunk[block + RIGHT_FREE], right_free)
    return was_empty


@compiled
def _take_from_last(chunk: Words, index: int, end: int) -> int:
    """Correct the page in which an area ends that began before it; return 1 if it was empty."""
    block = md_block(index)
    was_empty = 1 if chunk[block + CONTIG_HINT] == BLOCK_BITS else 0
    bits = chunk[ALLOC_MAP] + index * BLOCK_LONGS
    chunk[block + FIRST_FREE] = find_next_zero_bit(chunk, bits, BLOCK_BITS, end)
    if end < BLOCK_BITS:
        if end > chunk[block + SCAN_HINT_START]:
            chunk[block + SCAN_HINT] = 0
        chunk[block + LEFT_FREE] = 0
        if end > chunk[block + CONTIG_HINT_START]:
            block_refresh_hint(chunk, index)
        else:
            chunk[block + RIGHT_FREE] = min(chunk[block + RIGHT_FREE], BLOCK_BITS - end)
    return was_empty


@compiled
def block_update_hint_free(chunk: Words, bit_off: int, bits: int) -> None:
    """Correct the hints for an area that was given back, whose bits are clear."""
    last = bit_off + bits - 1
    s_index, e_index = bit_off >> BLOCK_SHIFT, last >> BLOCK_SHIFT
    s_off, e_off = bit_off & (BLOCK_BITS - 1), (last & (BLOCK_BITS - 1)) + 1
    s_block, e_block = md_block(s_index), md_block(e_index)
    # The free room that it lies in now, within its pages. A hint that ends there saves a search.
    start: int = chunk[s_block + CONTIG_HINT_START]
    if s_off != start + chunk[s_block + CONTIG_HINT]:
        start = _free_from(chunk, s_index, s_off)
    end: int = chunk[e_block + CONTIG_HINT_START] + chunk[e_block + CONTIG_HINT]
    if e_off != chunk[e_block + CONTIG_HINT_START]:
        end = find_next_bit(chunk, chunk[ALLOC_MAP] + e_index * BLOCK_LONGS, BLOCK_BITS, e_off)
    nr_empty_pages = 0
    e_off = end if s_index == e_index else BLOCK_BITS
    if start == 0 and e_off == BLOCK_BITS:
        nr_empty_pages += 1
    block_update(chunk, s_block, start, e_off)
    if s_index != e_index:
        if end == BLOCK_BITS:
            nr_empty_pages += 1
        block_update(chunk, e_block, 0, end)
        nr_empty_pages += e_index - s_index - 1
        for index in range(s_index + 1, e_index):
            block = md_block(index)
            init_md_block(chunk, block, BLOCK_BITS)
            chunk[block + CONTIG_HINT_START] = 0
    chunk[NR_EMPTY_POP_PAGES] += nr_empty_pages
    if end - start >= BLOCK_BITS or s_index != e_index:
        chunk_refresh_hint(chunk, 1)
    else:
        # As 6.1 has it: the beginning counts from the chunk's, the end from its page's.
        block_update(chunk, CHUNK_MD, s_index * BLOCK_BITS + start, end)
