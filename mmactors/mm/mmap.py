"""Mapping, unmapping and the heap (mm/mmap.c and arch/x86/kernel/sys_x86_64.c, Linux 6.1).

What needs something halfway is a generator: it yields requests and ends with the system call's
result, an address, 0, or minus the errno. The caller holds mmap_lock for writing and answers

- `AreaSearched` with None; it is a fact, the tracepoint vm_unmapped_area;
- `UnmapRegion` with None, after it took away the pages and tables of the range.

Left out: files and shared memory, huge pages, resource limits and overcommit, protection keys,
32-bit programs, va_align (AMD family 15h).
"""

import errno
from collections.abc import Generator
from typing import Final

from attrs import frozen

from mmactors.mm.mm_struct import DEFAULT_MAP_WINDOW, MmStruct
from mmactors.mm.unmapped_area import (
    is_room_below_next,
    is_valid_hint,
    unmapped_area,
    unmapped_area_topdown,
)
from mmactors.mm.vma import (
    VM_ACCOUNT,
    VM_DATA_DEFAULT_FLAGS,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_NORESERVE,
    VM_SHARED,
    VM_SPECIAL,
    VM_WRITE,
    Vma,
    can_vma_merge_after,
    can_vma_merge_before,
    page_align,
    vm_start_gap,
)
from mmactors.units import GIB, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

PROT_NONE: Final = 0
PROT_READ: Final = 1
PROT_WRITE: Final = 2
PROT_EXEC: Final = 4

MAP_SHARED: Final = 0x01
MAP_PRIVATE: Final = 0x02
MAP_TYPE: Final = 0x0F
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_32BIT: Final = 0x40
MAP_GROWSDOWN: Final = 0x0100
MAP_LOCKED: Final = 0x2000
MAP_NORESERVE: Final = 0x4000
MAP_POPULATE: Final = 0x8000
MAP_STACK: Final = 0x20000
MAP_FIXED_NOREPLACE: Final = 0x100000

VM_UNMAPPED_AREA_TOPDOWN: Final = 1
USER_PGTABLES_CEILING: Final = 0

_MAX_LENGTH: Final = 1 << 64
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


@frozen(kw_only=True)
class UnmapRegion:
    """Take away the pages of `areas`, then free the tables between floor and ceiling."""

    areas: tuple[Vma, ...]
    """Not in the tree any more (except at exit); lowest first, all inside `[start, end)`."""
    start: int
    end: int
    floor: int
    """End of the area below, 0 for none."""
    ceiling: int
    """Start of the area above, 0 for none."""
    may_downgrade: bool = False
    """mmap_lock may become a read lock first: munmap and a shrinking heap."""
    full_mm: bool = False
    """The whole address space goes: nobody can use it any more."""


MmapRequest = AreaSearched | UnmapRegion
MmapSteps = Generator[MmapRequest, None, int]


def do_mmap(mm: MmStruct, *, address: int, length: int, prot: int, flags: int) -> MmapSteps:
    """Map private anonymous memory; end with its address, or minus the errno.

    `address` is a hint, or the place if `flags` has MAP_FIXED or MAP_FIXED_NOREPLACE. Errors in
    the order in which 6.1 finds them: EINVAL no length; ENOMEM length overflows, or too many
    areas; then those of `get_unmapped_area`; EEXIST; EINVAL neither shared nor private.
    """
    if not length:
        return -errno.EINVAL
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    if not flags & MAP_FIXED:
        address = _round_hint_to_min(mm, address)
    length = page_align(length)
    if length >= _MAX_LENGTH:
        return -errno.ENOMEM
    if mm.map_count > mm.config.max_map_count:
        return -errno.ENOMEM
    address = yield from get_unmapped_area(mm, address=address, length=length, flags=flags)
    if address < 0:
        return address
    if flags & MAP_FIXED_NOREPLACE and mm.tree.in_range(address, address + length):
        return -errno.EEXIST
    if flags & MAP_TYPE != MAP_PRIVATE:
        assert flags & MAP_TYPE != MAP_SHARED, "shared anonymous memory is a file's"
        return -errno.EINVAL
    vm_flags = calc_vm_prot_bits(prot) | calc_vm_flag_bits(flags)
    vm_flags |= mm.def_flags | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    if flags & MAP_NORESERVE:
        vm_flags |= VM_NORESERVE
    pgoff = address >> PAGE_SHIFT
    return (
        yield from mmap_region(mm, address=address, length=length, vm_flags=vm_flags, pgoff=pgoff)
    )


