"""How caches are made and let go of, and krealloc, whatever the allocator (mm/slab_common.c, v6.1).

Left out: what the first caches of a boot are made of; the per-CPU memory and the sysfs files of a
cache.
"""

from abc import ABC, abstractmethod
from errno import ENOMEM
from typing import Final, Generic

from attrs import evolve

from mmactors.mm.page_alloc.gfp import GFP_ACCOUNT, GFP_KERNEL, GFP_ZERO
from mmactors.mm.slab.access import access_bytes
from mmactors.mm.slab.alloc_site import (
    KMEM_CACHE_CREATE,
    KOBJECT_PUT,
    KREALLOC,
    SLAB_KMEM_CACHE_RELEASE,
)
from mmactors.mm.slab.allocator import C, ObjectAllocator
from mmactors.mm.slab.caller import NOBODY, SlabCaller
from mmactors.mm.slab.flags import SLAB_ACCOUNT, SLAB_FLAGS_PERMITTED, SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.oops import oops, wild_pointer
from mmactors.mm.slab.request import Printk, RcuBarrier, SlabSteps, TellAlloc, TellFree
from mmactors.mm.slab.slab_common import ZERO_SIZE_PTR, CacheRequest
from mmactors.mm.slab.slab_memory import ThisCpu
from mmactors.mm.slab.warning import create_failed


