"""Changing the protection of memory: areas, entries, errors."""

import errno

import pytest
from areas import RW, Areas, pages

from mmactors.mm.area.mapped_file import FMODE_READ, MappedFile, Mapping
from mmactors.mm.area.rlimit import Rlimits
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.mlock import do_mlock
from mmactors.mm.syscall.mprotect import do_mprotect
from mmactors.units import PAGE_SIZE

RO = mman.PROT_READ


@pytest.fixture
def areas():
    return Areas.new()


def protect(areas, first, count, prot):
    return areas.call(do_mprotect(areas.mm, **pages(first, count), prot=prot))


def test_a_part_is_cut_out_and_merges_back(areas):
    """An area becomes three and one again."""
    areas.map(0, 8)

    protect(areas, 2, 3, RO)
    split = areas.texts()
    protect(areas, 2, 3, RW)

    assert (["0-2 rw", "2-5 r", "5-8 rw"], ["0-8 rw"]) == (split, areas.texts())


def test_a_gap_ends_the_call_after_what_came_before(areas):
    """The first area is changed, the second is not."""
    areas.map(0, 2)
    areas.map(4, 2)

    error = protect(areas, 0, 6, RO)

    assert (-errno.ENOMEM, ["0-2 r", "4-6 rw"]) == (error, areas.texts())


def test_pages_written_before_need_no_fault_to_be_written_again(areas):
    """Exclusive dirty pages become writable at once; the zero page does not."""
    areas.map(0, 4)
    areas.write(0, 1)
    areas.read(2)
    protect(areas, 0, 4, mman.PROT_NONE)
    refused = areas.read(0)
    protect(areas, 0, 4, RW)
    before = areas.task.minflt

    areas.write(0, 1, 2, 3)

    assert (11, 2, 2) == (refused.number, refused.code, areas.task.minflt - before)


def test_pages_of_protected_memory_are_freed_with_it(areas):
    """PROT_NONE entries are not present to the hardware, and yet hold their pages."""
    areas.map(0, 4)
    areas.write(0, 1, 2, 3)
    protect(areas, 0, 4, mman.PROT_NONE)
    held = areas.mm.get_mm_rss()

    areas.map(0, 4)

    assert (4, 0) == (held, areas.mm.get_mm_rss())


def test_a_file_opened_for_reading_cannot_become_writable_shared_memory(areas):
    """EACCES for a shared mapping, while a private one may be written."""
    mapping = Mapping(dev=(8, 1), inode=5, size_bytes=PAGE_SIZE)
    file = MappedFile(mapping=mapping, path="/f", mode=FMODE_READ)
    areas.map(0, 1, prot=RO, flags=mman.MAP_SHARED, file=file)
    areas.map(1, 1, prot=RO, flags=mman.MAP_PRIVATE, file=file)

    assert (-errno.EACCES, 0) == (protect(areas, 0, 1, RW), protect(areas, 1, 1, RW))


def test_an_area_that_turns_into_data_counts_against_the_limit(areas):
    """RLIMIT_DATA refuses what would make read-only memory writable."""
    areas.map(0, 4, prot=RO)
    areas.mm.rlimits = Rlimits(data=2 * PAGE_SIZE)

    assert (-errno.ENOMEM, 0) == (protect(areas, 0, 4, RW), protect(areas, 0, 2, RW))


def test_locked_memory_that_becomes_writable_is_written_at_once(areas):
    """Its pages are copied by the call, not by later writes."""
    areas.map(0, 4, prot=RO)
    areas.call(do_mlock(areas.mm, **pages(0, 4)))

    protect(areas, 0, 4, RW)
    before = areas.task.minflt
    areas.write(0, 1, 2, 3)

    assert (4, 0) == (areas.mm.get_mm_rss(), areas.task.minflt - before)


@pytest.mark.parametrize(
    ("start", "length", "prot", "expected"),
    [
        (1, PAGE_SIZE, RO, -errno.EINVAL),
        (0, 0, RO, 0),
        (0, PAGE_SIZE, 0x40, -errno.EINVAL),
        (0, PAGE_SIZE, mman.PROT_GROWSDOWN | mman.PROT_GROWSUP, -errno.EINVAL),
        (0, PAGE_SIZE, RO | mman.PROT_GROWSDOWN, -errno.EINVAL),
        (0, PAGE_SIZE, RO | mman.PROT_GROWSUP, -errno.EINVAL),
        (0, (1 << 64) - PAGE_SIZE, RO, -errno.ENOMEM),
    ],
)
def test_arguments_are_refused_in_the_kernels_order(areas, start, length, prot, expected):
    """Alignment, an empty range, a range that wraps, unknown bits, ways of growing."""
    areas.map(0, 1)
    place = pages(0, 1)["start"] + start

    assert expected == areas.call(do_mprotect(areas.mm, start=place, length=length, prot=prot))
