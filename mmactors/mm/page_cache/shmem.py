"""Shared memory: where an area maps it, and what is promised for its pages (mm/shmem.c, 6.1)."""

import errno
from collections.abc import Generator
from typing import Final

from mmactors.mm.area.mapped_file import (
    MappedFile,
    Mapping,
    alloc_empty_file,
    shmem_zero_file,
)
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.overcommit import Overcommit
from mmactors.mm.slab.alloc_site import D_ALLOC, SHMEM_ALLOC_INODE
from mmactors.mm.slab.kernel_caches import DENTRY, SHMEM_INODE_CACHE
from mmactors.mm.slab.object_cache import ObjectRequest, kmem_cache_alloc, kmem_cache_free
from mmactors.units import PAGE_SHIFT

FREE_DENTRY: Final = "__d_free"
FREE_SHMEM_INODE: Final = "shmem_free_in_core_inode"


def shmem_zero_setup(
    mm: MmStruct, length: int, *, is_noreserve: bool
) -> Generator[ObjectRequest, int | None, MappedFile | int]:
    """End with the file behind new shared anonymous memory, or minus the errno.

    ENOMEM: the promise of memory, or no memory for its name or the open file; ENOSPC: none for its
    inode.
    """
    nr_pages = length >> PAGE_SHIFT
    if not is_noreserve and mm.vm_enough_memory(nr_pages):
        return -errno.ENOMEM
    error = -errno.ENOSPC
    thing = yield from kmem_cache_alloc(mm.caches, SHMEM_INODE_CACHE, SHMEM_ALLOC_INODE)
    if thing:
        dentry = yield from kmem_cache_alloc(mm.caches, DENTRY, D_ALLOC)
        open_file = 0
        if dentry:
            open_file = yield from alloc_empty_file(mm.caches)
        if open_file:
            file = shmem_zero_file(length, is_noreserve=is_noreserve, thing=open_file)
            file.mapping.thing, file.mapping.dentry = thing, dentry
            file.mapping.is_pseudo = True
            return file
        if dentry:
            yield from kmem_cache_free(mm.caches, DENTRY, dentry, FREE_DENTRY)
        mm.caches.free_by_rcu(SHMEM_INODE_CACHE, thing, FREE_SHMEM_INODE)
        error = -errno.ENOMEM
    if not is_noreserve:
        mm.overcommit.vm_acct_memory(-nr_pages)
    return error


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
