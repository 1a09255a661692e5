"""Which pages are resident (mm/mincore.c, Linux 6.1).

A page without an entry counts as resident if the page cache has it. What a process may not learn
looks wholly resident: pages of the kernel, files that it could not write. The caller holds
mmap_lock for reading. Left out: swap.
"""

import errno

import numpy as np
from numpy.typing import NDArray

from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import page_align
from mmactors.mm.area.vma import Vma, linear_page_index
from mmactors.units import PAGE_SHIFT, PAGE_SIZE


def do_mincore(mm: MmStruct, *, start: int, length: int) -> tuple[int, NDArray[np.bool_]]:
    """Return 0 or minus the errno, and which pages of the range are resident, up to the error.

    EINVAL: start not page-aligned; ENOMEM: beyond TASK_SIZE, or a gap.
    """
    nothing = np.zeros(0, np.bool_)
    if start % PAGE_SIZE:
        return -errno.EINVAL, nothing
    if start + length > mm.task_size:
        return -errno.ENOMEM, nothing
    end = start + page_align(length)
    parts = [nothing]
    error = 0
    while start < end:
        vma = mm.tree.find_vma(start)
        if vma is None or vma.vm_start > start:
            error = -errno.ENOMEM
            break
        stop = min(end, vma.vm_end)
        parts.append(_residency(mm, vma, start, stop))
        start = stop
    return error, np.concatenate(parts)


def _residency(mm: MmStruct, vma: Vma, start: int, end: int) -> NDArray[np.bool_]:
    nr_pages = (end - start) >> PAGE_SHIFT
    if not _can_do_mincore(vma):
        return np.ones(nr_pages, np.bool_)
    found = np.zeros(nr_pages, np.bool_)
    entries = mm.page_table.read_range(start, end)
    found[(entries.addresses - start) >> PAGE_SHIFT] = True
    file = vma.vm_file
    if isinstance(file, MappedFile):
        first = linear_page_index(vma, start)
        cached = [index - first for index in file.mapping.pages if 0 <= index - first < len(found)]
        found[cached] = True
    return found


def _can_do_mincore(vma: Vma) -> bool:
    """Say whether an area tells what is cached; else others could watch who reads what."""
    if vma.special is not None:
        return False
    file = vma.vm_file
    return not isinstance(file, MappedFile) or file.may_be_written
