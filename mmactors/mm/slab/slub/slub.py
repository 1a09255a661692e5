"""The SLUB allocator of a machine: caches made, merged, used, shrunk and destroyed (v6.1).

`alloc_local` and `free_local` are the paths that ask for nothing; `alloc` and `free` are the
generators that do everything. Left out: CPU hotplug, memory cgroups, bulk calls.

Invariant: an object is in use or on exactly one freelist.
"""

from errno import EINVAL, ENOMEM
from typing import Final

from attrs import evolve

from mmactors.mm.page_alloc.gfp import GFP_ZERO
from mmactors.mm.slab.flags import (
    CACHE_CREATE_MASK,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_FLAGS_PERMITTED,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.request import ListLock, ListUnlock, Printk, RcuBarrier, SlabSteps
from mmactors.mm.slab.slab_common import (
    WORD,
    ZERO_SIZE_PTR,
    CacheRequest,
    Prandom,
    align_up,
    find_mergeable,
)
from mmactors.mm.slab.slub.alloc import slab_alloc_node
from mmactors.mm.slab.slub.cache import CACHES_MAX, KmemCache, Slabs, ThisCpu
from mmactors.mm.slab.slub.debug.oops import oops, wild_pointer
from mmactors.mm.slab.slub.debug.report import (
    objects_remaining,
    still_has_objects,
    warning,
    warning_once,
)
from mmactors.mm.slab.slub.debug.track import NOBODY, SlabCaller, tracking
from mmactors.mm.slab.slub.free import do_slab_free
from mmactors.mm.slab.slub.layout import SlabLayout, layout_of
from mmactors.mm.slab.slub.local import alloc_local, free_local
from mmactors.mm.slab.slub.shrink import flush_cpu_slab, shrink, shutdown
from mmactors.mm.slab.slub.slab_page import give_back_slab
from mmactors.mm.slab.slub.struct_slab import NR_SLABS

_SIGN: Final = 1 << 63


class Slub:
    """All caches of a machine."""

    def __init__(self, slabs: Slabs, *, random: Prandom) -> None:
        self.slabs: Final = slabs
        self._random: Final = random
        self._caches: Final[dict[int, KmemCache]] = {}
        """By number, oldest first."""
        self.names: Final[dict[str, KmemCache]] = {}
        """What caches and aliases are called: a name is that of who took it last (sysfs)."""
        self._free_numbers: Final = list(reversed(range(CACHES_MAX)))
        pages = slabs.pages
        self._local: Final = (
            slabs.words,
            slabs.memory.words,
            pages.index,
            pages.private,
            pages.next,
        )
        """What compiled functions work on."""

    @property
    def caches(self) -> tuple[KmemCache, ...]:
        """All caches, oldest first."""
        return tuple(self._caches.values())

    def cache(self, number: int) -> KmemCache:
        """Return the cache of a number."""
        s = self._caches.get(number)
        if s is None:
            oops(self.slabs, *wild_pointer(0))  # Who still has it follows what was freed.
        return s

    def cache_of(self, slab: int) -> KmemCache:
        """Return the cache of a slab."""
        return self.cache(self.slabs.pages.mapping_view[slab] - 1)

    def slab_of(self, thing: int) -> tuple[int, KmemCache | None]:
        """Return the slab that an address lies in, and its cache; None: it lies in none."""
        slabs = self.slabs
        head = slabs.head_of(thing) if thing > ZERO_SIZE_PTR else None
        if head is None or not slabs.is_slab(head):
            return 0, None
        return head, self.cache_of(head)

    def create(self, request: CacheRequest) -> KmemCache | None:
        """Make a cache, or an alias of one that fits; None: -EINVAL or -ENOMEM.

        As kmem_cache_create_usercopy does it.
        """
        if request.flags & ~SLAB_FLAGS_PERMITTED:
            return None
        request = evolve(request, flags=request.flags & CACHE_CREATE_MASK)
        if not request.usersize:
            alias = self._alias(request)
            if alias is not None:
                return alias
        layout = self.layout_of(request)
        if layout is None or not self._free_numbers:
            return None
        return self.add(request, layout)

    def why_not(self, request: CacheRequest) -> int:
        """Return the error for which `create` refuses: -EINVAL, or -ENOMEM."""
        is_legal = not request.flags & ~SLAB_FLAGS_PERMITTED and self.layout_of(request)
        return -ENOMEM if is_legal else -EINVAL

    def layout_of(self, request: CacheRequest) -> SlabLayout | None:
        """Return the layout of a cache of its own; None: no slab holds an object."""
        return layout_of(request, self.slabs.config)

    def _alias(self, request: CacheRequest) -> KmemCache | None:
        config = self.slabs.config
        if not config.merge:
            return None
        s = find_mergeable(request, self._caches.values(), config.debug.kmem_cache_flags)
        if s is not None:
            s.refcount += 1
            s.aliases.append(request.name)
            self.names[request.name] = s
            s.object_size = max(s.object_size, request.object_size)
            s.inuse = max(s.inuse, align_up(request.object_size, WORD))
            s.set_cleared()
        return s

    def add(
        self,
        request: CacheRequest,
        layout: SlabLayout,
        *,
        refcount: int = 1,
    ) -> KmemCache:
        """Make a cache of a known layout."""
        slabs = self.slabs
        number = self._free_numbers.pop()
        slabs.clear_row(number)
        slabs.make_heads(number)
        is_random = slabs.config.random and layout.objects > 1
        nodes = range(slabs.nr_nodes)
        s = self._caches[number] = KmemCache(
            number=number,
            name=request.name,
            layout=layout,
            object_size=layout.object_size,
            inuse=layout.inuse,
            refcount=refcount,
            useroffset=request.useroffset,
            usersize=request.usersize,
            random_seed=self._random.u64() if is_random else None,
            slabs=slabs,
            base=number * slabs.row_words,
            list_locks=tuple(ListLock(cache=number, node=node) for node in nodes),
            list_unlocks=tuple(ListUnlock(cache=number, node=node) for node in nodes),
        )
        s.set_words(random=(self._random.u64() ^ _SIGN) - _SIGN)
        self.names[s.name] = s
        return s

    def alloc_local(self, s: KmemCache, cpu: int, gfp: int = 0) -> int:
        """Return an object that a CPU has at hand, 0: it has none; of a debugged cache always 0."""
        # Uncompiled, it is numpy's.
        thing = int(alloc_local(*self._local, s.base, s.cpu_slab(cpu)))
        if thing and gfp & GFP_ZERO:
            self.slabs.zero(thing, s.object_size)
        if thing and self.slabs.checks is not None:
            self.slabs.checks.object_allocated(s, thing)
        return thing

    def free_local(self, s: KmemCache, cpu: int, slab: int, thing: int) -> bool:
        """Free an object, unless a node's list has to change, or the cache is debugged."""
        back = self.slabs.pages.prev
        is_done = free_local(*self._local, back, s.base, s.cpu_slab(cpu), slab, thing)
        if is_done and self.slabs.checks is not None:
            self.slabs.checks.object_freed(s, thing)
        return is_done

    def alloc(
        self,
        s: KmemCache,
        this_cpu: ThisCpu,
        gfp: int,
        node: int | None = None,
        *,
        caller: SlabCaller = NOBODY,
        orig_size: int | None = None,
    ) -> SlabSteps[int]:
        """Return an object's address, 0: no memory (kmem_cache_alloc_node).

        `orig_size` is what kmalloc was asked for.
        """
        size = s.object_size if orig_size is None else orig_size
        return slab_alloc_node(s, this_cpu, gfp, node, caller, size)

    def free(
        self,
        s: KmemCache,
        this_cpu: ThisCpu,
        slab: int,
        thing: int,
        *,
        caller: SlabCaller = NOBODY,
    ) -> SlabSteps[None]:
        """Free an object of a slab of the cache (slab_free)."""
        return do_slab_free(s, this_cpu, slab, thing, caller)

    def kmem_cache_free(
        self, s: KmemCache, this_cpu: ThisCpu, thing: int, *, caller: SlabCaller = NOBODY
    ) -> SlabSteps[None]:
        """Free an object of a cache; one of another goes back to that, with a warning."""
        slabs = self.slabs
        if not 0 <= thing < slabs.nr_bytes:
            oops(slabs, *wild_pointer(thing))
        slab = slabs.head_of(thing)
        checks = slabs.config.hardened or s.flags & SLAB_CONSISTENCY_CHECKS
        if slab is None or not slabs.is_slab(slab):
            if slabs.checks is not None:
                slabs.checks.object_freed(None, thing)
            text = "virt_to_cache: Object is not a Slab page!"
            place = "mm/slab.h:630 virt_to_cache"
            lines = warning_once(slabs, this_cpu(), caller, place, text)
            if lines:
                yield Printk(lines=lines)
            return
        own = self.cache_of(slab)
        if own is not s and slabs.checks is not None:
            slabs.checks.wrong_cache(s, own, thing)
        if checks and own is not s:
            text = f"cache_from_obj: Wrong slab cache. {s.name} but object is from {own.name}"
            place = "mm/slab.h:665 cache_from_obj"
            lines = warning(slabs, this_cpu(), caller, place, text)
            yield Printk(lines=(*lines, *tracking(own, thing, caller.jiffies)))
            s = own
        yield from self.free(s, this_cpu, slab, thing, caller=caller)

    def ksize(self, s: KmemCache) -> int:
        """Return how many bytes of an object its user may use (slab_ksize)."""
        if s.flags & (SLAB_RED_ZONE | SLAB_POISON):
            return s.object_size
        if s.flags & (SLAB_TYPESAFE_BY_RCU | SLAB_STORE_USER):
            return s.inuse
        return s.size

    def shrink(self, s: KmemCache, cpu: int) -> SlabSteps[bool]:
        """Give back what can be; return whether slabs are left (kmem_cache_shrink)."""
        return shrink(s, cpu)

    def shutdown(self, s: KmemCache, cpu: int, *, caller: SlabCaller = NOBODY) -> SlabSteps[bool]:
        """Give a cache's slabs back if nobody else uses it; return False if objects are left.

        Who asked for it lets `release` have the cache then, after a grace period if readers may
        be in its slabs.
        """
        s.refcount -= 1
        if s.refcount:
            return True
        for slab in (yield from shutdown(s, cpu)):
            yield Printk(lines=objects_remaining(s, slab, caller))
        if any(s.slabs.view[s.node(node) + NR_SLABS] for node in range(s.slabs.nr_nodes)):
            yield Printk(lines=still_has_objects(s, cpu, caller))
            return False
        s.is_listed = False
        return True

    def destroy(self, s: KmemCache, cpu: int, *, caller: SlabCaller = NOBODY) -> SlabSteps[bool]:
        """Let go of a cache that `create` made; return whether it, or this use of it, is gone."""
        is_gone = yield from self.shutdown(s, cpu, caller=caller)
        if is_gone and not s.refcount:
            if s.flags & SLAB_TYPESAFE_BY_RCU:
                yield RcuBarrier(cache=s.number)
            else:
                self.release(s.number)
        return is_gone

    def release(self, number: int) -> None:
        """Forget a cache that has no slabs; its number may be another one's."""
        s = self._caches.pop(number)
        for name in (s.name, *s.aliases):
            if self.names.get(name) is s:
                del self.names[name]
        self._free_numbers.append(number)

    def flush_cpu_slab(self, number: int, cpu: int) -> SlabSteps[None]:
        """Give back what a CPU has of a cache: what FlushCpus asks for."""
        return flush_cpu_slab(self.cache(number), cpu)

    def rcu_free_slab(self, number: int, cpu: int, pfn: int) -> SlabSteps[None]:
        """Give back a slab after a grace period: what CallRcu asks for."""
        return give_back_slab(self.cache(number), cpu, pfn)
