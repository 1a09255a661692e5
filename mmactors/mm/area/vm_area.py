"""Areas as objects of their cache (kernel/fork.c, vm_area_alloc and the like; Linux 6.1).

Generators that ask for what mm/slab/object_cache.py says.
"""

from collections.abc import Generator

from mmactors.mm.area.anon_vma_chain import anon_vma_clone
from mmactors.mm.area.mapped_file import MappedFile, Mapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vma import Vma
from mmactors.mm.area.vma_adjust import RmapRequest
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
    mapping.nr_users -= 1
    is_unused = not mapping.nr_users and (mapping.is_shmem or mapping.is_unlinked)
    return mapping if is_unused else None


def vm_area_copy(mm: MmStruct, vma: Vma) -> Generator[RmapRequest, int | None, Vma | None]:
    """End with a copy of an area that is linked to its anon_vmas, None: there is no memory."""
    new = yield from vm_area_dup(mm, vma)
    if new is not None and (yield from anon_vma_clone(new, vma)):
        yield from remove_vma(mm, new)
        return None
    return new
