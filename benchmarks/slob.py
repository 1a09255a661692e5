"""How fast SLOB is: operations per second, as JSON on standard output.

    python benchmarks/slob.py [--seconds 0.5]

Recorded sequences of Linux 6.1 (tests/reference) are run again and again, on a heap that holds
what Linux had before each of them, so that a search passes as many pages; pages come from the
simulated page allocator. Requests are served at once, so this is the mechanism without actors.
Figures are medians of processor time.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from measure import asked_seconds, per_s, print_figures, rates, recorded

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PageColumns
from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.gfp import GFP_NOWAIT, GFP_NOWARN
from mmactors.mm.perform import perform
from mmactors.mm.slab.request import (
    AllocSlabPages,
    FreeSlabPages,
    SlabAnswer,
    SlabRequest,
    SlabSteps,
)
from mmactors.mm.slab.slab_common import CacheRequest
from mmactors.mm.slab.slab_memory import SlabMemory
from mmactors.mm.slab.slob.cache import KmemCache
from mmactors.mm.slab.slob.heap import LISTS
from mmactors.mm.slab.slob.kmalloc import SlobKmalloc
from mmactors.mm.slab.slob.slob import Slob
from mmactors.units import MIB, PAGE_SIZE

GFP = GFP_NOWAIT | GFP_NOWARN
NR_PAIRS = 2000
T = TypeVar("T")


class Kernel:
    """A page allocator, and SLOB on it."""

    def __init__(self) -> None:
        layout = boot_memory(MemoryConfig(size=512 * MIB), 1)
        arena = Arena()
        pages = PageColumns(arena, layout.nr_frames)
        self.allocator = PageAllocator.of_layout(layout, 1, arena, pages)
        self.slob = Slob(
            SlabMemory(
                pages=pages,
                memory=PhysicalMemory(layout.nr_frames),
                zones=[(zone.node, zone.index) for zone in self.allocator.zones],
                node_of_cpu=[0],
                nodes_by_distance=[()],
                random_below=int,
                vmstat=self.allocator.vmstat,
            )
        )
        self.kmalloc = SlobKmalloc(self.slob)
        self.kmalloc.create_caches()

    def perform(self, steps: SlabSteps[T]) -> T:
        return perform(steps, self.answer)

    def answer(self, request: SlabRequest) -> SlabAnswer:
        match request:
            case AllocSlabPages(order=order, gfp=gfp):
                return self.allocator.perform(self.allocator.alloc_pages(0, order, gfp))
            case FreeSlabPages(pfn=pfn, order=order):
                self.allocator.perform(self.allocator.free_pages(0, pfn, order))
        return None

    def alloc(self, s: KmemCache | None, size: int) -> int:
        if s is None:
            return self.perform(self.kmalloc.kmalloc(int, size, GFP))
        return self.perform(self.slob.alloc(s, int, GFP))

    def free(self, s: KmemCache | None, thing: int) -> None:
        if s is None:
            self.perform(self.kmalloc.kfree(int, thing))
        else:
            self.perform(self.slob.kmem_cache_free(s, int, thing))

    def fill(self, content: dict[str, Any]) -> None:
        """Let the lists be as long as they were, of pages in which a block is free."""
        for size, name in zip((128, 512, 2040), LISTS, strict=True):
            s = self.slob.create(CacheRequest(name=f"{name} before", object_size=size))
            assert s is not None, "SLOB makes any cache"
            per_page = PAGE_SIZE // size
            things = [self.alloc(s, size) for _ in range(per_page * len(content["initial"][name]))]
            for thing in things[::per_page]:
                self.free(s, thing)

    def sequence(self, name: str, content: dict[str, Any]) -> Callable[[], int]:
        """Return what runs a recorded sequence once and returns how many operations it has."""
        caches = []
        for nth, (size, align, _) in enumerate(content["caches_asked"]):
            request = CacheRequest(name=f"{name}{nth}", object_size=size, align=align)
            caches.append(self.slob.create(request))
        rows = []
        known: dict[int, KmemCache | None] = {}
        for kind, _, cache, number, size, *_ in content["ops"]:
            if kind == "a":
                known[number] = None if cache < 0 else caches[cache]
                rows.append((True, known[number], number, size))
            elif kind == "f" and number in known:
                rows.append((False, known.pop(number), number, 0))
        rows += [(False, s, number, 0) for number, s in known.items()]

        def run() -> int:
            out: dict[int, int] = {}
            for is_alloc, s, number, size in rows:
                if is_alloc:
                    out[number] = self.alloc(s, size)
                else:
                    self.free(s, out.pop(number))
            return len(rows)

        return run


def pairs(kernel: Kernel) -> int:
    """Allocate and free with kmalloc."""
    for _ in range(NR_PAIRS):
        kernel.free(None, kernel.alloc(None, 64))
    return NR_PAIRS


def main() -> None:
    seconds = asked_seconds("Operations per second of SLOB.")
    contents = recorded("slob")
    kernel = Kernel()
    kernel.fill(next(iter(contents.values())))
    steps = {name: kernel.sequence(name, content) for name, content in contents.items()}
    print_figures(
        "slob",
        {
            **rates("recorded", steps, seconds),
            "kmalloc_kfree_pairs_per_s": round(per_s(partial(pairs, kernel), seconds)),
        },
    )


if __name__ == "__main__":
    main()
