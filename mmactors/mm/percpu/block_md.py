"""What is known of the free room of a page, or of a whole chunk: struct pcpu_block_md (v6.1).

Hints say where it is worth to look. The scan hint lies before the contig hint, except when both
are of one size. Free room that ends with its page goes on with the next one's `left_free`.
Functions are those of mm/percpu.c, without their pcpu_.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.mm.percpu.bitmap import find_next_bit, find_next_zero_bit
from mmactors.mm.percpu.struct_chunk import (
    ALLOC_MAP,
    BLOCK_BITS,
    BLOCK_LONGS,
    CONTIG_HINT,
    CONTIG_HINT_START,
    FIRST_FREE,
    LEFT_FREE,
    MD_BLOCKS,
    NR_BITS,
    NR_BLOCK_WORDS,
    RIGHT_FREE,
    SCAN_HINT,
    SCAN_HINT_START,
)


@compiled
def init_md_block(chunk: Words, block: int, nr_bits: int) -> None:
    """Let all of a block be free."""
    chunk[block + SCAN_HINT] = 0
    chunk[block + CONTIG_HINT] = nr_bits
    chunk[block + LEFT_FREE] = nr_bits
    chunk[block + RIGHT_FREE] = nr_bits
    chunk[block + FIRST_FREE] = 0
    chunk[block + NR_BITS] = nr_bits


@compiled
def md_block(index: int) -> int:
    """Return where the hints of a page begin."""
    return MD_BLOCKS + index * NR_BLOCK_WORDS


@compiled
def _align(bit: int, align: int) -> int:
    return (bit + align - 1) & -align


@compiled
def check_block_hint(chunk: Words, block: int, bits: int, align: int) -> bool:
    """Return whether so much fits into the largest free room."""
    start = chunk[block + CONTIG_HINT_START]
    fits: bool = _align(start, align) - start + bits <= chunk[block + CONTIG_HINT]
    return fits


@compiled
def next_hint(chunk: Words, block: int, alloc_bits: int) -> int:
    """Return where to look first: behind the scan hint if that is too small."""
    scan_hint, start = chunk[block + SCAN_HINT], chunk[block + SCAN_HINT_START]
    if scan_hint and chunk[block + CONTIG_HINT_START] > start and alloc_bits > scan_hint:
        behind: int = start + scan_hint
        return behind
    first: int = chunk[block + FIRST_FREE]
    return first


@compiled
def _is_better_aligned(start: int, than: int) -> bool:
    return start == 0 or (start & -start) > (than & -than)


@compiled
def block_update(chunk: Words, block: int, start: int, end: int) -> None:
    """Note free room, all of it that there is between what is in use."""
    contig = end - start
    chunk[block + FIRST_FREE] = min(chunk[block + FIRST_FREE], start)
    if start == 0:
        chunk[block + LEFT_FREE] = contig
    if end == chunk[block + NR_BITS]:
        chunk[block + RIGHT_FREE] = contig
    hint, hint_start = chunk[block + CONTIG_HINT], chunk[block + CONTIG_HINT_START]
    scan_hint, scan_start = chunk[block + SCAN_HINT], chunk[block + SCAN_HINT_START]
    if contig > hint:
        # What was the largest is the largest before it.
        if start > hint_start:
            if hint > scan_hint:
                chunk[block + SCAN_HINT_START] = hint_start
                chunk[block + SCAN_HINT] = hint
            elif start < scan_start:
                chunk[block + SCAN_HINT] = 0
        else:
            chunk[block + SCAN_HINT] = 0
        chunk[block + CONTIG_HINT_START] = start
        chunk[block + CONTIG_HINT] = contig
    elif contig == hint:
        if hint_start and _is_better_aligned(start, hint_start):
            chunk[block + CONTIG_HINT_START] = start
            if start < scan_start and hint > scan_hint:
                chunk[block + SCAN_HINT] = 0
        elif start > scan_start or hint > scan_hint:
            chunk[block + SCAN_HINT_START] = start
            chunk[block + SCAN_HINT] = contig
    elif start < hint_start and (
        contig > scan_hint or (contig == scan_hint and start > scan_start)
    ):
        chunk[block + SCAN_HINT_START] = start
        chunk[block + SCAN_HINT] = contig


@compiled
def promote_scan_hint(chunk: Words, block: int) -> int:
    """Let the scan hint be the largest free room, or nothing; return where to look on."""
    scan_hint, start = chunk[block + SCAN_HINT], chunk[block + SCAN_HINT_START]
    if scan_hint:
        chunk[block + CONTIG_HINT_START] = start
        chunk[block + CONTIG_HINT] = scan_hint
        chunk[block + SCAN_HINT] = 0
        behind: int = start + scan_hint
        return behind
    chunk[block + CONTIG_HINT] = 0
    first: int = chunk[block + FIRST_FREE]
    return first


@compiled
def block_refresh_hint(chunk: Words, index: int) -> None:
    """Look for a page's free room, as its largest was made use of."""
    block = md_block(index)
    bits = chunk[ALLOC_MAP] + index * BLOCK_LONGS
    start = promote_scan_hint(chunk, block)
    chunk[block + RIGHT_FREE] = 0
    start = find_next_zero_bit(chunk, bits, BLOCK_BITS, start)
    while start < BLOCK_BITS:
        end = find_next_bit(chunk, bits, BLOCK_BITS, start)
        block_update(chunk, block, start, end)
        start = find_next_zero_bit(chunk, bits, BLOCK_BITS, end)