def calc_vm_prot_bits(prot: int) -> int:
    """Return the area flags of a PROT_ value."""
    return prot & (PROT_READ | PROT_WRITE | PROT_EXEC)


def calc_vm_flag_bits(flags: int) -> int:
    """Return the area flags of a MAP_ value."""
    return (VM_GROWSDOWN if flags & MAP_GROWSDOWN else 0) | (VM_LOCKED if flags & MAP_LOCKED else 0)


def get_unmapped_area(mm: MmStruct, *, address: int, length: int, flags: int) -> MmapSteps:
    """Find the place of a new mapping; end with it, or minus the errno.

    ENOMEM: no room, or beyond TASK_SIZE; EINVAL: a fixed place that is not page-aligned; EPERM:
    below mmap_min_addr.
    """
    if length > mm.task_size:
        return -errno.ENOMEM
    if not flags & MAP_FIXED:
        address = yield from _arch_get_unmapped_area_topdown(mm, address, length, flags)
        if address < 0:
            return address
    if address > mm.task_size - length:
        return -errno.ENOMEM
    if address % PAGE_SIZE:
        return -errno.EINVAL
    if address < mm.config.mmap_min_addr and not mm.cap_sys_rawio:
        return -errno.EPERM
    return address


def mmap_region(mm: MmStruct, *, address: int, length: int, vm_flags: int, pgoff: int) -> MmapSteps:
    """Put an anonymous mapping at a place, over whatever is there, and merge it with neighbours."""
    end = address + length
    if (yield from do_munmap(mm, start=address, length=length)):
        return -errno.ENOMEM
    if is_accountable_mapping(vm_flags):
        vm_flags |= VM_ACCOUNT
    if not _expand_neighbour(mm, address=address, end=end, vm_flags=vm_flags, pgoff=pgoff):
        mm.tree.insert(Vma(vm_start=address, vm_end=end, vm_flags=vm_flags, vm_pgoff=pgoff))
    mm.vm_stat_account(vm_flags, length >> PAGE_SHIFT)
    if vm_flags & VM_LOCKED:
        mm.locked_vm += length >> PAGE_SHIFT
    return address


def is_accountable_mapping(vm_flags: int) -> bool:
    """Say whether the pages count towards Committed_AS: private, writable, reserved."""
    return vm_flags & (VM_NORESERVE | VM_SHARED | VM_WRITE) == VM_WRITE


def do_munmap(mm: MmStruct, *, start: int, length: int, may_downgrade: bool = False) -> MmapSteps:
    """Remove all mappings of a range, also if there are none; end with 0 or minus the errno.

    EINVAL: start not page-aligned, no length, or beyond TASK_SIZE; ENOMEM: an area would have to
    be split in two and there are max_map_count already.
    """
    if start % PAGE_SIZE or start > mm.task_size or length > mm.task_size - start:
        return -errno.EINVAL
    end = start + page_align(length)
    if end == start:
        return -errno.EINVAL
    vma = mm.tree.find_vma(start)
    if vma is None or vma.vm_start >= end:
        return 0
    return (yield from _align_munmap(mm, vma, start=start, end=end, may_downgrade=may_downgrade))


