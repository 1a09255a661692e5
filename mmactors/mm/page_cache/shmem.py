"""Shared memory: where an area maps it, and what is promised for its pages (mm/shmem.c, 6.1)."""

from mmactors.mm.area.mapped_file import Mapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.overcommit import Overcommit
from mmactors.units import PAGE_SHIFT


def vma_range(
    vm_start: int, vm_end: int, vm_pgoff: int, *, first: int, end: int
) -> tuple[int, int] | None:
    """Return where an area of these limits maps pages `[first, end)` of its file; None: nowhere."""
    low = max(first, vm_pgoff) - vm_pgoff
    high = min(end - vm_pgoff, (vm_end - vm_start) >> PAGE_SHIFT)
    if low >= high:
        return None
    return vm_start + (low << PAGE_SHIFT), vm_start + (high << PAGE_SHIFT)


def shmem_inode_acct_block(mm: MmStruct, mapping: Mapping) -> bool:
    """Promise one page of shared memory to who runs in `mm`; False: no more may be promised.

    What promised all of its size promises no pages. If it is too much, pages that left the page
    cache unnoticed are given back first.
    """
    if not mapping.is_noreserve or not mm.vm_enough_memory(1):
        return True
    shmem_recalc_inode(mm.overcommit, mapping)
    return not mm.vm_enough_memory(1)


def shmem_inode_unacct_block(overcommit: Overcommit, mapping: Mapping) -> None:
    """Take the promise of a page back that was not made."""
    if mapping.is_noreserve:
        overcommit.vm_acct_memory(-1)


def shmem_recalc_inode(overcommit: Overcommit, mapping: Mapping) -> None:
    """Give back what was promised for pages that the page cache has no more."""
    freed = mapping.alloced - len(mapping.pages)
    if freed > 0:
        mapping.alloced -= freed
        if mapping.is_noreserve:
            overcommit.vm_acct_memory(-freed)


def shmem_unacct_size(overcommit: Overcommit, mapping: Mapping) -> None:
    """Take back what was promised for all of the size: the inode is evicted."""
    if mapping.is_shmem and not mapping.is_noreserve:
        overcommit.vm_acct_memory(-mapping.nr_pages)
        mapping.size_bytes = 0
