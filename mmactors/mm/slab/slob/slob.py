"""The SLOB allocator of a machine: caches of objects in pages that all of them share (v6.1).

A CPU has nothing at hand: every call goes to the heap, under one lock. An object may be freed to
any cache of its size and nobody notices; caches are not merged, and nobody can tell what is left
in one. Constructors change nothing that is simulated. Left out: bulk calls.
"""

# ruff: noqa: ARG002 - what the other allocators need to know, this one does not

from collections.abc import Iterable
from typing import ClassVar, Final

from mmactors.label import Touch
from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.mm.slab.caller import NOBODY, SlabCaller
from mmactors.mm.slab.flags import (
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_HWCACHE_ALIGN,
    SLAB_NOLEAKTRACE,
    SLAB_PANIC,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.oops import oops, wild_pointer
from mmactors.mm.slab.request import CallRcu, SlabSteps
from mmactors.mm.slab.slab_common import (
    ARCH_KMALLOC_MINALIGN,
    KMALLOC_SHIFT_LOW,
    ZERO_SIZE_PTR,
    CacheRequest,
    large_order,
)
from mmactors.mm.slab.slab_memory import SlabMemory, ThisCpu
from mmactors.mm.slab.slob.cache import (
    KMEM_CACHE_SIZE,
    SLOB_RCU_LENGTH,
    SLOB_RCU_SIZE,
    KmemCache,
    make_cache,
)
from mmactors.mm.slab.slob.heap import SlobHeap
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_INT: Final = 4
"""sizeof(int)."""


class Slob(ObjectAllocator[KmemCache]):
    """All caches of a machine."""

    kind: ClassVar[str] = "slob"
    create_mask: ClassVar[int] = (
        SLAB_HWCACHE_ALIGN
        | SLAB_CACHE_DMA
        | SLAB_CACHE_DMA32
        | SLAB_PANIC
        | SLAB_TYPESAFE_BY_RCU
        | SLAB_NOLEAKTRACE
    )
    kmalloc_shift_low: ClassVar[int] = KMALLOC_SHIFT_LOW

    def __init__(self, memory: SlabMemory) -> None:
        super().__init__(memory)
        self.heap: Final = SlobHeap(memory)
        self.in_grace: Final[dict[int, int]] = {}
        """By address: bytes of the blocks that go back when their readers have left."""

    def boot_requests(self) -> list[CacheRequest]:
        """Return the cache of caches, the only one that is there before all others."""
        return [
            CacheRequest(
                name="kmem_cache",
                object_size=KMEM_CACHE_SIZE,
                align=ARCH_KMALLOC_MINALIGN,
                flags=SLAB_PANIC,
            )
        ]

    @property
    def merges(self) -> bool:
        """Whether caches that fit share slabs: there are no slabs (__kmem_cache_alias)."""
        return False

    def fits(self, request: CacheRequest) -> bool:
        """Return that an object of any size may be had."""
        return True

    def make(self, request: CacheRequest, *, refcount: int = 1) -> KmemCache:
        """Make a cache."""
        s = make_cache(request, number=self._take_number(), refcount=refcount)
        self._add(s)
        return s

    def slab_of(self, thing: int) -> tuple[int, KmemCache | None]:
        """Return that no page says whose objects it has."""
        return 0, None

    def cache_from_obj(self, s: KmemCache, thing: int) -> tuple[int, KmemCache | None]:
        """Return the page of an object, which is taken to be of the cache that is said."""
        return thing >> PAGE_SHIFT, s

    def alloc_local(self, s: KmemCache, cpu: int, gfp: int = 0) -> int:
        """Return 0: no CPU has objects at hand."""
        return 0

    def free_local(self, s: KmemCache, cpu: int, slab: int, thing: int) -> bool:
        """Return False: every block goes back to the heap."""
        return False

    def touched(self, s: KmemCache, cpu: int, freed_to: int = 0) -> Iterable[Touch]:
        """Return nothing, as `alloc_local` and `free_local` do nothing."""
        return ()

    def touched_by_reader(self) -> Iterable[Touch]:
        """Return nothing: nobody can count the objects of a cache."""
        return ()

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
        """Return an object's address, 0: no memory (slob_alloc_node)."""
        heap = self.heap
        if s.size < PAGE_SIZE:
            thing = yield from heap.alloc(this_cpu, s.size, gfp, s.align, node)
        else:
            pfn = yield from heap.new_pages(this_cpu, gfp, large_order(s.size), node)
            thing = pfn << PAGE_SHIFT
        if thing and self.memory.checks is not None:
            self.memory.checks.object_allocated(s, thing)
        return thing

    def free(
        self,
        s: KmemCache,
        this_cpu: ThisCpu,
        slab: int,
        thing: int,
        *,
        caller: SlabCaller = NOBODY,
    ) -> SlabSteps[None]:
        """Free an object as one of a cache, at once or after a grace period of its own."""
        memory = self.memory
        if memory.checks is not None:
            memory.checks.object_freed(s, thing)
        if s.flags & SLAB_TYPESAFE_BY_RCU:
            head = thing + s.size - SLOB_RCU_SIZE
            self._check(head, SLOB_RCU_SIZE)
            at = head + SLOB_RCU_LENGTH
            memory.bytes_view[at : at + _INT] = s.size.to_bytes(_INT, "little")
            self.in_grace[thing] = s.size
            yield CallRcu(cache=s.number, freed=head)
            return
        yield from self._free(this_cpu, thing, s.size)

    def kmem_cache_free(
        self, s: KmemCache, this_cpu: ThisCpu, thing: int, *, caller: SlabCaller = NOBODY
    ) -> SlabSteps[None]:
        """Free an object of a cache, or what is taken for one."""
        yield from self.free(s, this_cpu, thing >> PAGE_SHIFT, thing, caller=caller)

    def rcu_free(self, number: int, cpu: int, freed: int) -> SlabSteps[None]:
        """Free an object whose readers have left: what CallRcu asks for (kmem_rcu_free).

        How long it is stands behind it.
        """
        self._check(freed, SLOB_RCU_SIZE)
        at = freed + SLOB_RCU_LENGTH
        size = int.from_bytes(self.memory.bytes_view[at : at + _INT], "little", signed=True)
        thing = freed - (size - SLOB_RCU_SIZE)
        self.in_grace.pop(thing, None)
        yield from self._free(lambda: cpu, thing, size)

    def _free(self, this_cpu: ThisCpu, thing: int, size: int) -> SlabSteps[None]:
        """Free a block, or pages (__kmem_cache_free)."""
        if size >= PAGE_SIZE:
            self._check(thing, 1)
            yield from self.heap.free_pages(this_cpu, thing >> PAGE_SHIFT, large_order(size))
        elif not 0 <= thing <= ZERO_SIZE_PTR:
            self._check(thing, 1)
            yield from self.heap.free(this_cpu, thing, size)

    def _check(self, address: int, nr_bytes: int) -> None:
        """Raise KernelOopsError for what is not in memory."""
        if not 0 < address <= self.memory.nr_bytes - nr_bytes:
            oops(self.memory, *wild_pointer(address))

    def ksize(self, s: KmemCache) -> int:
        """Return how many bytes of an object its user may use."""
        return s.object_size

    def shrink(self, s: KmemCache, cpu: int) -> SlabSteps[bool]:
        """Do nothing: each page was given back when it became empty."""
        yield from ()
        return False

    def shutdown_slabs(self, s: KmemCache, cpu: int, caller: SlabCaller) -> SlabSteps[bool]:
        """Do nothing, whatever is left: nobody knows."""
        yield from ()
        return True

    def open_cache(
        self, s: KmemCache, this_cpu: ThisCpu, caller: SlabCaller
    ) -> SlabSteps[tuple[int, list[int]]]:
        """Take nothing for a cache."""
        yield from ()
        return 0, []

    def close_cache(
        self, s: KmemCache, parts: list[int], this_cpu: ThisCpu, caller: SlabCaller
    ) -> SlabSteps[None]:
        """Give nothing back."""
        yield from ()

    def flush_cpu(self, number: int, cpu: int) -> SlabSteps[None]:
        """Do nothing: no CPU has objects at hand."""
        yield from ()
