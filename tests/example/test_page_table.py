"""Page tables: walks, larger pages, missing tables, entries of new pages."""

import pytest
from attrs import frozen

from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import ACCESSED, DIRTY, NX, PRESENT, PSE, RW, SPECIAL, USER, make_pte
from mmactors.mm.area.pgprot import access_error, anonymous_pte, vm_get_page_prot, zero_page_pte
from mmactors.mm.area.vm_flags import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE
from mmactors.mm.page_table.leaf_entries import LeafRange
from mmactors.mm.page_table.page_table import AllocTable, FreeTable, PageTable
from mmactors.units import GIB, MIB, PAGE_SIZE

PGD_PFN = 1


@frozen
class Area:
    vm_start: int
    vm_end: int


@pytest.fixture
def table():
    return PageTable(PhysicalMemory(64), pgd_pfn=PGD_PFN)


def test_tables_are_asked_for_from_the_top_down(table):
    """A walk to a first page asks for the levels below the top one, one after the other."""
    steps = table.alloc(0)

    requests = [next(steps), steps.send(2), steps.send(3)]
    with pytest.raises(StopIteration) as stop:
        steps.send(4)

    assert [AllocTable(3), AllocTable(2), AllocTable(1)] == requests
    assert 4 * 512 == stop.value.value == table.pte_offset(0)
    assert 3 == table.nr_tables


def test_a_refused_table_ends_the_walk(table):
    """The tables added before stay; the result is None."""
    steps = table.alloc(0)
    next(steps)
    steps.send(2)

    with pytest.raises(StopIteration) as stop:
        steps.send(None)

    assert stop.value.value is None
    assert (0, 0, 1) == (table.nr_ptes, table.nr_pmds, table.nr_puds)


def test_who_comes_second_gives_the_table_back(table):
    """When two CPUs miss the same table, the later one frees its page and uses the other's."""
    first, second = table.alloc(0, level=3), table.alloc(0, level=3)
    next(first)
    next(second)
    with pytest.raises(StopIteration) as first_stop:
        first.send(2)

    request = second.send(3)
    with pytest.raises(StopIteration) as second_stop:
        second.send(None)

    assert FreeTable(3, 3) == request
    assert 2 * 512 == first_stop.value.value == second_stop.value.value
    assert 1 == table.nr_puds


@pytest.mark.parametrize(("level", "size"), [(2, 2 * MIB), (3, GIB)])
def test_a_larger_page_has_no_pte(table, level, size):
    """A walk ends at the entry with PSE, and unmapping returns it as one entry."""
    index = fill(table, size, level=level)
    entry = make_pte(512, PRESENT | RW | USER | PSE)
    table.memory.view[index] = entry

    assert (level, index) == table.walk(size + PAGE_SIZE)
    assert table.pte_offset(size + PAGE_SIZE) is None
    assert [LeafRange(level, size, index, 1)] == list(table.leaf_ranges(0, 4 * GIB))
    assert [(size, entry)] == as_items(table.clear_range(0, 4 * GIB))
    assert 0 == table.memory.view[index]


def test_a_part_of_a_larger_page_is_refused(table):
    """Who unmaps a part must split the page before."""
    table.memory.view[fill(table, 0, level=2)] = make_pte(512, PRESENT | PSE)

    with pytest.raises(AssertionError, match="inside a larger page"):
        table.clear_range(PAGE_SIZE, 4 * PAGE_SIZE)


def test_reading_leaves_entries_as_they_are(table):
    """Present entries are found with accessed and dirty bits; others are skipped."""
    entries = [make_pte(7, PRESENT | ACCESSED), 0, make_pte(8, PRESENT | DIRTY | NX), 8 << 12]
    first = fill(table, 0)
    table.memory.words[first : first + 4] = entries

    found = [as_items(table.read_range(0, MIB)) for _ in range(2)]

    assert [[(0, entries[0]), (2 * PAGE_SIZE, entries[2])]] * 2 == found
    assert [7, 8] == table.read_range(0, MIB).pfns.tolist()


