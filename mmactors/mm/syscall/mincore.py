"""Which pages are resident (mm/mincore.c, Linux 6.1).

A page without an entry counts as resident if the page cache has it. What a process may not learn
looks wholly resident: pages of the kernel, files that it could not write. The caller holds
mmap_lock for reading. Left out: swap.
"""

import errno

from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import page_align
from mmactors.mm.area.vma import Vma, linear_page_index
from mmactors.units import PAGE_SHIFT, PAGE_SIZE


def do_mincore(mm: MmStruct, *, start: int, length: int) -> tuple[int, int]:
    """Return 0 or minus the errno, and how many pages of the range are resident, up to the error.

    EINVAL: start not page-aligned; ENOMEM: beyond TASK_SIZE, or a gap. What it takes depends on
    the pages that are there, not on the length.
    """
    if start % PAGE_SIZE:
        return -errno.EINVAL, 0
    if start + length > mm.task_size:
        return -errno.ENOMEM, 0
    end = start + page_align(length)
    nr_resident = 0
    while start < end:
        vma = mm.tree.find_vma(start)
        if vma is None or vma.vm_start > start:
            return -errno.ENOMEM, nr_resident
        stop = min(end, vma.vm_end)
        nr_resident += _nr_resident(mm, vma, start, stop)
        start = stop
    return 0, nr_resident


def _nr_resident(mm: MmStruct, vma: Vma, start: int, end: int) -> int:
    nr_pages = (end - start) >> PAGE_SHIFT
    if not _can_do_mincore(vma):
        return nr_pages
    present = (mm.page_table.read_range(start, end).addresses - start) >> PAGE_SHIFT
    file = vma.vm_file
    if not isinstance(file, MappedFile):
        return len(present)
    first = linear_page_index(vma, start)
    cached = {index - first for index in file.mapping.pages if 0 <= index - first < nr_pages}
    return len(cached.union(present.tolist()))


def _can_do_mincore(vma: Vma) -> bool:
    """Say whether an area tells what is cached; else others could watch who reads what."""
    if vma.special is not None:
        return False
    file = vma.vm_file
    return not isinstance(file, MappedFile) or file.may_be_written
