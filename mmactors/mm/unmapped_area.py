"""Free places in an address space (mm/mmap.c, unmapped_area and its topdown twin, Linux 6.1).

A place below an area that grows down leaves stack_guard_gap; the gap above an area that grows up
is no question on x86-64. Left out: alignment (huge pages, va_align of AMD family 15h).
"""

import errno

from mmactors.mm.mm_struct import DEFAULT_MAP_WINDOW, MmStruct
from mmactors.mm.vma import VM_GROWSDOWN, vm_start_gap


def unmapped_area_topdown(mm: MmStruct, *, low: int, high: int, length: int) -> int:
    """Return the highest free place in `[low, high)` that leaves the stack guard gap, or -ENOMEM.

    A refused place moves the limit down to the gap's start, past other areas inside the gap.
    """
    while True:
        gap = mm.tree.highest_gap(low=low, high=high, length=length)
        if gap is None:
            return -errno.ENOMEM
        end, above = gap
        if above is None or not above.vm_flags & VM_GROWSDOWN:
            return end - length
        limit = vm_start_gap(above, stack_guard_gap_bytes=mm.stack_guard_gap_bytes)
        if limit >= end:
            return end - length
        high = limit


def unmapped_area(mm: MmStruct, *, low: int, high: int, length: int) -> int:
    """Return the lowest free place in `[low, high)` that leaves the stack guard gap, or -ENOMEM."""
    while True:
        gap = mm.tree.lowest_gap(low=low, high=high, length=length)
        if gap is None:
            return -errno.ENOMEM
        start, above = gap
        if above is None or not above.vm_flags & VM_GROWSDOWN:
            return start
        limit = vm_start_gap(above, stack_guard_gap_bytes=mm.stack_guard_gap_bytes)
        if limit >= start + length - 1:
            return start
        low = above.vm_end


def is_valid_hint(mm: MmStruct, hint: int, length: int) -> bool:
    """Say whether hint and end lie on the same side of the 47-bit limit."""
    if hint > mm.task_size - length:
        return False
    return (hint > DEFAULT_MAP_WINDOW) == (hint + length > DEFAULT_MAP_WINDOW)


def is_room_below_next(mm: MmStruct, address: int, length: int) -> bool:
    """Say whether a mapping keeps clear of the area above and its guard gap.

    The caller's hint lies in no area only if this holds: then the area found begins after it.
    """
    vma = mm.tree.find_vma(address)
    if vma is None:
        return True
    return address + length <= vm_start_gap(vma, stack_guard_gap_bytes=mm.stack_guard_gap_bytes)
