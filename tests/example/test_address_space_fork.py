"""What a child gets of its parent's address space, and how stacks grow."""

import errno

import pytest
from areas import PLACE, Areas, area_text, pages

from mmactors.mm.area.overcommit import OVERCOMMIT_NEVER, Overcommit, OvercommitPolicy
from mmactors.mm.area.rlimit import Rlimits
from mmactors.mm.area.stack import expand_stack
from mmactors.mm.fault.siginfo import SEGV_MAPERR, SIGSEGV
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.madvise import do_madvise
from mmactors.mm.syscall.mlock import do_mlock, do_mlockall
from mmactors.mm.vmstat import PGREUSE
from mmactors.units import PAGE_SIZE

GROWS = mman.MAP_PRIVATE | mman.MAP_GROWSDOWN


@pytest.fixture
def areas():
    return Areas.new()


def test_a_page_is_copied_by_the_first_who_writes_it(areas):
    """The second writer is alone with the page and keeps it."""
    areas.map(0, 2)
    areas.write(0, 1)
    child = areas.machine.fork(areas.task)
    before = areas.machine.events[PGREUSE]

    def reused():
        return areas.machine.events[PGREUSE] - before

    areas.machine.access(child, PLACE, is_write=True)
    after_copy = reused()
    areas.write(0)
    after_parent = reused()
    areas.write(1)
    areas.machine.access(child, PLACE + PAGE_SIZE, is_write=True)

    assert (2, 0, 1, 2) == (child.minflt, after_copy, after_parent, reused())


def test_a_child_has_no_pages_of_areas_that_faults_bring_back(areas):
    """Shared memory, and memory that was never written, come without entries and tables."""
    areas.map(0, 4, flags=mman.MAP_SHARED)
    areas.map(4, 4, prot=mman.PROT_READ)
    areas.write(0, 1)
    areas.read(4)

    child = areas.machine.fork(areas.task)

    assert (0, 0) == (child.mm.get_mm_rss(), child.mm.page_table.nr_tables)


def test_advice_says_what_a_child_gets(areas):
    """DONTFORK leaves pages out, WIPEONFORK empties them; nothing is locked in the child."""
    areas.map(0, 6)
    areas.write(*range(6))
    for first, advice in ((0, mman.MADV_DONTFORK), (2, mman.MADV_WIPEONFORK)):
        areas.call(do_madvise(areas.mm, **pages(first, 2), advice=advice))
    areas.call(do_mlock(areas.mm, **pages(4, 2)))
    areas.call(do_mlockall(areas.mm, mman.MCL_FUTURE))

    child = areas.machine.fork(areas.task).mm

    assert ["2-4 rw", "4-6 rw"] == [area_text(vma) for vma in child.tree]
    assert (2, 4, 0, 0) == (child.get_mm_rss(), child.total_vm, child.locked_vm, child.def_flags)


def test_forked_areas_do_not_merge_again(areas):
    """Each area of the child has an anon_vma of its own, beside the parent's."""
    areas.map(0, 4)
    areas.write(0, 3)
    areas.call(do_madvise(areas.mm, **pages(1, 1), advice=mman.MADV_RANDOM))

    child = areas.machine.fork(areas.task)
    steps = do_madvise(child.mm, **pages(1, 1), advice=mman.MADV_NORMAL)
    areas.machine.perform(child, steps)

    assert ["0-1 rw", "1-2 rw", "2-4 rw"] == [area_text(vma) for vma in child.mm.tree]


def test_a_fork_promises_the_memory_once_more(areas):
    """Where that is refused there is no child, and nothing stays promised."""
    kernel = areas.machine.kernel
    areas.mm.overcommit = Overcommit(
        totalram_pages=20, policy=OvercommitPolicy(memory=OVERCOMMIT_NEVER, ratio=100)
    )
    kernel.overcommit, shared = areas.mm.overcommit, kernel.overcommit
    areas.map(0, 12)
    areas.mm.overcommit.set_committed(20)
    nr_spaces = len(kernel.spaces)

    error = areas.machine.fork(areas.task)

    kernel.overcommit = shared
    assert (-errno.ENOMEM, nr_spaces, 20) == (
        error,
        len(kernel.spaces),
        areas.mm.overcommit.committed,
    )


def test_a_stack_grows_to_the_page_that_is_touched(areas):
    """Sizes and offset follow."""
    areas.map(1000, 2, flags=GROWS)

    areas.write(990)
    (stack,) = areas.mm.tree

    assert (["990-1002 rw"], 12, PLACE // PAGE_SIZE + 990) == (
        areas.texts(),
        areas.mm.stack_vm,
        stack.vm_pgoff,
    )


@pytest.mark.parametrize(("below", "is_refused"), [(mman.PROT_READ, True), (0, False)])
def test_the_guard_gap_keeps_a_stack_from_accessible_areas(areas, below, is_refused):
    """256 pages stay free, unless the area below is PROT_NONE."""
    areas.map(1000, 2, flags=GROWS)
    areas.map(700, 1, prot=below)

    signal = areas.write(900)

    assert is_refused == (signal is not None)


def test_what_cannot_grow_is_a_fault_on_nothing(areas):
    """Beyond RLIMIT_STACK or below an ordinary area: SIGSEGV, SEGV_MAPERR."""
    areas.map(1000, 2, flags=GROWS)
    areas.map(2000, 2)
    areas.mm.rlimits = Rlimits(stack=10 * PAGE_SIZE)

    codes = [(areas.write(page).number, areas.write(page).code) for page in (990, 1999)]

    assert [(SIGSEGV, SEGV_MAPERR)] * 2 == codes
    assert None is areas.write(992)


def test_an_area_that_does_not_grow_says_so(areas):
    """EINVAL; a place below mmap_min_addr is EPERM."""
    areas.map(0, 1)
    areas.map(1000, 1, flags=GROWS)
    plain, stack = areas.mm.tree

    assert (-errno.EINVAL, -errno.EPERM) == (
        areas.call(expand_stack(areas.mm, plain, PLACE - PAGE_SIZE)),
        areas.call(expand_stack(areas.mm, stack, PAGE_SIZE)),
    )
