"""Cutting an area in two (mm/mmap.c, __split_vma; Linux 6.1)."""

import errno
from collections.abc import Generator

from mmactors.mm.area.i_mmap import mapping_of
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_area import vm_area_copy
from mmactors.mm.area.vma import Vma, linear_page_index
from mmactors.mm.area.vma_adjust import RmapRequest, lock_rmap, unlock_rmap


def split_vma(
    mm: MmStruct, vma: Vma, address: int, *, new_below: bool
) -> Generator[RmapRequest, int | None, Vma | None]:
    """Cut an area in two at `address`; end with the new object, the lower part if `new_below`.

    None: there is no memory for it, and nothing has changed.

    Whether there may be one more area, and whether this one may be split, was asked before.
    """
    assert vma.vm_start < address < vma.vm_end, f"{address:#x} is not inside {vma}"
    new = yield from vm_area_copy(mm, vma)
    if new is None:
        return None
    yield from lock_rmap(vma, vma.anon_vma)
    mapping = mapping_of(vma)
    if mapping is not None:
        mapping.i_mmap[new] = None
    if new_below:
        new.vm_end = address
        vma.vm_pgoff = linear_page_index(vma, address)
        mm.tree.resize(vma, start=address, end=vma.vm_end)
    else:
        new.vm_start = address
        new.vm_pgoff = linear_page_index(vma, address)
        mm.tree.resize(vma, start=vma.vm_start, end=address)
    mm.tree.insert(new)
    yield from unlock_rmap(vma, vma.anon_vma)
    return new


def may_split_vma(mm: MmStruct, vma: Vma) -> int:
    """Return 0, or why an area cannot be split: -ENOMEM max_map_count, -EINVAL special mapping."""
    if mm.map_count >= mm.config.max_map_count:
        return -errno.ENOMEM
    return -errno.EINVAL if vma.special is not None else 0
