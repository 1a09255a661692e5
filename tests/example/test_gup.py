"""Getting pages for devices and debuggers, and what fork does with pages that are pinned."""

import errno

import pytest
from areas import PLACE, Areas

from mmactors.arch.pte import PRESENT, RW, pte_pfn
from mmactors.mm.fault.gup import FOLL_FORCE, FOLL_GET, FOLL_PIN, FOLL_WRITE, get_user_page, gup_pte
from mmactors.mm.rmap.rmap import GUP_PIN_COUNTING_BIAS, page_maybe_dma_pinned
from mmactors.mm.syscall import mman
from mmactors.units import PAGE_SIZE


@pytest.fixture
def areas():
    return Areas.new()


def entry_of(areas, mm, page=0):
    index = mm.page_table.pte_offset(PLACE + page * PAGE_SIZE)
    return 0 if index is None else areas.machine.memory.view[index]


def pin(areas, page=0):
    steps = gup_pte(areas.machine.pages, areas.mm, PLACE + page * PAGE_SIZE)
    areas.mm.has_pinned = True
    return areas.machine.page_work(areas.task, steps)


def get(areas, flags, *, keeps_foll_write=True):
    context = areas.machine.context(areas.task)
    steps = get_user_page(context, areas.mm, PLACE, flags, keeps_foll_write=keeps_foll_write)
    return areas.machine.page_work(areas.task, steps)


def test_only_a_writable_page_is_pinned_without_locks(areas):
    """A page that was only read is the zero page; nothing is there before the first touch."""
    areas.map(0, 2)
    areas.read(0)
    areas.write(1)

    assert (None, pte_pfn(entry_of(areas, areas.mm, 1))) == (pin(areas), pin(areas, 1))
    assert page_maybe_dma_pinned(areas.machine.pages, pte_pfn(entry_of(areas, areas.mm, 1)))


def test_a_child_gets_a_copy_of_a_pinned_page(areas):
    """The parent keeps its page, writable, so that it goes on seeing what the device writes."""
    areas.map(0, 2)
    areas.write(0, 1)
    pinned = pin(areas)

    child = areas.machine.fork(areas.task)

    assert pinned == pte_pfn(entry_of(areas, areas.mm))
    assert entry_of(areas, areas.mm) & RW
    assert pinned != pte_pfn(entry_of(areas, child.mm))
    assert entry_of(areas, child.mm) & (PRESENT | RW) == PRESENT | RW
    assert pte_pfn(entry_of(areas, areas.mm, 1)) == pte_pfn(entry_of(areas, child.mm, 1))
    assert not entry_of(areas, areas.mm, 1) & RW
    assert 2 == child.mm.get_mm_rss()


def test_a_forced_write_makes_a_private_copy_and_finds_it(areas):
    """The entry stays read-only; without force nothing may be written."""
    areas.map(0, 1, prot=mman.PROT_READ)

    assert (None, -errno.EFAULT) == get(areas, FOLL_WRITE | FOLL_GET)
    pfn, error = get(areas, FOLL_WRITE | FOLL_FORCE | FOLL_GET)

    assert (0, pfn) == (error, pte_pfn(entry_of(areas, areas.mm)))
    assert not entry_of(areas, areas.mm) & RW
    # The entry, who got it, and the batch in which a new page waits for its list.
    assert 3 == areas.machine.pages.refcount_view[pfn]


def test_the_old_way_of_forcing_ends_with_the_same_page(areas):
    """Without anybody who interferes, 4.8 finds the copy that its fault made, too."""
    areas.map(0, 1, prot=mman.PROT_READ)

    pfn, error = get(areas, FOLL_WRITE | FOLL_FORCE | FOLL_GET, keeps_foll_write=False)

    assert (0, pfn) == (error, pte_pfn(entry_of(areas, areas.mm)))


def test_a_pin_counts_as_many_references(areas):
    """With locks and without."""
    areas.map(0, 1)
    first, _ = get(areas, FOLL_WRITE | FOLL_PIN)
    second = pin(areas)

    assert first == second
    # The entry and the batch of new pages count as one each.
    assert 2 + 2 * GUP_PIN_COUNTING_BIAS == areas.machine.pages.refcount_view[first]
