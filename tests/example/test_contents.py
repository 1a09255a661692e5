"""Lost writes and broken isolation: what is legal at a place, whatever page stands for it.

The moments are told by hand, as kernel paths tell them, so that right and wrong orders can be
compared. Addresses are those of a running process's private memory.
"""

from copy import copy
from typing import Final

import pytest
from attrs import evolve
from machines import drive, scenario_of

from mmactors.mm.area.mapped_file import Mapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.law import Law
from mmactors.sanitize.sanitizer import Sanitizer
from mmactors.units import PAGE_SIZE

P: Final = 0x2000
Q: Final = 0x2001
"""Two frames."""


@pytest.fixture
def sanitizer() -> Sanitizer:
    """Return a sanitizer that follows contents, of a machine with memory that was not touched."""
    scenario = scenario_of(["mmap A 64K", "compute 1s"])
    scenario = evolve(scenario, sanitize=SanitizeConfig(contents=True))
    found = drive(scenario, until_ns=50_000).wired.sanitizer
    assert found is not None
    return found


@pytest.fixture
def mm(sanitizer: Sanitizer) -> MmStruct:
    """Return the address space."""
    return next(iter(sanitizer.kernel.spaces.values())).mm


@pytest.fixture
def x(mm: MmStruct) -> int:
    """Return the address of a page."""
    return next(iter(mm.tree)).vm_start


def laws(sanitizer: Sanitizer) -> list[Law]:
    """Return the laws that were found broken, in order."""
    return [finding.law for finding in sanitizer.findings]


def test_a_load_finds_the_stores_before_it(sanitizer: Sanitizer, mm: MmStruct, x: int) -> None:
    """Also in a copy, and after the page was copied back."""
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.page_copied(P, Q)
    sanitizer.access(mm, x, Q, is_write=True)
    sanitizer.access(mm, x, Q, is_write=False)

    assert [] == laws(sanitizer)


def test_a_store_after_the_copy_was_made_is_lost(
    sanitizer: Sanitizer, mm: MmStruct, x: int
) -> None:
    """A CPU that could still write to the old page while it was copied: the story of A9."""
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.page_copied(P, Q)
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.access(mm, x, Q, is_write=False)

    assert [Law.LOST_WRITE] == laws(sanitizer)
    assert f"the last store here went to page {P:#x}" in sanitizer.findings[0].facts[0]


def test_a_later_store_does_not_hide_a_lost_one(sanitizer: Sanitizer, mm: MmStruct, x: int) -> None:
    """The content is a running hash of all stores."""
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.page_copied(P, Q)
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.access(mm, x, Q, is_write=True)

    assert [Law.LOST_WRITE] == laws(sanitizer)


def test_dropped_memory_reads_as_zeros(sanitizer: Sanitizer, mm: MmStruct, x: int) -> None:
    """After MADV_DONTNEED returned, what was there must not be seen."""
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.pages_dropped(mm, x, x + PAGE_SIZE)
    sanitizer.revoke_completed(mm)
    sanitizer.access(mm, x, P, is_write=False)

    assert [Law.LOST_WRITE] == laws(sanitizer)


def test_until_the_call_returns_the_old_page_may_be_used(
    sanitizer: Sanitizer, mm: MmStruct, x: int
) -> None:
    """What another CPU stores there meanwhile may be lost, and what it loads may be old."""
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.pages_dropped(mm, x, x + PAGE_SIZE)
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.access(mm, x, P, is_write=False)
    sanitizer.access(mm, x, Q, is_write=False)
    sanitizer.revoke_completed(mm)
    sanitizer.access(mm, x, Q, is_write=True)
    sanitizer.access(mm, x, Q, is_write=False)

    assert [] == laws(sanitizer)


def test_lazily_freed_memory_keeps_its_content_or_loses_it(
    sanitizer: Sanitizer, mm: MmStruct, x: int
) -> None:
    """After MADV_FREE both are legal, whatever was seen before, until the next store."""
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.pages_may_drop(mm, x, x + PAGE_SIZE)
    sanitizer.revoke_completed(mm)
    sanitizer.access(mm, x, P, is_write=False)
    sanitizer.access(mm, x, Q, is_write=False)
    sanitizer.access(mm, x, P, is_write=True)

    assert [] == laws(sanitizer)

    sanitizer.access(mm, x, Q, is_write=False)

    assert [Law.LOST_WRITE] == laws(sanitizer)


def test_moved_memory_is_found_at_its_new_address(
    sanitizer: Sanitizer, mm: MmStruct, x: int
) -> None:
    """A store by the old translation, while mremap is under way, may be seen at the new address."""
    y = x + 8 * PAGE_SIZE
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.pages_moved(mm, x, y, PAGE_SIZE)
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.revoke_completed(mm)
    sanitizer.access(mm, y, P, is_write=False)

    assert [] == laws(sanitizer)

    sanitizer.access(mm, y, Q, is_write=False)

    assert [Law.LOST_WRITE] == laws(sanitizer)


