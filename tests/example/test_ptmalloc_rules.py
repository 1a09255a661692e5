"""What ptmalloc does without a rule, where one thread suffices to see it."""

import pytest
from ptmallocs import Guest

from mmactors.rules import Rules

NO_SIZES = [(1 << 64) - 1, (1 << 64) - 22]


@pytest.mark.parametrize("size", NO_SIZES)
def test_a_size_that_no_chunk_has_is_refused_although_small_blocks_are_cached(size: int) -> None:
    guest = Guest()
    block = guest.call(guest.library.malloc(0, 24))
    guest.call(guest.library.free(0, block))

    assert 0 == guest.call(guest.library.malloc(0, size))


@pytest.mark.parametrize("size", NO_SIZES)
def test_without_a_check_for_overflow_such_a_size_is_the_smallest_one(size: int) -> None:
    """CVE-2017-17426: who asks for everything gets the 24 bytes that were freed last."""
    guest = Guest(rules=Rules(malloc_checks_size_before_tcache=False))
    block = guest.call(guest.library.malloc(0, 24))
    guest.call(guest.library.free(0, block))

    assert block == guest.call(guest.library.malloc(0, size))
