"""Chunks, of which a heap is made (malloc_chunk of glibc 2.36's malloc/malloc.c, x86-64).

A chunk is known by the address of its header: the size of the chunk before it, if that is free,
then its own size, whose low bits are flags. What malloc returns begins 16 bytes after it. A free
chunk's next words link it to others; its size stands a second time at the begin of the next chunk.
Numbers that a program may have overwritten are compared as without sign, as C does.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.user_words import load_word, store_word, to_word

SIZE_SZ: Final = 8
CHUNK_HDR_SZ: Final = 16
MINSIZE: Final = 32
ALIGN_MASK: Final = 15
"""MALLOC_ALIGN_MASK."""
PTRDIFF_MAX: Final = (1 << 63) - 1

PREV_INUSE: Final = 1
IS_MMAPPED: Final = 2
NON_MAIN_ARENA: Final = 4
SIZE_BITS: Final = 7

SIZE: Final = 8
FD: Final = 16
BK: Final = 24
FD_NEXTSIZE: Final = 32
BK_NEXTSIZE: Final = 40
"""Offsets of a chunk's words; prev_size is at 0."""

_SIGN: Final = -(1 << 63)


@compiled
def is_above(one: int, other: int) -> bool:
    """Compare two words as numbers without sign."""
    return (to_word(one) ^ _SIGN) > (to_word(other) ^ _SIGN)


@compiled
def request2size(request: int) -> int:
    """Return the size of a chunk for a request (checked_request2size); 0: over PTRDIFF_MAX.

    A request that is over it in C is negative here, as is the size for the last ones below it.
    """
    if request < 0:
        return 0
    if request < MINSIZE - SIZE_SZ:
        return MINSIZE
    return to_word(request + SIZE_SZ + ALIGN_MASK) & ~ALIGN_MASK


@compiled
def head_of(words: Words, log: Words, chunk: int) -> int:
    """Return a chunk's size with its flags (chunksize_nomask)."""
    return load_word(words, log, chunk + SIZE)


@compiled
def chunksize(words: Words, log: Words, chunk: int) -> int:
    """Return a chunk's size in bytes, as it says."""
    return load_word(words, log, chunk + SIZE) & ~SIZE_BITS


@compiled
def set_head(words: Words, log: Words, chunk: int, head: int) -> None:
    """Write a chunk's size and flags."""
    store_word(words, log, chunk + SIZE, head)


@compiled
def set_head_size(words: Words, log: Words, chunk: int, size: int) -> None:
    """Write a chunk's size; flags that `size` has are added to its own."""
    head = load_word(words, log, chunk + SIZE)
    store_word(words, log, chunk + SIZE, head & SIZE_BITS | size)


@compiled
def set_foot(words: Words, log: Words, chunk: int, size: int) -> None:
    """Write the size of a free chunk behind it, into the next chunk's prev_size."""
    store_word(words, log, chunk + size, size)


@compiled
def set_inuse(words: Words, log: Words, next_chunk: int) -> None:
    """Say that the chunk before `next_chunk` is in use (set_inuse_bit_at_offset)."""
    store_word(words, log, next_chunk + SIZE, head_of(words, log, next_chunk) | PREV_INUSE)


@compiled
def clear_inuse(words: Words, log: Words, next_chunk: int) -> None:
    """Say that the chunk before `next_chunk` is free."""
    store_word(words, log, next_chunk + SIZE, head_of(words, log, next_chunk) & ~PREV_INUSE)


@compiled
def protect_pointer(position: int, pointer: int) -> int:
    """Hide a link of a list by where it is kept, or reveal it (PROTECT_PTR, REVEAL_PTR)."""
    return to_word(position) >> 12 ^ pointer


@compiled
def reveal(words: Words, log: Words, position: int) -> int:
    """Return the link that is kept, hidden, at an address (REVEAL_PTR)."""
    return to_word(position) >> 12 ^ load_word(words, log, position)
