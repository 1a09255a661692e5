"""How fast SLUB is: operations per second, as JSON on standard output.

    python benchmarks/slub.py [--seconds 0.5]

Recorded sequences of Linux 6.1 (tests/reference) are run in bulk, again and again: what a CPU does
with its own slabs in one compiled call, the rest by the generators, whose pages come from the
simulated page allocator. Requests are served at once, so this is the mechanism without actors.
A program of pairs of kmalloc and kfree goes through a whole machine, with every event to a file
(`logged`) and without. Figures are medians of processor time.
"""

import resource
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from measure import (
    asked_seconds,
    median_of,
    per_s,
    print_figures,
    rates,
    recorded,
    run_machine,
    scenario_of,
)
from numpy.typing import NDArray

from mmactors.arch.arena import Arena
from mmactors.arch.column import Bytes, Column, Words
from mmactors.arch.jit import compiled
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PG_SLAB, Links, PageColumns
from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.gfp import GFP_NOWAIT, GFP_NOWARN
from mmactors.mm.perform import perform
from mmactors.mm.slab.flags import SLAB_NOLEAKTRACE, SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.kmalloc import Kmalloc
from mmactors.mm.slab.request import (
    AllocSlabPages,
    CallRcu,
    FreeSlabPages,
    SlabAnswer,
    SlabRequest,
    SlabSteps,
)
from mmactors.mm.slab.slab_common import KMALLOC_MAX_CACHE_SIZE, CacheRequest, Prandom
from mmactors.mm.slab.slab_memory import head_of
from mmactors.mm.slab.slub.cache import KmemCache, Slabs
from mmactors.mm.slab.slub.layout import SlubConfig
from mmactors.mm.slab.slub.local import alloc_local, free_local
from mmactors.mm.slab.slub.slub import Slub
from mmactors.observe.log import EventLog, LineFile
from mmactors.scenario.schema import Scenario
from mmactors.units import MIB, PAGE_SHIFT

NR_CPUS = 3
GFP = GFP_NOWAIT | GFP_NOWARN
NR_PAIRS = 2000
NR_PROGRAM_PAIRS = 5000
PROGRAM = """
machine: {cpus: 1, memory: {size: 256M}}
processes:
  - name: module
    program:
"""
PAIR = """
      - kmalloc A size=64
      - kfree A
"""
NR_OBJECTS = 500_000
OBJECT_BYTES = 64
T = TypeVar("T")
Sequence = tuple[NDArray[np.int64], list[KmemCache]]
"""Operations as rows (mm/slab/slub/local.py), and each row's cache."""


ALLOC: Final = 0
FREE: Final = 1
OP_KIND: Final = 0
OP_BASE: Final = 1
"""Where the words of the cache begin."""
OP_CPU: Final = 2
"""Where what the cache has on the CPU begins."""
OP_OBJECT: Final = 3
"""What was allocated, or is freed."""
OP_OF: Final = 4
"""Of a free: which operation's object it is; -1: the one that stands here."""
NR_OP_WORDS: Final = 5


@compiled
def run_sequence(
    slub: Words,
    memory: Words,
    freelist: Words,
    counters: Words,
    links: Links,
    back: Links,
    flags: Column,
    orders: Bytes,
    ops: Words,
    nth: int,
) -> int:
    """Do operations from the `nth` on; return which one needs the generator, or how many are."""
    nr_ops = ops.shape[0] // NR_OP_WORDS
    while nth < nr_ops:
        op = nth * NR_OP_WORDS
        base = ops[op + OP_BASE]
        c = ops[op + OP_CPU]
        if ops[op + OP_KIND] == ALLOC:
            thing = alloc_local(slub, memory, freelist, counters, links, base, c)
            if thing == 0:
                return nth
            ops[op + OP_OBJECT] = thing
        else:
            of = ops[op + OP_OF]
            if of >= 0:
                ops[op + OP_OBJECT] = ops[of * NR_OP_WORDS + OP_OBJECT]
            thing = ops[op + OP_OBJECT]
            slab = head_of(flags, orders, PG_SLAB, thing >> PAGE_SHIFT)
            if slab < 0 or not free_local(
                slub, memory, freelist, counters, links, back, base, c, slab, thing
            ):
                return nth
        nth += 1
    return nth


