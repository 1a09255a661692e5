"""Areas as objects of their cache, and cut in two (kernel/fork.c, mm/mmap.c; Linux 6.1).

Generators that ask for what mm/area/vma_adjust.py says, and for objects.
"""

import errno
from collections.abc import Generator

from mmactors.mm.area.anon_vma_chain import anon_vma_clone
from mmactors.mm.area.i_mmap import mapping_of
from mmactors.mm.area.mapped_file import MappedFile, Mapping, file_free
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vma import Vma, linear_page_index
from mmactors.mm.area.vma_adjust import RmapRequest, lock_rmap, unlock_rmap
from mmactors.mm.slab.kernel_caches import VM_AREA_STRUCT
from mmactors.mm.slab.object_cache import ObjectAlloc, ObjectFree, kmem_cache_alloc, kmem_cache_free


def vm_area_alloc(mm: MmStruct) -> ObjectAlloc:
    """End with the address of an area of `mm`, 0: there is no memory."""
    return kmem_cache_alloc(mm.caches, VM_AREA_STRUCT, "vm_area_alloc")


def vm_area_dup(mm: MmStruct, vma: Vma) -> Generator[RmapRequest, int | None, Vma | None]:
    """End with a copy of an area that is linked to nothing, None: there is no memory."""
    thing = yield from kmem_cache_alloc(mm.caches, VM_AREA_STRUCT, "vm_area_dup")
    return vma.dup(thing) if thing else None


def vm_area_free(mm: MmStruct, vma: Vma) -> ObjectFree:
    """Give an area back to its cache."""
    assert not vma.anon_vma_chain, f"{vma} is still linked to its anon_vmas"
    assert not vma.is_freed, f"{vma} is freed twice"
    vma.is_freed = True
    if vma.thing:
        yield from kmem_cache_free(mm.caches, VM_AREA_STRUCT, vma.thing, "vm_area_free")


def remove_vma(mm: MmStruct, vma: Vma) -> Generator[RmapRequest, int | None, Mapping | None]:
    """Give an area back that is in no tree, and its file; end with pages that nobody can reach."""
    yield from vm_area_free(mm, vma)
    file = vma.vm_file
    if not isinstance(file, MappedFile):
        return None
    mapping = file.mapping
    if file.put():
        file_free(mm.caches, file)
    is_unused = not mapping.nr_users and (mapping.is_shmem or mapping.is_unlinked)
    return mapping if is_unused else None


def vm_area_copy(mm: MmStruct, vma: Vma) -> Generator[RmapRequest, int | None, Vma | None]:
    """End with a copy of an area that is linked to its anon_vmas, None: there is no memory."""
    new = yield from vm_area_dup(mm, vma)
    if new is not None and (yield from anon_vma_clone(new, vma)):
        yield from remove_vma(mm, new)
        return None
    return new


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
