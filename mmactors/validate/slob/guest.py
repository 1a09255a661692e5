"""A kernel with nothing but SLOB, driven alone: its requests are answered at once.

Pages are those that the recording names; the lock is nobody else's; grace periods end never, as in
the recordings, which waited for none.
"""

from typing import TypeVar

from attrs import define, field

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PG_SLAB, PageColumns
from mmactors.mm.page_alloc.gfp import ZONE_DMA32
from mmactors.mm.perform import perform
from mmactors.mm.slab.request import (
    AllocSlabPages,
    FreeSlabPages,
    SlabAnswer,
    SlabRequest,
    SlabSteps,
)
from mmactors.mm.slab.slab_memory import SlabMemory
from mmactors.mm.slab.slob.kmalloc import SlobKmalloc
from mmactors.mm.slab.slob.slob import Slob
from mmactors.rules import Rules
from mmactors.validate.named_pages import NamedPages

T = TypeVar("T")


@define(eq=False)
class Guest:
    """The allocator of a recorded guest."""

    nr_frames: int
    pages: PageColumns = field(init=False)
    named: NamedPages = field(init=False)
    memory: PhysicalMemory = field(init=False)
    slob: Slob = field(init=False)
    kmalloc: SlobKmalloc = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pages = PageColumns(Arena(), self.nr_frames)
        self.named = NamedPages(self.pages)
        self.pages.zone[:] = 1
        self.memory = PhysicalMemory(self.nr_frames)
        self.slob = Slob(
            SlabMemory(
                pages=self.pages,
                memory=self.memory,
                zones=[(0, ZONE_DMA32)],
                node_of_cpu=[0],
                nodes_by_distance=[[]],
                rules=Rules(),
                init_on_alloc=False,
                random_below=int,
            )
        )
        self.kmalloc = SlobKmalloc(self.slob)

    def claim(self, pfn: int, nr_pages: int, *, is_slab: bool) -> None:
        """Let pages be the allocator's that it had before the recording."""
        pages = self.pages
        pages.refcount[pfn : pfn + nr_pages] = 1
        if is_slab:
            pages.flags_view[pfn] |= PG_SLAB
        self.memory.claim_slab(pfn, nr_pages)

    def perform(self, steps: SlabSteps[T]) -> T:
        """Drive a path to its end; return its result."""
        return perform(steps, self._answer)

    def _answer(self, request: SlabRequest) -> SlabAnswer:
        match request:
            case AllocSlabPages(order=order, gfp=gfp):
                return self.named.alloc(order, gfp)
            case FreeSlabPages(pfn=pfn, order=order):
                self.named.free(pfn, order)
        return None
