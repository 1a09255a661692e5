"""Where an area maps a part of its file (mm/memory.c, unmap_mapping_range, Linux 6.1)."""

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
