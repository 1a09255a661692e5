"""Merging an area, or a part of one, with its neighbours (mm/mmap.c, vma_merge, Linux 6.1).

For mprotect, madvise, mlock and mremap: the range is a part of one area whose flags are about to
change, or a place that is still free. Generators, with the requests of mm/area/vma_adjust.py. Left
out: memory policies, userfaultfd, names of anonymous memory; see mm/area/vma.py.
"""

import errno
from collections.abc import Generator

from attrs import frozen

from mmactors.mm.area.anon_vma import AnonVma
from mmactors.mm.area.anon_vma_chain import anon_vma_clone, unlink_anon_vmas
from mmactors.mm.area.i_mmap import mapping_of
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_area import may_split_vma, remove_vma, split_vma
from mmactors.mm.area.vm_flags import VM_SPECIAL
from mmactors.mm.area.vma import (
    Vma,
    can_vma_merge_after,
    can_vma_merge_before,
    is_mergeable_anon_vma,
    linear_page_index,
)
from mmactors.mm.area.vma_adjust import RmapRequest, RmapSteps, lock_rmap, unlock_rmap
from mmactors.mm.area.vmacache import vmacache_invalidate
from mmactors.units import PAGE_SHIFT

MergeSteps = Generator[RmapRequest, int | None, Vma | None]


@frozen(kw_only=True)
class Properties:
    """What must be alike in two areas that become one."""

    vm_flags: int
    anon_vma: AnonVma | None
    vm_file: object | None
    vm_pgoff: int
    """Of the first page of the range."""


def vma_merge(
    mm: MmStruct, before: Vma | None, *, start: int, end: int, properties: Properties
) -> MergeSteps:
    """Let a neighbour of `[start, end)` take it in; end with that area, or None if none can.

    `before` is the last area that begins below `start`; the range may lie inside it, then it is
    its rest. The area has the flags asked for.
    """
    if properties.vm_flags & VM_SPECIAL:
        return None
    tree = mm.tree
    middle = tree.find_vma(0 if before is None else before.vm_end)
    after = middle
    if after is not None and after.vm_end == end:
        after = tree.find_vma(after.vm_end)
    pgoff_end = properties.vm_pgoff + ((end - start) >> PAGE_SHIFT)
    flags, anon_vma, file = properties.vm_flags, properties.anon_vma, properties.vm_file
    joins_before = (
        before is not None
        and before.vm_end == start
        and can_vma_merge_after(
            before, vm_flags=flags, anon_vma=anon_vma, vm_file=file, vm_pgoff=properties.vm_pgoff
        )
    )
    joins_after = (
        after is not None
        and after.vm_start == end
        and can_vma_merge_before(
            after, vm_flags=flags, anon_vma=anon_vma, vm_file=file, vm_pgoff=pgoff_end
        )
    )
    if joins_before:
        assert before is not None, "asked above"
        if (
            joins_after
            and after is not None
            and is_mergeable_anon_vma(before.anon_vma, after.anon_vma, None)
        ):
            end = after.vm_end
        return (yield from _extend_up(mm, before, end))
    if joins_after:
        assert after is not None, "asked above"
        return (yield from _extend_down(mm, after, start))
    return None


def change_vm_flags(
    mm: MmStruct, vma: Vma, before: Vma | None, *, start: int, end: int, vm_flags: int
) -> Generator[RmapRequest, int | None, tuple[Vma, int]]:
    """Cut `[start, end)` out of `vma` for new flags, or merge it with a neighbour that has them.

    End with the area that now holds the range, whose flags the caller sets, and 0; or `vma` and the
    errno: -ENOMEM max_map_count, or no memory, -EINVAL a special mapping. The first of two cuts is
    not undone.
    """
    properties = Properties(
        vm_flags=vm_flags,
        anon_vma=vma.anon_vma,
        vm_file=vma.vm_file,
        vm_pgoff=linear_page_index(vma, start),
    )
    merged = yield from vma_merge(mm, before, start=start, end=end, properties=properties)
    if merged is not None:
        return merged, 0
    for address, new_below in ((start, True), (end, False)):
        if vma.vm_start < address < vma.vm_end:
            error = may_split_vma(mm, vma)
            if error:
                return vma, error
            if (yield from split_vma(mm, vma, address, new_below=new_below)) is None:
                return vma, -errno.ENOMEM
    return vma, 0


def _extend_up(mm: MmStruct, vma: Vma, end: int) -> MergeSteps:
    """Let `vma` end at `end`, over what is there: whole areas, and the start of one.

    End with it, None: there was no memory.
    """
    covered = mm.tree.in_range(vma.vm_end, end)
    if (yield from _import_anon_vma(vma, covered)):
        return None
    anon_vma = _anon_vma_of(vma, covered)
    yield from lock_rmap(vma, anon_vma)
    gone = []
    for area in covered:
        if area.vm_end <= end:
            _take_out(mm, area)
            gone.append(area)
        else:
            area.vm_pgoff = linear_page_index(area, end)
            mm.tree.resize(area, start=end, end=area.vm_end)
    mm.tree.resize(vma, start=vma.vm_start, end=end)
    yield from unlock_rmap(vma, anon_vma)
    yield from _free_areas(mm, gone)
    return vma


def _extend_down(mm: MmStruct, vma: Vma, start: int) -> MergeSteps:
    """Let `vma` begin at `start`, over a whole area or the end of one, as `_extend_up` does."""
    covered = mm.tree.in_range(start, vma.vm_start)
    if (yield from _import_anon_vma(vma, covered)):
        return None
    anon_vma = _anon_vma_of(vma, covered)
    yield from lock_rmap(vma, anon_vma)
    gone = []
    for area in covered:
        if area.vm_start >= start:
            _take_out(mm, area)
            gone.append(area)
        else:
            mm.tree.resize(area, start=area.vm_start, end=start)
    vma.vm_pgoff -= (vma.vm_start - start) >> PAGE_SHIFT
    mm.tree.resize(vma, start=start, end=vma.vm_end)
    yield from unlock_rmap(vma, anon_vma)
    yield from _free_areas(mm, gone)
    return vma


def _import_anon_vma(vma: Vma, covered: list[Vma]) -> Generator[RmapRequest, int | None, int]:
    """Link `vma` to the anon_vmas of pages that become part of it; end with 0 or -ENOMEM."""
    if vma.anon_vma is not None:
        return 0
    exporter = next((area for area in covered if area.anon_vma is not None), None)
    if exporter is None:
        return 0
    vma.anon_vma = exporter.anon_vma
    return (yield from anon_vma_clone(vma, exporter))


def _anon_vma_of(vma: Vma, covered: list[Vma]) -> AnonVma | None:
    """Return the anon_vma whose lock keeps walks out of all these areas; all share one root."""
    return next((area.anon_vma for area in (vma, *covered) if area.anon_vma is not None), None)


def _take_out(mm: MmStruct, area: Vma) -> None:
    mm.tree.remove(area)
    vmacache_invalidate(mm)
    mapping = mapping_of(area)
    if mapping is not None:
        del mapping.i_mmap[area]


def _free_areas(mm: MmStruct, areas: list[Vma]) -> RmapSteps:
    """Let go of areas whose pages have become another's (anon_vma_merge, vm_area_free)."""
    for area in areas:
        yield from unlink_anon_vmas(area)
        yield from remove_vma(mm, area)
