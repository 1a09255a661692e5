"""Bins: lists of free chunks by size (malloc/malloc.c).

Bin 1 is the unsorted one. The small ones hold one size each; the large ones are sorted from the
largest to the smallest chunk, and the first chunk of each size is in a second ring (nextsize).
The binmap says which bins may hold chunks; a fastbin is a stack of chunks that count as used.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.chunk import (
    BK,
    BK_NEXTSIZE,
    FD,
    FD_NEXTSIZE,
    head_of,
    is_above,
)
from mmactors.malloc.ptmalloc.malloc_state import BINMAP, FASTBINS, UNSORTED, bin_at
from mmactors.malloc.ptmalloc.messages import CIRCLE, LOST, number_of
from mmactors.malloc.user_words import load_bits, load_word, longest_walk, store_bits, store_word

MIN_LARGE_SIZE: Final = 1024

_WRONG_SIZE: Final = number_of("corrupted size vs. prev_size")
_WRONG_LINKS: Final = number_of("corrupted double-linked list")
_WRONG_RING: Final = number_of("corrupted double-linked list (not small)")
_WRONG_NEXTSIZE: Final = number_of("malloc(): largebin double linked list corrupted (nextsize)")
_WRONG_BK: Final = number_of("malloc(): largebin double linked list corrupted (bk)")


@compiled
def in_smallbin_range(size: int) -> bool:
    """Return whether chunks of a size are in a bin of their own."""
    return 0 <= size < MIN_LARGE_SIZE


@compiled
def fastbin_index(size: int) -> int:
    """Return the number of the fastbin for a size, from 0; C makes it of the size's low 32 bits."""
    return ((size & 0xFFFFFFFF) >> 4) - 2


@compiled
def fastbin_at(av: int, index: int) -> int:
    """Return the address of a fastbin's head."""
    return av + FASTBINS + 8 * index


@compiled
def largebin_index(size: int) -> int:
    """Return the number of the bin for a size from 1024 on (largebin_index_64)."""
    if size < 0:
        return 126
    if size >> 6 <= 48:
        return 48 + (size >> 6)
    if size >> 9 <= 20:
        return 91 + (size >> 9)
    if size >> 12 <= 10:
        return 110 + (size >> 12)
    if size >> 15 <= 4:
        return 119 + (size >> 15)
    if size >> 18 <= 2:
        return 124 + (size >> 18)
    return 126


@compiled
def bin_index(size: int) -> int:
    """Return the number of the bin for a size."""
    return size >> 4 if in_smallbin_range(size) else largebin_index(size)


@compiled
def mark_bin(words: Words, log: Words, av: int, index: int) -> None:
    """Say in the binmap that a bin may hold chunks."""
    block = av + BINMAP + 4 * (index >> 5)
    bits = load_bits(words, log, block, 4)
    store_bits(words, log, block, 4, bits | 1 << (index & 31))


@compiled
def link_unsorted(words: Words, log: Words, av: int, chunk: int, size: int) -> bool:
    """Put a chunk at the front of the unsorted bin; return whether the bin's links are right."""
    head = bin_at(av, UNSORTED)
    front = load_word(words, log, head + FD)
    if load_word(words, log, front + BK) != head:
        return False
    store_word(words, log, chunk + FD, front)
    store_word(words, log, chunk + BK, head)
    forget_nextsize(words, log, chunk, size)
    store_word(words, log, head + FD, chunk)
    store_word(words, log, front + BK, chunk)
    return True


@compiled
def forget_nextsize(words: Words, log: Words, chunk: int, size: int) -> None:
    """Say that a chunk, if it is large, is not in a ring of sizes."""
    if not in_smallbin_range(size):
        store_word(words, log, chunk + FD_NEXTSIZE, 0)
        store_word(words, log, chunk + BK_NEXTSIZE, 0)


@compiled
def unlink_chunk(words: Words, log: Words, chunk: int) -> int:
    """Take a chunk out of its bin; return 0, or what is wrong with it."""
    head = head_of(words, log, chunk)
    if head & ~7 != load_word(words, log, chunk + (head & ~7)):
        return _WRONG_SIZE
    forward = load_word(words, log, chunk + FD)
    back = load_word(words, log, chunk + BK)
    if load_word(words, log, forward + BK) != chunk or load_word(words, log, back + FD) != chunk:
        return _WRONG_LINKS
    store_word(words, log, forward + BK, back)
    store_word(words, log, back + FD, forward)
    if in_smallbin_range(head):
        return 0
    smaller = load_word(words, log, chunk + FD_NEXTSIZE)
    return _leave_ring(words, log, chunk, forward, smaller) if smaller else 0


