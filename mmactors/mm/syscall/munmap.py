"""Taking mappings away: munmap and exit (mm/mmap.c, Linux 6.1).

The caller holds mmap_lock for writing and answers

- `UnmapRegion` with None, after it took away the pages of the range, drove `unlink_vma` for each
  area, and took away the tables;
- the requests of mm/area/vma_adjust.py, when areas are cut;
- `EvictMapping` with None, after it gave the pages of shared memory back.

Left out: huge pages, userfaultfd.
"""

import errno
from collections.abc import Generator
from typing import Final

from attrs import frozen

from mmactors.mm.area.mapped_file import Mapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_area import remove_vma, split_vma
from mmactors.mm.area.vm_flags import VM_ACCOUNT, VM_GROWSDOWN, VM_LOCKED, page_align
from mmactors.mm.area.vma import Vma
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.mm.area.vmacache import vmacache_invalidate
from mmactors.units import PAGE_SIZE

USER_PGTABLES_CEILING: Final = 0


@frozen(kw_only=True)
class UnmapRegion:
    """Take away the pages of `areas`, unlink them, free the tables between floor and ceiling."""

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


@frozen(kw_only=True)
class EvictMapping:
    """Nobody uses this shared memory any more: give its pages back (shmem_evict_inode)."""

    mapping: Mapping


MunmapRequest = UnmapRegion | EvictMapping | RmapRequest
MunmapSteps = Generator[MunmapRequest, int | None, int]


def do_munmap(mm: MmStruct, *, start: int, length: int, may_downgrade: bool = False) -> MunmapSteps:
    """Remove all mappings of a range, also if there are none; end with 0 or minus the errno.

    EINVAL: start not page-aligned, no length, beyond TASK_SIZE, or a special mapping would be
    split; ENOMEM: an area would have to be split in two, and there are max_map_count already or
    there is no memory for it.
    """
    if start % PAGE_SIZE or start > mm.task_size or length > mm.task_size - start:
        return -errno.EINVAL
    end = start + page_align(length)
    if end == start:
        return -errno.EINVAL
    vma = mm.tree.find_vma(start)
    if vma is None or vma.vm_start >= end:
        return 0
    return (yield from align_munmap(mm, vma, start=start, end=end, may_downgrade=may_downgrade))


def align_munmap(
    mm: MmStruct, vma: Vma, *, start: int, end: int, may_downgrade: bool
) -> MunmapSteps:
    """Cut out `[start, end)`, of which `vma` is the first area (do_mas_align_munmap)."""
    if start > vma.vm_start:
        # The count may exceed the limit by one for a moment, but not in the end.
        if end < vma.vm_end and mm.map_count >= mm.config.max_map_count:
            return -errno.ENOMEM
        if vma.special is not None:
            return -errno.EINVAL
        if (yield from split_vma(mm, vma, start, new_below=False)) is None:
            return -errno.ENOMEM
    areas = mm.tree.in_range(start, end)
    if areas[-1].vm_end > end:
        if areas[-1].special is not None:
            return -errno.EINVAL
        lower = yield from split_vma(mm, areas[-1], end, new_below=True)
        if lower is None:
            return -errno.ENOMEM
        areas[-1] = lower
    before = mm.tree.find_prev(start)
    for area in areas:
        mm.tree.remove(area)
        if area.vm_flags & VM_LOCKED:
            mm.locked_vm -= area.nr_pages
    vmacache_invalidate(mm)
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
    yield from _remove_areas(mm, areas)
    return 0


def exit_mmap(mm: MmStruct) -> MunmapSteps:
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
        yield from _remove_areas(mm, areas)
    return 0


def _remove_areas(mm: MmStruct, areas: list[Vma] | tuple[Vma, ...]) -> MunmapSteps:
    nr_accounted = 0
    for area in areas:
        if area.vm_flags & VM_ACCOUNT:
            nr_accounted += area.nr_pages
        unused = yield from remove_vma(mm, area)
        if unused is not None:
            yield EvictMapping(mapping=unused)
    if nr_accounted:
        mm.overcommit.vm_acct_memory(-nr_accounted)
    return 0
