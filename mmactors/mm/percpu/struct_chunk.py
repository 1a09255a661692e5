"""struct pcpu_chunk and struct pcpu_block_md as words (mm/percpu-internal.h, v6.1).

A chunk is one array: what is said of the whole, then a pcpu_block_md of all its bits, then one for
each page, then its bitmaps: units of 4 bytes in use (alloc_map), units with which an area begins or
free room begins behind one (bound_map), pages that are there (populated). All in units of 4 bytes,
which are bits, unless said otherwise.
"""

from typing import Final

from mmactors.units import PAGE_SHIFT, PAGE_SIZE

PCPU_MIN_ALLOC_SHIFT: Final = 2
PCPU_MIN_ALLOC_SIZE: Final = 1 << PCPU_MIN_ALLOC_SHIFT
"""Bytes of the smallest area: what a bit stands for."""
PCPU_MIN_UNIT_SIZE: Final = 32 << 10
"""Bytes of the largest area."""
BLOCK_BITS: Final = PAGE_SIZE >> PCPU_MIN_ALLOC_SHIFT
"""PCPU_BITMAP_BLOCK_BITS: a block is a page."""
BLOCK_SHIFT: Final = PAGE_SHIFT - PCPU_MIN_ALLOC_SHIFT
BLOCK_LONGS: Final = BLOCK_BITS // 64

FREE_BYTES: Final = 0
NR_PAGES: Final = 1
NR_POPULATED: Final = 2
"""Pages that are there."""
NR_EMPTY_POP_PAGES: Final = 3
"""Of these, pages with nothing in use."""
ALLOC_MAP: Final = 4
"""Where it begins; so the next two."""
BOUND_MAP: Final = 5
POPULATED: Final = 6
NR_ALLOC: Final = 7
"""Areas in use."""
MAX_ALLOC_SIZE: Final = 8
"""Bytes of the largest area there was."""

SCAN_HINT: Final = 0
"""Size of the largest free room known before the largest."""
SCAN_HINT_START: Final = 1
CONTIG_HINT: Final = 2
"""Size of the largest free room known."""
CONTIG_HINT_START: Final = 3
LEFT_FREE: Final = 4
"""How much is free at the beginning."""
RIGHT_FREE: Final = 5
FIRST_FREE: Final = 6
"""The first free bit."""
NR_BITS: Final = 7
NR_BLOCK_WORDS: Final = 8

CHUNK_MD: Final = 16
"""Where the hints of the whole chunk begin."""
MD_BLOCKS: Final = CHUNK_MD + NR_BLOCK_WORDS
"""Where those of its first page begin."""
