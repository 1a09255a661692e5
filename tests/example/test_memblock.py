"""Region lists and the search for free memory."""

import pytest

from mmactors.mm.boot.memblock import INIT_REGIONS, Memblock
from mmactors.mm.boot.regions import PHYS_ADDR_MAX, MemblockFlags, Region, RegionList
from mmactors.units import MIB, PAGE_SIZE

EXPECTED_CALLS = """
memblock_alloc_try_nid: 64 bytes align=0x40 nid=-1 from=0x0000000000000000 \
max_addr=0x0000000000000000 setup_log_buf
memblock_reserve: [0x0000000000ffffc0-0x0000000000ffffff] memblock_alloc_range_nid
memblock_phys_alloc_range: 4096 bytes align=0x1000 from=0x0000000000000000 \
max_addr=0x0000000000200000 setup_arch
memblock_reserve: [0x00000000001ff000-0x00000000001fffff] memblock_alloc_range_nid
""".strip()


def machine() -> Memblock:
    """Return 1 MiB to 16 MiB of memory, half on each of two nodes."""
    memblock = Memblock()
    memblock.add(1 * MIB, 8 * MIB, node=0)
    memblock.add(8 * MIB, 16 * MIB, node=1)
    return memblock


def test_touching_regions_of_a_node_become_one():
    """Regions that touch merge if their node is the same."""
    regions = RegionList()

    regions.add(0, 10, node=0)
    regions.add(20, 30, node=0)
    regions.add(10, 20, node=0)
    regions.add(30, 40, node=1)

    assert [Region(0, 30, 0), Region(30, 40, 1)] == regions.regions


def test_an_overlapping_region_only_fills_the_gaps():
    """What is there already keeps its node."""
    regions = RegionList()
    regions.add(10, 20, node=1)

    regions.add(0, 30, node=0)

    assert [Region(0, 10, 0), Region(10, 20, 1), Region(20, 30, 0)] == regions.regions


def test_removing_the_middle_splits_a_region():
    """The parts on both sides stay."""
    regions = RegionList()
    regions.add(0, 30)

    regions.remove(10, 20)

    assert [Region(0, 10), Region(20, 30)] == regions.regions


def test_allocation_is_top_down_and_aligned_down():
    """The highest free range is used, its end rounded down to the alignment."""
    memblock = machine()
    memblock.reserve(16 * MIB - 100, 16 * MIB)

    at = memblock.alloc(PAGE_SIZE, align=PAGE_SIZE)

    assert at == 16 * MIB - 2 * PAGE_SIZE


def test_bottom_up_takes_the_lowest_range():
    """The lowest free range is used, its start rounded up."""
    memblock = machine()
    memblock.bottom_up = True
    memblock.reserve(1 * MIB, 1 * MIB + 100)

    assert memblock.alloc(PAGE_SIZE, align=PAGE_SIZE) == 1 * MIB + PAGE_SIZE


def test_a_full_node_falls_back_unless_exact():
    """Any node will do, unless the caller insists."""
    memblock = machine()
    memblock.reserve(1 * MIB, 8 * MIB)

    exact = memblock.alloc(PAGE_SIZE, align=PAGE_SIZE, node=0, exact_node=True)
    other = memblock.alloc(PAGE_SIZE, align=PAGE_SIZE, node=0)

    assert exact is None
    assert other == 16 * MIB - PAGE_SIZE


def test_the_lower_limit_is_a_wish():
    """Without room above `start` the search is repeated without it."""
    memblock = machine()
    memblock.reserve(8 * MIB, 16 * MIB)

    assert memblock.alloc(PAGE_SIZE, align=PAGE_SIZE, start=12 * MIB) == 8 * MIB - PAGE_SIZE


def test_the_first_page_is_never_given():
    """Address 0 means failure in the kernel, so page 0 is not used."""
    memblock = Memblock()
    memblock.add(0, PAGE_SIZE)

    assert memblock.alloc(PAGE_SIZE, align=PAGE_SIZE) is None


def test_trimming_drops_what_is_smaller_than_a_page():
    """Memory ends on page borders."""
    memblock = Memblock()
    memblock.add(100, PAGE_SIZE * 2 + 1)
    memblock.add(PAGE_SIZE * 3 + 1, PAGE_SIZE * 4 - 1)

    memblock.trim_memory()

    assert [Region(PAGE_SIZE, PAGE_SIZE * 2)] == memblock.memory.regions


def test_memory_can_be_taken_away():
    """What is removed is neither free nor the end of memory."""
    memblock = machine()

    memblock.remove(12 * MIB, 16 * MIB)

    assert memblock.end_of_memory() == 12 * MIB
    assert [Region(8 * MIB, 12 * MIB, 1)] == list(memblock.free_ranges(1))


def test_removing_nothing_splits_nothing():
    """An empty range inside a region leaves it whole."""
    regions = RegionList()
    regions.add(0, 30)

    regions.remove(10, 10)

    assert [Region(0, 30)] == regions.regions


