"""Freeing pages of shared memory, and of files that are in memory only (mm/shmem.c, Linux 6.1)."""

from mmactors.arch.page import PageColumns
from mmactors.mm.area.mapped_file import MappedFile, Mapping
from mmactors.mm.area.vma import Vma
from mmactors.units import PAGE_SHIFT


def mapped_range(vma: Vma, mapping: Mapping, *, first: int, end: int) -> tuple[int, int] | None:
    """Return where an area maps pages `[first, end)` of a file; None: nowhere."""
    file = vma.vm_file
    if not isinstance(file, MappedFile) or file.mapping is not mapping:
        return None
    return vma_range(vma.vm_start, vma.vm_end, vma.vm_pgoff, first=first, end=end)


def vma_range(
    vm_start: int, vm_end: int, vm_pgoff: int, *, first: int, end: int
) -> tuple[int, int] | None:
    """Return where an area of these limits maps pages `[first, end)` of its file; None: nowhere."""
    low = max(first, vm_pgoff) - vm_pgoff
    high = min(end - vm_pgoff, (vm_end - vm_start) >> PAGE_SHIFT)
    if low >= high:
        return None
    return vm_start + (low << PAGE_SHIFT), vm_start + (high << PAGE_SHIFT)


def delete_from_page_cache(
    pages: PageColumns, mapping: Mapping, *, first: int, end: int
) -> list[int]:
    """Forget pages of a file; return those that nobody refers to any more."""
    unused = []
    for index in sorted(index for index in mapping.pages if first <= index < end):
        pfn = mapping.pages.pop(index)
        pages.refcount_view[pfn] -= 1
        if not pages.refcount_view[pfn]:
            unused.append(pfn)
    return unused
