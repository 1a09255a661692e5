"""struct pcpu_chunk: a unit for each CPU, and what of it is in use (mm/percpu-internal.h, v6.1)."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from mmactors.arch.column import Words
from mmactors.mm.percpu.area import init_md_blocks
from mmactors.mm.percpu.bitmap import (
    bitmap_clear,
    bitmap_set,
    find_next_bit,
    find_next_zero_bit,
    nr_longs,
)
from mmactors.mm.percpu.hints import block_update_hint_alloc
from mmactors.mm.percpu.struct_chunk import (
    ALLOC_MAP,
    BLOCK_BITS,
    BLOCK_LONGS,
    BOUND_MAP,
    CHUNK_MD,
    CONTIG_HINT,
    FIRST_FREE,
    FREE_BYTES,
    MD_BLOCKS,
    NR_BLOCK_WORDS,
    NR_EMPTY_POP_PAGES,
    NR_PAGES,
    NR_POPULATED,
    PCPU_MIN_ALLOC_SHIFT,
    PCPU_MIN_ALLOC_SIZE,
    POPULATED,
)
from mmactors.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE


class PcpuChunk:
    """One chunk.

    Invariants: `free_bytes` is what the bits say; `nr_populated` counts the populated pages; a
    hint never says more than there is.
    """

    def __init__(self, base_addr: int, nr_pages: int) -> None:
        """Make a chunk of pages, none of them there, all of it free."""
        self.base_addr = base_addr
        self.start_offset = 0
        """Bytes at the beginning that are not the chunk's."""
        self.end_offset = 0
        self.immutable = False
        """Its pages are there and stay."""
        self.isolated = False
        """It is on no list that areas are taken from first."""
        self.slot: int | None = None
        """Number of the list that it is on."""
        self.mem: tuple[int, ...] = ()
        """Addresses of what describes it, in the order in which it was allocated."""
        alloc_map = MD_BLOCKS + nr_pages * NR_BLOCK_WORDS
        bound_map = alloc_map + nr_pages * BLOCK_LONGS
        populated = bound_map + nr_longs(nr_pages * BLOCK_BITS + 1)
        self.words: Final[Words] = np.zeros(populated + nr_longs(nr_pages), np.int64)
        self.view: Final = self.words.data
        view = self.view
        view[NR_PAGES] = nr_pages
        view[ALLOC_MAP], view[BOUND_MAP], view[POPULATED] = alloc_map, bound_map, populated
        view[FREE_BYTES] = nr_pages << PAGE_SHIFT
        init_md_blocks(self.words)

    def __str__(self) -> str:
        return f"the chunk at {self.base_addr:#x}"

    @classmethod
    def first(cls, address: int, nr_bytes: int) -> "PcpuChunk":
        """Make a chunk of memory that boot has set aside (pcpu_alloc_first_chunk)."""
        start_offset = address & ~PAGE_MASK
        region_bytes = (start_offset + nr_bytes + PAGE_SIZE - 1) & PAGE_MASK
        chunk = cls(address & PAGE_MASK, region_bytes >> PAGE_SHIFT)
        chunk.start_offset = start_offset
        chunk.end_offset = region_bytes - start_offset - nr_bytes
        chunk.immutable = True
        view, words = chunk.view, chunk.words
        bitmap_set(words, view[POPULATED], 0, chunk.nr_pages)
        view[NR_POPULATED] = view[NR_EMPTY_POP_PAGES] = chunk.nr_pages
        view[FREE_BYTES] = nr_bytes
        hidden = start_offset >> PCPU_MIN_ALLOC_SHIFT
        if hidden:
            bitmap_set(words, view[ALLOC_MAP], 0, hidden)
            bitmap_set(words, view[BOUND_MAP], 0, 1)
            bitmap_set(words, view[BOUND_MAP], hidden, 1)
            view[CHUNK_MD + FIRST_FREE] = hidden
            block_update_hint_alloc(words, 0, hidden)
        hidden = chunk.end_offset >> PCPU_MIN_ALLOC_SHIFT
        if hidden:
            nr_bits = chunk.nr_pages * BLOCK_BITS
            bitmap_set(words, view[ALLOC_MAP], nr_bits - hidden, hidden)
            bitmap_set(words, view[BOUND_MAP], nr_bits - hidden, 1)
            bitmap_set(words, view[BOUND_MAP], nr_bits, 1)
            block_update_hint_alloc(words, nr_bits - hidden, hidden)
        return chunk

    @property
    def nr_pages(self) -> int:
        """Pages of a unit."""
        return self.view[NR_PAGES]

    @property
    def free_bytes(self) -> int:
        """Bytes in no area."""
        return self.view[FREE_BYTES]

    @property
    def nr_populated(self) -> int:
        """Pages that are there."""
        return self.view[NR_POPULATED]

    @property
    def nr_empty_pop_pages(self) -> int:
        """Pages that are there without any area."""
        return self.view[NR_EMPTY_POP_PAGES]

    @property
    def contig_bytes(self) -> int:
        """Bytes of the largest free room that is known; 0: there is none, or too little."""
        view = self.view
        if view[FREE_BYTES] < PCPU_MIN_ALLOC_SIZE:
            return 0
        return view[CHUNK_MD + CONTIG_HINT] << PCPU_MIN_ALLOC_SHIFT

    def has(self, address: int) -> bool:
        """Return whether it serves an address (pcpu_addr_in_chunk)."""
        end = self.base_addr + (self.nr_pages << PAGE_SHIFT) - self.end_offset
        return self.base_addr + self.start_offset <= address < end

    def missing(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges of pages that are not there, as they are when they are reached."""
        base = self.view[POPULATED]
        while (start := find_next_zero_bit(self.words, base, end, start)) < end:
            until = find_next_bit(self.words, base, end, start + 1)
            yield int(start), int(until)
            start = until + 1

    def present(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges of pages that are there, as they are when they are reached."""
        base, start, end = self.view[POPULATED], 0, self.nr_pages
        while (start := find_next_bit(self.words, base, end, start)) < end:
            until = find_next_zero_bit(self.words, base, end, start + 1)
            yield int(start), int(until)
            start = until + 1

    def set_populated(self, start: int, end: int) -> None:
        """Let pages be there, which have no area."""
        bitmap_set(self.words, self.view[POPULATED], start, end - start)
        self.view[NR_POPULATED] += end - start

    def clear_populated(self, start: int, end: int) -> None:
        """Let pages be gone, which have no area."""
        bitmap_clear(self.words, self.view[POPULATED], start, end - start)
        self.view[NR_POPULATED] -= end - start
