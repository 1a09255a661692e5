"""The tracepoints of the object allocators (include/trace/events/kmem.h, Linux 6.1).

Addresses are those of the direct map. For the place of a call stands the function's name; a
module's are the operations of its program, as in reports.
"""

from typing import Final

from mmactors.engine.probe import EngineProbe
from mmactors.events import Kfree, Kmalloc, KmemCacheAlloc, KmemCacheFree
from mmactors.mm.page_alloc.gfp import GFP_ACCOUNT
from mmactors.mm.slab.allocator import KmemCacheLike
from mmactors.mm.slab.flags import SLAB_ACCOUNT
from mmactors.mm.slab.request import TellAlloc, TellFree
from mmactors.mm.slab.slab_common import PAGE_OFFSET, ZERO_SIZE_PTR

_NUMA_NO_NODE: Final = -1


def pointer_of(thing: int) -> int:
    """Return what the kernel calls an address of memory: that of its direct map; of 0, NULL."""
    return PAGE_OFFSET + thing if thing > ZERO_SIZE_PTR else thing


def tell_kmem_cache_alloc(
    probe: EngineProbe, s: KmemCacheLike, thing: int, gfp: int, site: str, node: int | None = None
) -> None:
    """Emit that an object was handed out, 0: or was not."""
    probe.emit(
        KmemCacheAlloc(
            call_site=site,
            ptr=pointer_of(thing),
            bytes_req=s.object_size,
            bytes_alloc=s.size,
            gfp_flags=gfp,
            node=_NUMA_NO_NODE if node is None else node,
            accounted=bool(gfp & GFP_ACCOUNT or s.flags & SLAB_ACCOUNT),
        )
    )


def tell_kfree(probe: EngineProbe, thing: int, site: str) -> None:
    """Emit that bytes, or nothing, are freed."""
    probe.emit(Kfree(call_site=site, ptr=pointer_of(thing)))


def tell_kmem_cache_free(probe: EngineProbe, cache: str, thing: int, site: str) -> None:
    """Emit that an object of a cache is freed."""
    probe.emit(KmemCacheFree(call_site=site, ptr=pointer_of(thing), name_=cache))


def tell_alloc(probe: EngineProbe, request: TellAlloc) -> None:
    """Emit what a path has allocated."""
    event = Kmalloc if request.is_kmalloc else KmemCacheAlloc
    probe.emit(
        event(
            call_site=request.site,
            ptr=pointer_of(request.thing),
            bytes_req=request.bytes_req,
            bytes_alloc=request.bytes_alloc,
            gfp_flags=request.gfp,
            node=_NUMA_NO_NODE if request.node is None else request.node,
            accounted=request.is_accounted,
        )
    )


def tell_free(probe: EngineProbe, request: TellFree) -> None:
    """Emit what a path frees."""
    if request.cache is None:
        tell_kfree(probe, request.thing, request.site)
    else:
        tell_kmem_cache_free(probe, request.cache, request.thing, request.site)