def test_a_table_that_a_neighbour_uses_stays(table):
    """Of two areas in one table, the first to go leaves it and the second takes it along."""
    fill(table, 0)
    lower, upper = Area(0, MIB), Area(MIB, 2 * MIB)

    kept = table.free_pgtables([lower], floor=0, ceiling=MIB)
    freed = table.free_pgtables([upper], floor=0, ceiling=0)

    assert [] == kept
    assert [1, 2, 3] == [one.level for one in freed]
    assert table.pte_offset(0) is None
    assert (0, 4) == (table.nr_tables, table.memory.nr_tables)
    for one in freed:
        table.release(one)
    table.release(table.free_pgd())
    assert 0 == table.memory.nr_tables


def test_five_levels_do_not_count_the_fourth():
    """mm_pgtables_bytes counts PTE, PMD and PUD tables only."""
    table = PageTable(PhysicalMemory(64), pgd_pfn=PGD_PFN, levels=5)

    fill(table, 1 << 50)

    assert (3, 5) == (table.nr_tables, table.memory.nr_tables)


@pytest.mark.parametrize(
    ("vm_flags", "prot"),
    [
        (VM_READ, PRESENT | USER | ACCESSED | NX),
        (VM_READ | VM_WRITE, PRESENT | USER | ACCESSED | NX),
        (VM_READ | VM_EXEC, PRESENT | USER | ACCESSED),
        (VM_READ | VM_WRITE | VM_SHARED, PRESENT | RW | USER | ACCESSED | NX),
        (VM_READ | VM_SHARED, PRESENT | USER | ACCESSED | NX),
        (0, ACCESSED | 1 << 8),
    ],
)
def test_protection_follows_the_areas_flags(vm_flags, prot):
    """Private memory is never writable before the write fault; no permission is not present."""
    assert prot == vm_get_page_prot(vm_flags)


def test_a_written_page_is_dirty_and_writable_at_once():
    """A write fault's entry needs no second fault; a read fault's is the read-only zero page."""
    vm_flags = VM_READ | VM_WRITE

    written, read = anonymous_pte(9, vm_flags), zero_page_pte(1, vm_flags)

    assert make_pte(9, PRESENT | RW | USER | ACCESSED | DIRTY | NX) == written
    assert make_pte(1, PRESENT | USER | ACCESSED | SPECIAL | NX) == read


@pytest.mark.parametrize(
    ("vm_flags", "is_write", "is_protection", "error"),
    [
        (VM_READ, True, False, True),
        (VM_READ | VM_WRITE, True, True, False),
        (VM_READ | VM_WRITE, False, False, False),
        (VM_READ | VM_WRITE, False, True, True),
        (VM_EXEC, False, False, False),
        (0, False, False, True),
    ],
)
def test_access_that_the_area_forbids_is_an_error(vm_flags, is_write, is_protection, error):
    """Writing needs VM_WRITE, anything else some permission and an entry that was missing."""
    assert error == access_error(vm_flags, is_write=is_write, is_protection=is_protection)


def test_restoring_forgets_walked_tables(table):
    """After memory was put back, a table added meanwhile is not found any more."""
    snapshot, memory = table.snapshot(), table.memory.snapshot()
    fill(table, 0)

    table.restore(snapshot)
    table.memory.restore(memory)

    assert table.pte_offset(0) is None
    assert 0 == table.nr_tables


def fill(table, address, *, level=1):
    """Add the tables above an entry with pages no test uses; return the entry's word index."""
    steps = table.alloc(address, level)
    try:
        next(steps)
        while True:
            steps.send(10 + table.memory.nr_tables)
    except StopIteration as stop:
        return stop.value


def as_items(entries):
    return list(zip(entries.addresses.tolist(), entries.entries.tolist(), strict=True))
