"""Writing shared mappings back (mm/msync.c, Linux 6.1).

The caller holds mmap_lock for reading and answers

- `SyncFileRange` with 0 or minus the errno: it lets go of the lock before it waits for the file;
- `LockForReading` with None, when it has the lock again. A call that ends does not take it again.
"""

import errno
from collections.abc import Generator

from attrs import frozen

from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import VM_LOCKED, VM_SHARED, page_align
from mmactors.mm.area.vma import linear_page_index
from mmactors.mm.syscall.mman import MS_ASYNC, MS_INVALIDATE, MS_SYNC
from mmactors.units import PAGE_SHIFT, PAGE_SIZE, ULONG_MAX


@frozen(kw_only=True)
class SyncFileRange:
    """Write the dirty pages of `[offset, offset + length)` and wait (vfs_fsync_range)."""

    file: MappedFile
    offset: int
    length: int


@frozen
class LockForReading:
    """Take mmap_lock for reading again; the areas may be others now."""


MsyncSteps = Generator[SyncFileRange | LockForReading, int | None, int]


def do_msync(mm: MmStruct, *, start: int, length: int, flags: int) -> MsyncSteps:
    """Write a range back; end with 0 or minus the errno.

    A length that rounds up to 2^64 counts as none. EINVAL: unknown flags, MS_ASYNC and MS_SYNC at
    once, start not page-aligned; ENOMEM: a gap, after the areas behind it were written, too, or the
    range wraps; EBUSY: MS_INVALIDATE on locked memory.
    """
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or start % PAGE_SIZE:
        return -errno.EINVAL
    if flags & MS_ASYNC and flags & MS_SYNC:
        return -errno.EINVAL
    end = start + page_align(length)
    if end > ULONG_MAX:
        return -errno.ENOMEM
    if end == start:
        return 0
    unmapped_error = 0
    while start < end:
        vma = mm.tree.find_vma(start)
        if vma is None:
            return -errno.ENOMEM
        if start < vma.vm_start:
            unmapped_error = -errno.ENOMEM
            start = vma.vm_start
            if flags == MS_ASYNC or start >= end:
                return unmapped_error
        if flags & MS_INVALIDATE and vma.vm_flags & VM_LOCKED:
            return -errno.EBUSY
        stop = vma.vm_end
        file = vma.vm_file
        if flags & MS_SYNC and vma.vm_flags & VM_SHARED and isinstance(file, MappedFile):
            offset = linear_page_index(vma, start) << PAGE_SHIFT
            error = yield SyncFileRange(file=file, offset=offset, length=min(end, stop) - start)
            if error:
                return error
            if stop < end:
                yield LockForReading()
        start = stop
    return unmapped_error
