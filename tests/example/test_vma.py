"""Areas: merging, splitting, places, limits."""

import pytest

from mmactors.arch.memory import PhysicalMemory
from mmactors.mm.area.anon_vma_chain import (
    anon_vma_alloc,
    anon_vma_chain_link,
    anon_vma_prepare,
    unlink_anon_vmas,
)
from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.mm_struct import DEFAULT_MAP_WINDOW, MmStruct
from mmactors.mm.area.vm_flags import VM_ACCOUNT, VM_LOCKED, VM_NORESERVE, VM_READ, VM_SHARED
from mmactors.mm.page_table.page_table import PageTable
from mmactors.mm.slab.kernel_caches import ANON_VMA_CHAIN
from mmactors.mm.slab.object_cache import kmem_cache_alloc
from mmactors.mm.syscall import mman, mmap
from mmactors.mm.syscall.brk import do_brk
from mmactors.mm.syscall.munmap import UnmapRegion, do_munmap, exit_mmap
from mmactors.mm.syscall.unmapped_area import AreaSearched
from mmactors.units import GIB, MIB, PAGE_SIZE

BASE = 0x7FFF_F7FF_F000
RW = mman.PROT_READ | mman.PROT_WRITE
PLACE = 0x70_0000_0000


@pytest.fixture
def mm():
    return new_mm()


def test_an_unwritten_area_does_not_join_a_written_one_above(mm):
    """6.1 merges a new mapping with written memory above but not with unwritten memory below.

    The area below has no anon_vma; taking over the one above would be right, yet 6.1 asks the
    area below for exactly one link to an anon_vma.
    """
    map_at(mm, 0, 4)
    map_at(mm, 8, 4)
    write(mm, 8)

    map_at(mm, 4, 4)

    assert [(0, 4), (4, 12)] == limits(mm)


def test_a_written_area_joins_unwritten_ones_on_both_sides(mm):
    """Two areas of which only the lower one was written become one."""
    map_at(mm, 0, 4)
    write(mm, 0)
    map_at(mm, 8, 4)

    map_at(mm, 4, 4)

    assert [(0, 12)] == limits(mm)


def test_areas_with_different_anon_vmas_stay_apart(mm):
    """A mapping between two areas that were written separately joins only the upper one."""
    map_at(mm, 0, 4)
    map_at(mm, 8, 4)
    write(mm, 0)
    write(mm, 8)

    map_at(mm, 4, 4)

    assert [(0, 4), (4, 12)] == limits(mm)


def test_an_area_shared_with_a_forked_child_is_not_extended(mm):
    """An area linked to more than its own anon_vma takes in no unwritten memory."""
    map_at(mm, 0, 4)
    write(mm, 0)
    link_to_an_ancestor(mm, next(iter(mm.tree)))

    map_at(mm, 4, 4)

    assert [(0, 4), (4, 8)] == limits(mm)


def test_neighbours_that_differ_in_permissions_share_an_anon_vma(mm):
    """The second of two adjacent areas takes the first one's, so that mprotect can merge them."""
    map_at(mm, 0, 4)
    map_at(mm, 4, 4, prot=mman.PROT_READ | mman.PROT_WRITE | mman.PROT_EXEC)
    write(mm, 4)
    write(mm, 0)

    lower, upper = mm.tree

    assert lower.anon_vma is upper.anon_vma


def test_an_anon_vma_shared_with_a_forked_child_is_not_taken_over(mm):
    """A neighbour linked to more than its own anon_vma shares none."""
    map_at(mm, 0, 4, prot=mman.PROT_READ)
    map_at(mm, 4, 4)
    write(mm, 4)
    link_to_an_ancestor(mm, mm.find_vma(PLACE + 4 * PAGE_SIZE))

    write(mm, 0)
    lower, upper = mm.tree

    assert lower.anon_vma is not upper.anon_vma


