"""The SLUB allocator of a machine: caches made, merged, used, shrunk and destroyed (v6.1).

`alloc_local` and `free_local` are the paths that ask for nothing; `alloc` and `free` are the
generators that do everything. Left out: CPU hotplug, memory cgroups, bulk calls.

Invariant: an object is in use or on exactly one freelist.
"""

from collections.abc import Iterable, Sequence
from errno import EINVAL
from typing import Final

from attrs import evolve

from mmactors.label import Mode, Touch
from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.slab.alloc_site import (
    CACHE_RANDOM_SEQ_CREATE,
    CACHE_RANDOM_SEQ_DESTROY,
    INIT_KMEM_CACHE_NODES,
    KMEM_CACHE_RELEASE,
)
from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.mm.slab.caller import NOBODY, SlabCaller
from mmactors.mm.slab.flags import (
    CACHE_CREATE_MASK,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.request import ListLock, ListUnlock, Printk, SlabSteps
from mmactors.mm.slab.slab_common import (
    KMALLOC_SHIFT_LOW,
    WORD,
    CacheRequest,
    Prandom,
    align_up,
    boot_requests,
)
from mmactors.mm.slab.slab_memory import ThisCpu, touches_slab
from mmactors.mm.slab.slub.alloc import slab_alloc_node
from mmactors.mm.slab.slub.cache import KmemCache, Slabs
from mmactors.mm.slab.slub.free import do_slab_free
from mmactors.mm.slab.slub.layout import SlabLayout, layout_of
from mmactors.mm.slab.slub.local import alloc_local, free_local
from mmactors.mm.slab.slub.shrink import flush_cpu_slab, shrink, shutdown
from mmactors.mm.slab.slub.slab_page import give_back_slab
from mmactors.mm.slab.slub.slabinfo import partial_slabs
from mmactors.mm.slab.slub.struct_slab import FREELIST, NR_SLABS, PARTIAL, SLAB

_SIGN: Final = 1 << 63


class Slub(ObjectAllocator[KmemCache]):
    """All caches of a machine."""

    kind = "slub"
    create_mask = CACHE_CREATE_MASK
    kmalloc_shift_low = KMALLOC_SHIFT_LOW

    def __init__(self, slabs: Slabs, *, random: Prandom) -> None:
        super().__init__(slabs)
        self.slabs: Final = slabs
        self._random: Final = random
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
    def merges(self) -> bool:
        """Whether caches that fit share slabs."""
        return self.slabs.config.merge

    def kmem_cache_flags(self, flags: int, name: str) -> int:
        """Return the flags of a cache with what the kernel was told to debug."""
        return self.slabs.config.debug.kmem_cache_flags(flags, name)

    def merge(self, s: KmemCache, request: CacheRequest) -> None:
        """Let a cache serve an alias, too."""
        super().merge(s, request)
        s.inuse = max(s.inuse, align_up(request.object_size, WORD))
        s.set_cleared()

    def boot_requests(self) -> list[CacheRequest]:
        """Return the first caches of a kernel: of struct kmem_cache_node and kmem_cache."""
        return boot_requests(self.slabs.nr_nodes)

    def fits(self, request: CacheRequest) -> bool:
        """Return whether a slab could hold an object."""
        return self.layout_of(request) is not None

    def make(self, request: CacheRequest, *, refcount: int = 1) -> KmemCache | None:
        """Make a cache of its own; None: no slab holds an object."""
        layout = self.layout_of(request)
        return None if layout is None else self.add(request, layout, refcount=refcount)

    def layout_of(self, request: CacheRequest) -> SlabLayout | None:
        """Return the layout of a cache of its own; None: no slab holds an object."""
        return layout_of(request, self.slabs.config)

    def add(
        self,
        request: CacheRequest,
        layout: SlabLayout,
        *,
        refcount: int = 1,
    ) -> KmemCache:
        """Make a cache of a known layout."""
        slabs = self.slabs
        number = self._take_number()
        slabs.clear_row(number)
        slabs.make_heads(number)
        is_random = slabs.config.random and layout.objects > 1
        nodes = range(slabs.nr_nodes)
        s = KmemCache(
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
        self._add(s)
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

    def is_checked(self, s: KmemCache) -> bool:
        """Return whether the cache looks at what is freed, hardened or not."""
        return bool(s.flags & SLAB_CONSISTENCY_CHECKS)

    def tracking(self, s: KmemCache, thing: int, jiffies: int) -> Sequence[str]:
        """Return the lines that say who had an object, as far as that is kept."""
        from mmactors.mm.slab.slub.debug.track import tracking  # noqa: PLC0415 - of few runs

        return tracking(s, thing, jiffies)

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

    def shutdown_slabs(self, s: KmemCache, cpu: int, caller: SlabCaller) -> SlabSteps[bool]:
        """Give all slabs back; return whether none is left (__kmem_cache_shutdown)."""
        remaining = yield from shutdown(s, cpu)
        if remaining:
            from mmactors.mm.slab.slub.debug.report import objects_remaining  # noqa: PLC0415

            for slab in remaining:
                yield Printk(lines=objects_remaining(s, slab, caller))
        return not any(s.slabs.view[s.node(node) + NR_SLABS] for node in range(s.slabs.nr_nodes))

    def open_cache(
        self, s: KmemCache, this_cpu: ThisCpu, caller: SlabCaller
    ) -> SlabSteps[tuple[int, list[int]]]:
        """Allocate the order of a cache's objects, and its nodes; an error: nothing is left.

        It is -EINVAL, though there is no memory (kmem_cache_open).
        """
        common = self.common
        node_cache = common.boot_caches[0]
        gone = evolve(caller, site=CACHE_RANDOM_SEQ_DESTROY)
        parts: list[int] = []
        if s.random_seed is not None:
            size, by = 4 * s.layout.objects, evolve(caller, site=CACHE_RANDOM_SEQ_CREATE)
            seq = yield from common.told_kmalloc(this_cpu, size, GFP_KERNEL | GFP_ZERO, by)
            if not seq:
                yield Printk(lines=(f"SLUB: Unable to initialize free list for {s.name}",))
                yield from common.told_kfree(this_cpu, 0, gone)
                return -EINVAL, []
            parts.append(seq)
        by = evolve(caller, site=INIT_KMEM_CACHE_NODES)
        nr_before = len(parts)
        for node in self.slabs.slab_nodes:
            thing = yield from common.told_alloc(node_cache, this_cpu, GFP_KERNEL, node, by)
            if not thing:
                for each in parts[nr_before:]:
                    yield from common.told_free(node_cache, this_cpu, each, by)
                yield from common.told_kfree(this_cpu, parts[0] if nr_before else 0, gone)
                return -EINVAL, []
            parts.append(thing)
        return 0, parts

    def refuse_cache(self, this_cpu: ThisCpu, caller: SlabCaller) -> SlabSteps[None]:
        """Let go of an order of objects that there is not."""
        gone = evolve(caller, site=CACHE_RANDOM_SEQ_DESTROY)
        yield from self.common.told_kfree(this_cpu, 0, gone)

    def close_cache(
        self, s: KmemCache, parts: list[int], this_cpu: ThisCpu, caller: SlabCaller
    ) -> SlabSteps[None]:
        """Give back what `open_cache` has returned (__kmem_cache_release)."""
        common = self.common
        seq, *nodes = parts if len(s.random_seq) else (0, *parts)
        gone = evolve(caller, site=CACHE_RANDOM_SEQ_DESTROY)
        yield from common.told_kfree(this_cpu, seq, gone)
        by = evolve(caller, site=KMEM_CACHE_RELEASE)
        for node in nodes:
            yield from common.told_free(common.boot_caches[0], this_cpu, node, by)

    def flush_cpu(self, number: int, cpu: int) -> SlabSteps[None]:
        """Give back what a CPU has of a cache: what FlushCpus asks for."""
        return flush_cpu_slab(self.cache(number), cpu)

    def rcu_free(self, number: int, cpu: int, freed: int) -> SlabSteps[None]:
        """Give back a slab after a grace period: what CallRcu asks for."""
        return give_back_slab(self.cache(number), cpu, freed)

    def touched(self, s: KmemCache, cpu: int, freed_to: int = 0) -> Iterable[Touch]:
        """Yield a CPU's freelist, and slabs with their own."""
        view, c = self.slabs.view, s.cpu_slab(cpu)
        yield s.touches_cpu(cpu, Mode.WRITE)
        if freed_to:
            slabs: tuple[int, ...] = () if freed_to == view[c + SLAB] else (freed_to,)
        else:
            slabs = () if view[c + FREELIST] else (view[c + SLAB], view[c + PARTIAL])
        for pfn in filter(None, slabs):
            yield touches_slab(pfn, Mode.WRITE)

    def touched_by_reader(self) -> Iterable[Touch]:
        """Yield all caches' parts, and the slabs on their nodes' lists."""
        slabs = self.slabs
        for s in self.caches:
            yield from (s.touches_cpu(cpu, Mode.READ) for cpu in range(slabs.nr_cpus))
            for node in range(slabs.nr_nodes):
                yield s.touches_node(node, Mode.READ)
                yield from (touches_slab(pfn, Mode.READ) for pfn in partial_slabs(s, node))
