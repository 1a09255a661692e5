"""kmalloc and its relatives on SLUB (mm/slab_common.c, v6.1).

Left out: kmalloc of DMA32 and highmem, which the kernel mends with a warning; what the first caches
of a boot are made of; the per-CPU memory and the sysfs files of a cache.
"""

from errno import ENOMEM
from typing import Final

from mmactors.mm.page_alloc.buddy import MAX_ORDER
from mmactors.mm.page_alloc.gfp import GFP_COMP, GFP_KERNEL, GFP_ZERO
from mmactors.mm.slab.flags import SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.request import (
    AllocSlabPages,
    FreeSlabPages,
    Printk,
    RcuBarrier,
    SlabSteps,
)
from mmactors.mm.slab.slab_common import (
    KMALLOC_MAX_CACHE_SIZE,
    KMALLOC_NORMAL,
    ZERO_SIZE_PTR,
    CacheRequest,
    boot_requests,
    kmalloc_index,
    kmalloc_requests,
    kmalloc_type,
    large_order,
)
from mmactors.mm.slab.slub.alloc import ThisCpu
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.debug.oops import oops, pointer, wild_pointer
from mmactors.mm.slab.slub.debug.report import create_failed, warning_once
from mmactors.mm.slab.slub.debug.track import NOBODY, SlabCaller
from mmactors.mm.slab.slub.slub import Slub
from mmactors.mm.vmstat import NODE_ITEM
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_NR_SLAB_UNRECLAIMABLE: Final = NODE_ITEM["nr_slab_unreclaimable"]