def test_a_childs_write_must_not_reach_its_parent(
    sanitizer: Sanitizer, mm: MmStruct, x: int
) -> None:
    """A copy on write that was left out: both still have page P (C7)."""
    child = copy(mm)
    child.ctx_id = 99
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.pages_forked(mm, child, x, x + PAGE_SIZE)
    sanitizer.revoke_completed(mm)
    sanitizer.access(child, x, P, is_write=False)
    sanitizer.access(child, x, P, is_write=True)

    assert [] == laws(sanitizer)

    sanitizer.access(mm, x, P, is_write=False)

    assert [Law.ISOLATION] == laws(sanitizer)


def test_memory_that_was_another_ones_is_seen(sanitizer: Sanitizer, mm: MmStruct, x: int) -> None:
    """A page that is handed out without being cleared shows what its last owner stored."""
    sanitizer.access(mm, x, P, is_write=True)
    sanitizer.access(mm, x + PAGE_SIZE, P, is_write=False)

    assert [Law.ISOLATION] == laws(sanitizer)


def test_what_was_written_back_is_found_on_disk(sanitizer: Sanitizer) -> None:
    """A clean page may be dropped and read again."""
    mapping = Mapping(dev=(254, 0), inode=12, size_bytes=PAGE_SIZE)
    sanitizer.page_read(P, mapping, 0)
    sanitizer.file_access(mapping, 0, P, is_write=True)
    sanitizer.page_written(P, mapping, 0)
    sanitizer.page_read(Q, mapping, 0)
    sanitizer.file_access(mapping, 0, Q, is_write=False)

    assert [] == laws(sanitizer)


def test_a_write_after_writeback_that_left_the_page_clean_is_lost(sanitizer: Sanitizer) -> None:
    """The story of A2: the page is dropped as clean, and comes back as it is on disk."""
    mapping = Mapping(dev=(254, 0), inode=12, size_bytes=PAGE_SIZE)
    sanitizer.page_read(P, mapping, 0)
    sanitizer.file_access(mapping, 0, P, is_write=True)
    sanitizer.page_written(P, mapping, 0)
    sanitizer.file_access(mapping, 0, P, is_write=True)
    sanitizer.page_read(Q, mapping, 0)
    sanitizer.file_access(mapping, 0, Q, is_write=False)

    assert [Law.LOST_WRITE] == laws(sanitizer)


def test_a_truncated_file_reads_as_zeros(sanitizer: Sanitizer) -> None:
    """Nothing of it comes back when the file grows again."""
    mapping = Mapping(dev=(254, 0), inode=12, size_bytes=PAGE_SIZE)
    sanitizer.file_access(mapping, 0, P, is_write=True)
    sanitizer.page_written(P, mapping, 0)
    sanitizer.file_dropped(mapping, 0, None)
    sanitizer.page_read(Q, mapping, 0)
    sanitizer.file_access(mapping, 0, Q, is_write=False)

    assert [] == laws(sanitizer)


@pytest.fixture
def mapping() -> Mapping:
    """Return a file of two pages on disk, both cached."""
    mapping = Mapping(dev=(254, 0), inode=12, size_bytes=2 * PAGE_SIZE)
    mapping.pages.update({0: P, 1: Q})
    return mapping


def test_what_was_stored_before_fsync_began_is_on_disk_when_it_returns(
    sanitizer: Sanitizer, mapping: Mapping
) -> None:
    """Page 0 was written to disk, page 1 was not."""
    sanitizer.file_access(mapping, 0, P, is_write=True)
    sanitizer.file_access(mapping, 1, Q, is_write=True)
    sanitizer.fsync_began(mapping)
    sanitizer.page_written(P, mapping, 0)
    sanitizer.sync_ended()

    assert [Law.NOT_ON_DISK] == laws(sanitizer)
    assert "page 1 of inode 12" in sanitizer.findings[0].what


def test_a_store_after_fsync_began_may_be_on_disk_or_not(
    sanitizer: Sanitizer, mapping: Mapping
) -> None:
    """Whether it came before or after the page was written."""
    sanitizer.file_access(mapping, 0, P, is_write=True)
    sanitizer.file_access(mapping, 1, Q, is_write=True)
    sanitizer.fsync_began(mapping)
    sanitizer.file_access(mapping, 0, P, is_write=True)
    sanitizer.page_written(P, mapping, 0)
    sanitizer.page_written(Q, mapping, 1)
    sanitizer.file_access(mapping, 1, Q, is_write=True)
    sanitizer.sync_ended()

    assert [] == laws(sanitizer)

    sanitizer.fsync_began(mapping)
    sanitizer.sync_ended()

    assert [Law.NOT_ON_DISK] == laws(sanitizer)