def split_vma(mm: MmStruct, vma: Vma, address: int, *, new_below: bool) -> Vma:
    """Cut an area in two at `address`; return the new object, the lower part if `new_below`."""
    assert vma.vm_start < address < vma.vm_end, f"{address:#x} is not inside {vma}"
    new = vma.dup()
    if new_below:
        new.vm_end = address
        vma.vm_pgoff += (address - vma.vm_start) >> PAGE_SHIFT
        mm.tree.resize(vma, start=address, end=vma.vm_end)
    else:
        new.vm_start = address
        new.vm_pgoff += (address - vma.vm_start) >> PAGE_SHIFT
        mm.tree.resize(vma, start=vma.vm_start, end=address)
    mm.tree.insert(new)
    return new


def do_brk(mm: MmStruct, brk: int) -> MmapSteps:
    """Move the end of the heap to byte `brk`; end with the new end, or the old one if refused."""
    if brk < mm.start_brk:
        return mm.brk
    new_end = page_align(brk)
    old_end = page_align(mm.brk)
    if new_end != old_end:
        if brk <= mm.brk:
            return (yield from _shrink_brk(mm, brk=brk, new_end=new_end, old_end=old_end))
        if not (yield from _grow_brk(mm, old_end=old_end, new_end=new_end)):
            return mm.brk
    mm.brk = brk
    return brk


def exit_mmap(mm: MmStruct) -> MmapSteps:
    """Remove everything when the last user has gone; the counters of areas stay as they were."""
    areas = tuple(mm.tree)
    if areas:
        yield UnmapRegion(
            areas=areas,
            start=0,
            end=mm.task_size,
            floor=0,
            ceiling=USER_PGTABLES_CEILING,
            full_mm=True,
        )
        for vma in areas:
            mm.tree.remove(vma)
    return 0


def _round_hint_to_min(mm: MmStruct, hint: int) -> int:
    hint &= PAGE_MASK
    if hint and hint < mm.config.mmap_min_addr:
        return page_align(mm.config.mmap_min_addr)
    return hint


def _arch_get_unmapped_area_topdown(mm: MmStruct, hint: int, length: int, flags: int) -> MmapSteps:
    if flags & MAP_32BIT:
        return (yield from _arch_get_unmapped_area(mm, hint, length, flags))
    if hint and _is_free_hint(mm, hint, length):
        return hint
    high = mm.mmap_base
    if hint > DEFAULT_MAP_WINDOW:
        # Only who asks for it gets addresses of 57 bits, which old programs would misuse.
        high += mm.task_size - DEFAULT_MAP_WINDOW
    address = unmapped_area_topdown(mm, low=PAGE_SIZE, high=high, length=length)
    yield AreaSearched(address=address, length=length, flags=VM_UNMAPPED_AREA_TOPDOWN)
    if address >= 0:
        return address
    return (yield from _arch_get_unmapped_area(mm, hint, length, flags))


def _is_free_hint(mm: MmStruct, hint: int, length: int) -> bool:
    return is_valid_hint(mm, hint, length) and is_room_below_next(mm, hint, length)


def _arch_get_unmapped_area(mm: MmStruct, hint: int, length: int, flags: int) -> MmapSteps:
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
    yield AreaSearched(address=address, length=length, flags=0)
    return address


def _expand_neighbour(mm: MmStruct, *, address: int, end: int, vm_flags: int, pgoff: int) -> bool:
    """Let the area before or after, or both as one, take in a new anonymous mapping if they can."""
    if vm_flags & VM_SPECIAL:
        return False
    before = mm.tree.find_prev(address)
    after = mm.tree.find_vma(end)
    expanded = None
    merge_start, merge_end = address, end
    if (
        after is not None
        and after.vm_start == end
        and can_vma_merge_before(
            after,
            vm_flags=vm_flags,
            anon_vma=None,
            vm_file=None,
            vm_pgoff=pgoff + ((end - address) >> PAGE_SHIFT),
        )
    ):
        merge_end = after.vm_end
        expanded = after
    if (
        before is not None
        and before.vm_end == address
        and can_vma_merge_after(
            before,
            vm_flags=vm_flags,
            anon_vma=None if expanded is None else expanded.anon_vma,
            vm_file=None,
            vm_pgoff=pgoff,
        )
    ):
        merge_start = before.vm_start
        if expanded is not None:
            # `before` cannot lack an anon_vma that `expanded` has: then they would not merge.
            mm.tree.remove(expanded)
        expanded = before
    if expanded is None:
        return False
    expanded.vm_pgoff -= (expanded.vm_start - merge_start) >> PAGE_SHIFT
    mm.tree.resize(expanded, start=merge_start, end=merge_end)
    return True