class Kernel:
    """A page allocator, and SLUB on it."""

    def __init__(self) -> None:
        layout = boot_memory(MemoryConfig(size=512 * MIB), NR_CPUS)
        arena = Arena()
        pages = PageColumns(arena, layout.nr_frames)
        self.allocator = PageAllocator.of_layout(layout, NR_CPUS, arena, pages)
        slabs = Slabs(
            arena=arena,
            pages=pages,
            memory=PhysicalMemory(layout.nr_frames),
            zones=[(zone.node, zone.index) for zone in self.allocator.zones],
            node_of_cpu=[0] * NR_CPUS,
            nodes_by_distance=[()],
            config=SlubConfig(nr_cpus=NR_CPUS),
            random_below=Prandom(1).below,
            vmstat=self.allocator.vmstat,
        )
        self.slub = Slub(slabs, random=Prandom(2))
        self.kmalloc = Kmalloc(self.slub)
        self.kmalloc.create_caches()
        columns = (pages.index, pages.private, pages.next, pages.prev, pages.flags, pages.order)
        self.arrays = (slabs.words, slabs.memory.words, *columns)

    def perform(self, steps: SlabSteps[T], cpu: int) -> T:
        return perform(steps, partial(self.answer, cpu))

    def answer(self, cpu: int, request: SlabRequest) -> SlabAnswer:
        match request:
            case AllocSlabPages(order=order, gfp=gfp):
                return self.allocator.perform(self.allocator.alloc_pages(cpu, order, gfp))
            case FreeSlabPages(pfn=pfn, order=order):
                self.allocator.perform(self.allocator.free_pages(cpu, pfn, order))
            case CallRcu(cache=cache, freed=freed):
                self.perform(self.slub.rcu_free(cache, cpu, freed), cpu)
        return None

    def run(self, rows: NDArray[np.int64], caches: list[KmemCache]) -> None:
        """Do all operations of a sequence; the object of each is left in its row."""
        ops, slub, slabs = rows.reshape(-1), self.slub, self.slub.slabs
        nth, view = 0, rows.reshape(-1).data
        while (nth := run_sequence(*self.arrays, ops, nth)) < len(rows):
            first = nth * NR_OP_WORDS
            cache = caches[nth]
            cpu = (view[first + OP_CPU] - slabs.first_cpu_word - cache.base) // 4
            thing = view[first + OP_OBJECT]
            if view[first + OP_KIND] == ALLOC:
                found = self.perform(slub.alloc(cache, partial(int, cpu), GFP), cpu)
                view[first + OP_OBJECT] = found
            else:
                slab = slabs.head_of(thing)
                assert slab is not None, f"object {thing:#x} is in no slab"
                self.perform(slub.free(cache, partial(int, cpu), slab, thing), cpu)
            nth += 1

    def rows_of(self, name: str, content: dict[str, Any]) -> Sequence:
        """Return a recorded sequence as rows, and each row's cache."""
        own = None
        if content["scenario"] != "kmalloc":
            flags = SLAB_NOLEAKTRACE | (SLAB_TYPESAFE_BY_RCU if content["rcu"] else 0)
            own = self.slub.create(
                CacheRequest(name=name, object_size=content["size"], flags=flags)
            )
        rows: list[tuple[int, int, int, int, int]] = []
        caches: list[KmemCache] = []
        held: dict[tuple[int, int], int] = {}
        for op in content["ops"]:
            kind, cpu, pfn, index = op[:4]
            if kind == "a":
                size = op[7] if own is None else 0
                if size > KMALLOC_MAX_CACHE_SIZE:
                    continue
                s = self.kmalloc.kmalloc_slab(size, GFP) if own is None else own
                held[pfn, index] = len(rows)
                rows.append((ALLOC, s.base, s.cpu_slab(cpu), 0, -1))
                caches.append(s)
            elif (pfn, index) in held:
                of = held.pop((pfn, index))
                s = caches[of]
                rows.append((FREE, s.base, s.cpu_slab(cpu), 0, of))
                caches.append(s)
        for of in held.values():  # The next time begins with nothing, too.
            s = caches[of]
            rows.append((FREE, s.base, s.cpu_slab(0), 0, of))
            caches.append(s)
        return np.array(rows, np.int64), caches


def pairs(kernel: Kernel) -> int:
    """Allocate and free with kmalloc, one call each."""
    slub, slabs = kernel.slub, kernel.slub.slabs
    for _ in range(NR_PAIRS):
        s = kernel.kmalloc.kmalloc_slab(64, GFP)
        thing = slub.alloc_local(s, 0, GFP)
        if not thing:
            thing = kernel.perform(slub.alloc(s, lambda: 0, GFP), 0)
        slab = slabs.head_of(thing)
        assert slab is not None, f"object {thing:#x} is in no slab"
        if not slub.free_local(s, 0, slab, thing):
            kernel.perform(slub.free(s, lambda: 0, slab, thing), 0)
    return NR_PAIRS


def program_pairs_per_s(scenario: Scenario, folder: Path | None = None) -> float:
    """Run a program of pairs, with a log in `folder` if there is one."""
    if folder is None:
        return NR_PROGRAM_PAIRS / run_machine(scenario).seconds
    with EventLog(LineFile(folder / "events.jsonl")) as log:
        return NR_PROGRAM_PAIRS / run_machine(scenario, log).seconds


def host_bytes_per_object(kernel: Kernel) -> float:
    """Allocate objects of OBJECT_BYTES and keep them; return what one takes of the host."""
    s = kernel.kmalloc.kmalloc_slab(OBJECT_BYTES, GFP)
    rows = np.tile(np.array([ALLOC, s.base, s.cpu_slab(0), 0, -1], np.int64), (NR_OBJECTS, 1))
    caches = [s] * NR_OBJECTS
    before = resident_bytes()
    kernel.run(rows, caches)
    return (resident_bytes() - before) / NR_OBJECTS


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    seconds = asked_seconds("Operations per second of SLUB.")
    kernel = Kernel()

    def run(sequence: Sequence) -> int:
        kernel.run(*sequence)
        return len(sequence[0])

    steps = {
        name: partial(run, kernel.rows_of(name, content))
        for name, content in recorded("slub").items()
    }
    scenario = scenario_of(PROGRAM + PAIR * NR_PROGRAM_PAIRS)
    with tempfile.TemporaryDirectory() as folder:
        plain = median_of(lambda: program_pairs_per_s(scenario))
        logged = median_of(lambda: program_pairs_per_s(scenario, Path(folder)))
    print_figures(
        "slub",
        {
            **rates("recorded", steps, seconds),
            "kmalloc_kfree_pairs_per_s": round(per_s(partial(pairs, kernel), seconds)),
            "program_pairs_per_s": round(plain),
            "program_pairs_per_s_logged": round(logged),
            "host_bytes_per_object_of_64": round(host_bytes_per_object(kernel), 1),
        },
    )


if __name__ == "__main__":
    main()
