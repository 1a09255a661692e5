"""Changing the protection of memory (mm/mprotect.c, Linux 6.1).

The caller holds mmap_lock for writing and answers

- `ChangeProtection` with None, after the entries of the range are those of the new protection;
- the requests of mm/area/vma_adjust.py with None;
- `FaultInPages` with a number of pages or minus the errno, see mm/fault/populate.py.

Left out: pkey_mprotect, READ_IMPLIES_EXEC.
"""

import errno
from collections.abc import Generator
from typing import Final

from attrs import frozen

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.pkeys import ARCH_DEFAULT_PKEY, vm_pkey_flags, vma_pkey
from mmactors.mm.area.vm_flags import (
    ARCH_VM_PKEY_FLAGS,
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_HUGETLB,
    VM_LOCKED,
    VM_NORESERVE,
    VM_SHARED,
    VM_WRITE,
    page_align,
)
from mmactors.mm.area.vma import Vma
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.mm.area.vma_merge import change_vm_flags
from mmactors.mm.fault.populate import FaultInPages, populate_vma_page_range
from mmactors.mm.syscall.change_areas import change_areas
from mmactors.mm.syscall.mman import (
    PROT_EXEC,
    PROT_GROWSDOWN,
    PROT_GROWSUP,
    PROT_READ,
    PROT_SEM,
    PROT_WRITE,
)
from mmactors.units import PAGE_SHIFT, PAGE_SIZE, ULONG_MAX

_MAY_SHIFT: Final = 4
"""VM_MAYREAD is VM_READ << 4, and so on."""


@frozen(kw_only=True)
class ChangeProtection:
    """Give the entries of `[start, end)` the protection of `vma`, whose flags are new."""

    vma: Vma
    start: int
    end: int


MprotectRequest = ChangeProtection | FaultInPages | RmapRequest
MprotectSteps = Generator[MprotectRequest, int | None, int]


def do_mprotect(mm: MmStruct, *, start: int, length: int, prot: int) -> MprotectSteps:
    """Set the protection of a range; end with 0 or minus the errno.

    EINVAL: grows both ways, start not page-aligned, unknown bits, PROT_GROWSDOWN or PROT_GROWSUP on
    an area that does not; ENOMEM: the range wraps, a gap, one area too many, RLIMIT_DATA, or the
    promise of memory; EACCES: what the area may never have. Areas before the one that failed are
    changed.
    """
    grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~grows
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or start % PAGE_SIZE:
        return -errno.EINVAL
    if not length:
        return 0
    end = start + page_align(length)
    if end == start or end > ULONG_MAX:
        return -errno.ENOMEM
    if prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM):
        return -errno.EINVAL
    vma = mm.tree.find_vma(start)
    if vma is None:
        return -errno.ENOMEM
    if grows == PROT_GROWSDOWN:
        if vma.vm_start >= end:
            return -errno.ENOMEM
        start = vma.vm_start
        if not vma.vm_flags & VM_GROWSDOWN:
            return -errno.EINVAL
    elif vma.vm_start > start:
        return -errno.ENOMEM
    elif grows == PROT_GROWSUP:
        # No area grows up on x86-64.
        return -errno.EINVAL
    return (yield from _mprotect_areas(mm, vma, start=start, end=end, prot=prot))


def mprotect_fixup(
    mm: MmStruct, vma: Vma, before: Vma | None, *, start: int, end: int, vm_flags: int
) -> Generator[MprotectRequest, int | None, tuple[Vma, int]]:
    """Give one area, or a part of it, new flags; end with the area it is now, and 0 or -errno."""
    old_flags = vma.vm_flags
    if vm_flags == old_flags:
        return vma, 0
    nr_pages = (end - start) >> PAGE_SHIFT
    charged = 0
    if vm_flags & VM_WRITE:
        # An area that turns into data may pass RLIMIT_DATA; one that was data did so before.
        if not mm.may_expand_vm(vm_flags, nr_pages) and mm.may_expand_vm(old_flags, nr_pages):
            return vma, -errno.ENOMEM
        # A promise once made is kept when the memory becomes read-only again.
        if not old_flags & (VM_ACCOUNT | VM_WRITE | VM_HUGETLB | VM_SHARED | VM_NORESERVE):
            charged = nr_pages
            if mm.vm_enough_memory(charged):
                return vma, -errno.ENOMEM
            vm_flags |= VM_ACCOUNT
    vma, error = yield from change_vm_flags(
        mm, vma, before, start=start, end=end, vm_flags=vm_flags
    )
    if error:
        mm.overcommit.vm_acct_memory(-charged)
        return vma, error
    vma.vm_flags = vm_flags
    yield ChangeProtection(vma=vma, start=start, end=end)
    if old_flags & (VM_WRITE | VM_SHARED | VM_LOCKED) == VM_LOCKED and vm_flags & VM_WRITE:
        # Locked private memory becomes writable: no page of it shall be copied on access.
        yield from populate_vma_page_range(vma, start, end)
    mm.vm_stat_account(old_flags, -nr_pages)
    mm.vm_stat_account(vm_flags, nr_pages)
    return vma, 0


def _mprotect_areas(mm: MmStruct, vma: Vma, *, start: int, end: int, prot: int) -> MprotectSteps:
    def fixup(
        vma: Vma, before: Vma | None, start: int, end: int
    ) -> Generator[MprotectRequest, int | None, tuple[Vma, int]]:
        vm_flags = prot & VM_ACCESS_FLAGS | vm_pkey_flags(_new_pkey(mm, vma, prot))
        vm_flags |= vma.vm_flags & ~(VM_ACCESS_FLAGS | ARCH_VM_PKEY_FLAGS)
        if vm_flags & ~(vm_flags >> _MAY_SHIFT) & VM_ACCESS_FLAGS:
            return vma, -errno.EACCES
        return (yield from mprotect_fixup(mm, vma, before, start=start, end=end, vm_flags=vm_flags))

    return (yield from change_areas(mm, vma, start=start, end=end, fixup=fixup))


def _new_pkey(mm: MmStruct, vma: Vma, prot: int) -> int:
    """Return the key of an area with a new protection (arch_override_mprotect_pkey).

    What becomes execute-only gets the key of such memory, if there is one; what was execute-only
    gives it back; all other areas keep theirs.
    """
    key = vma_pkey(vma.vm_flags)
    if prot == PROT_EXEC:
        return mm.execute_only_pkey() or key
    is_execute_only = mm.pkeys is not None and key == mm.pkeys.execute_only
    if is_execute_only and vma.vm_flags & VM_ACCESS_FLAGS == VM_EXEC:
        return ARCH_DEFAULT_PKEY
    return key