class SlabCommon(ABC, Generic[C]):
    """Makes caches of an allocator, and is its kmalloc."""

    def __init__(self, allocator: ObjectAllocator[C]) -> None:
        self.allocator: Final = allocator
        allocator.common = self
        self.boot_caches: Final[list[C]] = []
        """The first ones, that of struct kmem_cache last."""

    def create_caches(self) -> None:
        """Make the first caches of a kernel: those that caches come from."""
        for request in self.allocator.boot_requests():
            self.boot_caches.append(self._create_boot_cache(request, refcount=-1))
        self.boot_caches[-1].is_bootstrap = True

    def _create_boot_cache(self, request: CacheRequest, *, refcount: int) -> C:
        s = self.allocator.make(request, refcount=refcount)
        assert s is not None, f"no slab holds an object of {request.name}"
        return s

    def kmem_cache_create(
        self, this_cpu: ThisCpu, request: CacheRequest, *, caller: SlabCaller = NOBODY
    ) -> SlabSteps[C | None]:
        """Make a cache out of memory of its own, or an alias; None: refused, or no memory.

        It takes its name, struct kmem_cache and what the allocator keeps for it.
        """
        allocator = self.allocator
        s = allocator.create(request)
        if s is not None and (s.name != request.name or s.refcount > 1):
            return s
        error = 0 if s is not None else allocator.why_not(request)
        if error != -ENOMEM and not request.flags & ~SLAB_FLAGS_PERMITTED:
            error = yield from self._make_cache(this_cpu, request, s, caller)
        if not error:
            return s
        if s is not None:
            allocator.release(s.number)
        yield Printk(lines=create_failed(request.name, error))
        return None

    def _make_cache(
        self,
        this_cpu: ThisCpu,
        request: CacheRequest,
        s: C | None,
        caller: SlabCaller,
    ) -> SlabSteps[int]:
        """Allocate what a cache is made of (create_cache); return 0, or an error: nothing is left.

        That no slab can hold its objects, `s` is None, is found when half of it is there.
        """
        cache_cache = self.boot_caches[-1]
        by = evolve(caller, site=KMEM_CACHE_CREATE)
        name = yield from self.told_kmalloc(this_cpu, len(request.name) + 1, GFP_KERNEL, by)
        if not name:
            return -ENOMEM
        gfp = GFP_KERNEL | GFP_ZERO
        cache = yield from self.told_alloc(cache_cache, this_cpu, gfp, None, by)
        if not cache:
            yield from self.told_kfree(this_cpu, name, by)
            return -ENOMEM
        error, parts = self.allocator.why_not(request), list[int]()
        if s is None:
            yield from self.allocator.refuse_cache(this_cpu, caller)
        else:
            error, parts = yield from self.allocator.open_cache(s, this_cpu, caller)
        if s is None or error:
            yield from self.told_free(cache_cache, this_cpu, cache, by)
            if not self.allocator.memory.rules.create_cache_frees_once:
                yield from self.told_free(cache_cache, this_cpu, cache, by)
            yield from self.told_kfree(this_cpu, name, by)
            return error
        s.own_objects += [name, cache, *parts]
        return 0

    def kmem_cache_destroy(
        self, this_cpu: ThisCpu, s: C, *, caller: SlabCaller = NOBODY
    ) -> SlabSteps[bool]:
        """Let go of a cache; return whether it, or this use of it, is gone."""
        allocator = self.allocator
        is_gone = yield from allocator.shutdown(s, this_cpu(), caller=caller)
        if is_gone and not s.refcount:
            if s.flags & SLAB_TYPESAFE_BY_RCU:
                yield RcuBarrier(cache=s.number)
            else:
                yield from self._give_back(this_cpu, s, caller)
        return is_gone

    def release(self, this_cpu: ThisCpu, number: int) -> SlabSteps[None]:
        """Give back what a cache was made of: what RcuBarrier asks for."""
        yield from self._give_back(this_cpu, self.allocator.cache(number), NOBODY)

    def _give_back(self, this_cpu: ThisCpu, s: C, caller: SlabCaller) -> SlabSteps[None]:
        """Give back what a cache was made of (slab_kmem_cache_release)."""
        allocator = self.allocator
        allocator.release(s.number)
        if not s.own_objects:
            return
        name, cache, *parts = s.own_objects
        yield from allocator.close_cache(s, parts, this_cpu, caller)
        by = evolve(caller, site=SLAB_KMEM_CACHE_RELEASE)
        yield from self.told_kfree(this_cpu, name, by)
        by = evolve(caller, site=KOBJECT_PUT)
        yield from self.told_free(self.boot_caches[-1], this_cpu, cache, by)

    # What is done here is told of as everything that others do.

    def told_kmalloc(
        self,
        this_cpu: ThisCpu,
        size: int,
        gfp: int,
        caller: SlabCaller,
        node: int | None = None,
    ) -> SlabSteps[int]:
        thing = yield from self.kmalloc(this_cpu, size, gfp, node, caller=caller)
        yield self.told(thing, size, gfp, caller.site, node)
        return thing

    def told_alloc(
        self, s: C, this_cpu: ThisCpu, gfp: int, node: int | None, caller: SlabCaller
    ) -> SlabSteps[int]:
        thing = yield from self.allocator.alloc(s, this_cpu, gfp, node, caller=caller)
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

    def told_kfree(self, this_cpu: ThisCpu, thing: int, caller: SlabCaller) -> SlabSteps[None]:
        yield TellFree(thing=thing, site=caller.site, cache=None)
        yield from self.kfree(this_cpu, thing, caller=caller)

    def told_free(self, s: C, this_cpu: ThisCpu, thing: int, caller: SlabCaller) -> SlabSteps[None]:
        yield TellFree(thing=thing, site=caller.site, cache=s.name)
        yield from self.allocator.kmem_cache_free(s, this_cpu, thing, caller=caller)

    def told(
        self, thing: int, size: int, gfp: int, site: str, node: int | None = None
    ) -> TellAlloc:
        """Return what is told of bytes that were handed out, 0: or were not."""
        return TellAlloc(
            thing=thing,
            site=site,
            bytes_req=size,
            bytes_alloc=self.bytes_alloc(size, gfp),
            gfp=gfp,
            node=node,
            is_kmalloc=True,
            is_accounted=bool(gfp & GFP_ACCOUNT),
        )

    @abstractmethod
    def cache_for(self, size: int, gfp: int) -> C | None:
        """Return the cache that serves 1 byte or more; None: no cache does."""

    @abstractmethod
    def bytes_alloc(self, size: int, gfp: int) -> int:
        """Return how many bytes a request of so many takes."""

    @abstractmethod
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

    @abstractmethod
    def kfree(
        self, this_cpu: ThisCpu, thing: int, *, caller: SlabCaller = NOBODY
    ) -> SlabSteps[None]:
        """Free what kmalloc, or a cache, has returned; 0 and ZERO_SIZE_PTR are nothing."""

    @abstractmethod
    def ksize(self, thing: int) -> int:
        """Return how many bytes an address has to itself, 0: none."""

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
            yield from self.told_kfree(this_cpu, thing, by)
            return ZERO_SIZE_PTR
        memory = self.allocator.memory
        if not 0 <= thing < memory.nr_bytes:
            oops(memory, *wild_pointer(thing))  # __ksize looks at its page first.
        old_size = self.ksize(thing)
        if old_size >= size:
            if memory.init_on_alloc or gfp & GFP_ZERO:
                # Any length, where SLOB reads that of what is no object any more.
                beyond = old_size - size
                if beyond:
                    yield from access_bytes(memory, thing, size, beyond, value=0, seen=lambda: None)
            return thing
        found = yield from self.told_kmalloc(this_cpu, size, gfp, caller)
        if found:
            seen = memory.bytes_view
            seen[found : found + old_size] = seen[thing : thing + old_size]
            if memory.checks is not None:
                memory.checks.object_written(found, old_size)
            yield from self.told_kfree(this_cpu, thing, by)
        return found
