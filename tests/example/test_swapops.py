"""Swap entries, and those of pages that are being moved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmactors.arch.pte import ACCESSED, DIRTY, PRESENT, PROTNONE, RW, USER, make_pte
from mmactors.mm.page_table.swap_entry import (
    SWP_MIGRATION_READ,
    is_migration_entry,
    is_readable_migration_entry,
    is_swap_pte,
    is_writable_migration_entry,
    make_migration_entry,
    migration_entry_flags,
    migration_entry_pfn,
    swp_entry,
    swp_offset,
    swp_type,
)


@given(st.integers(0, 31), st.integers(0, (1 << 50) - 1))
def test_a_swap_entry_gives_back_type_and_offset(kind, offset):
    """For all types and offsets; it is a signed word that no CPU takes for a translation."""
    entry = swp_entry(kind, offset)

    assert (kind, offset) == (swp_type(entry), swp_offset(entry))
    assert -(1 << 63) <= entry < 1 << 63
    assert not entry & (PRESENT | PROTNONE)


def test_the_offset_is_stored_inverted():
    """The word of pgtable_64.h: type in bits 59 to 63, the inverted offset in bits 9 to 58."""
    assert 0x0BFF_FFFF_FFFF_FE00 == swp_entry(1, 1 << 49)
    assert 0x07FF_FFFF_FFFF_FE00 == swp_entry(0, 0)


@pytest.mark.parametrize("flags", [0, ACCESSED, DIRTY, ACCESSED | DIRTY])
@pytest.mark.parametrize(
    ("rw", "is_exclusive", "is_writable", "is_shared"),
    [(RW, True, True, False), (0, True, False, False), (0, False, False, True)],
)
def test_a_migration_entry_remembers_what_the_entry_allowed(
    flags, rw, is_exclusive, is_writable, is_shared
):
    """Writable, or readable by one or by several; accessed and dirty."""
    before = make_pte(0x12345, PRESENT | USER | rw | flags)

    entry = make_migration_entry(0x12345, before, is_exclusive=is_exclusive)

    assert is_migration_entry(entry)
    assert 0x12345 == migration_entry_pfn(entry)
    assert flags == migration_entry_flags(entry)
    assert is_writable == is_writable_migration_entry(entry)
    assert is_shared == is_readable_migration_entry(entry)


def test_what_is_present_or_nothing_is_no_swap_entry():
    """Nor is a swap entry of a device one of migration."""
    assert not is_swap_pte(0)
    assert not is_swap_pte(make_pte(1, PRESENT))
    assert not is_swap_pte(make_pte(1, PROTNONE))
    assert is_swap_pte(swp_entry(0, 0))
    assert not is_migration_entry(swp_entry(0, 7))
    assert not is_migration_entry(swp_entry(SWP_MIGRATION_READ - 1, 7))
