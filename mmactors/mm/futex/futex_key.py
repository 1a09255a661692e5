"""Keys of futexes, and their hash (kernel/futex/core.c, include/linux/jhash.h, Linux 6.1).

A key is three numbers (union futex_key): of a private futex the address space and the address of
the page, of a shared one in a file the inode's sequence number and the page in the file, and the
offset in the page. In the low bits of the offset, which a word's address leaves free, stands what
kind it is.
"""

from typing import Final, NamedTuple

from mmactors.units import PAGE_MASK, ULONG_MAX

FUT_OFF_INODE: Final = 1
"""A shared futex in a file."""
FUT_OFF_MMSHARED: Final = 2
"""One that was asked for as shared, in private memory."""
_JHASH_INITVAL: Final = 0xDEADBEEF
_U32: Final = (1 << 32) - 1
_BUCKETS_OF_A_CPU: Final = 256


class FutexKey(NamedTuple):
    """Equal for waiters and wakers of one futex."""

    ptr: int
    """The address space (its address), or the sequence number of the inode."""
    word: int
    """The address of the page, or the number of the page in the file."""
    offset: int
    """In the page, with FUT_OFF_*."""


def mm_key(mm_address: int, address: int, kind: int = 0) -> FutexKey:
    """Return the key of a futex in memory of one address space."""
    return FutexKey(mm_address & ULONG_MAX, address & PAGE_MASK, address & ~PAGE_MASK | kind)


def inode_key(i_sequence: int, pgoff: int, address: int) -> FutexKey:
    """Return the key of a shared futex in a file."""
    return FutexKey(i_sequence, pgoff, address & ~PAGE_MASK | FUT_OFF_INODE)


def futex_hashsize(nr_cpus: int) -> int:
    """Return how many buckets there are for so many possible CPUs (futex_init)."""
    return 1 << (_BUCKETS_OF_A_CPU * nr_cpus - 1).bit_length()


def futex_hash(key: FutexKey, hashsize: int) -> int:
    """Return the number of the bucket of a key."""
    words = (key.ptr & _U32, key.ptr >> 32, key.word & _U32, key.word >> 32)
    return jhash2(words, key.offset) & (hashsize - 1)


def jhash2(words: tuple[int, ...], initval: int) -> int:
    """Return Bob Jenkins' hash of words of 32 bits."""
    a = b = c = (_JHASH_INITVAL + 4 * len(words) + initval) & _U32
    at = 0
    while len(words) - at > 3:
        x, y, z = words[at : at + 3]
        a, b, c = _mix((a + x) & _U32, (b + y) & _U32, (c + z) & _U32)
        at += 3
    left = words[at:]
    if not left:
        return c
    x, y, z = (*left, 0, 0)[:3]
    return _final((a + x) & _U32, (b + y) & _U32, (c + z) & _U32)


def _rol(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _U32


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    """Mix three words so that each bit of each may change any bit (__jhash_mix)."""
    for by_a, by_b, by_c in ((4, 6, 8), (16, 19, 4)):
        a = (a - c) & _U32 ^ _rol(c, by_a)
        c = (c + b) & _U32
        b = (b - a) & _U32 ^ _rol(a, by_b)
        a = (a + c) & _U32
        c = (c - b) & _U32 ^ _rol(b, by_c)
        b = (b + a) & _U32
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    """Mix three words into one (__jhash_final)."""
    c = ((c ^ b) - _rol(b, 14)) & _U32
    a = ((a ^ c) - _rol(c, 11)) & _U32
    b = ((b ^ a) - _rol(a, 25)) & _U32
    c = ((c ^ b) - _rol(b, 16)) & _U32
    a = ((a ^ c) - _rol(c, 4)) & _U32
    b = ((b ^ a) - _rol(a, 14)) & _U32
    return ((c ^ b) - _rol(b, 24)) & _U32
