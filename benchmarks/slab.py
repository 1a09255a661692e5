"""How fast SLAB is: operations per second, as JSON on standard output.

    python benchmarks/slab.py [--seconds 0.5]

Recorded sequences of Linux 6.1 (tests/reference) are run in bulk, again and again: what a CPU does
with its own array in one compiled call, the rest by the generators, whose pages come from the
simulated page allocator. Requests are served at once, so this is the mechanism without actors.
Figures are medians of processor time.
"""

from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
from measure import asked_seconds, per_s, print_figures, rates, recorded
from numpy.typing import NDArray
from slub import ALLOC, FREE, GFP, NR_CPUS, NR_PAIRS

from mmactors.arch.arena import Arena
from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PageColumns
from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.perform import perform
from mmactors.mm.slab.flags import SLAB_HWCACHE_ALIGN, SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.kmalloc import Kmalloc
from mmactors.mm.slab.request import (
    AllocSlabPages,
    CallRcu,
    FlushCpus,
    FreeSlabPages,
    SlabAnswer,
    SlabRequest,
    SlabSteps,
)
from mmactors.mm.slab.slab.cache import KmemCache, Slabs, nr_list_heads
from mmactors.mm.slab.slab.layout import SlabConfig
from mmactors.mm.slab.slab.local import alloc_local, free_local
from mmactors.mm.slab.slab.slab import Slab
from mmactors.mm.slab.slab_common import KMALLOC_MAX_CACHE_SIZE, CacheRequest, Prandom
from mmactors.units import MIB

T = TypeVar("T")
Sequence = tuple[NDArray[np.int64], list[KmemCache], list[int]]
"""Operations as rows, and each row's cache and CPU."""
OP_KIND: Final = 0
OP_BASE: Final = 1
"""Where the words of the cache begin."""
OP_ARRAY: Final = 2
"""Where the array of the CPU begins."""
OP_OBJECT: Final = 3
"""What was allocated, or is freed."""
OP_OF: Final = 4
"""Of a free: which operation's object it is."""
NR_OP_WORDS: Final = 5


@compiled
def run_sequence(slab: Words, memory: Words, ops: Words, nth: int) -> int:
    """Do operations from the `nth` on; return which one needs the generator, or how many are."""
    nr_ops = ops.shape[0] // NR_OP_WORDS
    while nth < nr_ops:
        op = nth * NR_OP_WORDS
        base = ops[op + OP_BASE]
        ac = ops[op + OP_ARRAY]
        if ops[op + OP_KIND] == ALLOC:
            thing = alloc_local(slab, memory, base, ac)
            if thing == 0:
                return nth
            ops[op + OP_OBJECT] = thing
        else:
            ops[op + OP_OBJECT] = ops[ops[op + OP_OF] * NR_OP_WORDS + OP_OBJECT]
            if not free_local(slab, base, ac, ops[op + OP_OBJECT]):
                return nth
        nth += 1
    return nth