@compiled
def _leave_ring(words: Words, log: Words, chunk: int, forward: int, smaller: int) -> int:
    """Let the next chunk of the same size, if there is one, take a chunk's place in the ring."""
    larger = load_word(words, log, chunk + BK_NEXTSIZE)
    if (
        load_word(words, log, smaller + BK_NEXTSIZE) != chunk
        or load_word(words, log, larger + FD_NEXTSIZE) != chunk
    ):
        return _WRONG_RING
    if load_word(words, log, forward + FD_NEXTSIZE):
        store_word(words, log, smaller + BK_NEXTSIZE, larger)
        store_word(words, log, larger + FD_NEXTSIZE, smaller)
    elif smaller == chunk:
        store_word(words, log, forward + FD_NEXTSIZE, forward)
        store_word(words, log, forward + BK_NEXTSIZE, forward)
    else:
        store_word(words, log, forward + FD_NEXTSIZE, smaller)
        store_word(words, log, forward + BK_NEXTSIZE, larger)
        store_word(words, log, smaller + BK_NEXTSIZE, forward)
        store_word(words, log, larger + FD_NEXTSIZE, forward)
    return 0


@compiled
def put_in_bin(words: Words, log: Words, av: int, chunk: int, size: int) -> int:
    """Put a chunk that was unsorted into its bin; return 0, or what is wrong with that."""
    index = bin_index(size)
    head = bin_at(av, index)
    forward = load_word(words, log, head + FD)
    back = head
    if not in_smallbin_range(size):
        if forward == head:
            store_word(words, log, chunk + FD_NEXTSIZE, chunk)
            store_word(words, log, chunk + BK_NEXTSIZE, chunk)
        else:
            forward = _join_ring(words, log, head, chunk, size | 1)
            if forward < 0:
                return forward
            back = load_word(words, log, forward + BK)
            if forward != head and load_word(words, log, back + FD) != forward:
                return _WRONG_BK
    mark_bin(words, log, av, index)
    store_word(words, log, chunk + BK, back)
    store_word(words, log, chunk + FD, forward)
    store_word(words, log, forward + BK, chunk)
    store_word(words, log, back + FD, chunk)
    return 0


@compiled
def _join_ring(words: Words, log: Words, head: int, chunk: int, size: int) -> int:
    """Find a chunk's place in a large bin that is not empty; return what is behind it."""
    smallest = load_word(words, log, head + BK)
    forward = load_word(words, log, head + FD)
    if is_above(head_of(words, log, smallest), size):
        store_word(words, log, chunk + FD_NEXTSIZE, forward)
        last = load_word(words, log, forward + BK_NEXTSIZE)
        store_word(words, log, chunk + BK_NEXTSIZE, last)
        store_word(words, log, last + FD_NEXTSIZE, chunk)
        store_word(words, log, forward + BK_NEXTSIZE, chunk)
        return head
    found = head_of(words, log, forward)
    nr_steps = 0
    while is_above(found, size):
        forward = load_word(words, log, forward + FD_NEXTSIZE)
        if forward == 0:
            return LOST
        nr_steps += 1
        if nr_steps > longest_walk(words):
            return CIRCLE
        found = head_of(words, log, forward)
    if found == size:
        # The second place of its size: the ring stays as it is.
        forward = load_word(words, log, forward + FD)
        return forward if forward > 0 else LOST
    larger = load_word(words, log, forward + BK_NEXTSIZE)
    store_word(words, log, chunk + FD_NEXTSIZE, forward)
    store_word(words, log, chunk + BK_NEXTSIZE, larger)
    if load_word(words, log, larger + FD_NEXTSIZE) != forward:
        return _WRONG_NEXTSIZE
    store_word(words, log, forward + BK_NEXTSIZE, chunk)
    store_word(words, log, larger + FD_NEXTSIZE, chunk)
    return forward if forward > 0 else LOST
