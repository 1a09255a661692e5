"""Locking memory: areas, pages, limits."""

import errno

import pytest
from areas import PLACE, Areas, pages

from mmactors.mm.area.rlimit import Rlimits
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.brk import do_brk
from mmactors.mm.syscall.madvise import do_madvise
from mmactors.mm.syscall.mlock import do_mlock, do_mlockall, do_munlock, do_munlockall
from mmactors.units import PAGE_SIZE


@pytest.fixture
def areas():
    return Areas.new()


def lock(areas, first, count, *, flags=0):
    return areas.call(do_mlock(areas.mm, **pages(first, count), flags=flags))


def test_locking_writes_private_pages_and_reads_read_only_ones(areas):
    """Every page is present at once, as a write or a read would have made it."""
    areas.map(0, 3)
    areas.map(3, 3, prot=mman.PROT_READ)

    lock(areas, 0, 6)

    assert (6, 3, 6) == (areas.task.minflt, areas.mm.get_mm_rss(), areas.mm.locked_vm)


def test_memory_locked_on_fault_waits_for_the_fault(areas):
    """mlock2 with MLOCK_ONFAULT locks the area and makes no page present."""
    areas.map(0, 4)

    lock(areas, 1, 2, flags=mman.MLOCK_ONFAULT)

    assert (["0-1 rw", "1-3 rwL", "3-4 rw"], 2, 0) == (
        areas.texts(),
        areas.mm.locked_vm,
        areas.mm.get_mm_rss(),
    )


def test_unlocking_merges_the_areas_again(areas):
    """What was cut out of written memory is part of its neighbours again."""
    areas.map(0, 4)
    areas.write(0)
    lock(areas, 1, 2)

    areas.call(do_munlock(areas.mm, **pages(1, 2)))

    assert (["0-4 rw"], 0) == (areas.texts(), areas.mm.locked_vm)


def test_a_gap_is_an_error_and_what_came_before_stays_locked(areas):
    """ENOMEM, and nothing is made present."""
    areas.map(0, 2)

    error = lock(areas, 0, 3)

    assert (-errno.ENOMEM, ["0-2 rwL"], 0) == (error, areas.texts(), areas.mm.get_mm_rss())


def test_memory_without_access_is_locked_but_reported(areas):
    """PROT_NONE pages cannot be made present: ENOMEM."""
    areas.map(0, 2, prot=mman.PROT_NONE)

    assert (-errno.ENOMEM, 2) == (lock(areas, 0, 2), areas.mm.locked_vm)


def test_what_is_locked_already_counts_once(areas):
    """RLIMIT_MEMLOCK bounds a process without CAP_IPC_LOCK."""
    areas.map(0, 4)
    areas.mm.cap_ipc_lock = False
    areas.mm.rlimits = Rlimits(memlock=2 * PAGE_SIZE)

    results = [lock(areas, *place) for place in ((0, 3), (0, 2), (0, 2), (2, 1))]

    assert [-errno.ENOMEM, 0, 0, -errno.ENOMEM] == results


def test_nothing_may_be_locked_with_a_limit_of_0(areas):
    """EPERM, also for mlockall and MAP_LOCKED."""
    areas.map(0, 1)
    areas.mm.cap_ipc_lock = False
    areas.mm.rlimits = Rlimits(memlock=0)

    results = (
        lock(areas, 0, 1),
        areas.call(do_mlockall(areas.mm, mman.MCL_CURRENT)),
        areas.map(1, 1, flags=mman.MAP_PRIVATE | mman.MAP_LOCKED),
    )

    assert (-errno.EPERM,) * 3 == results


@pytest.mark.parametrize("flags", [0, mman.MCL_ONFAULT, 8])
def test_mlockall_wants_to_know_what(areas, flags):
    """EINVAL for nothing, for MCL_ONFAULT alone, for unknown flags."""
    assert -errno.EINVAL == areas.call(do_mlockall(areas.mm, flags))


def test_future_areas_are_locked_and_present(areas):
    """MCL_FUTURE holds for mmap and brk until munlockall, and not for what is there."""
    areas.map(0, 2)
    areas.mm.start_brk = areas.mm.brk = PLACE + 100 * PAGE_SIZE
    areas.call(do_mlockall(areas.mm, mman.MCL_FUTURE))
    areas.map(10, 2)
    areas.call(do_brk(areas.mm, areas.mm.brk + PAGE_SIZE))
    locked = areas.texts()

    areas.call(do_munlockall(areas.mm))
    areas.map(20, 2)

    assert ["0-2 rw", "10-12 rwL", "100-101 rwL"] == locked
    assert ["0-2 rw", "10-12 rw", "20-22 rw", "100-101 rw"] == areas.texts()
    assert (3, 0) == (areas.mm.get_mm_rss(), areas.mm.locked_vm)


def test_present_areas_are_locked_and_merge(areas):
    """MCL_CURRENT locks everything, as one area where that is possible."""
    areas.map(0, 2)
    lock(areas, 0, 1)

    areas.call(do_mlockall(areas.mm, mman.MCL_CURRENT))

    assert (["0-2 rwL"], 2, 2) == (areas.texts(), areas.mm.locked_vm, areas.mm.get_mm_rss())


def test_locked_pages_are_not_discarded(areas):
    """MADV_DONTNEED stops at the first locked area; MADV_DONTNEED_LOCKED does not."""
    areas.map(0, 4)
    areas.write(0, 1, 2, 3)
    lock(areas, 2, 2)

    def discard(advice):
        return areas.call(do_madvise(areas.mm, **pages(0, 4), advice=advice))

    refused = discard(mman.MADV_DONTNEED)
    left = areas.mm.get_mm_rss()
    done = discard(mman.MADV_DONTNEED_LOCKED)

    assert (-errno.EINVAL, 2, 0, 0) == (refused, left, done, areas.mm.get_mm_rss())
