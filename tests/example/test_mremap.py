"""Resizing and moving mappings."""

import errno

import pytest
from areas import PLACE, Areas, pages
from attrs import evolve

from mmactors.mm.area.rlimit import Rlimits
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.mlock import do_mlock
from mmactors.mm.syscall.mremap import do_mremap
from mmactors.units import MIB, PAGE_SIZE

FIXED = mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED


@pytest.fixture
def areas():
    return Areas.new()


def remap(areas, first, count, *, to=0, new_count=None, flags=FIXED):
    new_count = count if new_count is None else new_count
    return areas.call(
        do_mremap(
            areas.mm,
            address=PLACE + first * PAGE_SIZE,
            old_length=count * PAGE_SIZE,
            new_length=new_count * PAGE_SIZE,
            flags=flags,
            new_address=PLACE + to * PAGE_SIZE,
        )
    )


def test_moved_pages_need_no_fault(areas):
    """Pages go along; the old place is free."""
    areas.map(0, 4)
    areas.write(0, 1, 2, 3)
    before = areas.task.minflt

    remap(areas, 0, 4, to=100)
    areas.write(100, 101, 102, 103)

    assert (["100-104 rw"], 4, before) == (
        areas.texts(),
        areas.mm.get_mm_rss(),
        areas.task.minflt,
    )


def test_a_whole_table_moves_by_its_entry(areas):
    """Moving 2 MiB to a place without a table takes none of the pages' entries in hand."""
    count = 2 * MIB // PAGE_SIZE
    areas.map(0, count)
    areas.write(0, 5)
    table = areas.mm.page_table.pte_offset(PLACE) // 512

    remap(areas, 0, count, to=4 * count)

    moved = areas.mm.page_table.pte_offset(PLACE + 4 * count * PAGE_SIZE) // 512
    assert (table, 2) == (moved, areas.mm.get_mm_rss())


def test_an_area_grows_in_place_up_to_its_neighbour(areas):
    """Where there is room the area grows and merges; where not, and it may not move, ENOMEM."""
    areas.map(0, 2)
    areas.map(4, 2)

    grown = remap(areas, 0, 2, new_count=4, flags=0)
    merged = areas.texts()

    assert (PLACE, ["0-6 rw"]) == (grown, merged)
    assert -errno.EFAULT == remap(areas, 0, 9, new_count=12, flags=0)
    areas.map(6, 1, prot=0)
    assert -errno.ENOMEM == remap(areas, 0, 6, new_count=7, flags=0)


def test_the_middle_of_an_area_moves_out(areas):
    """What is left keeps its promise of memory, and so has the part that moved."""
    areas.map(0, 6)

    remap(areas, 2, 2, to=50)

    assert (["0-2 rw", "4-6 rw", "50-52 rw"], 6, 6) == (
        areas.texts(),
        areas.mm.overcommit.committed,
        areas.mm.total_vm,
    )


def test_a_source_that_is_kept_is_empty_and_unlocked(areas):
    """MREMAP_DONTUNMAP moves the pages and leaves the area."""
    areas.map(0, 4)
    areas.call(do_mlock(areas.mm, **pages(0, 4)))

    place = remap(areas, 0, 4, to=500, flags=mman.MREMAP_MAYMOVE | mman.MREMAP_DONTUNMAP)
    before = areas.task.minflt
    areas.read(0)

    source = areas.mm.find_vma(PLACE)
    assert (["0-4 rw", "500-504 rwL"], 4, 1) == (
        areas.texts(),
        areas.mm.locked_vm,
        areas.task.minflt - before,
    )
    assert (PLACE + 500 * PAGE_SIZE, PLACE // PAGE_SIZE) == (place, source.vm_pgoff)


def test_shared_memory_is_mapped_twice_by_no_old_length(areas):
    """Both places show the same pages; private memory is refused."""
    areas.map(0, 2, flags=mman.MAP_SHARED)
    areas.map(10, 2)
    areas.write(0, 1)

    remap(areas, 0, 0, to=50, new_count=2)
    areas.read(50)
    rss = areas.mm.get_mm_rss()

    assert (4, -errno.EINVAL) == (rss, remap(areas, 10, 0, to=60, new_count=2))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"first": 0, "count": 2, "flags": 8}, -errno.EINVAL),
        ({"first": 0, "count": 2, "flags": mman.MREMAP_FIXED, "to": 50}, -errno.EINVAL),
        ({"first": 0, "count": 2, "flags": FIXED, "to": 1}, -errno.EINVAL),
        ({"first": 0, "count": 2, "new_count": 0}, -errno.EINVAL),
        ({"first": 90, "count": 2, "to": 50}, -errno.EFAULT),
        ({"first": 0, "count": 3, "to": 50}, -errno.EFAULT),
        (
            {
                "first": 0,
                "count": 2,
                "new_count": 3,
                "flags": mman.MREMAP_MAYMOVE | mman.MREMAP_DONTUNMAP,
            },
            -errno.EINVAL,
        ),
    ],
)
def test_impossible_calls_are_refused(areas, call, expected):
    """Nothing changes."""
    areas.map(0, 2)

    assert (expected, ["0-2 rw"]) == (remap(areas, **call), areas.texts())


def test_limits_are_asked_before_anything_moves(areas):
    """RLIMIT_AS refuses growth, max_map_count refuses moves that might split."""
    areas.map(0, 2)
    areas.mm.rlimits = Rlimits(address_space=2 * PAGE_SIZE)
    too_large = remap(areas, 0, 2, new_count=3, flags=mman.MREMAP_MAYMOVE)
    areas.mm.config = evolve(areas.mm.config, max_map_count=4)

    assert (-errno.ENOMEM, -errno.ENOMEM) == (too_large, remap(areas, 0, 2, to=50))
