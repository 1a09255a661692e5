"""Resizing and moving mappings (mm/mremap.c, Linux 6.1).

The caller holds mmap_lock for writing and answers

- `MovePageTables` with the bytes moved: fewer than asked for if there was no memory for a table;
- the requests of munmap and of the search for a place, and `Populate`; see mm/syscall/mmap.py.

Left out: huge pages, KSM, userfaultfd.
"""

import errno
from collections.abc import Generator
from typing import Final

from attrs import frozen

from mmactors.mm.area.anon_vma_chain import unlink_anon_vmas
from mmactors.mm.area.i_mmap import link_file_vma
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_area import may_split_vma, split_vma, vm_area_copy
from mmactors.mm.area.vm_flags import (
    VM_ACCOUNT,
    VM_DONTEXPAND,
    VM_LOCKED,
    VM_LOCKED_CLEAR_MASK,
    VM_MAYSHARE,
    VM_PFNMAP,
    VM_SHARED,
    page_align,
)
from mmactors.mm.area.vma import Vma, linear_page_index
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.mm.area.vma_merge import Properties, vma_merge
from mmactors.mm.fault.populate import Populate
from mmactors.mm.syscall.mman import (
    MAP_FIXED,
    MAP_SHARED,
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
)
from mmactors.mm.syscall.munmap import MunmapRequest, do_munmap
from mmactors.mm.syscall.unmapped_area import AreaSearched, get_unmapped_area
from mmactors.units import PAGE_SHIFT, PAGE_SIZE, ULONG_MAX

_SPARE_AREAS: Final = 3
"""Moving may split the area into three, which max_map_count must leave room for."""


@frozen(kw_only=True)
class MovePageTables:
    """Move the entries of `length` bytes from `old_address` in `vma` to `new_address` in `new`."""

    vma: Vma
    old_address: int
    new: Vma
    new_address: int
    length: int


MremapRequest = AreaSearched | MunmapRequest | MovePageTables | Populate
MremapSteps = Generator[MremapRequest, int | None, int]


@frozen(kw_only=True)
class _Call:
    """The arguments of one call, lengths in whole pages."""

    mm: MmStruct
    address: int
    old_length: int
    new_length: int
    flags: int
    new_address: int


def do_mremap(
    mm: MmStruct,
    *,
    address: int,
    old_length: int,
    new_length: int,
    flags: int = 0,
    new_address: int = 0,
) -> MremapSteps:
    """Resize or move a mapping; end with its address, or minus the errno.

    Lengths that round up to 2^64 count as none. EINVAL: unknown flags, MREMAP_FIXED without
    MREMAP_MAYMOVE, MREMAP_DONTUNMAP with another length, an address not page-aligned, no new
    length, places that overlap, no old length of private memory; EFAULT: not one area; EAGAIN:
    RLIMIT_MEMLOCK; ENOMEM: no room, limits.
    """
    if flags & ~(MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP):
        return -errno.EINVAL
    if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) and not flags & MREMAP_MAYMOVE:
        return -errno.EINVAL
    if flags & MREMAP_DONTUNMAP and old_length != new_length:
        return -errno.EINVAL
    if address % PAGE_SIZE:
        return -errno.EINVAL
    call = _Call(
        mm=mm,
        address=address,
        old_length=page_align(old_length),
        new_length=page_align(new_length),
        flags=flags,
        new_address=new_address,
    )
    if not call.new_length:
        return -errno.EINVAL
    vma = mm.tree.find_vma(address)
    if vma is None or vma.vm_start > address:
        return -errno.EFAULT
    if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        result = yield from _mremap_to(call)
    elif call.old_length >= call.new_length:
        return (yield from _shrink(call))
    else:
        result = yield from _grow(call)
    grown = call.new_length - call.old_length
    if result >= 0 and grown > 0:
        moved = mm.tree.find_vma(result)
        if moved is not None and moved.vm_flags & VM_LOCKED:
            yield Populate(start=result + call.old_length, length=grown)
    return result


