"""Copying an address space for a child (kernel/fork.c, dup_mmap; mm/rmap.c; Linux 6.1).

The caller holds both mmap_locks for writing and answers `CopyPageRange` with 0, or -ENOMEM if there
was no memory for a table, and the requests of mm/area/vma_adjust.py with None. At the end all CPUs
forget the parent's writable entries.

Left out: userfaultfd, huge pages.
"""

import errno
from collections.abc import Generator

from attrs import frozen

from mmactors.mm.area.anon_vma_chain import anon_vma_fork
from mmactors.mm.area.i_mmap import link_file_vma
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_area import remove_vma, vm_area_dup
from mmactors.mm.area.vm_flags import (
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_LOCKED_CLEAR_MASK,
    VM_MIXEDMAP,
    VM_PFNMAP,
    VM_WIPEONFORK,
)
from mmactors.mm.area.vma import Vma
from mmactors.mm.area.vma_adjust import RmapRequest


@frozen(kw_only=True)
class CopyPageRange:
    """Copy the entries of `parent` to `child`, write-protected in both where memory is private."""

    child: Vma
    parent: Vma


ForkRequest = CopyPageRange | RmapRequest
ForkSteps = Generator[ForkRequest, int | None, int]


def dup_mmap(mm: MmStruct, parent: MmStruct) -> ForkSteps:
    """Fill the empty address space `mm` with a copy of `parent`; end with 0 or -ENOMEM.

    Areas with VM_DONTCOPY are left out; with VM_WIPEONFORK they come without pages. Nothing is
    locked in the child, and nothing will be. After an error the caller tears `mm` down.
    """
    _dup_settings(mm, parent)
    for vma in parent.tree:
        if vma.vm_flags & VM_DONTCOPY:
            mm.vm_stat_account(vma.vm_flags, -vma.nr_pages)
            continue
        if vma.vm_flags & VM_ACCOUNT and parent.vm_enough_memory(vma.nr_pages):
            return -errno.ENOMEM
        copy = yield from _dup_vma(mm, vma)
        if copy is None:
            if vma.vm_flags & VM_ACCOUNT:
                mm.overcommit.vm_acct_memory(-vma.nr_pages)
            return -errno.ENOMEM
        copy.vm_flags &= VM_LOCKED_CLEAR_MASK
        yield from link_file_vma(copy)
        mm.tree.insert(copy)
        if vma_needs_copy(vma) and not vma.vm_flags & VM_WIPEONFORK:
            error = yield CopyPageRange(child=copy, parent=vma)
            if error:
                return error
    mm.hiwater_rss = mm.get_mm_rss()
    mm.hiwater_vm = mm.total_vm
    return 0


def _dup_vma(mm: MmStruct, vma: Vma) -> Generator[ForkRequest, int | None, Vma | None]:
    """End with the child's copy of an area, linked to its anon_vmas; None: there is no memory."""
    copy = yield from vm_area_dup(mm, vma)
    if copy is None:
        return None
    copy.vm_mm = mm
    copy.anon_vma = None
    if not vma.vm_flags & VM_WIPEONFORK and (
        yield from anon_vma_fork(copy, vma, mm.anon_vma_cache)
    ):
        yield from remove_vma(mm, copy)
        return None
    return copy


def vma_needs_copy(vma: Vma) -> bool:
    """Say whether the child's entries must be copied: faults would not bring them back."""
    return vma.vm_flags & (VM_PFNMAP | VM_MIXEDMAP) != 0 or vma.anon_vma is not None


def _dup_settings(mm: MmStruct, parent: MmStruct) -> None:
    mm.config = parent.config
    mm.pkeys = parent.pkeys
    mm.rlimits = parent.rlimits
    mm.overcommit = parent.overcommit
    mm.anon_vma_cache = parent.anon_vma_cache
    mm.rules = parent.rules
    mm.cap_sys_rawio = parent.cap_sys_rawio
    mm.cap_ipc_lock = parent.cap_ipc_lock
    mm.cap_sys_admin = parent.cap_sys_admin
    mm.mmap_base = parent.mmap_base
    mm.mmap_legacy_base = parent.mmap_legacy_base
    mm.start_data, mm.end_data = parent.start_data, parent.end_data
    mm.start_brk, mm.brk = parent.start_brk, parent.brk
    mm.start_stack = parent.start_stack
    mm.total_vm, mm.exec_vm = parent.total_vm, parent.exec_vm
    mm.stack_vm, mm.data_vm = parent.stack_vm, parent.data_vm
