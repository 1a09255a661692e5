"""Free places in an address space (mm/mmap.c and arch/x86/kernel/sys_x86_64.c, Linux 6.1).

A place below an area that grows down leaves stack_guard_gap; the gap above an area that grows up
is no question on x86-64. What searches is a generator, because each search is a fact that is told:
`AreaSearched`, answered with None. Left out: va_align (AMD family 15h), huge pages of tmpfs and of
hugetlbfs, 32-bit programs.
"""

import errno
from collections.abc import Generator
from typing import Final

from attrs import frozen

from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import DEFAULT_MAP_WINDOW, MmStruct
from mmactors.mm.area.vm_flags import VM_GROWSDOWN
from mmactors.mm.area.vma import vm_start_gap
from mmactors.mm.page_table.page_table import PMD_SIZE
from mmactors.mm.syscall.mman import MAP_32BIT, MAP_FIXED
from mmactors.units import GIB, PAGE_SHIFT, PAGE_SIZE

VM_UNMAPPED_AREA_TOPDOWN: Final = 1

_MAP_32BIT_BEGIN: Final = GIB
_MAP_32BIT_END: Final = 2 * GIB


@frozen(kw_only=True)
class AreaSearched:
    """A place for a new mapping was searched: the fields of the tracepoint vm_unmapped_area."""

    address: int
    """The place, or minus the errno."""
    length: int
    """Bytes."""
    flags: int
    low: int
    high: int
    """Where the place was to be, in bytes; the end not included."""
    pgoff: int
    """The page of the file, of which the place would keep the alignment if that were wanted."""


AreaSteps = Generator[AreaSearched, int | None, int]


def get_unmapped_area(
    mm: MmStruct,
    *,
    address: int,
    length: int,
    flags: int,
    file: object | None = None,
    pgoff: int = 0,
) -> AreaSteps:
    """Find the place of a new mapping; end with it, or minus the errno.

    ENOMEM: no room, or beyond TASK_SIZE; EINVAL: a fixed place that is not page-aligned; EPERM:
    below mmap_min_addr.
    """
    if length > mm.task_size:
        return -errno.ENOMEM
    if isinstance(file, MappedFile) and file.aligns_huge:
        address = yield from _thp_get_unmapped_area(mm, address, length, flags, pgoff=pgoff)
    else:
        address = yield from _mm_get_unmapped_area(mm, address, length, flags, pgoff=pgoff)
    if address < 0:
        return address
    if address > mm.task_size - length:
        return -errno.ENOMEM
    if address % PAGE_SIZE:
        return -errno.EINVAL
    if address < mm.config.mmap_min_addr and not mm.cap_sys_rawio:
        return -errno.EPERM
    return address


def _thp_get_unmapped_area(
    mm: MmStruct, hint: int, length: int, flags: int, *, pgoff: int
) -> AreaSteps:
    """Search a place where the file's huge pages lie at multiples of their size.

    Room for one huge page more is searched, and the place moved up inside it (mm/huge_memory.c).
    """
    offset = pgoff << PAGE_SHIFT
    first_huge = -(-offset // PMD_SIZE) * PMD_SIZE
    if offset + length - first_huge >= PMD_SIZE:
        padded = length + PMD_SIZE
        address = yield from _mm_get_unmapped_area(mm, hint, padded, flags, pgoff=pgoff)
        if address >= 0:
            if address != hint:
                address += (offset - address) % PMD_SIZE
            # The kernel takes a place at 0 for none, and searches without alignment.
            if address:
                return address
    return (yield from _mm_get_unmapped_area(mm, hint, length, flags, pgoff=pgoff))


def _mm_get_unmapped_area(
    mm: MmStruct, hint: int, length: int, flags: int, *, pgoff: int
) -> AreaSteps:
    """Search downwards (arch_get_unmapped_area_topdown)."""
    if length > mm.task_size:
        return -errno.ENOMEM
    if flags & MAP_FIXED:
        return hint
    if flags & MAP_32BIT:
        return (yield from _arch_get_unmapped_area(mm, hint, length, flags, pgoff=pgoff))
    if hint and _is_free_hint(mm, hint, length):
        return hint
    high = mm.mmap_base
    if hint > DEFAULT_MAP_WINDOW:
        # Only who asks for it gets addresses of 57 bits, which old programs would misuse.
        high += mm.task_size - DEFAULT_MAP_WINDOW
    address = unmapped_area_topdown(mm, low=PAGE_SIZE, high=high, length=length)
    yield AreaSearched(
        address=address,
        length=length,
        flags=VM_UNMAPPED_AREA_TOPDOWN,
        low=PAGE_SIZE,
        high=high,
        pgoff=pgoff,
    )
    if address >= 0:
        return address
    return (yield from _arch_get_unmapped_area(mm, hint, length, flags, pgoff=pgoff))


def _is_free_hint(mm: MmStruct, hint: int, length: int) -> bool:
    return is_valid_hint(mm, hint, length) and is_room_below_next(mm, hint, length)


def _arch_get_unmapped_area(
    mm: MmStruct, hint: int, length: int, flags: int, *, pgoff: int
) -> AreaSteps:
    """Search upwards: for MAP_32BIT, and when nothing was found downwards."""
    low, high = mm.mmap_legacy_base, DEFAULT_MAP_WINDOW
    if flags & MAP_32BIT:
        low, high = _MAP_32BIT_BEGIN, _MAP_32BIT_END
    elif hint > DEFAULT_MAP_WINDOW:
        high = mm.task_size
    if length > high:
        return -errno.ENOMEM
    if hint and hint <= high - length and is_room_below_next(mm, hint, length):
        return hint
    address = unmapped_area(mm, low=low, high=high, length=length)
    yield AreaSearched(address=address, length=length, flags=0, low=low, high=high, pgoff=pgoff)
    return address


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
