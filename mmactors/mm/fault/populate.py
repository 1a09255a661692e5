"""Making pages present before they are touched (mm/gup.c, __mm_populate, Linux 6.1).

mmap with MAP_POPULATE or MAP_LOCKED, mlock, mlockall, brk and mremap of locked areas end with it:
they let go of mmap_lock, which is then taken for reading. `mm_populate` walks over the areas and
yields `FaultInPages` for each, in rounds: a round ends early before a page that failed or that had
to be waited for without mmap_lock, and the next one begins with that page. So an error is only seen
when a page has failed first in its round, and a page behind others fails twice.
"""

import errno
from collections.abc import Generator

from attrs import frozen

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.pkeys import arch_vma_access_permitted
from mmactors.mm.area.vm_flags import (
    VM_IO,
    VM_LOCKONFAULT,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
)
from mmactors.mm.area.vma import Vma
from mmactors.units import PAGE_SHIFT, PAGE_SIZE


@frozen(kw_only=True)
class Populate:
    """Run `mm_populate` on the range, without mmap_lock; answered with its result.

    It is always the last request of a system call. What is made present for convenience
    (MAP_POPULATE) ignores errors, mlock does not.
    """

    start: int
    length: int
    ignores_errors: bool = True


@frozen(kw_only=True)
class FaultInPages:
    """Make each page of `[start, end)`, all in `vma`, present; writable where `is_write`.

    Answered with how many pages that is done for, or minus the errno if the first one failed
    (__get_user_pages, without pages to be returned).
    """

    vma: Vma
    start: int
    end: int
    is_write: bool


PopulateSteps = Generator[FaultInPages, int | None, int]


def mm_populate(mm: MmStruct, *, start: int, length: int, ignores_errors: bool) -> PopulateSteps:
    """Make all pages of a range present; end with 0 or minus the errno. Gaps are passed over."""
    end = start + length
    while start < end:
        vma = mm.tree.find_vma(start)
        if vma is None or vma.vm_start >= end:
            break
        start = max(start, vma.vm_start)
        stop = min(end, vma.vm_end)
        if not vma.vm_flags & (VM_IO | VM_PFNMAP):
            nr_done = yield from populate_vma_page_range(vma, start, stop)
            if nr_done >= 0:
                stop = start + nr_done * PAGE_SIZE
            elif not ignores_errors:
                return nr_done
        start = stop
    return 0


def populate_vma_page_range(vma: Vma, start: int, end: int) -> PopulateSteps:
    """Make pages of one area present, private writable ones as if written.

    End with for how many that is done, or minus the errno of the first one. EFAULT: PROT_NONE, or
    execute-only by its protection key. Pages of an area that is locked on fault wait for the fault.
    """
    vm_flags = vma.vm_flags
    if vm_flags & VM_LOCKONFAULT or start == end:
        return (end - start) >> PAGE_SHIFT
    is_write = vm_flags & (VM_WRITE | VM_SHARED) == VM_WRITE
    error = check_vma_flags(vma, is_write=is_write, is_forced=vma.is_accessible)
    if error:
        return error
    nr_done = yield FaultInPages(vma=vma, start=start, end=end, is_write=is_write)
    assert nr_done is not None, "answered with a number"
    return nr_done


def check_vma_flags(vma: Vma, *, is_write: bool, is_forced: bool) -> int:
    """Return 0 or -EFAULT: whether the kernel may touch pages of an area (gup).

    By force it may read what is not readable, and write private memory that is not writable.
    """
    vm_flags = vma.vm_flags
    if vm_flags & (VM_IO | VM_PFNMAP):
        return -errno.EFAULT
    if is_write:
        is_cow = vm_flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE
        is_allowed = vm_flags & VM_WRITE or (is_forced and is_cow)
    else:
        is_allowed = vm_flags & VM_READ or (is_forced and vm_flags & VM_MAYREAD)
    # Not even by force: the process itself is who asks.
    if not is_allowed or not arch_vma_access_permitted(vm_flags, is_fetch=False):
        return -errno.EFAULT
    return 0