def _shrink(call: _Call) -> MremapSteps:
    surplus = call.old_length - call.new_length
    if surplus:
        start = call.address + call.new_length
        error = yield from do_munmap(call.mm, start=start, length=surplus, may_downgrade=True)
        if error:
            return error
    return call.address


def _grow(call: _Call) -> MremapSteps:
    mm, address = call.mm, call.address
    vma, error = _vma_to_resize(call, call.old_length)
    if vma is None:
        return error
    grown = call.new_length - call.old_length
    if call.old_length == vma.vm_end - address and (yield from _is_expandable(mm, vma, grown)):
        return (yield from _expand_in_place(mm, vma, address=address, grown=grown))
    if not call.flags & MREMAP_MAYMOVE:
        return -errno.ENOMEM
    new_address = yield from get_unmapped_area(
        mm,
        address=0,
        length=call.new_length,
        flags=MAP_SHARED if vma.vm_flags & VM_MAYSHARE else 0,
        file=vma.vm_file,
        pgoff=linear_page_index(vma, address),
    )
    if new_address < 0:
        return new_address
    return (yield from _move_vma(call, vma, old_length=call.old_length, new_address=new_address))


def _mremap_to(call: _Call) -> MremapSteps:
    """Move to a place that the caller names, or keep the old one (MREMAP_DONTUNMAP)."""
    mm, address, new_address = call.mm, call.address, call.new_address
    old_length, new_length = call.old_length, call.new_length
    if new_address % PAGE_SIZE:
        return -errno.EINVAL
    if new_length > mm.task_size or new_address > mm.task_size - new_length:
        return -errno.EINVAL
    # The sum wraps: an old length that is refused below overlaps nothing, and what was at the new
    # place is gone then.
    old_end = (address + old_length) & ULONG_MAX
    if old_end > new_address and new_address + new_length > address:
        return -errno.EINVAL
    # Before anything is unmapped: both places may be split in three.
    if mm.map_count + 2 >= mm.config.max_map_count - _SPARE_AREAS:
        return -errno.ENOMEM
    if call.flags & MREMAP_FIXED:
        error = yield from do_munmap(mm, start=new_address, length=new_length)
        if error:
            return error
    if old_length > new_length:
        surplus = old_length - new_length
        error = yield from do_munmap(mm, start=address + new_length, length=surplus)
        if error:
            return error
        old_length = new_length
    vma, error = _vma_to_resize(call, old_length)
    if vma is None:
        return error
    if call.flags & MREMAP_DONTUNMAP and not mm.may_expand_vm(
        vma.vm_flags, old_length >> PAGE_SHIFT
    ):
        return -errno.ENOMEM
    map_flags = MAP_FIXED if call.flags & MREMAP_FIXED else 0
    if vma.vm_flags & VM_MAYSHARE:
        map_flags |= MAP_SHARED
    place = yield from get_unmapped_area(
        mm,
        address=new_address,
        length=new_length,
        flags=map_flags,
        file=vma.vm_file,
        pgoff=linear_page_index(vma, address),
    )
    if place < 0:
        return place
    return (
        yield from _move_vma(
            call,
            vma,
            old_length=old_length,
            new_address=new_address if call.flags & MREMAP_FIXED else place,
        )
    )


def _vma_to_resize(call: _Call, old_length: int) -> tuple[Vma | None, int]:
    """Return the area and 0, or None and minus the errno."""
    mm, address, new_length = call.mm, call.address, call.new_length
    vma = mm.tree.find_vma(address)
    if vma is None or vma.vm_start > address:
        return None, -errno.EFAULT
    if not old_length and not vma.vm_flags & (VM_SHARED | VM_MAYSHARE):
        return None, -errno.EINVAL
    is_fixed_size = vma.vm_flags & (VM_DONTEXPAND | VM_PFNMAP) != 0
    if call.flags & MREMAP_DONTUNMAP and is_fixed_size:
        return None, -errno.EINVAL
    if old_length > vma.vm_end - address:
        return None, -errno.EFAULT
    if new_length == old_length:
        return vma, 0
    if linear_page_index(vma, address) + (new_length >> PAGE_SHIFT) >= 1 << 64:
        return None, -errno.EINVAL
    if is_fixed_size:
        return None, -errno.EFAULT
    if mm.mlock_future_check(vma.vm_flags, new_length - old_length):
        return None, -errno.EAGAIN
    if not mm.may_expand_vm(vma.vm_flags, (new_length - old_length) >> PAGE_SHIFT):
        return None, -errno.ENOMEM
    return vma, 0