class Kmalloc:
    """The caches of kmalloc's classes, and what is larger."""

    def __init__(self, slub: Slub) -> None:
        self._slub: Final = slub
        self._caches: Final[dict[tuple[int, int], KmemCache]] = {}
        self._boot_caches: Final[list[KmemCache]] = []
        """Those of kmem_cache_node and kmem_cache."""

    def create_caches(self) -> None:
        """Make the first caches of a kernel: those of caches, then all classes."""
        for request in boot_requests(self._slub.slabs.nr_nodes):
            self._boot_caches.append(self._create_boot_cache(request, refcount=-1))
        for kind, index, request in kmalloc_requests():
            # Nobody's cache may become an alias of one of kmalloc's, if memory is accounted.
            refcount = -1 if kind == KMALLOC_NORMAL else 1
            self._caches[kind, index] = self._create_boot_cache(request, refcount=refcount)

    def _create_boot_cache(self, request: CacheRequest, *, refcount: int) -> KmemCache:
        slub = self._slub
        layout = slub.layout_of(request)
        assert layout is not None, f"no slab holds an object of {request.name}"
        return slub.add(request, layout, refcount=refcount)

    def kmem_cache_create(
        self, this_cpu: ThisCpu, request: CacheRequest, *, caller: SlabCaller = NOBODY
    ) -> SlabSteps[KmemCache | None]:
        """Make a cache out of memory of its own, or an alias; None: refused, or no memory.

        It takes its name, struct kmem_cache, the order of its objects and a struct
        kmem_cache_node for each node.
        """
        slub = self._slub
        s = slub.create(request)
        if s is None:
            yield Printk(lines=create_failed(request.name, slub.why_not(request)))
            return None
        if s.name != request.name or s.refcount > 1:
            return s
        node_cache, cache_cache = self._boot_caches
        sizes = [len(request.name) + 1, *([4 * len(s.random_seq)] if len(s.random_seq) else [])]
        parts = [self.kmalloc(this_cpu, size, GFP_KERNEL, caller=caller) for size in sizes]
        parts.insert(1, slub.alloc(cache_cache, this_cpu, GFP_KERNEL, caller=caller))
        parts += [
            slub.alloc(node_cache, this_cpu, GFP_KERNEL, node, caller=caller)
            for node in range(slub.slabs.nr_nodes)
        ]
        for part in parts:
            thing = yield from part
            if not thing:
                yield from self._give_back(this_cpu, s, caller)
                if not slub.slabs.config.rules.create_cache_frees_once and len(s.own_objects) > 1:
                    yield from self.kfree(this_cpu, s.own_objects[1], caller=caller)
                yield Printk(lines=create_failed(request.name, -ENOMEM))
                return None
            s.own_objects.append(thing)
        return s

    def kmem_cache_destroy(
        self, this_cpu: ThisCpu, s: KmemCache, *, caller: SlabCaller = NOBODY
    ) -> SlabSteps[bool]:
        """Let go of a cache; return whether it, or this use of it, is gone."""
        slub = self._slub
        is_gone = yield from slub.shutdown(s, this_cpu(), caller=caller)
        if is_gone and not s.refcount:
            if s.flags & SLAB_TYPESAFE_BY_RCU:
                yield RcuBarrier(cache=s.number)
            else:
                yield from self._give_back(this_cpu, s, caller)
        return is_gone

    def release(self, this_cpu: ThisCpu, number: int) -> SlabSteps[None]:
        """Give back what a cache was made of: what RcuBarrier asks for."""
        yield from self._give_back(this_cpu, self._slub.cache(number), NOBODY)

    def _give_back(self, this_cpu: ThisCpu, s: KmemCache, caller: SlabCaller) -> SlabSteps[None]:
        self._slub.release(s.number)
        for thing in reversed(s.own_objects):
            yield from self.kfree(this_cpu, thing, caller=caller)

    def cache_for(self, size: int, gfp: int) -> KmemCache:
        """Return the cache that serves 1 to KMALLOC_MAX_CACHE_SIZE bytes (kmalloc_slab)."""
        return self._caches[kmalloc_type(gfp), kmalloc_index(size)]

    def kmalloc(
        self,
        this_cpu: ThisCpu,
        size: int,
        gfp: int,
        node: int | None = None,
        *,
        caller: SlabCaller = NOBODY,
    ) -> SlabSteps[int]:
        """Return the address of `size` bytes, 0: no memory; of nothing, ZERO_SIZE_PTR."""
        if size == 0:
            return ZERO_SIZE_PTR
        if size > KMALLOC_MAX_CACHE_SIZE:
            return (yield from self._kmalloc_large(this_cpu, size, gfp, node))
        s = self.cache_for(size, gfp)
        return (yield from self._slub.alloc(s, this_cpu, gfp, node, caller=caller, orig_size=size))

    def _kmalloc_large(
        self, this_cpu: ThisCpu, size: int, gfp: int, node: int | None
    ) -> SlabSteps[int]:
        order = large_order(size)
        if order >= MAX_ORDER:
            return 0
        slabs = self._slub.slabs
        pfn = yield AllocSlabPages(order=order, gfp=gfp | GFP_COMP, node=node)
        if pfn is None:
            return 0
        self._account(this_cpu(), pfn, 1 << order)
        slabs.memory.claim_slab(pfn, 1 << order)
        if slabs.config.init_on_alloc or gfp & GFP_ZERO:
            slabs.zero(pfn << PAGE_SHIFT, PAGE_SIZE << order)
        if slabs.checks is not None:
            slabs.checks.object_allocated(None, pfn << PAGE_SHIFT)
        return pfn << PAGE_SHIFT

    def _account(self, cpu: int, pfn: int, nr_pages: int) -> None:
        slabs = self._slub.slabs
        if slabs.vmstat is not None:
            node = slabs.node_of(pfn)
            slabs.vmstat.mod_node_page_state(cpu, node, _NR_SLAB_UNRECLAIMABLE, nr_pages)

    def kfree(
        self, this_cpu: ThisCpu, thing: int, *, caller: SlabCaller = NOBODY
    ) -> SlabSteps[None]:
        """Free what kmalloc, or a cache, has returned; 0 and ZERO_SIZE_PTR are nothing."""
        if 0 <= thing <= ZERO_SIZE_PTR:
            return
        slabs = self._slub.slabs
        if not 0 < thing < slabs.nr_bytes:
            oops(slabs, *wild_pointer(thing))
        head = slabs.head_of(thing)
        if head is not None and slabs.is_slab(head):
            s = self._slub.cache_of(head)
            yield from self._slub.free(s, this_cpu, head, thing, caller=caller)
            return
        if slabs.checks is not None:
            slabs.checks.object_freed(None, thing)
        order = 0 if head is None else slabs.pages.order_view[head]
        if head is None or not order:
            # Not kmalloc's: the kernel warns, and lets go of the page all the same.
            place = "mm/slab_common.c:904 free_large_kmalloc"
            lines = warning_once(slabs, this_cpu(), caller, place)
            if lines:
                yield Printk(lines=(*lines, f"object pointer: 0x{pointer(thing)}"))
            head = thing >> PAGE_SHIFT
            if not slabs.pages.refcount_view[head]:
                return
        self._account(this_cpu(), head, -(1 << order))
        slabs.memory.release_slab(head, 1 << order)
        yield FreeSlabPages(pfn=head, order=order)

    def ksize(self, thing: int) -> int:
        """Return how many bytes an address has to itself, 0: none."""
        slabs = self._slub.slabs
        head = None if thing <= ZERO_SIZE_PTR else slabs.head_of(thing)
        if head is None:
            return 0
        if slabs.is_slab(head):
            return self._slub.ksize(self._slub.cache_of(head))
        return PAGE_SIZE << slabs.pages.order_view[head]

    def krealloc(
        self,
        this_cpu: ThisCpu,
        thing: int,
        size: int,
        gfp: int,
        *,
        caller: SlabCaller = NOBODY,
    ) -> SlabSteps[int]:
        """Return `size` bytes that begin as those of `thing` do, 0: no memory, and it stays."""
        if size == 0:
            yield from self.kfree(this_cpu, thing, caller=caller)
            return ZERO_SIZE_PTR
        old_size = self.ksize(thing)
        slabs = self._slub.slabs
        if old_size >= size:
            if slabs.config.init_on_alloc or gfp & GFP_ZERO:
                slabs.zero(thing + size, old_size - size)
                if slabs.checks is not None:
                    slabs.checks.object_written(thing + size, old_size - size)
            return thing
        found = yield from self.kmalloc(this_cpu, size, gfp, caller=caller)
        if found and old_size:
            slabs.bytes_view[found : found + old_size] = slabs.bytes_view[thing : thing + old_size]
            if slabs.checks is not None:
                slabs.checks.object_written(found, old_size)
            yield from self.kfree(this_cpu, thing, caller=caller)
        return found
