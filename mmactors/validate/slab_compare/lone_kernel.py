"""A kernel with nothing but an object allocator, driven alone: its requests are answered at once.

It has pages until its memory is full, locks are nobody else's, grace periods end never.
"""

from typing import Any, Final, TypeVar

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.freelist import free_pages_prepare, prep_new_page
from mmactors.mm.page_alloc.gfp import GFP_NOWAIT, GFP_NOWARN, ZONE_DMA32
from mmactors.mm.perform import perform
from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.mm.slab.common_calls import SlabCommon
from mmactors.mm.slab.kmalloc import Kmalloc
from mmactors.mm.slab.request import (
    AllocSlabPages,
    FlushCpus,
    FreeSlabPages,
    SlabAnswer,
    SlabRequest,
    SlabSteps,
)
from mmactors.mm.slab.slab.cache import Slabs as SlabSlabs
from mmactors.mm.slab.slab.layout import SlabConfig, slab_max_order
from mmactors.mm.slab.slab.slab import BootStage, Slab
from mmactors.mm.slab.slab.slab_state import params_of as slab_params_of
from mmactors.mm.slab.slab_common import KMALLOC_MAX_CACHE_SIZE, CacheRequest, Prandom, large_order
from mmactors.mm.slab.slab_memory import SlabMemory
from mmactors.mm.slab.slob.kmalloc import MINALIGN, SlobKmalloc
from mmactors.mm.slab.slob.slob import Slob
from mmactors.mm.slab.slob.slob_state import params_of as slob_params_of
from mmactors.mm.slab.slub.cache import Slabs
from mmactors.mm.slab.slub.layout import SlubConfig
from mmactors.mm.slab.slub.slub import Slub
from mmactors.mm.slab.slub.slub_state import params_of as slub_params_of
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

T = TypeVar("T")
GFP: Final = GFP_NOWAIT | GFP_NOWARN
"""What the recorder allocated with."""


