"""Advice about memory (mm/madvise.c, Linux 6.1).

The caller holds mmap_lock, for writing where `needs_write_lock` says so, and answers

- `ZapRange`, `LazyFree`, `Deactivate`, `SwapIn` and `ReadAhead` with None;
- `FaultInPages` with a number of pages or minus the errno, see mm/fault/populate.py;
- the requests of mm/area/vma_adjust.py with None;
- `PunchHole` with 0 or minus the errno; mmap_lock is let go meanwhile, as for `ReadAhead`;
- `CollapseHugePages` with 0 or minus the errno.

Left out: userfaultfd, hugetlb, names given with PR_SET_VMA, MADV_HWPOISON, MADV_SOFT_OFFLINE.
"""

import errno
from collections.abc import Generator
from typing import Final

from attrs import frozen

from mmactors.label import Label
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import (
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_HUGEPAGE,
    VM_HUGETLB,
    VM_IO,
    VM_LOCKED,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MERGEABLE,
    VM_MIXEDMAP,
    VM_NOHUGEPAGE,
    VM_PFNMAP,
    VM_RAND_READ,
    VM_SEQ_READ,
    VM_SHARED,
    VM_SPECIAL,
    VM_WIPEONFORK,
    page_align,
)
from mmactors.mm.area.vma import Vma, linear_page_index
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.mm.area.vma_merge import change_vm_flags
from mmactors.mm.fault.populate import FaultInPages, check_vma_flags
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.find_vma_prev import find_vma_prev
from mmactors.units import PAGE_SHIFT, PAGE_SIZE, ULONG_MAX

_ADDRESS_END: Final = 1 << 64


@frozen(kw_only=True)
class _Range:
    vma: Vma
    start: int
    end: int


class ZapRange(_Range):
    """Take away the pages of `[start, end)`; the tables stay (MADV_DONTNEED)."""


class LazyFree(_Range):
    """Let the pages be freed under memory pressure unless they are written before (MADV_FREE)."""


@frozen(kw_only=True)
class Deactivate(_Range):
    """Make pages the next to be reclaimed (MADV_COLD), or reclaim them now (MADV_PAGEOUT)."""

    pageout: bool


class SwapIn(_Range):
    """Read swapped pages back without waiting (MADV_WILLNEED on memory)."""


@frozen(kw_only=True)
class ReadAhead:
    """Read a range of a file into the page cache without waiting (MADV_WILLNEED on a file)."""

    file: MappedFile
    offset: int
    length: int


@frozen(kw_only=True)
class PunchHole:
    """Free pages `[first, end)` of a file, in all mappings of it, too (MADV_REMOVE)."""

    file: MappedFile
    first: int
    end: int


class CollapseHugePages(_Range):
    """Make huge pages of small ones now (MADV_COLLAPSE)."""


MadviseRequest = (
    ZapRange
    | LazyFree
    | Deactivate
    | SwapIn
    | ReadAhead
    | PunchHole
    | CollapseHugePages
    | FaultInPages
    | RmapRequest
    | Label
)
MadviseSteps = Generator[MadviseRequest, int | None, int]
_AreaSteps = Generator[MadviseRequest, int | None, tuple[Vma | None, int]]

