"""Growth of areas that grow down (mm/mmap.c, expand_downwards, Linux 6.1).

A generator with the requests of mm/area/vma_adjust.py; the caller holds mmap_lock for writing. Left
out: areas that grow up, which x86-64 has none of.
"""

import errno
from collections.abc import Generator

from mmactors.mm.area.anon_vma import LockAnonVma, LockPageTables, UnlockAnonVma, UnlockPageTables
from mmactors.mm.area.anon_vma_chain import anon_vma_prepare
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import VM_ACCOUNT, VM_GROWSDOWN, VM_LOCKED
from mmactors.mm.area.vma import Vma
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.units import PAGE_MASK, PAGE_SHIFT


def expand_stack(mm: MmStruct, vma: Vma, address: int) -> Generator[RmapRequest, int | None, int]:
    """Let `vma`, the area above, grow down to `address`; end with 0 or minus the errno.

    EINVAL: it does not grow; EPERM: below mmap_min_addr; ENOMEM: the guard gap to an accessible
    area below, RLIMIT_AS, RLIMIT_STACK, RLIMIT_MEMLOCK, the promise of memory, or an anon_vma.
    """
    if not vma.vm_flags & VM_GROWSDOWN:
        return -errno.EINVAL
    address &= PAGE_MASK
    if address < mm.config.mmap_min_addr:
        return -errno.EPERM
    before, _ = mm.tree.neighbours(vma)
    if (
        before is not None
        and not before.vm_flags & VM_GROWSDOWN
        and before.is_accessible
        and address - before.vm_end < mm.stack_guard_gap_bytes
    ):
        return -errno.ENOMEM
    if (yield from anon_vma_prepare(mm, vma)):
        return -errno.ENOMEM
    anon_vma = vma.anon_vma
    assert anon_vma is not None, "prepared above"
    yield LockAnonVma(root=anon_vma.root, anon_vmas=(anon_vma,))
    error = 0
    if address < vma.vm_start:
        yield LockPageTables(anon_vma=anon_vma)
        error = _grow_down(mm, vma, address)
        yield UnlockPageTables()
    yield UnlockAnonVma(root=anon_vma.root)
    return error


def _grow_down(mm: MmStruct, vma: Vma, address: int) -> int:
    grown_pages = (vma.vm_start - address) >> PAGE_SHIFT
    if grown_pages > vma.vm_pgoff:
        return -errno.ENOMEM
    error = _acct_stack_growth(mm, vma, size=vma.vm_end - address, grown_pages=grown_pages)
    if error:
        return error
    if not vma.vm_flags & VM_ACCOUNT:
        mm.overcommit.forget(grown_pages)
    if vma.vm_flags & VM_LOCKED:
        mm.locked_vm += grown_pages
    mm.vm_stat_account(vma.vm_flags, grown_pages)
    vma.vm_pgoff -= grown_pages
    mm.tree.resize(vma, start=address, end=vma.vm_end)
    return 0


def _acct_stack_growth(mm: MmStruct, vma: Vma, *, size: int, grown_pages: int) -> int:
    if not mm.may_expand_vm(vma.vm_flags, grown_pages) or size > mm.rlimits.stack:
        return -errno.ENOMEM
    if mm.mlock_future_check(vma.vm_flags, grown_pages << PAGE_SHIFT):
        return -errno.ENOMEM
    return mm.vm_enough_memory(grown_pages)
