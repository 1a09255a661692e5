"""How fast SLOB is: operations per second, as JSON on standard output.

    python benchmarks/slob.py [--seconds 0.5]

Recorded sequences of Linux 6.1 (tests/reference) are run again and again, on a heap that holds
what Linux had before each of them, so that a search passes as many pages; pages come from the
simulated page allocator. Requests are served at once, so this is the mechanism without actors.
Figures are medians of processor time.
"""

import argparse
import gzip
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from slub import per_s

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PageColumns
from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.gfp import GFP_NOWAIT, GFP_NOWARN
from mmactors.mm.slab.request import AllocSlabPages, FreeSlabPages, SlabSteps
from mmactors.mm.slab.slab_common import CacheRequest
from mmactors.mm.slab.slab_memory import SlabMemory
from mmactors.mm.slab.slob.cache import KmemCache
from mmactors.mm.slab.slob.heap import LISTS
from mmactors.mm.slab.slob.kmalloc import SlobKmalloc
from mmactors.mm.slab.slob.slob import Slob
from mmactors.units import MIB, PAGE_SIZE

RECORDINGS = Path(__file__).parent.parent / "tests/reference/linux-6.1/kernel/slob"
GFP = GFP_NOWAIT | GFP_NOWARN
NR_PAIRS = 2000
Do = Callable[[dict[int, int]], None]
"""An operation, given what is out by id."""


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

    def perform(self, steps: SlabSteps[Any]) -> Any:
        answer = None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as done:
                return done.value
            answer = None
            match request:
                case AllocSlabPages(order=order, gfp=gfp):
                    answer = self.allocator.perform(self.allocator.alloc_pages(0, order, gfp))
                case FreeSlabPages(pfn=pfn, order=order):
                    self.allocator.perform(self.allocator.free_pages(0, pfn, order))

    def alloc(self, s: KmemCache | None, size: int) -> int:
        if s is None:
            found: int = self.perform(self.kmalloc.kmalloc(int, size, GFP))
        else:
            found = self.perform(self.slob.alloc(s, int, GFP))
        return found

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

    def sequence(self, name: str) -> Callable[[], int]:
        """Return what runs a recorded sequence once and returns how many operations it has."""
        content = json.loads(gzip.decompress((RECORDINGS / name).read_bytes()))
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
    parser = argparse.ArgumentParser(description="Operations per second of SLOB.")
    parser.add_argument("--seconds", default=0.5, type=float, help="for each figure")
    options = parser.parse_args()
    names = sorted(path.name for path in RECORDINGS.glob("*.json*") if "params" not in path.name)
    kernel = Kernel()
    kernel.fill(json.loads(gzip.decompress((RECORDINGS / names[0]).read_bytes())))
    sequences = {name: kernel.sequence(name) for name in names}
    figures = {
        "recorded": {
            name.partition(".")[0]: round(per_s(run, options.seconds))
            for name, run in sequences.items()
        },
        "recorded_per_s": round(
            per_s(lambda: sum(run() for run in sequences.values()), options.seconds)
        ),
        "kmalloc_kfree_pairs_per_s": round(per_s(partial(pairs, kernel), options.seconds)),
    }
    print(json.dumps({"benchmark": "slob", **figures}, indent=1))


if __name__ == "__main__":
    main()