_ADVICE_ON_PAGES: Final = frozenset(
    (
        mman.MADV_REMOVE,
        mman.MADV_WILLNEED,
        mman.MADV_DONTNEED,
        mman.MADV_DONTNEED_LOCKED,
        mman.MADV_COLD,
        mman.MADV_PAGEOUT,
        mman.MADV_FREE,
        mman.MADV_POPULATE_READ,
        mman.MADV_POPULATE_WRITE,
        mman.MADV_COLLAPSE,
    )
)
_LETS_GO_OF_LOCK: Final = frozenset(
    (
        mman.MADV_REMOVE,
        mman.MADV_WILLNEED,
        mman.MADV_POPULATE_READ,
        mman.MADV_POPULATE_WRITE,
    )
)
_FLAG_CHANGES: Final = {
    mman.MADV_NORMAL: (0, VM_RAND_READ | VM_SEQ_READ),
    mman.MADV_SEQUENTIAL: (VM_SEQ_READ, VM_RAND_READ),
    mman.MADV_RANDOM: (VM_RAND_READ, VM_SEQ_READ),
    mman.MADV_DONTFORK: (VM_DONTCOPY, 0),
    mman.MADV_DOFORK: (0, VM_DONTCOPY),
    mman.MADV_WIPEONFORK: (VM_WIPEONFORK, 0),
    mman.MADV_KEEPONFORK: (0, VM_WIPEONFORK),
    mman.MADV_DONTDUMP: (VM_DONTDUMP, 0),
    mman.MADV_DODUMP: (0, VM_DONTDUMP),
    mman.MADV_HUGEPAGE: (VM_HUGEPAGE, VM_NOHUGEPAGE),
    mman.MADV_NOHUGEPAGE: (VM_NOHUGEPAGE, VM_HUGEPAGE),
    mman.MADV_MERGEABLE: (VM_MERGEABLE, 0),
    mman.MADV_UNMERGEABLE: (0, VM_MERGEABLE),
}
"""By advice: flags set, flags cleared."""
_NEVER_MERGEABLE: Final = (
    VM_SHARED | VM_MAYSHARE | VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_HUGETLB | VM_MIXEDMAP
)


def needs_write_lock(advice: int) -> bool:
    """Say whether the advice changes areas, so that mmap_lock is taken for writing."""
    return advice not in _ADVICE_ON_PAGES


def do_madvise(mm: MmStruct, *, start: int, length: int, advice: int) -> MadviseSteps:
    """Apply an advice to a range; end with 0 or minus the errno.

    EINVAL: unknown advice, start not page-aligned, the length overflows, or an area is not fit for
    it; ENOMEM: a gap, after the areas behind it were served, too. The first area that is not fit
    ends the call.
    """
    if advice not in _ADVICE_ON_PAGES and advice not in _FLAG_CHANGES:
        return -errno.EINVAL
    if start % PAGE_SIZE:
        return -errno.EINVAL
    aligned = page_align(length)
    end = start + aligned
    if (length and not aligned) or end > ULONG_MAX:
        return -errno.EINVAL
    if end == start:
        return 0
    return (yield from _madvise_areas(mm, start=start, end=end, advice=advice))


def _madvise_areas(mm: MmStruct, *, start: int, end: int, advice: int) -> MadviseSteps:
    unmapped_error = 0
    vma, before = yield from find_vma_prev(mm, start)
    if vma is not None and start > vma.vm_start:
        before = vma
    while True:
        if vma is None:
            return -errno.ENOMEM
        if start < vma.vm_start:
            unmapped_error = -errno.ENOMEM
            start = vma.vm_start
            if start >= end:
                return unmapped_error
        stop = min(vma.vm_end, end)
        before, error = yield from _madvise_area(
            mm, vma, before, start=start, end=stop, advice=advice
        )
        if error:
            return error
        start = stop if before is None else max(stop, before.vm_end)
        if start >= end:
            return unmapped_error
        vma = mm.tree.find_vma(start)


def _madvise_area(
    mm: MmStruct, vma: Vma, before: Vma | None, *, start: int, end: int, advice: int
) -> _AreaSteps:
    """Apply an advice to one area or a part of it; end with the area it is now, and 0 or -errno.

    None: mmap_lock may have been let go of, so that the area may be another one's or nobody's.
    """
    if advice in _ADVICE_ON_PAGES:
        after = None if advice in _LETS_GO_OF_LOCK else vma
        return after, (yield from _advise_pages(vma, start=start, end=end, advice=advice))
    if _is_refused(vma, advice):
        return vma, -errno.EINVAL
    vm_flags = vma.vm_flags
    if advice != mman.MADV_MERGEABLE or not vm_flags & _NEVER_MERGEABLE:
        to_set, to_clear = _FLAG_CHANGES[advice]
        vm_flags = vm_flags & ~to_clear | to_set
    if vm_flags == vma.vm_flags:
        return vma, 0
    vma, error = yield from change_vm_flags(
        mm, vma, before, start=start, end=end, vm_flags=vm_flags
    )
    if error:
        return vma, -errno.EAGAIN if error == -errno.ENOMEM else error
    vma.vm_flags = vm_flags
    return vma, 0


