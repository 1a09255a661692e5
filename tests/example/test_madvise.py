"""Advice about memory."""

import errno

import pytest
from areas import PLACE, Areas, pages

from mmactors.mm.area.mapped_file import MappedFile, Mapping
from mmactors.mm.area.vm_flags import VM_DONTCOPY, VM_RAND_READ, VM_SEQ_READ, VM_WIPEONFORK
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.madvise import do_madvise, needs_write_lock
from mmactors.mm.syscall.mincore import do_mincore
from mmactors.units import PAGE_SIZE


@pytest.fixture
def areas():
    return Areas.new()


def advise(areas, first, count, name):
    advice = getattr(mman, f"MADV_{name}")
    return areas.call(do_madvise(areas.mm, **pages(first, count), advice=advice))


def residency(areas, count):
    return [do_mincore(areas.mm, **pages(page, 1))[1] for page in range(count)]


@pytest.mark.parametrize(
    ("name", "undo", "flag"),
    [
        ("SEQUENTIAL", "NORMAL", VM_SEQ_READ),
        ("RANDOM", "NORMAL", VM_RAND_READ),
        ("DONTFORK", "DOFORK", VM_DONTCOPY),
        ("WIPEONFORK", "KEEPONFORK", VM_WIPEONFORK),
    ],
)
def test_advice_splits_an_area_and_its_opposite_merges_it(areas, name, undo, flag):
    """The flag is set on the range only."""
    areas.map(0, 6)

    advise(areas, 2, 2, name)
    flags = [vma.vm_flags & flag for vma in areas.mm.tree]
    advise(areas, 2, 2, undo)

    assert ([0, flag, 0], ["0-6 rw"]) == (flags, areas.texts())


def test_advice_passes_over_a_gap_and_reports_it(areas):
    """Unlike mprotect, areas behind the gap are advised, too."""
    areas.map(0, 2)
    areas.map(4, 2)

    error = advise(areas, 0, 6, "SEQUENTIAL")

    assert (-errno.ENOMEM, [VM_SEQ_READ] * 2) == (
        error,
        [vma.vm_flags & VM_SEQ_READ for vma in areas.mm.tree],
    )


def test_one_area_too_many_is_a_lack_of_resources(areas):
    """madvise says EAGAIN where mprotect says ENOMEM."""
    areas.map(0, 6)
    areas.mm.config = type(areas.mm.config)(max_map_count=1)

    assert -errno.EAGAIN == advise(areas, 2, 2, "RANDOM")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("WIPEONFORK", -errno.EINVAL), ("FREE", -errno.EINVAL), ("REMOVE", 0), ("DONTNEED", 0)],
)
def test_shared_memory_takes_other_advice_than_private(areas, name, expected):
    """It can be removed, and neither freed lazily nor wiped on fork."""
    areas.map(0, 2, flags=mman.MAP_SHARED)

    assert expected == advise(areas, 0, 2, name)


def test_discarded_shared_memory_stays_in_the_page_cache(areas):
    """DONTNEED drops the entries only; REMOVE drops the pages in all mappings."""
    areas.map(0, 4, flags=mman.MAP_SHARED)
    areas.write(0, 1)

    advise(areas, 0, 4, "DONTNEED")
    cached = residency(areas, 4)
    areas.read(0)
    advise(areas, 0, 1, "REMOVE")

    assert [1, 1, 0, 0] == cached
    assert (1, [0, 1, 0, 0]) == (areas.mm.get_mm_rss(), residency(areas, 4))


def test_a_read_of_shared_memory_also_maps_what_is_cached_around(areas):
    """One fault maps all cached pages of its 64 KiB window."""
    areas.map(0, 32, flags=mman.MAP_SHARED)
    areas.write(*range(32))
    advise(areas, 0, 32, "DONTNEED")
    before = areas.task.minflt

    areas.read(*range(32))

    assert 2 == areas.task.minflt - before


def test_populating_wants_the_permission_it_needs(areas):
    """POPULATE_WRITE of read-only memory is EINVAL; of writable memory it writes every page."""
    areas.map(0, 2, prot=mman.PROT_READ)
    areas.map(2, 2)

    results = advise(areas, 0, 2, "POPULATE_WRITE"), advise(areas, 2, 2, "POPULATE_WRITE")

    assert ((-errno.EINVAL, 0), 2) == (results, areas.mm.get_mm_rss())


def test_only_advice_that_changes_areas_takes_the_lock_for_writing():
    """Advice on pages reads the areas."""
    assert (True, False) == (
        needs_write_lock(mman.MADV_DONTFORK),
        needs_write_lock(mman.MADV_DONTNEED),
    )


@pytest.mark.parametrize(
    ("start", "length", "advice", "expected"),
    [
        (0, PAGE_SIZE, 99, -errno.EINVAL),
        (1, PAGE_SIZE, mman.MADV_NORMAL, -errno.EINVAL),
        (0, (1 << 64) - 1, mman.MADV_NORMAL, -errno.EINVAL),
        (0, 0, mman.MADV_NORMAL, 0),
    ],
)
def test_arguments_are_looked_at_first(areas, start, length, advice, expected):
    """Unknown advice, alignment, a range that wraps, an empty range."""
    steps = do_madvise(areas.mm, start=PLACE + start, length=length, advice=advice)

    assert expected == areas.call(steps)


def test_mincore_ends_at_a_gap(areas):
    """What came before the gap is told, and ENOMEM."""
    areas.map(0, 2)
    areas.write(1)

    assert (-errno.ENOMEM, 1) == do_mincore(areas.mm, **pages(0, 3))


def test_mincore_of_all_of_memory_takes_no_longer_than_of_its_pages(areas):
    """A program may ask for 64 TiB of which nothing is there."""
    areas.map(0, 64 << 28, flags=mman.MAP_PRIVATE | mman.MAP_NORESERVE)
    areas.write(5, 1 << 30)

    assert (0, 2) == do_mincore(areas.mm, **pages(0, 64 << 28))


def test_mincore_tells_nothing_of_pages_that_are_not_the_process_s_to_know(areas):
    """Files it could not write, and pages of the kernel, look wholly resident."""
    mapping = Mapping(dev=(8, 1), inode=7, size_bytes=2 * PAGE_SIZE)
    areas.map(0, 2, file=MappedFile(mapping=mapping, path="/lib/libc.so", may_be_written=False))
    areas.map(2, 2, file=MappedFile(mapping=mapping, path="/lib/libc.so"))
    areas.map(4, 2)

    assert [1, 1, 0, 0, 0, 0] == residency(areas, 6)
    assert (0, 2) == do_mincore(areas.mm, **pages(0, 6))
