"""Locking memory (mm/mlock.c, Linux 6.1).

The caller holds mmap_lock for writing and answers

- `LockPages` with None, after the pages that are present count as locked, or no more;
- the requests of mm/area/vma_adjust.py with None;
- `Populate` with its result, after it let go of mmap_lock; see mm/fault/populate.py.

Left out: secret memory, DAX; shared memory locked with SHM_LOCK.
"""

import errno
from collections.abc import Generator

from attrs import frozen

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import (
    VM_HUGETLB,
    VM_LOCKED,
    VM_LOCKED_CLEAR_MASK,
    VM_LOCKONFAULT,
    VM_SPECIAL,
    page_align,
)
from mmactors.mm.area.vma import Vma
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.mm.area.vma_merge import change_vm_flags
from mmactors.mm.fault.populate import Populate
from mmactors.mm.syscall.change_areas import change_areas
from mmactors.mm.syscall.mman import MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT, MLOCK_ONFAULT
from mmactors.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, ULONG_MAX


@frozen(kw_only=True)
class LockPages:
    """Move the pages present in `[start, end)` to the unevictable list, or back if not locked."""

    vma: Vma
    start: int
    end: int
    is_locked: bool


MlockRequest = LockPages | RmapRequest | Populate
MlockSteps = Generator[MlockRequest, int | None, int]


def do_mlock(mm: MmStruct, *, start: int, length: int, flags: int = 0) -> MlockSteps:
    """Do mlock, or mlock2 with its flags; end with 0 or minus the errno.

    A length that rounds up to 2^64 counts as none. EINVAL: unknown flags, or the range wraps;
    EPERM: nothing may be locked; ENOMEM: beyond RLIMIT_MEMLOCK, a gap, one area too many, or pages
    that cannot be made present; EAGAIN: no memory for them. What was locked before an error stays
    locked.
    """
    if flags & ~MLOCK_ONFAULT:
        return -errno.EINVAL
    if not mm.can_do_mlock():
        return -errno.EPERM
    length = page_align(length + start % PAGE_SIZE)
    start &= PAGE_MASK
    vm_flags = VM_LOCKED | (VM_LOCKONFAULT if flags & MLOCK_ONFAULT else 0)
    if not _is_within_memlock(mm, start=start, length=length):
        return -errno.ENOMEM
    error = yield from _apply_vma_lock_flags(mm, start=start, length=length, vm_flags=vm_flags)
    if error:
        return error
    if length:
        error = (yield Populate(start=start, length=length, ignores_errors=False)) or 0
    return {-errno.EFAULT: -errno.ENOMEM, -errno.ENOMEM: -errno.EAGAIN}.get(error, error)


def do_munlock(mm: MmStruct, *, start: int, length: int) -> MlockSteps:
    """Unlock a range; end with 0 or minus the errno.

    A length that rounds up to 2^64 counts as none. EINVAL: the range wraps; ENOMEM: a gap, or one
    area too many.
    """
    length = page_align(length + start % PAGE_SIZE)
    return (
        yield from _apply_vma_lock_flags(mm, start=start & PAGE_MASK, length=length, vm_flags=0)
    )


def do_mlockall(mm: MmStruct, flags: int) -> MlockSteps:
    """Lock everything there is, everything that will be, or both; end with 0 or minus the errno.

    EINVAL: no flags, unknown ones, or MCL_ONFAULT alone; EPERM; ENOMEM: beyond RLIMIT_MEMLOCK.
    Each call replaces what the one before said about the future.
    """
    if not flags or flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) or flags == MCL_ONFAULT:
        return -errno.EINVAL
    if not mm.can_do_mlock():
        return -errno.EPERM
    limit = mm.rlimits.memlock >> PAGE_SHIFT
    if flags & MCL_CURRENT and mm.total_vm > limit and not mm.cap_ipc_lock:
        return -errno.ENOMEM
    yield from _apply_mlockall_flags(mm, flags)
    if flags & MCL_CURRENT:
        yield Populate(start=0, length=mm.task_size)
    return 0


def do_munlockall(mm: MmStruct) -> MlockSteps:
    """Unlock everything, and lock nothing in future; end with 0."""
    return (yield from _apply_mlockall_flags(mm, 0))


def _is_within_memlock(mm: MmStruct, *, start: int, length: int) -> bool:
    limit = mm.rlimits.memlock >> PAGE_SHIFT
    locked = (length >> PAGE_SHIFT) + mm.locked_vm
    if locked > limit and not mm.cap_ipc_lock:
        # What is locked already counts once.
        end = start + length
        locked -= sum(
            (min(end, vma.vm_end) - max(start, vma.vm_start)) >> PAGE_SHIFT
            for vma in mm.tree.in_range(start, end)
            if vma.vm_flags & VM_LOCKED
        )
    return locked <= limit or mm.cap_ipc_lock


def _apply_vma_lock_flags(mm: MmStruct, *, start: int, length: int, vm_flags: int) -> MlockSteps:
    end = start + length
    if end > ULONG_MAX:
        return -errno.EINVAL
    if end == start:
        return 0
    vma = mm.tree.find_vma(start)
    if vma is None or vma.vm_start > start:
        return -errno.ENOMEM

    def fixup(
        vma: Vma, before: Vma | None, start: int, end: int
    ) -> Generator[MlockRequest, int | None, tuple[Vma, int]]:
        flags = vma.vm_flags & VM_LOCKED_CLEAR_MASK | vm_flags
        return _mlock_fixup(mm, vma, before, start=start, end=end, vm_flags=flags)

    return (yield from change_areas(mm, vma, start=start, end=end, fixup=fixup))


def _apply_mlockall_flags(mm: MmStruct, flags: int) -> MlockSteps:
    mm.def_flags &= VM_LOCKED_CLEAR_MASK
    on_fault = VM_LOCKONFAULT if flags & MCL_ONFAULT else 0
    if flags & MCL_FUTURE:
        mm.def_flags |= VM_LOCKED | on_fault
        if not flags & MCL_CURRENT:
            return 0
    to_add = VM_LOCKED | on_fault if flags & MCL_CURRENT else 0
    before: Vma | None = None
    vma = mm.tree.find_vma(0)
    while vma is not None:
        vm_flags = vma.vm_flags & VM_LOCKED_CLEAR_MASK | to_add
        # Errors are ignored: what could not be split stays as it was.
        before, _ = yield from _mlock_fixup(
            mm, vma, before, start=vma.vm_start, end=vma.vm_end, vm_flags=vm_flags
        )
        vma = mm.tree.find_vma(before.vm_end)
    return 0


def _mlock_fixup(
    mm: MmStruct, vma: Vma, before: Vma | None, *, start: int, end: int, vm_flags: int
) -> Generator[MlockRequest, int | None, tuple[Vma, int]]:
    """Lock or unlock one area or a part of it; end with the area it is now, and 0 or -errno.

    Special areas and huge pages never count as locked.
    """
    old_flags = vma.vm_flags
    if vm_flags == old_flags or old_flags & (VM_SPECIAL | VM_HUGETLB):
        return vma, 0
    vma, error = yield from change_vm_flags(
        mm, vma, before, start=start, end=end, vm_flags=vm_flags
    )
    if error:
        return vma, error
    nr_pages = (end - start) >> PAGE_SHIFT
    is_locked = vm_flags & VM_LOCKED != 0
    was_locked = old_flags & VM_LOCKED != 0
    vma.vm_flags = vm_flags
    if is_locked != was_locked:
        mm.locked_vm += nr_pages if is_locked else -nr_pages
        yield LockPages(vma=vma, start=start, end=end, is_locked=is_locked)
    return vma, 0