def _is_refused(vma: Vma, advice: int) -> bool:
    if advice == mman.MADV_DOFORK:
        return vma.vm_flags & VM_IO != 0
    if advice == mman.MADV_WIPEONFORK:
        return vma.vm_file is not None or vma.vm_flags & VM_SHARED != 0
    if advice == mman.MADV_DODUMP:
        return not vma.vm_flags & VM_HUGETLB and vma.vm_flags & VM_SPECIAL != 0
    return False


def _advise_pages(vma: Vma, *, start: int, end: int, advice: int) -> MadviseSteps:
    vm_flags = vma.vm_flags
    match advice:
        case mman.MADV_DONTNEED | mman.MADV_DONTNEED_LOCKED:
            allowed = VM_LOCKED if advice == mman.MADV_DONTNEED_LOCKED else 0
            if vm_flags & (VM_PFNMAP | VM_LOCKED) & ~allowed:
                return -errno.EINVAL
            yield ZapRange(vma=vma, start=start, end=end)
        case mman.MADV_FREE:
            if vm_flags & (VM_PFNMAP | VM_LOCKED) or not vma.is_anonymous:
                return -errno.EINVAL
            yield LazyFree(vma=vma, start=start, end=end)
        case mman.MADV_COLD | mman.MADV_PAGEOUT:
            if vm_flags & (VM_LOCKED | VM_PFNMAP | VM_HUGETLB):
                return -errno.EINVAL
            yield Deactivate(vma=vma, start=start, end=end, pageout=advice == mman.MADV_PAGEOUT)
        case mman.MADV_WILLNEED:
            yield _will_need(vma, start=start, end=end)
        case mman.MADV_POPULATE_READ | mman.MADV_POPULATE_WRITE:
            is_write = advice == mman.MADV_POPULATE_WRITE
            assert vma.vm_mm is not None, f"{vma} belongs to nobody"
            return (yield from _populate(vma.vm_mm, start=start, end=end, is_write=is_write))
        case mman.MADV_REMOVE:
            return (yield from _remove_pages(vma, start=start, end=end))
        case mman.MADV_COLLAPSE:
            return (yield CollapseHugePages(vma=vma, start=start, end=end)) or 0
    return 0


def _populate(mm: MmStruct, *, start: int, end: int, is_write: bool) -> MadviseSteps:
    """Make pages of an area present, round after round (madvise_populate).

    EINVAL: the area is not fit for it; EFAULT: nothing backs a page; ENOMEM: there is no memory, or
    the area has gone while mmap_lock was let go of.
    """
    while start < end:
        vma = mm.tree.find_vma(start)
        if vma is None or vma.vm_start > start:
            return -errno.ENOMEM
        if check_vma_flags(vma, is_write=is_write, is_forced=False):
            return -errno.EINVAL
        stop = min(end, vma.vm_end)
        nr_done = yield FaultInPages(vma=vma, start=start, end=stop, is_write=is_write)
        assert nr_done is not None, "answered with a number"
        if nr_done < 0:
            return nr_done
        start += nr_done * PAGE_SIZE
    return 0


def _will_need(vma: Vma, *, start: int, end: int) -> SwapIn | ReadAhead:
    file = vma.vm_file
    if not isinstance(file, MappedFile) or file.mapping.is_shmem:
        return SwapIn(vma=vma, start=start, end=end)
    offset = linear_page_index(vma, start) << PAGE_SHIFT
    return ReadAhead(file=file, offset=offset, length=end - start)


def _remove_pages(vma: Vma, *, start: int, end: int) -> MadviseSteps:
    """Free a part of a shared file: EINVAL locked, or no file; EACCES not writable and shared."""
    file = vma.vm_file
    if vma.vm_flags & VM_LOCKED or not isinstance(file, MappedFile):
        return -errno.EINVAL
    if vma.vm_flags & (VM_SHARED | VM_MAYWRITE) != VM_SHARED | VM_MAYWRITE:
        return -errno.EACCES
    first = linear_page_index(vma, start)
    return (yield PunchHole(file=file, first=first, end=first + ((end - start) >> PAGE_SHIFT))) or 0