def test_memory_that_is_not_reserved_stays_apart(mm):
    """Private writable memory counts towards Committed_AS unless mapped with MAP_NORESERVE."""
    map_at(mm, 0, 4)
    flags = mman.MAP_FIXED | mman.MAP_NORESERVE
    finish_map(mm, address=PLACE + 4 * PAGE_SIZE, length=PAGE_SIZE, flags=flags)

    reserved, unreserved = (vma.vm_flags & (VM_ACCOUNT | VM_NORESERVE) for vma in mm.tree)

    assert (VM_ACCOUNT, VM_NORESERVE) == (reserved, unreserved)


def test_an_unmapped_area_is_found_no_more(mm):
    """The last hit is forgotten when its area goes."""
    map_at(mm, 0, 4)
    mm.find_vma(PLACE)

    finish(do_munmap(mm, start=PLACE, length=4 * PAGE_SIZE))

    assert mm.find_vma(PLACE) is None


def test_memory_moved_apart_does_not_merge(mm):
    """Adjacent areas whose page offsets do not follow each other stay apart."""
    map_at(mm, 0, 4)
    next(iter(mm.tree)).vm_pgoff += 100

    map_at(mm, 4, 4)

    assert [(0, 4), (4, 8)] == limits(mm)


def test_a_split_keeps_page_offsets(mm):
    """Both parts of an area number their pages as before."""
    map_at(mm, 0, 8)

    finish(do_munmap(mm, start=PLACE + 3 * PAGE_SIZE, length=2 * PAGE_SIZE))

    assert [PLACE // PAGE_SIZE, PLACE // PAGE_SIZE + 5] == [vma.vm_pgoff for vma in mm.tree]


def test_a_hole_that_would_exceed_the_limit_of_areas_is_refused():
    """Unmapping from the middle needs one area more; at max_map_count it is ENOMEM."""
    mm = new_mm(max_map_count=1)
    map_at(mm, 0, 8)

    middle = finish(do_munmap(mm, start=PLACE + PAGE_SIZE, length=PAGE_SIZE))
    end = finish(do_munmap(mm, start=PLACE + 6 * PAGE_SIZE, length=2 * PAGE_SIZE))

    assert (-12, 0) == (middle, end)
    assert [(0, 6)] == limits(mm)


def test_mmap_goes_one_beyond_the_limit_of_areas():
    """A new area is refused only when there are more than max_map_count."""
    mm = new_mm(max_map_count=1)

    results = [finish_map(mm, address=PLACE * number, length=PAGE_SIZE) for number in (1, 2, 3)]

    assert [PLACE, 2 * PLACE, -12] == results


def test_places_are_taken_from_the_top_down(mm):
    """The first mapping ends at mmap_base, the next below it."""
    first = finish_map(mm, length=MIB)
    second = finish_map(mm, length=5000, prot=mman.PROT_READ)

    assert (BASE - MIB, BASE - MIB - 2 * PAGE_SIZE) == (first, second)


def test_a_stack_keeps_a_mebibyte_free_below_it(mm):
    """A mapping below an area that grows down leaves stack_guard_gap, and so do all smaller gaps.

    A place refused for the guard gap ends the search above the gap's start, so that the free room
    between another area inside the gap and the gap's start is found, but none above.
    """
    stack = finish_map(mm, length=PAGE_SIZE, flags=mman.MAP_GROWSDOWN)
    fixed = stack - 250 * PAGE_SIZE
    finish_map(mm, address=fixed, length=PAGE_SIZE, prot=0, flags=mman.MAP_FIXED)

    below = finish_map(mm, length=PAGE_SIZE)

    assert stack - 257 * PAGE_SIZE == below


def test_without_room_below_the_base_the_search_goes_up(mm):
    """The fallback starts at a third of the address space and leaves stacks their gap."""
    finish_map(mm, address=2 * PAGE_SIZE, length=BASE - 2 * PAGE_SIZE, flags=mman.MAP_FIXED)
    start = mm.mmap_legacy_base
    finish(do_munmap(mm, start=start, length=GIB))
    stack = start + 300 * PAGE_SIZE
    flags = mman.MAP_FIXED | mman.MAP_GROWSDOWN
    finish_map(mm, address=stack, length=PAGE_SIZE, flags=flags)
    end = start + 400 * PAGE_SIZE
    finish_map(mm, address=end, length=GIB - 400 * PAGE_SIZE, flags=mman.MAP_FIXED)
    mm.mmap_base = start

    results = [finish_map(mm, length=pages * PAGE_SIZE, prot=0) for pages in (45, 44)]

    assert [stack + PAGE_SIZE, start] == results


def test_map_32bit_searches_the_second_gibibyte_upwards(mm):
    """MAP_32BIT gives addresses from 1 GiB to 2 GiB, or ENOMEM."""
    first = finish_map(mm, length=GIB // 2, flags=mman.MAP_32BIT)
    second = finish_map(mm, length=GIB // 2, flags=mman.MAP_32BIT, prot=0)
    third = finish_map(mm, length=PAGE_SIZE, flags=mman.MAP_32BIT)
    hinted = finish_map(mm, address=GIB // 4, length=PAGE_SIZE, flags=mman.MAP_32BIT)

    assert [GIB, GIB + GIB // 2, -12, GIB // 4] == [first, second, third, hinted]


def test_addresses_of_57_bits_come_only_with_a_hint():
    """With 5 levels of tables, places lie below 47 bits unless the hint lies above."""
    mm = new_mm(levels=5)
    high = 1 << 50

    plain = finish_map(mm, length=PAGE_SIZE)
    hinted = finish_map(mm, address=high, length=PAGE_SIZE)
    taken = finish_map(mm, address=high, length=PAGE_SIZE)
    across = finish_map(mm, address=DEFAULT_MAP_WINDOW - PAGE_SIZE, length=2 * PAGE_SIZE)

    assert BASE - PAGE_SIZE == plain
    assert high == hinted
    assert BASE + (1 << 56) - (1 << 47) - PAGE_SIZE == taken
    assert BASE - 3 * PAGE_SIZE == across


def test_low_addresses_need_a_privilege():
    """Below mmap_min_addr a fixed mapping is EPERM and a hint is raised."""
    mm = new_mm()
    mm.cap_sys_rawio = False

    fixed = finish_map(mm, address=PAGE_SIZE, length=PAGE_SIZE, flags=mman.MAP_FIXED)
    hinted = finish_map(mm, address=PAGE_SIZE, length=PAGE_SIZE)

    assert (-1, 65536) == (fixed, hinted)


def test_a_length_that_overflows_is_refused(mm):
    """A length that is no whole number of pages below 2**64 is ENOMEM, as is one too large."""
    assert [-12, -12] == [finish_map(mm, length=(1 << 64) - 1), finish_map(mm, length=1 << 47)]


def test_locked_mappings_are_counted(mm):
    """locked_vm follows mapping and unmapping."""
    address = finish_map(mm, length=4 * PAGE_SIZE, flags=mman.MAP_LOCKED)
    locked = mm.locked_vm
    finish(do_munmap(mm, start=address + PAGE_SIZE, length=PAGE_SIZE))

    assert (4, 3) == (locked, mm.locked_vm)
    assert next(iter(mm.tree)).vm_flags & VM_LOCKED


def test_unmapping_below_a_stack_keeps_the_write_lock(mm):
    """mmap_lock is downgraded unless the area above might grow into the range meanwhile."""
    map_at(mm, 0, 4)
    finish_map(
        mm,
        address=PLACE + 8 * PAGE_SIZE,
        length=PAGE_SIZE,
        flags=mman.MAP_FIXED | mman.MAP_GROWSDOWN,
    )

    requests = [
        next(do_munmap(mm, start=start, length=PAGE_SIZE, may_downgrade=True))
        for start in (PLACE, PLACE + 3 * PAGE_SIZE)
    ]

    assert [True, False] == [request.may_downgrade for request in requests]


def test_the_heap_keeps_a_page_from_what_follows(mm):
    """brk stops one page before the next area, and a refused change changes nothing."""
    mm.start_brk = mm.brk = PLACE
    finish_map(mm, address=PLACE + 4 * PAGE_SIZE, length=PAGE_SIZE, flags=mman.MAP_FIXED)

    results = [finish(do_brk(mm, PLACE + pages * PAGE_SIZE)) for pages in (4, 3, -1)]

    assert [PLACE, PLACE + 3 * PAGE_SIZE, PLACE + 3 * PAGE_SIZE] == results


def test_the_heap_gives_back_what_it_shrinks_by(mm):
    """Moving the break down unmaps whole pages; a part of a page stays."""
    mm.start_brk = mm.brk = PLACE
    finish(do_brk(mm, PLACE + 8 * PAGE_SIZE))

    (request,) = [
        request
        for request in do_brk(mm, PLACE + 2 * PAGE_SIZE + 1)
        if isinstance(request, UnmapRegion)
    ]

    assert (PLACE + 3 * PAGE_SIZE, PLACE + 8 * PAGE_SIZE) == (request.start, request.end)
    assert (PLACE + 2 * PAGE_SIZE + 1, 3, 3) == (mm.brk, mm.total_vm, mm.data_vm)


def test_exit_hands_over_everything_at_once(mm):
    """The last user's exit unmaps all areas in one request without neighbours."""
    map_at(mm, 0, 4)
    map_at(mm, 8, 4)

    (request,) = exit_mmap(mm)

    assert (2, 0, 0, True) == (
        len(request.areas),
        request.floor,
        request.ceiling,
        request.full_mm,
    )
    assert 0 == mm.map_count
    assert [] == list(exit_mmap(mm))


def test_a_search_is_told_as_the_tracepoint_shows_it(mm):
    """A mapping without a fixed place tells where the search ended."""
    steps = mmap.do_mmap(
        mm, address=0, length=5000, prot=RW, flags=mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
    )

    searched = AreaSearched(
        address=BASE - 8192, length=8192, flags=1, low=PAGE_SIZE, high=BASE, pgoff=0
    )
    assert searched == next(steps)


def test_shared_flags_are_no_part_of_private_areas(mm):
    """A private mapping has the three MAY bits and no VM_SHARED."""
    finish_map(mm, length=PAGE_SIZE, prot=mman.PROT_READ)

    (vma,) = mm.tree

    assert 0x70 | VM_READ == vma.vm_flags
    assert not vma.vm_flags & VM_SHARED


def new_mm(*, levels=4, **settings):
    table = PageTable(PhysicalMemory(4), pgd_pfn=1, levels=levels)
    return MmStruct(config=MmConfig(**settings), page_table=table)


def map_at(mm, page, length, *, prot=RW):
    address = PLACE + page * PAGE_SIZE
    finish_map(mm, address=address, length=length * PAGE_SIZE, prot=prot, flags=mman.MAP_FIXED)


def finish_map(mm, *, address=0, length, prot=RW, flags=0):
    flags |= mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
    return finish(mmap.do_mmap(mm, address=address, length=length, prot=prot, flags=flags))


def write(mm, page):
    finish(anon_vma_prepare(mm, mm.find_vma(PLACE + page * PAGE_SIZE)))


def link_to_an_ancestor(mm, vma):
    cache = mm.anon_vma_cache
    chain = finish(kmem_cache_alloc(cache.caches, ANON_VMA_CHAIN, "test"))
    anon_vma_chain_link(vma, finish(anon_vma_alloc(cache, "test")), chain)


def limits(mm):
    """Return start and end of each area in pages from PLACE on."""
    return [
        tuple((limit - PLACE) // PAGE_SIZE for limit in (vma.vm_start, vma.vm_end))
        for vma in mm.tree
    ]


def finish(steps):
    try:
        while True:
            request = next(steps)
            if isinstance(request, UnmapRegion):
                for vma in request.areas:
                    finish(unlink_anon_vmas(vma))
    except StopIteration as stop:
        return stop.value
