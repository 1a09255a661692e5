"""What of an arena is free: how many chunks of which sizes each of its lists holds.

`mallinfo2`, `malloc_stats` and `malloc_info` of malloc/malloc.c (2.36) are made of it.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.bins import fastbin_at
from mmactors.malloc.ptmalloc.chunk import ALIGN_MASK, FD, SIZE_BITS, chunksize, head_of, reveal
from mmactors.malloc.ptmalloc.malloc_state import NBINS, NFASTBINS, bin_at, top_of
from mmactors.malloc.ptmalloc.messages import CIRCLE
from mmactors.malloc.user_words import load_word, longest_walk

NR_LISTS: Final = NFASTBINS + NBINS - 1
"""Fastbins, then bins from 1 on: the unsorted one is number NFASTBINS."""
FROM: Final = 0
TO: Final = 1
TOTAL: Final = 2
COUNT: Final = 3
BYTES: Final = 4
"""Columns of a list. The first three are of sizes as in memory, with flags, where the list
is a bin, as malloc_info prints them; BYTES is of sizes alone."""
NR_COLUMNS: Final = 5
TOP_BYTES: Final = NR_LISTS * NR_COLUMNS
"""Behind the lists: the size of the top chunk."""
NR_NUMBERS: Final = TOP_BYTES + 1


@compiled
def count_free_chunks(words: Words, log: Words, av: int, unaligned: int, numbers: Words) -> int:
    """Fill `numbers` (NR_NUMBERS) with an arena's free chunks; 0, or the number of a message.

    `unaligned`: that of the message about a fastbin's chunk that is none.
    """
    numbers[:] = 0
    most = longest_walk(words)
    numbers[TOP_BYTES] = chunksize(words, log, top_of(words, log, av))
    for index in range(NFASTBINS):
        chunk = load_word(words, log, fastbin_at(av, index))
        if chunk == 0:
            continue
        size = chunksize(words, log, chunk)
        row = index * NR_COLUMNS
        numbers[row + FROM] = size - ALIGN_MASK
        numbers[row + TO] = size
        while chunk != 0:
            if chunk & ALIGN_MASK:
                return unaligned
            numbers[row + COUNT] += 1
            numbers[row + BYTES] += chunksize(words, log, chunk)
            if numbers[row + COUNT] > most:
                return CIRCLE
            chunk = reveal(words, log, chunk + FD)
        numbers[row + TOTAL] = numbers[row + COUNT] * size
    for index in range(1, NBINS):
        bin_ = bin_at(av, index)
        row = (NFASTBINS + index - 1) * NR_COLUMNS
        chunk = load_word(words, log, bin_ + FD)
        while chunk and chunk != bin_:
            head = head_of(words, log, chunk)
            if numbers[row + COUNT] == 0 or head < numbers[row + FROM]:
                numbers[row + FROM] = head
            numbers[row + TO] = max(int(numbers[row + TO]), head)
            numbers[row + TOTAL] += head
            numbers[row + COUNT] += 1
            numbers[row + BYTES] += head & ~SIZE_BITS
            if numbers[row + COUNT] > most:
                return CIRCLE
            chunk = load_word(words, log, chunk + FD)
    return 0
