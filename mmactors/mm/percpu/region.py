"""Free room of a chunk, as the hints of its pages know it (mm/percpu.c, v6.1).

Room that ends with a page is counted together with that of the pages behind.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.mm.percpu.block_md import (
    block_update,
    check_block_hint,
    md_block,
    next_hint,
    promote_scan_hint,
)
from mmactors.mm.percpu.struct_chunk import (
    BLOCK_BITS,
    BLOCK_SHIFT,
    CHUNK_MD,
    CONTIG_HINT,
    CONTIG_HINT_START,
    FIRST_FREE,
    LEFT_FREE,
    NR_PAGES,
    RIGHT_FREE,
)


@compiled
def next_md_free_region(chunk: Words, bit_off: int) -> tuple[int, int]:
    """Return where the next free room is, and its size; behind the chunk: there is none."""
    index, block_off = bit_off >> BLOCK_SHIFT, bit_off & (BLOCK_BITS - 1)
    bits = 0
    nr_blocks = chunk[NR_PAGES]
    while index < nr_blocks:
        block = md_block(index)
        if bits:
            left_free = chunk[block + LEFT_FREE]
            bits += left_free
            if left_free != BLOCK_BITS:
                return bit_off, bits
            index += 1
            continue
        contig, start = chunk[block + CONTIG_HINT], chunk[block + CONTIG_HINT_START]
        # Room up to the end of the page goes on with the next one.
        if contig and start >= block_off and contig + start < BLOCK_BITS:
            return index * BLOCK_BITS + start, contig
        block_off = 0
        bits = chunk[block + RIGHT_FREE]
        bit_off = (index + 1) * BLOCK_BITS - bits
        index += 1
    return bit_off, bits


@compiled
def chunk_refresh_hint(chunk: Words, full_scan: int) -> None:
    """Look for the chunk's largest free room in the hints of its pages; 1: of all of them."""
    if full_scan:
        bit_off: int = chunk[CHUNK_MD + FIRST_FREE]
        chunk[CHUNK_MD + CONTIG_HINT] = 0
    else:
        bit_off = promote_scan_hint(chunk, CHUNK_MD)
    nr_bits = chunk[NR_PAGES] * BLOCK_BITS
    bit_off, bits = next_md_free_region(chunk, bit_off)
    while bit_off < nr_bits:
        block_update(chunk, CHUNK_MD, bit_off, bit_off + bits)
        bit_off, bits = next_md_free_region(chunk, bit_off + bits + 1)


@compiled
def next_fit_region(chunk: Words, alloc_bits: int, align: int, bit_off: int) -> tuple[int, int]:
    """Return where to begin to look for room that certainly fits, and how much to look at.

    Behind the chunk: there is none.
    """
    index, block_off = bit_off >> BLOCK_SHIFT, bit_off & (BLOCK_BITS - 1)
    bits = 0
    nr_blocks = chunk[NR_PAGES]
    while index < nr_blocks:
        block = md_block(index)
        if bits:
            left_free = chunk[block + LEFT_FREE]
            bits += left_free
            if bits >= alloc_bits:
                return bit_off, bits
            if left_free == BLOCK_BITS:
                index += 1
                continue
        contig_start = chunk[block + CONTIG_HINT_START]
        if contig_start >= block_off and check_block_hint(chunk, block, alloc_bits, align):
            start = next_hint(chunk, block, alloc_bits)
            skipped = ((contig_start + align - 1) & -align) - contig_start
            return index * BLOCK_BITS + start, skipped + alloc_bits + contig_start - start
        block_off = 0
        bit_off = (BLOCK_BITS - chunk[block + RIGHT_FREE] + align - 1) & -align
        bits = BLOCK_BITS - bit_off
        bit_off += index * BLOCK_BITS
        if bits >= alloc_bits:
            return bit_off, bits
        index += 1
    return nr_blocks * BLOCK_BITS, bits
