"""The heap: brk (mm/mmap.c, Linux 6.1).

Requests are those of munmap and of mm/area/vma_adjust.py, of the search for a place, and `Populate`
of a locked heap.
"""

from collections.abc import Generator

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.rlimit import check_data_rlimit
from mmactors.mm.area.vm_area import vm_area_alloc
from mmactors.mm.area.vm_flags import VM_ACCOUNT, VM_DATA_DEFAULT_FLAGS, VM_LOCKED, page_align
from mmactors.mm.area.vma import Vma, can_vma_merge_after, vm_start_gap
from mmactors.mm.area.vma_adjust import lock_rmap, unlock_rmap
from mmactors.mm.fault.populate import Populate
from mmactors.mm.syscall.mman import MAP_FIXED
from mmactors.mm.syscall.munmap import MunmapRequest, MunmapSteps, align_munmap
from mmactors.mm.syscall.unmapped_area import AreaSearched, get_unmapped_area
from mmactors.units import PAGE_SHIFT, PAGE_SIZE, ULONG_MAX

BrkRequest = AreaSearched | MunmapRequest | Populate
BrkSteps = Generator[BrkRequest, int | None, int]


def do_brk(mm: MmStruct, brk: int) -> BrkSteps:
    """Move the end of the heap to byte `brk`; end with the new end, or the old one if refused.

    Refused: below its start, beyond RLIMIT_DATA, RLIMIT_AS or the promise of memory, into the gap
    below another area, or one area too many. The end of the last page wraps in 64 bits.
    """
    if brk < mm.start_brk:
        return mm.brk
    heap_bytes, data_bytes = brk - mm.start_brk, mm.end_data - mm.start_data
    if check_data_rlimit(mm.rlimits.data, heap_bytes=heap_bytes, data_bytes=data_bytes):
        return mm.brk
    new_end = page_align(brk)
    old_end = page_align(mm.brk)
    if new_end != old_end:
        if brk <= mm.brk:
            return (yield from _shrink_brk(mm, brk=brk, new_end=new_end, old_end=old_end))
        if not (yield from _grow_brk(mm, old_end=old_end, new_end=new_end)):
            return mm.brk
    mm.brk = brk
    if new_end > old_end and mm.def_flags & VM_LOCKED:
        yield Populate(start=old_end, length=new_end - old_end)
    return brk


def _shrink_brk(mm: MmStruct, *, brk: int, new_end: int, old_end: int) -> MunmapSteps:
    old_brk = mm.brk
    vma = mm.tree.find_vma(new_end)
    if vma is None or vma.vm_start >= old_end:
        return old_brk
    # Before the unmapping, which may go on under a read lock.
    mm.brk = brk
    if (yield from align_munmap(mm, vma, start=new_end, end=old_end, may_downgrade=True)):
        mm.brk = old_brk
    return mm.brk


def _grow_brk(
    mm: MmStruct, *, old_end: int, new_end: int
) -> Generator[BrkRequest, int | None, bool]:
    length = (new_end - old_end) & ULONG_MAX
    limit = yield from get_unmapped_area(mm, address=old_end, length=length, flags=MAP_FIXED)
    if limit < 0 or mm.mlock_future_check(mm.def_flags, length):
        return False
    after = mm.tree.find_vma(old_end)
    if after is not None:
        gap_bytes = mm.stack_guard_gap_bytes
        # One page stays free between the heap and whatever follows.
        if new_end + PAGE_SIZE > vm_start_gap(after, stack_guard_gap_bytes=gap_bytes):
            return False
    return (yield from _do_brk_flags(mm, address=old_end, length=length))


def _do_brk_flags(
    mm: MmStruct, *, address: int, length: int
) -> Generator[BrkRequest, int | None, bool]:
    vm_flags = VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT | mm.def_flags
    nr_pages = length >> PAGE_SHIFT
    if not mm.may_expand_vm(vm_flags, nr_pages):
        return False
    if mm.map_count > mm.config.max_map_count or mm.vm_enough_memory(nr_pages):
        return False
    end = address + length
    pgoff = address >> PAGE_SHIFT
    heap = mm.tree.find_prev(address)
    # The data segment ends where the heap begins and is not extended.
    if (
        heap is not None
        and heap.vm_end == address
        and heap.vm_end > mm.start_brk
        and can_vma_merge_after(
            heap, vm_flags=vm_flags, anon_vma=None, vm_file=None, vm_pgoff=pgoff
        )
    ):
        yield from lock_rmap(heap, heap.anon_vma)
        mm.tree.resize(heap, start=heap.vm_start, end=end)
        yield from unlock_rmap(heap, heap.anon_vma)
    else:
        thing = yield from vm_area_alloc(mm)
        if not thing:
            mm.overcommit.vm_acct_memory(-nr_pages)
            return False
        vma = Vma(vm_start=address, vm_end=end, vm_flags=vm_flags, vm_pgoff=pgoff, thing=thing)
        mm.tree.insert(vma)
    mm.total_vm += nr_pages
    mm.data_vm += nr_pages
    if vm_flags & VM_LOCKED:
        mm.locked_vm += nr_pages
    return True
