"""A kernel with nothing but SLUB, driven alone: its requests are answered at once.

Pages are those that the recording names; locks are nobody else's; grace periods end never, as in
the recordings, which waited for none.
"""

from typing import Final, TypeVar

from attrs import define, field

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PageColumns
from mmactors.mm.page_alloc.freelist import free_pages_prepare, prep_new_page
from mmactors.mm.slab.request import (
    AllocSlabPages,
    FlushCpus,
    FreeSlabPages,
    RcuBarrier,
    SlabAnswer,
    SlabRequest,
    SlabSteps,
)
from mmactors.mm.slab.slab_common import Prandom
from mmactors.mm.slab.slub.cache import Slabs
from mmactors.mm.slab.slub.kmalloc import Kmalloc
from mmactors.mm.slab.slub.layout import SlubConfig
from mmactors.mm.slab.slub.slub import Slub

T = TypeVar("T")
_DMA32: Final = (0, 1)
"""Node and index of the one zone that the recorded guests' slabs lie in."""


@define(eq=False)
class Guest:
    """The allocator of a recorded guest."""

    config: SlubConfig
    nr_frames: int
    next_pfn: int | None = None
    """Where the next slab lies; None: there is no memory."""
    flush_order: tuple[int, ...] = ()
    """In which order CPUs give back what they have when a cache shrinks; empty: by number."""
    next_position: int = 0
    """Where in the random order of its objects the next slab begins."""
    pages: PageColumns = field(init=False)
    slub: Slub = field(init=False)
    kmalloc: Kmalloc = field(init=False)

    def __attrs_post_init__(self) -> None:
        arena = Arena()
        self.pages = PageColumns(arena, self.nr_frames)
        self.pages.zone[:] = 1
        nr_cpus = self.config.nr_cpus
        slabs = Slabs(
            arena=arena,
            pages=self.pages,
            memory=PhysicalMemory(self.nr_frames),
            zones=[_DMA32],
            node_of_cpu=[0] * nr_cpus,
            nodes_by_distance=[()],
            config=self.config,
            random_below=lambda _: self.next_position,
        )
        self.slub = Slub(slabs, random=Prandom(0))
        self.kmalloc = Kmalloc(self.slub)

    def perform(self, steps: SlabSteps[T]) -> T:
        """Drive a path to its end; return its result."""
        answer: SlabAnswer = None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as done:
                result: T = done.value
                return result
            answer = self._answer(request)

    def _answer(self, request: SlabRequest) -> SlabAnswer:
        match request:
            case AllocSlabPages(order=order, gfp=gfp):
                return self._alloc(order, gfp)
            case FreeSlabPages(pfn=pfn, order=order):
                free_pages_prepare(self.pages, pfn, order)
            case FlushCpus(cache=cache, cpus=cpus):
                for cpu in filter(cpus.__contains__, self.flush_order or cpus):
                    self.perform(self.slub.flush_cpu_slab(cache, cpu))
            case RcuBarrier(cache=cache):
                self.slub.release(cache)
        return None

    def _alloc(self, order: int, gfp: int) -> int | None:
        """Return the page that the recording names, if it can be one."""
        pfn = self.next_pfn
        if pfn is None or pfn & ((1 << order) - 1) or pfn + (1 << order) > self.nr_frames:
            return None
        if self.pages.refcount[pfn : pfn + (1 << order)].any():
            return None
        self.next_pfn = None
        prep_new_page(self.pages, pfn, order, gfp)
        return pfn
