"""A kernel with nothing but SLAB, driven alone: its requests are answered at once.

Pages are those that the recording names; locks are nobody else's; grace periods end never, as in
the recordings, which waited for none.
"""

from typing import TypeVar

from attrs import define, field

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.gfp import ZONE_DMA32
from mmactors.mm.perform import perform
from mmactors.mm.slab.kmalloc import Kmalloc
from mmactors.mm.slab.request import (
    AllocSlabPages,
    FlushCpus,
    FreeSlabPages,
    RcuBarrier,
    SlabAnswer,
    SlabRequest,
    SlabSteps,
)
from mmactors.mm.slab.slab.cache import KmemCache, Slabs
from mmactors.mm.slab.slab.layout import SlabConfig
from mmactors.mm.slab.slab.slab import Slab
from mmactors.mm.slab.slab_common import Prandom
from mmactors.validate.named_pages import NamedPages

T = TypeVar("T")


@define(eq=False)
class Guest:
    """The allocator of a recorded guest, with the caches of kmalloc."""

    config: SlabConfig
    nr_frames: int
    drain_order: tuple[int, ...] = ()
    """In which order CPUs drain their arrays when a cache shrinks; empty: by number."""
    pages: PageColumns = field(init=False)
    named: NamedPages = field(init=False)
    slab: Slab = field(init=False)
    kmalloc: Kmalloc[KmemCache] = field(init=False)

    def __attrs_post_init__(self) -> None:
        arena = Arena()
        self.pages = PageColumns(arena, self.nr_frames)
        self.named = NamedPages(self.pages)
        self.pages.zone[:] = 1
        slabs = Slabs(
            arena,
            self.config,
            pages=self.pages,
            memory=PhysicalMemory(self.nr_frames),
            zones=[(0, ZONE_DMA32)],
            node_of_cpu=[0] * self.config.nr_cpus,
            nodes_by_distance=[()],
            random_below=lambda _: 0,
        )
        self.slab = Slab(slabs, random=Prandom(0))
        self.kmalloc = Kmalloc(self.slab)
        self.kmalloc.create_caches()

    def perform(self, steps: SlabSteps[T]) -> T:
        """Drive a path to its end; return its result."""
        return perform(steps, self._answer)

    def _answer(self, request: SlabRequest) -> SlabAnswer:
        match request:
            case AllocSlabPages(order=order, gfp=gfp):
                return self.named.alloc(order, gfp)
            case FreeSlabPages(pfn=pfn, order=order):
                self.named.free(pfn, order)
            case FlushCpus(cache=cache, cpus=cpus):
                for cpu in self.drain_order or cpus:
                    self.perform(self.slab.flush_cpu(cache, cpu))
            case RcuBarrier(cache=cache):
                self.slab.release(cache)
        return None
