"""Pages of the kernel in an address space: [vvar] and [vdso]."""

import pytest
from areas import PLACE, Areas, pages

from mmactors.arch.pte import PRESENT, SPECIAL, USER, pte_pfn
from mmactors.mm.area.mapped_file import SpecialMapping
from mmactors.mm.area.vm_flags import (
    VM_DONTEXPAND,
    VM_EXEC,
    VM_IO,
    VM_MAYREAD,
    VM_PFNMAP,
    VM_READ,
)
from mmactors.mm.area.vma import Vma
from mmactors.mm.fault.handle_mm_fault import SIGBUS, SIGSEGV
from mmactors.mm.syscall.munmap import do_munmap
from mmactors.units import PAGE_SIZE

VVAR = VM_READ | VM_MAYREAD | VM_DONTEXPAND | VM_IO | VM_PFNMAP
VDSO = VM_READ | VM_EXEC | VM_MAYREAD | VM_DONTEXPAND


@pytest.fixture
def areas():
    return Areas.new()


def insert(areas, vm_flags, *, nr_frames):
    """Add an area of four pages, of which the first have frames; return these."""
    frames = tuple(areas.machine.alloc_page() for _ in range(nr_frames))
    vma = Vma(vm_start=PLACE, vm_end=PLACE + 4 * PAGE_SIZE, vm_flags=vm_flags, vm_pgoff=0)
    vma.special = SpecialMapping(name="[vvar]", pages=frames)
    areas.mm.insert_vm_struct(vma)
    return frames


def test_a_page_that_no_rmap_knows_is_inserted_and_counts_as_a_minor_fault(areas):
    """The entry is special: no rss, no reference, and it is gone without a trace."""
    (frame,) = insert(areas, VVAR, nr_frames=1)

    signal = areas.read(0)
    entry = areas.mm.page_table.read_range(PLACE, PLACE + PAGE_SIZE).entries.tolist()[0]
    counted = areas.task.minflt, areas.mm.get_mm_rss(), areas.machine.pages.refcount_view[frame]
    areas.call(do_munmap(areas.mm, **pages(0, 4)))

    assert (None, frame) == (signal, pte_pfn(entry))
    assert PRESENT | USER | SPECIAL == entry & (PRESENT | USER | SPECIAL)
    assert ((1, 0, 1), 0) == (counted, areas.mm.page_table.nr_ptes)


@pytest.mark.parametrize("vm_flags", [VVAR, VDSO])
def test_behind_what_there_is_lies_a_bus_error_and_no_table(areas, vm_flags):
    """The page for the lowest table goes back; a write is refused before anything is added."""
    insert(areas, vm_flags, nr_frames=2)

    numbers = [areas.read(2).number, areas.write(3).number]

    assert ([SIGBUS, SIGSEGV], 0) == (numbers, areas.task.minflt)
    assert (0, 1, 1) == (
        areas.mm.page_table.nr_ptes,
        areas.mm.page_table.nr_pmds,
        areas.mm.page_table.nr_puds,
    )


def test_a_child_inherits_the_entry(areas):
    """A fork copies the entries of such areas, so that the child needs no fault."""
    insert(areas, VVAR, nr_frames=1)
    areas.read(0)

    child = areas.machine.fork(areas.task)

    assert child.mm.page_table.read_range(PLACE, PLACE + PAGE_SIZE).entries.tolist()
