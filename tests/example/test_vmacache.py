"""The areas that threads found last, and what a sequence number that comes back does to them."""

import pytest
from areas import PLACE, Areas, pages

from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.vmacache import find_vma, new_vmacache
from mmactors.mm.syscall.munmap import do_munmap
from mmactors.rules import Rules
from mmactors.units import PAGE_SIZE

WRAPS = Rules(vmacache_seqnum_never_wraps=False)


def areas_with_caches(rules):
    """Return a process on a kernel whose numbers have 3 bits, with one area at page 0."""
    areas = Areas.new()
    areas.mm.config = MmConfig(vmacache_seqnum_bits=3)
    areas.mm.rules = rules
    areas.map(0, 1)
    return areas


def unmap_something(areas):
    areas.map(9, 1)
    areas.call(do_munmap(areas.mm, **pages(9, 1)))


def test_a_cached_area_is_found_without_the_tree():
    """And one that has gone is not found any more."""
    areas = areas_with_caches(Rules())
    cache = new_vmacache(areas.mm)
    vma = find_vma(areas.mm, cache, PLACE)

    again = find_vma(areas.mm, cache, PLACE + PAGE_SIZE - 1)
    cached = list(cache.vmas)
    areas.call(do_munmap(areas.mm, **pages(0, 1)))

    assert vma is again
    assert [vma] == [found for found in cached if found is not None]
    assert find_vma(areas.mm, cache, PLACE) is None


def test_a_thread_alone_is_not_told_that_the_number_came_back():
    """CVE-2018-17182: it gets company, sleeps through a whole round, and finds what was freed."""
    areas = areas_with_caches(WRAPS)
    mm = areas.mm
    cache = new_vmacache(mm)
    for _ in range(7):
        unmap_something(areas)
    find_vma(mm, cache, PLACE)
    unmap_something(areas)  # 7 becomes 0, and the thread is alone.
    mm.mm_users = 2
    areas.call(do_munmap(mm, **pages(0, 1)))
    for _ in range(6):
        unmap_something(areas)

    assert (7, 7) == (mm.vmacache_seqnum, cache.seqnum)
    with pytest.raises(AssertionError, match="has the area at 0x7000000000, which was freed"):
        find_vma(mm, cache, PLACE)


def test_threads_in_company_are_told():
    """All caches are emptied when the number comes back."""
    areas = areas_with_caches(WRAPS)
    mm = areas.mm
    cache = new_vmacache(mm)
    find_vma(mm, cache, PLACE)
    mm.mm_users = 2

    for _ in range(8):
        unmap_something(areas)

    assert 0 == mm.vmacache_seqnum
    assert [None] * 4 == cache.vmas


def test_a_number_of_64_bits_does_not_come_back():
    """A round of the short one is only eight more."""
    areas = areas_with_caches(Rules())
    cache = new_vmacache(areas.mm)
    find_vma(areas.mm, cache, PLACE)

    for _ in range(8):
        unmap_something(areas)

    assert 8 == areas.mm.vmacache_seqnum
    assert find_vma(areas.mm, cache, PLACE) is not None