class LoneKernel:
    """One of the allocators on memory of its own."""

    def __init__(self, kind: str, *, nr_frames: int, nr_cpus: int, nr_cpu_ids: int) -> None:
        arena = Arena()
        self.pages: Final = PageColumns(arena, nr_frames)
        self.pages.zone[:] = 1
        memory: dict[str, Any] = {
            "pages": self.pages,
            "memory": PhysicalMemory(nr_frames),
            "zones": [(0, ZONE_DMA32)],
            "node_of_cpu": [0] * nr_cpus,
            "nodes_by_distance": [[]],
            "random_below": int,
        }
        self.allocator: ObjectAllocator[Any]
        self.common: SlabCommon[Any]
        match kind:
            case "slab":
                slab_config = SlabConfig(
                    nr_cpus=nr_cpus,
                    nr_possible_cpus=nr_cpu_ids,
                    max_order=slab_max_order(nr_frames << PAGE_SHIFT),
                    merge=False,
                    hardened=False,
                    random=False,
                    init_on_alloc=False,
                )
                slab = Slab(SlabSlabs(arena, slab_config, **memory), random=Prandom(0))
                self.allocator, self.common = slab, Kmalloc(slab)
            case "slob":
                slob = Slob(SlabMemory(**memory, init_on_alloc=False, hardened=False))
                self.allocator, self.common = slob, SlobKmalloc(slob)
            case _:
                config = SlubConfig(
                    nr_cpus=nr_cpus,
                    nr_cpu_ids=nr_cpu_ids,
                    merge=False,
                    hardened=False,
                    random=False,
                    init_on_alloc=False,
                )
                slub = Slub(Slabs(arena=arena, config=config, **memory), random=Prandom(0))
                self.allocator, self.common = slub, Kmalloc(slub)
        self.nr_pages = 0
        """How many pages the allocator has."""
        self._next_pfn = 1
        self._free: Final[dict[int, list[int]]] = {}
        """By order, what was given back."""
        self.common.create_caches()
        if isinstance(self.allocator, Slab):
            self.allocator.stage = BootStage.ALL

    def create(self, request: CacheRequest) -> Any:
        """Return a new cache; None: refused."""
        return self.allocator.create(request)

    def alloc(self, s: Any, cpu: int, size: int) -> int:
        """Return an object of a cache, or of `size` bytes (None), 0: no memory."""
        allocator = self.allocator
        if s is None and size <= KMALLOC_MAX_CACHE_SIZE:
            s = self.common.cache_for(size, GFP)
        if s is None:
            return self._perform(self.common.kmalloc(lambda: cpu, size, GFP))
        thing = allocator.alloc_local(s, cpu)
        return thing or self._perform(allocator.alloc(s, lambda: cpu, GFP))

    def free(self, s: Any, cpu: int, thing: int) -> None:
        """Take an object of a cache back, or what kmalloc gave (None)."""
        allocator = self.allocator
        slab, own = allocator.slab_of(thing) if s is None else allocator.cache_from_obj(s, thing)
        if own is not None and allocator.free_local(own, cpu, slab, thing):
            return
        if s is None:
            self._perform(self.common.kfree(lambda: cpu, thing))
        else:
            self._perform(allocator.kmem_cache_free(s, lambda: cpu, thing))

    def shrink(self, s: Any) -> None:
        """Let a cache give back what it can."""
        self._perform(self.allocator.shrink(s, 0))

    def params_of(self, s: Any) -> dict[str, Any]:
        """Return the sizes of a cache as recordings call them."""
        match self.allocator.kind:
            case "slab":
                return slab_params_of(s)
            case "slob":
                return slob_params_of(s)
            case _:
                params = slub_params_of(s)
                return {**params, "num": params["objects"]}

    def takes_of_kmalloc(self, s: Any) -> bool:
        """Return whether slabs of a cache take memory of kmalloc's caches."""
        return self.allocator.kind == "slab" and s.layout.is_off_slab

    def place_of(self, s: Any, thing: int, size: int) -> tuple[int, int, int]:
        """Return the first page of what an object lies in, its pages, the object's bytes."""
        allocator = self.allocator
        if allocator.kind == "slob":
            return self._block_of(s, thing, size)
        slab, own = allocator.slab_of(thing)
        if own is None:
            order = large_order(size)
            return thing >> PAGE_SHIFT, 1 << order, PAGE_SIZE << order
        return slab, 1 << self.pages.order_view[slab], own.size

    def _block_of(self, s: Any, thing: int, size: int) -> tuple[int, int, int]:
        pfn = thing >> PAGE_SHIFT
        if not self.allocator.memory.is_slab(pfn):
            order = large_order(size if s is None else s.size)
            return pfn, 1 << order, PAGE_SIZE << order
        return pfn, 1, (size + MINALIGN + 1) & ~1 if s is None else s.size

    def _perform(self, steps: SlabSteps[T]) -> T:
        """Drive a path to its end; return its result."""
        return perform(steps, self._answer)

    def _answer(self, request: SlabRequest) -> SlabAnswer:
        match request:
            case AllocSlabPages(order=order, gfp=gfp):
                return self._alloc_pages(order, gfp)
            case FreeSlabPages(pfn=pfn, order=order):
                free_pages_prepare(self.pages, pfn, order)
                self._free.setdefault(order, []).append(pfn)
                self.nr_pages -= 1 << order
            case FlushCpus(cache=cache, cpus=cpus):
                for cpu in cpus:
                    self._perform(self.allocator.flush_cpu(cache, cpu))
        return None

    def _alloc_pages(self, order: int, gfp: int) -> int | None:
        nr_pages = 1 << order
        free = self._free.get(order)
        if free:
            pfn = free.pop()
        else:
            pfn = -(-self._next_pfn // nr_pages) * nr_pages
            if pfn + nr_pages > self.pages.nr_frames:
                return None
            self._next_pfn = pfn + nr_pages
        prep_new_page(self.pages, pfn, order, gfp)
        self.nr_pages += nr_pages
        return pfn
