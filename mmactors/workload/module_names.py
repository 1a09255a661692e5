"""Which names of what kernel modules have an operation uses, and how they are bound."""

from typing import Final

from mmactors.workload.operation.all import (
    FreePages,
    FreePercpu,
    FreeVmArea,
    Kfree,
    KmemCacheAlloc,
    KmemCacheDestroy,
    KmemCacheFree,
    KmemCacheShrink,
    Krealloc,
    OfflinePages,
    Peek,
    PerCpuRead,
    PercpuRefInit,
    PerCpuWrite,
    PlainOperation,
    Poke,
    StartIsolatePageRange,
    UndoIsolatePageRange,
    Vfree,
    Vmap,
    VmMapRam,
    VmUnmapRam,
    Vunmap,
)

BLOCK: Final = "block"
OBJECT: Final = "object"
AREA: Final = "area"
"""Its name is among those of objects."""
CACHE: Final = "cache"
PERCPU: Final = "per-CPU area"
_OF_BLOCKS: Final = (
    *(FreePages, StartIsolatePageRange, UndoIsolatePageRange, OfflinePages, Vmap, VmMapRam),
)
_OF_OBJECTS: Final = (KmemCacheFree, Krealloc, Kfree, Poke, Peek)
_OF_AREAS: Final = (Vfree, Vunmap, VmUnmapRam, FreeVmArea)
_OF_CACHES: Final = (KmemCacheAlloc, KmemCacheFree, KmemCacheShrink, KmemCacheDestroy)


def module_names(operation: PlainOperation) -> list[tuple[str, str, str]]:
    """Return of each name what it is to be of, the name, and what to write before."""
    found = []
    if isinstance(operation, _OF_BLOCKS):
        block = operation.block
        found.append((BLOCK, block, f"write alloc_pages {block} first"))
    if isinstance(operation, _OF_OBJECTS):
        name = operation.object
        found.append((OBJECT, name, f"write kmalloc {name} size=N first"))
    if isinstance(operation, PercpuRefInit) and operation.release is not None:
        name = operation.release
        found.append((OBJECT, name, f"write kmalloc {name} size=N first"))
    if isinstance(operation, _OF_AREAS):
        area = operation.area
        found.append((AREA, area, f"write vmalloc {area} SIZE first"))
    if isinstance(operation, FreePercpu | PerCpuWrite | PerCpuRead):
        percpu = operation.percpu
        found.append((PERCPU, percpu, f"write alloc_percpu {percpu} size=N first"))
    if isinstance(operation, _OF_CACHES):
        cache = operation.cache
        found.append((CACHE, cache, f"write kmem_cache_create {cache} size=N first"))
    return found
