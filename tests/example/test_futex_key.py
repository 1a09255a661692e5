"""Keys of futexes, and which bucket each is in."""

import pytest

from mmactors.mm.futex.futex_key import (
    FUT_OFF_INODE,
    FUT_OFF_MMSHARED,
    futex_hash,
    futex_hashsize,
    inode_key,
    jhash2,
    mm_key,
)

MM = 0xFFFF888003A1C000
WORDS = (1, 2, 3, 4, 5, 0xFFFFFFFF, 0x80000000, 8)
HASHES = (
    *(0xDEADBEEF, 0xB302F24E, 0xDD9CEFB6, 0x87B8DA9D, 0x4614DFDC),
    *(0xC7234FAE, 0x4E3FCCA5, 0x836A5248, 0xEFA1BA1B),
)
"""Of the first n words with the initial value 7 n, from Bob Jenkins' lookup3.c, compiled."""


@pytest.mark.parametrize("length", range(len(WORDS) + 1))
def test_the_hash_is_that_of_bob_jenkins(length):
    assert HASHES[length] == jhash2(WORDS[:length], 7 * length)


@pytest.mark.parametrize(
    ("nr_cpus", "hashsize"), [(1, 256), (2, 512), (3, 1024), (4, 1024), (5, 2048), (128, 32768)]
)
def test_each_possible_cpu_has_256_buckets_and_the_number_is_a_power_of_two(nr_cpus, hashsize):
    assert hashsize == futex_hashsize(nr_cpus)


def test_a_private_key_is_the_address_space_the_page_and_the_offset():
    """The bucket is its hash: the four halves of both words, begun with the offset."""
    key = mm_key(MM, 0x7F1234567120)

    assert (MM, 0x7F1234567000, 0x120) == key
    assert jhash2((0x03A1C000, 0xFFFF8880, 0x34567000, 0x7F12), 0x120) & 1023 == futex_hash(
        key, 1024
    )


def test_kinds_of_keys_never_match():
    """The kind stands in the low bits of the offset: another key, and another hash."""
    private = mm_key(MM, 0x1008)
    shared = mm_key(MM, 0x1008, FUT_OFF_MMSHARED)
    in_file = inode_key(MM, 0x1000, 0x5008)

    assert [8, 8 | FUT_OFF_MMSHARED, 8 | FUT_OFF_INODE] == [
        key.offset for key in (private, shared, in_file)
    ]
    assert 3 == len({futex_hash(key, 1 << 20) for key in (private, shared, in_file)})
