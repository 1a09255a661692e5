"""How fast the page allocator is: operations per second, as JSON on standard output.

    python benchmarks/page_allocator.py [--memory 1G] [--cpus 4] [--seconds 0.5]

Requests to the zone are served at once, so this is the mechanism without actors. Figures are
medians of processor time. Compilation is not part of them; `first_use_s` says what it (or the cache
of it) cost.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable

from mmactors.arch.arena import Arena
from mmactors.arch.page import PageColumns
from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.gfp import GFP_HIGHUSER_MOVABLE, GFP_KERNEL, GFP_RECLAIMABLE
from mmactors.mm.page_alloc.pcp import pcp_allowed_order
from mmactors.mm.vmstat import NR_ANON_MAPPED, PGFAULT
from mmactors.units import PAGE_SHIFT, parse_bytes

BATCH = 50
LIST = 512


def boot(size: int, nr_cpus: int) -> tuple[PageAllocator, Arena]:
    layout = boot_memory(MemoryConfig(size=size), nr_cpus)
    arena = Arena()
    pages = PageColumns(arena, layout.nr_frames)
    return PageAllocator.of_layout(layout, nr_cpus, arena, pages), arena


def allocate(allocator: PageAllocator, order: int, gfp: int) -> int:
    pfn = allocator.alloc_pcp(0, order, gfp) if pcp_allowed_order(order) else None
    if pfn is None:
        pfn = allocator.perform(allocator.alloc_pages(0, order, gfp))
    assert pfn is not None, "the machine is too small for this benchmark"
    return pfn


def free(allocator: PageAllocator, pfn: int, order: int) -> None:
    if not allocator.free_pcp(0, pfn, order):
        allocator.perform(allocator.free_pages(0, pfn, order))


def ns_per_op(step: Callable[[], tuple[int, float]], seconds: float) -> float:
    """Repeat `step`, which gives operations and the seconds they took; return the median."""
    step()
    samples = []
    until = time.process_time() + seconds
    while time.process_time() < until:
        nr_ops, taken = step()
        samples.append(taken / nr_ops)
    return statistics.median(samples) * 1e9


def fast_paths(allocator: PageAllocator, seconds: float) -> dict[str, float]:
    """The paths of a page fault: a page from the CPU's list, and back to it."""
    gfp = GFP_HIGHUSER_MOVABLE
    for pfn in [allocate(allocator, 0, gfp) for _ in range(2 * BATCH)]:
        free(allocator, pfn, 0)

    def alloc_step() -> tuple[int, float]:
        began = time.process_time()
        pfns = [allocator.alloc_pcp(0, 0, gfp) for _ in range(BATCH)]
        taken = time.process_time() - began
        allocator.perform(allocator.free_page_list(0, pfns))
        return BATCH, taken

    def free_step() -> tuple[int, float]:
        pfns = [allocate(allocator, 0, gfp) for _ in range(BATCH)]
        began = time.process_time()
        for pfn in pfns:
            allocator.free_pcp(0, pfn, 0)
        return BATCH, time.process_time() - began

    return {
        "alloc_pcp_ns": ns_per_op(alloc_step, seconds),
        "free_pcp_ns": ns_per_op(free_step, seconds),
    }


def bulk(allocator: PageAllocator, seconds: float) -> dict[str, float]:
    """Refills and drains included: allocate many single pages, free them as one list."""
    gfp = GFP_HIGHUSER_MOVABLE
    nr_pages = 16 * LIST
    taken = {"free": 0.0}

    def alloc_step() -> tuple[int, float]:
        began = time.process_time()
        pfns = [allocate(allocator, 0, gfp) for _ in range(nr_pages)]
        middle = time.process_time()
        for first in range(0, nr_pages, LIST):
            allocator.perform(allocator.free_page_list(0, pfns[first : first + LIST]))
        taken["free"] = time.process_time() - middle
        return nr_pages, middle - began

    def free_step() -> tuple[int, float]:
        alloc_step()
        return nr_pages, taken["free"]

    return {
        "alloc_with_refills_ns": ns_per_op(alloc_step, seconds),
        "free_page_list_ns": ns_per_op(free_step, seconds),
    }


def mixed(allocator: PageAllocator, seconds: float) -> dict[str, float]:
    """Random orders 0 to 10 of three types, half of the steps frees."""
    rng = random.Random(1)
    masks = (GFP_KERNEL, GFP_HIGHUSER_MOVABLE, GFP_KERNEL | GFP_RECLAIMABLE)
    held: list[tuple[int, int]] = []

    def step() -> tuple[int, float]:
        nr_ops = 2000
        orders = [min(int(rng.expovariate(0.7)), 10) for _ in range(nr_ops)]
        picks = [rng.random() for _ in range(nr_ops)]
        began = time.process_time()
        for order, pick in zip(orders, picks, strict=True):
            if len(held) > 200:
                nth = int(pick * len(held))
                held[nth], held[-1] = held[-1], held[nth]
                free(allocator, *held.pop())
            else:
                held.append((allocate(allocator, order, masks[order % 3]), order))
        return nr_ops, time.process_time() - began

    figures = {"mixed_orders_ns": ns_per_op(step, seconds)}
    for pfn, order in held:
        free(allocator, pfn, order)
    return figures


def counters(allocator: PageAllocator, seconds: float) -> dict[str, float]:
    """One addition to a counter."""
    vmstat = allocator.vmstat
    nr_ops = 2000

    def event_step() -> tuple[int, float]:
        began = time.process_time()
        for _ in range(nr_ops):
            vmstat.events[0][PGFAULT] += 1
        return nr_ops, time.process_time() - began

    def node_step() -> tuple[int, float]:
        began = time.process_time()
        for _ in range(nr_ops):
            vmstat.mod_node_page_state(0, 0, NR_ANON_MAPPED, 1)
        return nr_ops, time.process_time() - began

    return {
        "count_event_ns": ns_per_op(event_step, seconds),
        "mod_node_page_state_ns": ns_per_op(node_step, seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Operations per second of the page allocator.")
    parser.add_argument("--memory", default="1G", type=parse_bytes)
    parser.add_argument("--cpus", default=4, type=int)
    parser.add_argument("--seconds", default=0.5, type=float, help="for each figure")
    options = parser.parse_args()
    began = time.process_time()
    allocator, arena = boot(options.memory, options.cpus)
    allocator.perform(allocator.free_pages(0, allocate(allocator, 0, GFP_KERNEL), 0))
    allocator.perform(allocator.drain_pages(0))
    figures: dict[str, float] = {"first_use_s": time.process_time() - began}
    for measure in (fast_paths, bulk, mixed, counters):
        figures |= measure(allocator, options.seconds)
    ops = {
        name.removesuffix("_ns") + "_per_s": round(1e9 / value)
        for name, value in figures.items()
        if name.endswith("_ns")
    }
    figures["column_bytes_per_page"] = arena.nr_bytes / (options.memory >> PAGE_SHIFT)
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps({"benchmark": "page_allocator", **rounded, **ops}, indent=1))


if __name__ == "__main__":
    main()