@pytest.mark.parametrize("goes", ["hole", "truncation", "truncation under way", "error"])
def test_what_goes_meanwhile_is_not_promised(
    sanitizer: Sanitizer, mapping: Mapping, goes: str
) -> None:
    """Nor is anything by a call that fails."""
    sanitizer.file_access(mapping, 1, Q, is_write=True)
    sanitizer.fsync_began(mapping)
    if goes != "error":
        mapping.size_bytes -= PAGE_SIZE if goes.startswith("truncation") else 0
        if goes != "truncation under way":
            sanitizer.file_dropped(mapping, 1, 2)
    sanitizer.sync_ended(succeeded=goes != "error")

    assert [] == laws(sanitizer)


def test_what_a_device_stored_is_promised_when_its_page_was_made_dirty(
    sanitizer: Sanitizer, mapping: Mapping, mm: MmStruct, x: int
) -> None:
    """It may write to a pinned page at any time, and says at the end that it did."""
    sanitizer.file_access(mapping, 0, P, is_write=True)
    sanitizer.access_pinned(mm, x, P, is_write=True)
    sanitizer.fsync_began(mapping)
    sanitizer.sync_ended()

    assert [] == laws(sanitizer)

    sanitizer.page_dirtied(P)
    sanitizer.fsync_began(mapping)
    sanitizer.sync_ended()

    assert [Law.NOT_ON_DISK] == laws(sanitizer)


def test_a_device_and_its_program_see_the_same_page(
    sanitizer: Sanitizer, mm: MmStruct, x: int
) -> None:
    """What the device stored is lost if the program has got another page without its doing."""
    sanitizer.page_pinned(mm, x, P)
    sanitizer.access_pinned(mm, x, P, is_write=True)
    sanitizer.access(mm, x, P, is_write=False)

    assert [] == laws(sanitizer)

    sanitizer.page_copied(P, Q)
    sanitizer.access_pinned(mm, x, P, is_write=True)
    sanitizer.access(mm, x, Q, is_write=False)

    assert [Law.LOST_WRITE] == laws(sanitizer)


@pytest.mark.parametrize("is_written", [True, False])
def test_a_device_goes_on_with_a_page_that_its_program_gave_up(
    sanitizer: Sanitizer, mm: MmStruct, x: int, *, is_written: bool
) -> None:
    """Nobody else sees what it stores, and it does not see what is mapped there now."""
    sanitizer.page_pinned(mm, x, P)
    if is_written:
        sanitizer.access(mm, x, P, is_write=True)
    sanitizer.pages_dropped(mm, x, x + PAGE_SIZE)
    sanitizer.access_pinned(mm, x, P, is_write=True)
    if is_written:
        sanitizer.access(mm, x, P, is_write=False)  # By an old translation.
    sanitizer.revoke_completed(mm)
    sanitizer.access(mm, x, Q, is_write=True)
    sanitizer.access_pinned(mm, x, P, is_write=True)
    sanitizer.access_pinned(mm, x, P, is_write=False)
    sanitizer.access(mm, x, Q, is_write=False)

    assert [] == laws(sanitizer)

    sanitizer.access(mm, x, P, is_write=False)

    assert [Law.LOST_WRITE] == laws(sanitizer)


def test_a_device_follows_a_page_that_is_moved(sanitizer: Sanitizer, mm: MmStruct, x: int) -> None:
    """It holds the page, not the address."""
    y = x + 8 * PAGE_SIZE
    sanitizer.page_pinned(mm, x, P)
    sanitizer.pages_moved(mm, x, y, PAGE_SIZE)
    sanitizer.revoke_completed(mm)
    sanitizer.access_pinned(mm, x, P, is_write=True)
    sanitizer.access(mm, y, P, is_write=False)
    sanitizer.access(mm, x, Q, is_write=True)
    sanitizer.access_pinned(mm, x, P, is_write=False)

    assert [] == laws(sanitizer)

    sanitizer.access(mm, y, Q, is_write=False)

    assert [Law.ISOLATION] == laws(sanitizer)


def test_a_device_goes_on_with_a_page_that_truncation_took(
    sanitizer: Sanitizer, mm: MmStruct, mapping: Mapping
) -> None:
    """The page that the file has there later is another one."""
    assert sanitizer._contents is not None
    sanitizer._contents.pins.pin(P, (mm.ctx_id, 1), (mapping, 1))
    sanitizer.access_pinned(mm, PAGE_SIZE, P, is_write=True)
    sanitizer.file_dropped(mapping, 1, None)
    sanitizer.access_pinned(mm, PAGE_SIZE, P, is_write=True)
    sanitizer.file_access(mapping, 1, Q, is_write=False)

    assert [] == laws(sanitizer)