def _is_expandable(mm: MmStruct, vma: Vma, grown: int) -> Generator[AreaSearched, int | None, bool]:
    end = vma.vm_end + grown
    if mm.tree.in_range(vma.vm_end, end):
        return False
    length = end - vma.vm_start
    place = yield from get_unmapped_area(mm, address=vma.vm_start, length=length, flags=MAP_FIXED)
    return place >= 0


def _expand_in_place(mm: MmStruct, vma: Vma, *, address: int, grown: int) -> MremapSteps:
    nr_pages = grown >> PAGE_SHIFT
    is_accounted = vma.vm_flags & VM_ACCOUNT != 0
    if is_accounted and mm.vm_enough_memory(nr_pages):
        return -errno.ENOMEM
    properties = Properties(
        vm_flags=vma.vm_flags,
        anon_vma=vma.anon_vma,
        vm_file=vma.vm_file,
        vm_pgoff=linear_page_index(vma, vma.vm_end),
    )
    start = vma.vm_end
    expanded = yield from vma_merge(mm, vma, start=start, end=start + grown, properties=properties)
    if expanded is None:
        if is_accounted:
            mm.overcommit.vm_acct_memory(-nr_pages)
        return -errno.ENOMEM
    mm.vm_stat_account(expanded.vm_flags, nr_pages)
    if expanded.vm_flags & VM_LOCKED:
        mm.locked_vm += nr_pages
    return address


def _move_vma(call: _Call, vma: Vma, *, old_length: int, new_address: int) -> MremapSteps:
    """Move the pages to a new area, then unmap the old place unless it is kept."""
    mm, old_address, new_length = call.mm, call.address, call.new_length
    keeps_source = call.flags & MREMAP_DONTUNMAP != 0
    vm_flags = vma.vm_flags
    if mm.map_count >= mm.config.max_map_count - _SPARE_AREAS:
        return -errno.ENOMEM
    error = yield from _prepare_source(mm, vma, old_address, old_length, keeps_source=keeps_source)
    if error:
        return error
    charged = 0
    if vm_flags & VM_ACCOUNT:
        charged = (new_length if keeps_source else new_length - old_length) >> PAGE_SHIFT
        if mm.vm_enough_memory(charged):
            return -errno.ENOMEM
    vma, new = yield from _copy_vma(
        mm,
        vma,
        address=new_address,
        length=new_length,
        pgoff=linear_page_index(vma, old_address),
        keeps_source=keeps_source,
    )
    if new is None:
        mm.overcommit.vm_acct_memory(-charged)
        return -errno.ENOMEM
    moved = yield MovePageTables(
        vma=vma, old_address=old_address, new=new, new_address=new_address, length=old_length
    )
    result = new_address
    if moved is not None and moved < old_length:
        # Move back what was moved, for which there are tables, and unmap the new place instead.
        yield MovePageTables(
            vma=new, old_address=new_address, new=vma, new_address=old_address, length=moved
        )
        if vm_flags & VM_ACCOUNT and not keeps_source:
            mm.overcommit.forget((new_length - old_length) >> PAGE_SHIFT)
        vma, old_length, old_address, result = new, new_length, new_address, -errno.ENOMEM
    return (
        yield from _drop_source(
            mm,
            vma,
            old_address=old_address,
            old_length=old_length,
            new_length=new_length,
            vm_flags=vm_flags,
            keeps_source=keeps_source,
            result=result,
        )
    )