class Kernel:
    """A page allocator, and SLAB on it."""

    def __init__(self) -> None:
        layout = boot_memory(MemoryConfig(size=512 * MIB), NR_CPUS)
        arena = Arena()
        pages = PageColumns(arena, layout.nr_frames, nr_list_heads=nr_list_heads(nr_nodes=2))
        self.allocator = PageAllocator.of_layout(layout, NR_CPUS, arena, pages)
        slabs = Slabs(
            arena,
            SlabConfig(nr_cpus=NR_CPUS),
            pages=pages,
            memory=PhysicalMemory(layout.nr_frames),
            zones=[(zone.node, zone.index) for zone in self.allocator.zones],
            node_of_cpu=[0] * NR_CPUS,
            nodes_by_distance=[()],
            random_below=Prandom(1).below,
            vmstat=self.allocator.vmstat,
        )
        self.slab = Slab(slabs, random=Prandom(2))
        self.kmalloc = Kmalloc(self.slab)
        self.kmalloc.create_caches()
        self.arrays = (slabs.words, slabs.memory.words)

    def perform(self, steps: SlabSteps[T], cpu: int) -> T:
        return perform(steps, partial(self.answer, cpu))

    def answer(self, cpu: int, request: SlabRequest) -> SlabAnswer:
        match request:
            case AllocSlabPages(order=order, gfp=gfp):
                return self.allocator.perform(self.allocator.alloc_pages(cpu, order, gfp))
            case FreeSlabPages(pfn=pfn, order=order):
                self.allocator.perform(self.allocator.free_pages(cpu, pfn, order))
            case CallRcu(cache=cache, freed=freed):
                self.perform(self.slab.rcu_free(cache, cpu, freed), cpu)
            case FlushCpus(cache=cache, cpus=cpus):
                for each in cpus:
                    self.perform(self.slab.flush_cpu(cache, each), each)
        return None

    def alloc(self, s: KmemCache, cpu: int) -> int:
        return self.perform(self.slab.alloc(s, lambda: cpu, GFP), cpu)

    def free(self, thing: int, cpu: int) -> None:
        head, s = self.slab.slab_of(thing)
        assert s is not None, f"object {thing:#x} is in no slab"
        self.perform(self.slab.free(s, lambda: cpu, head, thing), cpu)

    def run(self, rows: NDArray[np.int64], caches: list[KmemCache], cpus: list[int]) -> None:
        """Do all operations of a sequence; the object of each is left in its row."""
        ops = rows.reshape(-1)
        nth, view = 0, ops.data
        while (nth := run_sequence(*self.arrays, ops, nth)) < len(rows):
            first = nth * NR_OP_WORDS
            if view[first + OP_KIND] == ALLOC:
                view[first + OP_OBJECT] = self.alloc(caches[nth], cpus[nth])
            else:
                self.free(view[first + OP_OBJECT], cpus[nth])
            nth += 1

    def rows_of(self, name: str, content: dict[str, Any]) -> Sequence:
        """Return a recorded sequence as rows, and each row's cache and CPU."""
        asked = []
        for nth, (size, align, bits) in enumerate(content["caches_asked"]):
            flags = SLAB_HWCACHE_ALIGN * (bits & 1) | SLAB_TYPESAFE_BY_RCU * (bits >> 2 & 1)
            own = self.slab.create(
                CacheRequest(
                    name=f"{name}-{nth}",
                    object_size=size,
                    align=align,
                    flags=flags,
                    has_ctor=bool(bits & 2),
                )
            )
            assert own is not None, f"no slab holds {size} bytes"
            asked.append(own)
        rows: list[tuple[int, int, int, int, int]] = []
        caches: list[KmemCache] = []
        cpus: list[int] = []
        held: dict[int, int] = {}

        def add(kind: int, s: KmemCache, cpu: int, of: int) -> None:
            rows.append((kind, s.base, s.cpu_cache(cpu), 0, of))
            caches.append(s)
            cpus.append(cpu)

        for kind, cpu, nth, number, size, *_ in content["ops"]:
            if kind == "a" and (nth >= 0 or size <= KMALLOC_MAX_CACHE_SIZE):
                held[number] = len(rows)
                s = asked[nth] if nth >= 0 else self.kmalloc.cache_for(size, GFP)
                assert s is not None, f"{size} bytes have a class"
                add(ALLOC, s, cpu, -1)
            elif kind == "f" and number in held:
                of = held.pop(number)
                add(FREE, caches[of], cpu, of)
        for of in held.values():  # The next time begins with nothing, too.
            add(FREE, caches[of], 0, of)
        return np.array(rows, np.int64), caches, cpus


def pairs(kernel: Kernel) -> int:
    """Allocate and free with kmalloc, one call each."""
    slab = kernel.slab
    for _ in range(NR_PAIRS):
        s = kernel.kmalloc.cache_for(64, GFP)
        assert s is not None, "64 bytes have a class"
        thing = slab.alloc_local(s, 0, GFP) or kernel.alloc(s, 0)
        head = slab.slabs.head_of(thing)
        assert head is not None, f"object {thing:#x} is in no slab"
        if not slab.free_local(s, 0, head, thing):
            kernel.free(thing, 0)
    return NR_PAIRS


def main() -> None:
    seconds = asked_seconds("Operations per second of SLAB.")
    kernel = Kernel()

    def run(sequence: Sequence) -> int:
        kernel.run(*sequence)
        return len(sequence[0])

    steps = {
        name: partial(run, kernel.rows_of(name, content))
        for name, content in recorded("slab").items()
    }
    print_figures(
        "slab",
        {
            **rates("recorded", steps, seconds),
            "kmalloc_kfree_pairs_per_s": round(per_s(partial(pairs, kernel), seconds)),
        },
    )


if __name__ == "__main__":
    main()