def _align_munmap(
    mm: MmStruct, vma: Vma, *, start: int, end: int, may_downgrade: bool
) -> MmapSteps:
    """Cut out `[start, end)`, of which `vma` is the first area."""
    if start > vma.vm_start:
        # The count may exceed the limit by one for a moment, but not in the end.
        if end < vma.vm_end and mm.map_count >= mm.config.max_map_count:
            return -errno.ENOMEM
        split_vma(mm, vma, start, new_below=False)
    areas = mm.tree.in_range(start, end)
    if areas[-1].vm_end > end:
        areas[-1] = split_vma(mm, areas[-1], end, new_below=True)
    before = mm.tree.find_prev(start)
    for area in areas:
        mm.tree.remove(area)
        if area.vm_flags & VM_LOCKED:
            mm.locked_vm -= area.nr_pages
    after = mm.tree.find_vma(end)
    mm.update_hiwater_rss()
    yield UnmapRegion(
        areas=tuple(areas),
        start=start,
        end=end,
        floor=0 if before is None else before.vm_end,
        ceiling=USER_PGTABLES_CEILING if after is None else after.vm_start,
        # A stack above might grow into the range while it is still being unmapped.
        may_downgrade=may_downgrade and not (after and after.vm_flags & VM_GROWSDOWN),
    )
    mm.update_hiwater_vm()
    for area in areas:
        mm.vm_stat_account(area.vm_flags, -area.nr_pages)
    return 0


def _shrink_brk(mm: MmStruct, *, brk: int, new_end: int, old_end: int) -> MmapSteps:
    old_brk = mm.brk
    vma = mm.tree.find_vma(new_end)
    if vma is None or vma.vm_start >= old_end:
        return old_brk
    # Before the unmapping, which may go on under a read lock.
    mm.brk = brk
    if (yield from _align_munmap(mm, vma, start=new_end, end=old_end, may_downgrade=True)):
        mm.brk = old_brk
    return mm.brk


def _grow_brk(mm: MmStruct, *, old_end: int, new_end: int) -> Generator[MmapRequest, None, bool]:
    length = new_end - old_end
    limit = yield from get_unmapped_area(mm, address=old_end, length=length, flags=MAP_FIXED)
    if limit < 0:
        return False
    after = mm.tree.find_vma(old_end)
    if after is not None:
        gap_bytes = mm.stack_guard_gap_bytes
        # One page stays free between the heap and whatever follows.
        if new_end + PAGE_SIZE > vm_start_gap(after, stack_guard_gap_bytes=gap_bytes):
            return False
    if mm.map_count > mm.config.max_map_count:
        return False
    vm_flags = VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT | mm.def_flags
    pgoff = old_end >> PAGE_SHIFT
    heap = mm.tree.find_prev(old_end)
    # The data segment ends where the heap begins and is not extended.
    if (
        heap is not None
        and heap.vm_end == old_end
        and heap.vm_end > mm.start_brk
        and can_vma_merge_after(
            heap, vm_flags=vm_flags, anon_vma=None, vm_file=None, vm_pgoff=pgoff
        )
    ):
        mm.tree.resize(heap, start=heap.vm_start, end=new_end)
    else:
        mm.tree.insert(Vma(vm_start=old_end, vm_end=new_end, vm_flags=vm_flags, vm_pgoff=pgoff))
    nr_pages = length >> PAGE_SHIFT
    mm.total_vm += nr_pages
    mm.data_vm += nr_pages
    if vm_flags & VM_LOCKED:
        mm.locked_vm += nr_pages
    return True