@pytest.mark.parametrize("end", [PHYS_ADDR_MAX, 1 << 64, (1 << 64) + 5000])
def test_a_range_over_the_end_of_all_addresses_is_cut_there(end):
    """What is added, taken, given back, removed or put on a node: its size never overflows."""
    memblock = Memblock()
    top = (1 << 64) - 8192

    memblock.add(top - 4096, end)
    memblock.reserve(top, end)
    memblock.memory.set_node(top, end, node=1)

    assert [
        Region(top - 4096, top, None),
        Region(top, PHYS_ADDR_MAX, 1),
    ] == memblock.memory.regions
    assert [Region(top, PHYS_ADDR_MAX)] == memblock.reserved.regions
    assert [Region(top - 4096, top)] == list(memblock.free_ranges())

    memblock.phys_free(top + 4096, end)
    memblock.remove(top, end)

    assert [Region(top, top + 4096)] == memblock.reserved.regions
    assert [Region(top - 4096, top)] == memblock.memory.regions


def test_the_last_byte_of_all_addresses_is_never_there():
    """A range that is only it is empty."""
    memblock = Memblock()

    memblock.add(PHYS_ADDR_MAX, 1 << 64)
    memblock.reserve(PHYS_ADDR_MAX, 1 << 64)
    memblock.phys_free(PHYS_ADDR_MAX, 1 << 64)

    assert [] == memblock.memory.regions == memblock.reserved.regions


def test_special_memory_is_only_for_who_asks():
    """Memory that is not mapped is never given; hotpluggable memory not with movable_node."""
    memblock = machine()
    memblock.memory.set_flags(12 * MIB, 16 * MIB, MemblockFlags.NOMAP)
    memblock.memory.set_flags(8 * MIB, 12 * MIB, MemblockFlags.HOTPLUG)
    memblock.is_movable_node = True

    assert memblock.alloc(PAGE_SIZE, align=PAGE_SIZE) == 8 * MIB - PAGE_SIZE

    memblock.is_movable_node = False

    assert memblock.alloc(PAGE_SIZE, align=PAGE_SIZE) == 12 * MIB - PAGE_SIZE


def test_mirrored_memory_is_given_first_and_others_after_it():
    """The kernel's own data go where an error cannot lose them, while there is room."""
    memblock = machine()
    memblock.mark_mirror(2 * MIB, 3 * MIB)

    first = memblock.alloc(MIB, align=PAGE_SIZE)
    second = memblock.alloc(MIB, align=PAGE_SIZE)

    assert (first, second) == (2 * MIB, 15 * MIB)


def test_what_the_kernel_cannot_reach_yet_is_not_given():
    """The limit grows with the direct map; who gives a limit of his own may pass it."""
    memblock = machine()
    memblock.current_limit = 4 * MIB

    assert memblock.alloc(PAGE_SIZE, align=PAGE_SIZE, end=10 * MIB) == 4 * MIB - PAGE_SIZE
    assert (
        memblock.phys_alloc_range(PAGE_SIZE, align=PAGE_SIZE, start=0, end=10 * MIB)
        == 10 * MIB - PAGE_SIZE
    )


def test_each_call_is_remembered_as_the_kernel_prints_it():
    """`memblock=debug` shows who asked for what; an allocation is followed by what it took."""
    memblock = machine()

    memblock.alloc(64, caller="setup_log_buf")
    memblock.phys_alloc_range(4096, align=4096, start=0, end=MIB * 2, caller="setup_arch")

    assert EXPECTED_CALLS == "\n".join(map(str, memblock.calls[2:]))


@pytest.mark.parametrize("name", ["reserved", "memory"])
def test_a_full_list_takes_a_larger_one_from_memory(name):
    """The larger list does not lie in what is about to be taken; the one before it comes back."""
    memblock = machine()
    memblock.can_resize = True
    nr_regions = 2 * INIT_REGIONS + 1
    for nth in range(nr_regions):
        at = 32 * MIB + nth * 2 * PAGE_SIZE
        (memblock.reserve if name == "reserved" else memblock.add)(at, at + PAGE_SIZE)

    doublings = [(which, most) for which, most, _, _ in memblock.doublings]
    (first, second) = (at for _, _, at, _ in memblock.doublings)

    assert [(name, 2 * INIT_REGIONS), (name, 4 * INIT_REGIONS)] == doublings
    assert not memblock.reserved.overlaps(first, first + 1)
    assert [(second, second + 4 * INIT_REGIONS * 24)] == memblock.discard()


def test_a_limit_counts_memory_and_not_addresses():
    """The first 10 MiB of two pieces are kept, with what is taken in them."""
    memblock = Memblock()
    memblock.add(0, 4 * MIB)
    memblock.add(8 * MIB, 20 * MIB)
    memblock.reserve(MIB, 2 * MIB)
    memblock.reserve(15 * MIB, 16 * MIB)

    memblock.enforce_memory_limit(10 * MIB)

    assert [Region(0, 4 * MIB), Region(8 * MIB, 14 * MIB)] == memblock.memory.regions
    assert [Region(MIB, 2 * MIB)] == memblock.reserved.regions

    memblock.enforce_memory_limit(11 * MIB)

    assert memblock.end_of_memory() == 14 * MIB


def test_a_cap_keeps_what_is_not_mapped():
    """Memory outside the range goes, but for what nobody reaches anyway."""
    memblock = machine()
    memblock.memory.set_flags(14 * MIB, 16 * MIB, MemblockFlags.NOMAP)

    memblock.cap_memory_range(2 * MIB, 4 * MIB)

    assert [
        Region(2 * MIB, 4 * MIB, 0),
        Region(14 * MIB, 16 * MIB, 1, MemblockFlags.NOMAP),
    ] == memblock.memory.regions
