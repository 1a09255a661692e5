"""A kernel with nothing but SLUB, driven alone: its requests are answered at once.

Pages are those that the recording names; locks are nobody else's; grace periods end never, as in
the recordings, which waited for none.
"""

from collections.abc import Sequence
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
from mmactors.mm.slab.slab_common import Prandom
from mmactors.mm.slab.slub.cache import KmemCache, Slabs
from mmactors.mm.slab.slub.layout import SlubConfig
from mmactors.mm.slab.slub.slub import Slub
from mmactors.validate.named_pages import NamedPages

T = TypeVar("T")


@define(eq=False)
class Guest:
    """The allocator of a recorded guest."""

    config: SlubConfig
    nr_frames: int
    node_starts: Sequence[int] = (0,)
    """By node: the PFN that its memory begins with."""
    node_of_cpu: Sequence[int] | None = None
    """None: all CPUs are on node 0."""
    flush_order: tuple[int, ...] = ()
    """In which order CPUs give back what they have when a cache shrinks; empty: by number."""
    next_position: int = 0
    """Where in the random order of its objects the next slab begins."""
    pages: PageColumns = field(init=False)
    named: NamedPages = field(init=False)
    slub: Slub = field(init=False)
    kmalloc: Kmalloc[KmemCache] = field(init=False)

    def __attrs_post_init__(self) -> None:
        arena = Arena()
        self.pages = PageColumns(arena, self.nr_frames)
        self.named = NamedPages(self.pages)
        nodes = range(len(self.node_starts))
        for node in nodes:
            self.pages.zone[self.node_starts[node] :] = 1 + node
        slabs = Slabs(
            arena=arena,
            pages=self.pages,
            memory=PhysicalMemory(self.nr_frames),
            zones=[(node, ZONE_DMA32) for node in nodes],
            node_of_cpu=self.node_of_cpu or [0] * self.config.nr_cpus,
            nodes_by_distance=[[other for other in nodes if other != node] for node in nodes],
            config=self.config,
            random_below=lambda _: self.next_position,
        )
        self.slub = Slub(slabs, random=Prandom(0))
        self.kmalloc = Kmalloc(self.slub)

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
                for cpu in filter(cpus.__contains__, self.flush_order or cpus):
                    self.perform(self.slub.flush_cpu(cache, cpu))
            case RcuBarrier(cache=cache):
                self.slub.release(cache)
        return None
