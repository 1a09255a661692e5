"""Taking objects and slabs back from CPUs and nodes: drain, shrink, shutdown (mm/slab.c, v6.1)."""

from mmactors.label import Mode
from mmactors.mm.slab.request import FlushCpus, SlabSteps
from mmactors.mm.slab.slab.alien import drain_alien
from mmactors.mm.slab.slab.array_cache import (
    drain_array_locked,
    free_block,
    unlink_free_slab,
)
from mmactors.mm.slab.slab.cache import KmemCache
from mmactors.mm.slab.slab.slab_page import slab_destroy, slabs_destroy
from mmactors.mm.slab.slab.struct_slab import (
    AVAIL,
    LIMIT,
    SLABS_FREE,
    SLABS_FULL,
    SLABS_PARTIAL,
)
from mmactors.mm.slab.slab_memory import ThisCpu, step, touches_slab


def do_drain(s: KmemCache, cpu: int) -> SlabSteps[None]:
    """Give all objects of a CPU's array back to their slabs; runs on that CPU, in an interrupt."""
    slabs, view = s.slabs, s.slabs.view
    ac, node = s.cpu_cache(cpu), slabs.cpu_to_mem[cpu]
    yield s.list_locks[node]
    if slabs.wants_step():
        yield step("drain the array", s.touches_cpu(cpu, Mode.WRITE))
    surplus = yield from free_block(s, node, ac, view[ac + AVAIL])
    yield s.list_unlocks[node]
    view[ac + AVAIL] = 0
    yield from slabs_destroy(s, lambda: cpu, surplus)


def drain_cpu_caches(s: KmemCache, this_cpu: ThisCpu) -> SlabSteps[None]:
    """Give the objects of all arrays back: those of CPUs, of other nodes, the shared ones."""
    slabs = s.slabs
    yield FlushCpus(cache=s.number, cpus=tuple(range(slabs.nr_cpus)), is_interrupt=True)
    for node in slabs.nodes:
        for of in slabs.nodes:
            if slabs.view[s.alien(node, of) + LIMIT]:
                yield from drain_alien(s, this_cpu, node, of)
    for node in slabs.nodes:
        yield s.list_locks[node]
        surplus = yield from drain_array_locked(s, node, s.shared(node), free_all=True)
        yield s.list_unlocks[node]
        yield from slabs_destroy(s, this_cpu, surplus)


def drain_freelist(
    s: KmemCache, this_cpu: ThisCpu, node: int, most: int | None = None
) -> SlabSteps[None]:
    """Release free slabs of a node, the last one first; at most so many."""
    slabs, pages = s.slabs, s.slabs.pages
    n = s.node(node)
    head = slabs.view[n + SLABS_FREE]
    nr_freed = 0
    while (most is None or nr_freed < most) and pages.prev_view[head] != head:
        yield s.list_locks[node]
        slab = pages.prev_view[head]
        if slabs.wants_step():
            touched = [] if slab == head else [touches_slab(slab, Mode.WRITE)]
            yield step("take a free slab", s.touches_node(node, Mode.WRITE), *touched)
            slab = pages.prev_view[head]
        if slab != head:
            unlink_free_slab(s, n, slab)
        yield s.list_unlocks[node]
        if slab == head:
            return
        yield from slab_destroy(s, this_cpu, slab)
        nr_freed += 1


def is_empty(s: KmemCache) -> bool:
    """Return whether no slab has an object out (__kmem_cache_empty)."""
    lists = SLABS_FULL, SLABS_PARTIAL
    return not any(s.node_slabs(node, which) for node in s.slabs.nodes for which in lists)


def shrink(s: KmemCache, this_cpu: ThisCpu) -> SlabSteps[bool]:
    """Release all slabs that no object in use keeps; return whether slabs are left."""
    yield from drain_cpu_caches(s, this_cpu)
    for node in s.slabs.nodes:
        yield from drain_freelist(s, this_cpu, node)
    return not is_empty(s)
