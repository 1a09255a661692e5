"""The SLAB allocator of a machine: caches made, merged, used, shrunk, reaped and destroyed (v6.1).

`alloc_local` and `free_local` are the paths that ask for nothing; `alloc` and `free` are the
generators that do everything. Left out: CPU and memory hotplug, memory cgroups, bulk calls, tuning
by /proc/slabinfo, the per-CPU memory of a cache.

Invariant: an object is in use, in exactly one array, or free in its slab.
"""

from collections.abc import Iterable
from enum import IntEnum
from errno import E2BIG
from typing import ClassVar, Final

from attrs import evolve

from mmactors.label import Mode, Touch
from mmactors.mm.page_alloc.gfp import GFP_ZERO
from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.mm.slab.caller import NOBODY, SlabCaller
from mmactors.mm.slab.flags import (
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_FLAGS_PERMITTED,
    SLAB_HWCACHE_ALIGN,
    SLAB_MEM_SPREAD,
    SLAB_NOLEAKTRACE,
    SLAB_PANIC,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.request import GetCpu, ListLock, ListUnlock, PutCpu, SlabSteps
from mmactors.mm.slab.slab.alloc import slab_alloc_node
from mmactors.mm.slab.slab.cache import CACHES_MAX, KmemCache, Slabs
from mmactors.mm.slab.slab.free import cache_free
from mmactors.mm.slab.slab.layout import KMALLOC_SHIFT_LOW, layout_of
from mmactors.mm.slab.slab.local import alloc_local, free_local
from mmactors.mm.slab.slab.own_memory import (
    CACHE_GROW_BEGIN,
    KMEM_CACHE_NODE_SIZE,
    SLABS_DESTROY,
    close_cache,
    next_reap,
    open_cache,
)
from mmactors.mm.slab.slab.reap import reap_cache
from mmactors.mm.slab.slab.shrink import do_drain, shrink
from mmactors.mm.slab.slab.slab_page import kmem_freepages
from mmactors.mm.slab.slab.struct_slab import NEXT_REAP
from mmactors.mm.slab.slab_common import (
    ARCH_KMALLOC_MINALIGN,
    WORD,
    CacheRequest,
    Prandom,
    kmalloc_index,
    random_sequence,
)
from mmactors.mm.slab.slab_memory import ThisCpu

_KMEM_CACHE_SIZE: Final = 120
"""offsetof(struct kmem_cache, node), without random_seq."""


class BootStage(IntEnum):
    """Which CPUs a cache counts that is made now: those that have joined the mask of their node.

    Caches that are there when a CPU comes up count those of its node that came before it.
    """

    NONE = 0
    """Before start_kernel has made its own CPU known."""
    FIRST_CPU = 1
    ALL = 2


_NO_CPU_YET: Final = 1
"""Batches that count for a node whose CPUs have not come up (one more than there are)."""
_STAGE_BEGINS: Final = {
    "pid": BootStage.FIRST_CPU,
    "ext4_inode_cache": BootStage.ALL,
}
"""By name of a cache: the first one that is made in a stage; modules come last."""


class Slab(ObjectAllocator[KmemCache]):
    """All caches of a machine."""

    kind: ClassVar[str] = "slab"
    create_mask: ClassVar[int] = (
        SLAB_HWCACHE_ALIGN
        | SLAB_CACHE_DMA
        | SLAB_CACHE_DMA32
        | SLAB_PANIC
        | SLAB_TYPESAFE_BY_RCU
        | SLAB_MEM_SPREAD
        | SLAB_NOLEAKTRACE
        | SLAB_RECLAIM_ACCOUNT
        | SLAB_ACCOUNT
    )
    caches_max: ClassVar[int] = CACHES_MAX
    kmalloc_shift_low: ClassVar[int] = KMALLOC_SHIFT_LOW
    kmalloc_flags: ClassVar[int] = SLAB_HWCACHE_ALIGN
    kmalloc_first: ClassVar[int | None] = kmalloc_index(KMEM_CACHE_NODE_SIZE, KMALLOC_SHIFT_LOW)

    def __init__(self, slabs: Slabs, *, random: Prandom) -> None:
        super().__init__(slabs)
        self.slabs: Final = slabs
        slabs.indexes = self
        self.stage = BootStage.NONE
        self._random: Final = random
        self._local: Final = slabs.words, slabs.memory.words
        """What compiled functions work on."""
        self._reap_node: Final = [self._next_node(node) for node in slabs.cpu_to_mem]
        """By CPU: whose objects it sends home next (slab_reap_node)."""

    @property
    def merges(self) -> bool:
        """Whether caches that fit share slabs (SLAB_MERGE_DEFAULT, slab_nomerge)."""
        return self.slabs.config.merge

    def merge(self, s: KmemCache, request: CacheRequest) -> None:
        """Let a cache serve an alias, too."""
        super().merge(s, request)
        s.set_cleared()

    def boot_requests(self) -> list[CacheRequest]:
        """Return the first caches of a kernel: only that of struct kmem_cache."""
        slabs = self.slabs
        size = _KMEM_CACHE_SIZE + WORD * (slabs.config.random + slabs.nr_nodes)
        align = max(ARCH_KMALLOC_MINALIGN, size if size & (size - 1) == 0 else 0)
        return [
            CacheRequest(name="kmem_cache", object_size=size, align=align, flags=SLAB_HWCACHE_ALIGN)
        ]

    def fits(self, request: CacheRequest) -> bool:
        """Return whether a slab could hold an object."""
        return layout_of(request, self.slabs.config) is not None

    def why_not(self, request: CacheRequest) -> int:
        """Return the error for which `create` refuses: -EINVAL, -E2BIG or -ENOMEM."""
        is_legal = not request.flags & ~SLAB_FLAGS_PERMITTED
        return -E2BIG if is_legal and not self.fits(request) else super().why_not(request)

    def make(self, request: CacheRequest, *, refcount: int = 1) -> KmemCache | None:
        """Make a cache of its own; None: no slab holds an object."""
        slabs = self.slabs
        layout = layout_of(request, slabs.config)
        if layout is None:
            return None
        number = self._take_number()
        slabs.clear_row(number)
        is_random = slabs.config.random and layout.num > 1
        s = KmemCache(
            number=number,
            name=request.name,
            layout=layout,
            object_size=layout.object_size,
            refcount=refcount,
            useroffset=request.useroffset,
            usersize=request.usersize,
            random_seq=random_sequence(self._random.u64(), layout.num) if is_random else (),
            slabs=slabs,
            base=number * slabs.row_words,
            list_locks=tuple(ListLock(cache=number, node=node) for node in slabs.nodes),
            list_unlocks=tuple(ListUnlock(cache=number, node=node) for node in slabs.nodes),
        )
        s.set_words()
        self.stage = max(self.stage, _STAGE_BEGINS.get(request.name, self.stage))
        for node in slabs.nodes:
            s.set_free_limit(node, self._nr_cpus_counted(node))
            slabs.view[s.node(node) + NEXT_REAP] = next_reap(s, 0)
        self._add(s)
        return s

    def _nr_cpus_counted(self, node: int) -> int:
        """Return one more than the CPUs of a node that a cache counts that is made now."""
        slabs = self.slabs
        nr_cpus = slabs.nr_cpus_of(node)
        has_first = slabs.node_of_cpu[0] == node
        if self.stage is BootStage.ALL:
            return 1 + nr_cpus
        # CPUs that come up later than the first one count those that came before them.
        if nr_cpus > has_first:
            return nr_cpus
        return _NO_CPU_YET + (has_first and self.stage is BootStage.FIRST_CPU)

    def alloc_local(self, s: KmemCache, cpu: int, gfp: int = 0) -> int:
        """Return the last object of a CPU's array, 0: it has none."""
        # Uncompiled, it is numpy's.
        thing = int(alloc_local(*self._local, s.base, s.cpu_cache(cpu)))
        if thing and gfp & GFP_ZERO:
            self.slabs.zero(thing, s.object_size)
        if thing and self.slabs.checks is not None:
            self.slabs.checks.object_allocated(s, thing)
        return thing

    def free_local(self, s: KmemCache, cpu: int, slab: int, thing: int) -> bool:
        """Put an object into a CPU's array, unless that is full or the object another node's."""
        slabs = self.slabs
        if slabs.nr_nodes > 1 and slabs.node_of(slab) != slabs.cpu_to_mem[cpu]:
            return False
        is_done = free_local(slabs.words, s.base, s.cpu_cache(cpu), thing)
        if is_done and slabs.checks is not None:
            slabs.checks.object_freed(s, thing)
        return is_done

    def touched(self, s: KmemCache, cpu: int, freed_to: int = 0) -> Iterable[Touch]:  # noqa: ARG002
        """Yield what `alloc_local` and `free_local` touch: the array of a CPU."""
        yield s.touches_cpu(cpu, Mode.WRITE)

    def touched_by_reader(self) -> Iterable[Touch]:
        """Yield all caches' parts."""
        for s in self.caches:
            yield from (s.touches_cpu(cpu, Mode.READ) for cpu in range(self.slabs.nr_cpus))
            yield from (s.touches_node(node, Mode.READ) for node in self.slabs.nodes)

    def alloc(
        self,
        s: KmemCache,
        this_cpu: ThisCpu,
        gfp: int,
        node: int | None = None,
        *,
        caller: SlabCaller = NOBODY,
        orig_size: int | None = None,  # noqa: ARG002 - SLUB's
    ) -> SlabSteps[int]:
        """Return an object's address, 0: no memory (kmem_cache_alloc_node)."""
        return slab_alloc_node(s, this_cpu, gfp, node, caller)

    def free(
        self,
        s: KmemCache,
        this_cpu: ThisCpu,
        slab: int,
        thing: int,
        *,
        caller: SlabCaller = NOBODY,
    ) -> SlabSteps[None]:
        """Free an object of a slab of the cache."""
        return cache_free(s, this_cpu, slab, thing, caller)

    def ksize(self, s: KmemCache) -> int:
        """Return how many bytes of an object its user may use (slab_ksize)."""
        return s.object_size

    def shrink(self, s: KmemCache, cpu: int) -> SlabSteps[bool]:
        """Release all slabs that no object keeps; return whether slabs are left."""
        if self.slabs.wants_step():
            yield GetCpu()  # Its arrays of indexes go to the array of one CPU.
        is_left = yield from shrink(s, lambda: cpu)
        if self.slabs.wants_step():
            yield PutCpu()
        return is_left

    def shutdown_slabs(self, s: KmemCache, cpu: int, caller: SlabCaller) -> SlabSteps[bool]:  # noqa: ARG002
        """Release all slabs; return whether none is left (__kmem_cache_shutdown)."""
        return not (yield from self.shrink(s, cpu))

    def open_cache(
        self, s: KmemCache, this_cpu: ThisCpu, caller: SlabCaller
    ) -> SlabSteps[tuple[int, list[int]]]:
        """Allocate a cache's order of objects, and its nodes with their arrays."""
        return open_cache(s, self.common, this_cpu, caller)

    def close_cache(
        self, s: KmemCache, parts: list[int], this_cpu: ThisCpu, caller: SlabCaller
    ) -> SlabSteps[None]:
        """Give back what `open_cache` has returned (__kmem_cache_release)."""
        return close_cache(s, parts, self.common, this_cpu, caller)

    def flush_cpu(self, number: int, cpu: int) -> SlabSteps[None]:
        """Give back the objects of a CPU's array: what FlushCpus asks for."""
        return do_drain(self.cache(number), cpu)

    def rcu_free(self, number: int, cpu: int, freed: int) -> SlabSteps[None]:
        """Give back a slab's pages after a grace period: what CallRcu names (kmem_rcu_free)."""
        return kmem_freepages(self.cache(number), cpu, freed)

    def alloc_indexes(self, this_cpu: ThisCpu, size: int, gfp: int, node: int) -> SlabSteps[int]:
        """Return the address of an array of indexes, 0: no memory (kmalloc_node)."""
        caller = evolve(NOBODY, site=CACHE_GROW_BEGIN)
        thing = yield from self.common.told_kmalloc(this_cpu, size, gfp, caller, node)
        if thing and self.slabs.checks is not None:
            self.slabs.checks.object_is_allocators(thing)
        return thing

    def free_indexes(self, this_cpu: ThisCpu, thing: int) -> SlabSteps[None]:
        """Free an array of indexes (kfree)."""
        caller = evolve(NOBODY, site=SLABS_DESTROY)
        return self.common.told_kfree(this_cpu, thing, caller)

    def cache_reap(self, this_cpu: ThisCpu, *, jiffies: int) -> SlabSteps[None]:
        """Do a CPU's pass of the reaper; slab_mutex is held."""
        cpu = this_cpu()
        for s in reversed(self.caches):
            if s.is_listed:
                yield from reap_cache(s, this_cpu, reap_node=self._reap_node[cpu], jiffies=jiffies)
        self._reap_node[cpu] = self._next_node(self._reap_node[cpu])

    def _next_node(self, node: int) -> int:
        """Return the node after another one, the first after the last (next_node_in)."""
        return (node + 1) % self.slabs.nr_nodes
