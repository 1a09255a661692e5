"""kmalloc and its relatives on SLUB (mm/slab_common.c, v6.1).

Left out: kmalloc of DMA32 and highmem, which the kernel mends with a warning; what the first caches
of a boot are made of; the per-CPU memory and the sysfs files of a cache.
"""

from errno import EINVAL, ENOMEM
from typing import Final

from attrs import evolve

from mmactors.mm.page_alloc.gfp import GFP_ACCOUNT, GFP_COMP, GFP_KERNEL, GFP_ZERO
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.slab.alloc_site import (
    CACHE_RANDOM_SEQ_CREATE,
    CACHE_RANDOM_SEQ_DESTROY,
    INIT_KMEM_CACHE_NODES,
    KMEM_CACHE_CREATE,
    KMEM_CACHE_RELEASE,
    KOBJECT_PUT,
    KREALLOC,
    SLAB_KMEM_CACHE_RELEASE,
)
from mmactors.mm.slab.flags import SLAB_ACCOUNT, SLAB_FLAGS_PERMITTED, SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.request import (
    AllocSlabPages,
    FreeSlabPages,
    Printk,
    RcuBarrier,
    SlabSteps,
    TellAlloc,
    TellFree,
)
from mmactors.mm.slab.slab_common import (
    KMALLOC_MAX_CACHE_SIZE,
    KMALLOC_NORMAL,
    KMALLOC_SHIFT_HIGH,
    ZERO_SIZE_PTR,
    CacheRequest,
    boot_requests,
    kmalloc_index,
    kmalloc_requests,
    kmalloc_type,
    large_order,
)
from mmactors.mm.slab.slub.cache import KmemCache, ThisCpu
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
        self._found: Final[dict[int, KmemCache]] = {}
        """By flags and size, what was looked up before."""
        self._boot_caches: Final[list[KmemCache]] = []
        """Those of kmem_cache_node and kmem_cache."""

    def create_caches(self) -> None:
        """Make the first caches of a kernel: those of caches, then all classes."""
        for request in boot_requests(self._slub.slabs.nr_nodes):
            self._boot_caches.append(self._create_boot_cache(request, refcount=-1))
        self._boot_caches[-1].is_bootstrap = True
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

        It takes its name, struct kmem_cache, the order of its objects and, on each node with
        memory, a struct kmem_cache_node.
        """
        slub = self._slub
        s = slub.create(request)
        if s is not None and (s.name != request.name or s.refcount > 1):
            return s
        error = 0 if s is not None else slub.why_not(request)
        if error != -ENOMEM and not request.flags & ~SLAB_FLAGS_PERMITTED:
            error = yield from self._make_cache(this_cpu, request, s, caller)
        if not error:
            return s
        if s is not None:
            slub.release(s.number)
        yield Printk(lines=create_failed(request.name, error))
        return None

    def _make_cache(
        self,
        this_cpu: ThisCpu,
        request: CacheRequest,
        s: KmemCache | None,
        caller: SlabCaller,
    ) -> SlabSteps[int]:
        """Allocate what a cache is made of (create_cache); return 0, or an error: nothing is left.

        That no slab can hold its objects, `s` is None, is found when half of it is there.
        """
        cache_cache = self._boot_caches[1]
        by = evolve(caller, site=KMEM_CACHE_CREATE)
        name = yield from self._told_kmalloc(this_cpu, len(request.name) + 1, GFP_KERNEL, by)
        if not name:
            return -ENOMEM
        gfp = GFP_KERNEL | GFP_ZERO
        cache = yield from self._told_alloc(cache_cache, this_cpu, gfp, None, by)
        if not cache:
            yield from self._told_kfree(this_cpu, name, by)
            return -ENOMEM
        parts = None
        if s is None:
            yield from self._told_kfree(this_cpu, 0, evolve(by, site=CACHE_RANDOM_SEQ_DESTROY))
        else:
            parts = yield from self._open_cache(this_cpu, s, caller)
        if s is None or parts is None:
            yield from self._told_free(cache_cache, this_cpu, cache, by)
            if not self._slub.slabs.rules.create_cache_frees_once:
                yield from self._told_free(cache_cache, this_cpu, cache, by)
            yield from self._told_kfree(this_cpu, name, by)
            return -EINVAL
        s.own_objects += [name, cache, *parts]
        return 0

    def _open_cache(
        self, this_cpu: ThisCpu, s: KmemCache, caller: SlabCaller
    ) -> SlabSteps[list[int] | None]:
        """Allocate the order of a cache's objects, and its nodes; None: nothing of these is left.

        The error is -EINVAL then, though there is no memory (kmem_cache_open).
        """
        node_cache = self._boot_caches[0]
        gone = evolve(caller, site=CACHE_RANDOM_SEQ_DESTROY)
        parts: list[int] = []
        if s.random_seed is not None:
            size, by = 4 * s.layout.objects, evolve(caller, site=CACHE_RANDOM_SEQ_CREATE)
            seq = yield from self._told_kmalloc(this_cpu, size, GFP_KERNEL | GFP_ZERO, by)
            if not seq:
                yield Printk(lines=(f"SLUB: Unable to initialize free list for {s.name}",))
                yield from self._told_kfree(this_cpu, 0, gone)
                return None
            parts.append(seq)
        by = evolve(caller, site=INIT_KMEM_CACHE_NODES)
        nr_before = len(parts)
        for node in self._slub.slabs.slab_nodes:
            thing = yield from self._told_alloc(node_cache, this_cpu, GFP_KERNEL, node, by)
            if not thing:
                for each in parts[nr_before:]:
                    yield from self._told_free(node_cache, this_cpu, each, by)
                yield from self._told_kfree(this_cpu, parts[0] if nr_before else 0, gone)
                return None
            parts.append(thing)
        return parts

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
        """Give back what a cache was made of (slab_kmem_cache_release)."""
        slub = self._slub
        slub.release(s.number)
        if not s.own_objects:
            return
        node_cache, cache_cache = self._boot_caches
        name, cache, *nodes = s.own_objects
        seq = nodes.pop(0) if len(s.random_seq) else 0
        yield from self._told_kfree(this_cpu, seq, evolve(caller, site=CACHE_RANDOM_SEQ_DESTROY))
        by = evolve(caller, site=KMEM_CACHE_RELEASE)
        for node in nodes:
            yield from self._told_free(node_cache, this_cpu, node, by)
        by = evolve(caller, site=SLAB_KMEM_CACHE_RELEASE)
        yield from self._told_kfree(this_cpu, name, by)
        by = evolve(caller, site=KOBJECT_PUT)
        yield from self._told_free(cache_cache, this_cpu, cache, by)

    # What is done here is told of as everything that others do.

    def _told_kmalloc(
        self, this_cpu: ThisCpu, size: int, gfp: int, caller: SlabCaller
    ) -> SlabSteps[int]:
        thing = yield from self.kmalloc(this_cpu, size, gfp, caller=caller)
        yield self.told(thing, size, gfp, caller.site)
        return thing

    def _told_alloc(
        self, s: KmemCache, this_cpu: ThisCpu, gfp: int, node: int | None, caller: SlabCaller
    ) -> SlabSteps[int]:
        thing = yield from self._slub.alloc(s, this_cpu, gfp, node, caller=caller)
        yield TellAlloc(
            thing=thing,
            site=caller.site,
            bytes_req=s.object_size,
            bytes_alloc=s.size,
            gfp=gfp,
            node=node,
            is_kmalloc=False,
            is_accounted=bool(gfp & GFP_ACCOUNT or s.flags & SLAB_ACCOUNT),
        )
        return thing

    def _told_kfree(self, this_cpu: ThisCpu, thing: int, caller: SlabCaller) -> SlabSteps[None]:
        yield TellFree(thing=thing, site=caller.site, cache=None)
        yield from self.kfree(this_cpu, thing, caller=caller)

    def _told_free(
        self, s: KmemCache, this_cpu: ThisCpu, thing: int, caller: SlabCaller
    ) -> SlabSteps[None]:
        yield TellFree(thing=thing, site=caller.site, cache=s.name)
        yield from self._slub.kmem_cache_free(s, this_cpu, thing, caller=caller)

    def told(
        self, thing: int, size: int, gfp: int, site: str, node: int | None = None
    ) -> TellAlloc:
        """Return what is told of bytes that were handed out, 0: or were not."""
        if size <= KMALLOC_MAX_CACHE_SIZE:
            bytes_alloc = self.cache_for(size, gfp).size
        else:
            bytes_alloc = PAGE_SIZE << large_order(size)
        return TellAlloc(
            thing=thing,
            site=site,
            bytes_req=size,
            bytes_alloc=bytes_alloc,
            gfp=gfp,
            node=node,
            is_kmalloc=True,
            is_accounted=bool(gfp & GFP_ACCOUNT),
        )

    def cache_for(self, size: int, gfp: int) -> KmemCache:
        """Return the cache that serves 1 to KMALLOC_MAX_CACHE_SIZE bytes (kmalloc_slab)."""
        s = self._found.get(gfp << KMALLOC_SHIFT_HIGH + 1 | size)
        if s is None:
            s = self._caches[kmalloc_type(gfp), kmalloc_index(size)]
            self._found[gfp << KMALLOC_SHIFT_HIGH + 1 | size] = s
        return s

    def kmalloc(
        self,
        this_cpu: ThisCpu,
        size: int,
        gfp: int,
        node: int | None = None,
        *,
        caller: SlabCaller = NOBODY,
    ) -> SlabSteps[int]:
        """Return the address of `size` bytes, 0: no memory; of nothing, ZERO_SIZE_PTR.

        They are of `node` if it has any (kmalloc_node); None: the CPU's.
        """
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
        by = evolve(caller, site=KREALLOC)
        if size == 0:
            yield from self._told_kfree(this_cpu, thing, by)
            return ZERO_SIZE_PTR
        old_size = self.ksize(thing)
        slabs = self._slub.slabs
        if old_size >= size:
            if slabs.config.init_on_alloc or gfp & GFP_ZERO:
                slabs.zero(thing + size, old_size - size)
                if slabs.checks is not None:
                    slabs.checks.object_written(thing + size, old_size - size)
            return thing
        found = yield from self._told_kmalloc(this_cpu, size, gfp, caller)
        if found:
            slabs.bytes_view[found : found + old_size] = slabs.bytes_view[thing : thing + old_size]
            if slabs.checks is not None:
                slabs.checks.object_written(found, old_size)
            yield from self._told_kfree(this_cpu, thing, by)
        return found