def _prepare_source(
    mm: MmStruct, vma: Vma, address: int, length: int, *, keeps_source: bool
) -> MremapSteps:
    """End with 0 or why the area cannot be moved; cut a locked area out that is kept."""
    end = address + length
    is_split = vma.vm_start != address or vma.vm_end != end
    if vma.special is not None and is_split:
        return -errno.EINVAL
    if keeps_source and vma.vm_flags & VM_LOCKED:
        for position, new_below in ((address, True), (end, False)):
            if vma.vm_start < position < vma.vm_end:
                error = may_split_vma(mm, vma)
                if error:
                    return error
                if (yield from split_vma(mm, vma, position, new_below=new_below)) is None:
                    return -errno.ENOMEM
    return 0


def _copy_vma(
    mm: MmStruct, vma: Vma, *, address: int, length: int, pgoff: int, keeps_source: bool
) -> Generator[RmapRequest, int | None, tuple[Vma, Vma | None]]:
    """Make the area at the new place; end with the source, which may have become part of it, too.

    None: there is no memory for it.

    Memory that was never written takes the offset of its new place, so that it merges there.
    """
    can_self_merge = vma.is_anonymous and vma.anon_vma is None
    if can_self_merge:
        pgoff = address >> PAGE_SHIFT
    source_start = vma.vm_start
    new = None
    is_adjacent = address == vma.vm_end or vma.vm_start == address + length
    if not (can_self_merge and keeps_source and is_adjacent):
        properties = Properties(
            vm_flags=vma.vm_flags, anon_vma=vma.anon_vma, vm_file=vma.vm_file, vm_pgoff=pgoff
        )
        before = mm.tree.find_prev(address)
        new = yield from vma_merge(
            mm, before, start=address, end=address + length, properties=properties
        )
    if new is not None:
        return (new if new.vm_start <= source_start < new.vm_end else vma), new
    new = yield from vm_area_copy(mm, vma)
    if new is None:
        return vma, None
    new.vm_start, new.vm_end, new.vm_pgoff = address, address + length, pgoff
    mm.tree.insert(new)
    yield from link_file_vma(new)
    return vma, new


def _drop_source(
    mm: MmStruct,
    vma: Vma,
    *,
    old_address: int,
    old_length: int,
    new_length: int,
    vm_flags: int,
    keeps_source: bool,
    result: int,
) -> MremapSteps:
    excess = 0
    splits = False
    old_end = old_address + old_length
    if vm_flags & VM_ACCOUNT and not keeps_source:
        # Hidden from the unmapping: what was promised for the old place is the new one's now.
        vma.vm_flags &= ~VM_ACCOUNT
        excess = vma.vm_end - vma.vm_start - old_length
        splits = old_address > vma.vm_start and old_end < vma.vm_end
    hiwater_vm = mm.hiwater_vm
    mm.vm_stat_account(vma.vm_flags, new_length >> PAGE_SHIFT)
    if keeps_source and result >= 0:
        vma.vm_flags &= VM_LOCKED_CLEAR_MASK
        if vma.vm_start == old_address and vma.vm_end == old_end:
            yield from unlink_anon_vmas(vma)
            if vma.is_anonymous:
                vma.vm_pgoff = vma.vm_start >> PAGE_SHIFT
        return result
    if (yield from do_munmap(mm, start=old_address, length=old_length)):
        if vm_flags & VM_ACCOUNT and not keeps_source:
            mm.overcommit.vm_acct_memory(old_length >> PAGE_SHIFT)
            mm.overcommit.forget(old_length >> PAGE_SHIFT)
        excess = 0
    if vm_flags & VM_LOCKED:
        mm.locked_vm += new_length >> PAGE_SHIFT
    mm.hiwater_vm = hiwater_vm
    if excess:
        vma.vm_flags |= VM_ACCOUNT
        if splits:
            upper = mm.tree.find_vma(vma.vm_end)
            assert upper is not None, "an area was split in three"
            upper.vm_flags |= VM_ACCOUNT
    return result
