"""Handing out an object: a CPU's array, the shared one, slabs, a new slab, other nodes (v6.1).

Models slab_alloc_node and what it calls in mm/slab.c; `local.py` has the same as a compiled
function for an array that has objects. Interrupts are off but where the caller may wait for pages.
Left out: pfmemalloc slabs, KFENCE, memory policies and cpusets.
"""

from typing import Final

from mmactors.label import Mode
from mmactors.mm.page_alloc.gfp import (
    GFP_NOFAIL,
    GFP_NOWARN,
    GFP_RECLAIM,
    GFP_THISNODE,
    GFP_ZERO,
)
from mmactors.mm.slab.alloc_site import SlabAllocation
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.request import ShouldFailslab, SlabSteps
from mmactors.mm.slab.slab.cache import KmemCache
from mmactors.mm.slab.slab.local import (
    alloc_block,
    first_slab,
    fixup_slab_list,
    get_object,
    refill_from_slabs,
    transfer_objects,
)
from mmactors.mm.slab.slab.slab_page import cache_grow_begin, cache_grow_end
from mmactors.mm.slab.slab.struct_slab import (
    AVAIL,
    BATCHCOUNT,
    BATCHREFILL_LIMIT,
    CLEARED,
    ENTRY,
    FREE_OBJECTS,
    SLABS_FREE,
    SLABS_PARTIAL,
    TOUCHED,
)
from mmactors.mm.slab.slab_memory import ThisCpu, step, touches_slab

WRITE: Final = Mode.WRITE


def slab_alloc_node(
    s: KmemCache, this_cpu: ThisCpu, gfp: int, node: int | None, caller: SlabCaller
) -> SlabSteps[int]:
    """Return an object's address, 0: no memory (kmem_cache_alloc_node)."""
    slabs = s.slabs
    if slabs.may_fail() and not (gfp & GFP_NOFAIL or s.is_bootstrap):
        allocation = SlabAllocation(
            cache=s.name, object_size=s.object_size, gfp=gfp, site=caller.site
        )
        if (yield ShouldFailslab(allocation)):
            return 0
    yield slabs.local_locks[this_cpu()]
    here = slabs.cpu_to_mem[this_cpu()]
    thing = 0
    if node is None or node == here:
        thing = yield from cache_alloc(s, this_cpu, gfp)
        node = here
    if not thing:
        thing = yield from cache_alloc_node(s, this_cpu, gfp, node)
    yield slabs.local_unlocks[this_cpu()]
    if thing and (slabs.view[s.base + CLEARED] or gfp & GFP_ZERO):
        slabs.zero(thing, s.object_size)
    if thing and slabs.checks is not None:
        slabs.checks.object_allocated(s, thing)
    return thing


def gfp_exact_node(gfp: int) -> int:
    """Return the flags to ask one node without reclaim; it may fail, and nobody is warned."""
    return (gfp | GFP_THISNODE | GFP_NOWARN) & ~(GFP_RECLAIM | GFP_NOFAIL)


def cache_alloc(s: KmemCache, this_cpu: ThisCpu, gfp: int) -> SlabSteps[int]:
    """Return an object out of the CPU's array, 0: none of its node is to be had."""
    slabs, view = s.slabs, s.slabs.view
    cpu = this_cpu()
    ac = s.cpu_cache(cpu)
    if slabs.wants_step():
        yield step("take an object from the array", s.touches_cpu(cpu, WRITE))
    if not view[ac + AVAIL]:
        ac = yield from _refill(s, this_cpu, gfp, ac)
        if not ac:
            return 0
    view[ac + TOUCHED] = 1
    view[ac + AVAIL] -= 1
    found: int = view[ac + ENTRY + view[ac + AVAIL]]
    return found


def _refill(s: KmemCache, this_cpu: ThisCpu, gfp: int, ac: int) -> SlabSteps[int]:
    """Fill a CPU's array, or the one that is the caller's afterwards; return it, 0: no memory."""
    slabs, view = s.slabs, s.slabs.view
    node = slabs.cpu_to_mem[this_cpu()]
    n, shared = s.node(node), s.shared(node)
    batch = view[ac + BATCHCOUNT]
    if not view[ac + TOUCHED]:
        batch = min(batch, BATCHREFILL_LIMIT)
    if slabs.wants_step():
        yield step("read free_objects and the shared array", s.touches_node(node, Mode.READ))
    if view[n + FREE_OBJECTS] or view[shared + AVAIL]:
        yield s.list_locks[node]
        if slabs.wants_step():
            touched = _first_slabs(s, node, batch)
            yield step(
                "refill the array",
                s.touches_node(node, WRITE),
                *(touches_slab(slab, WRITE) for slab in touched),
            )
        if transfer_objects(slabs.words, ac, shared, batch):
            view[shared + TOUCHED] = 1
        else:
            batch = refill_from_slabs(*slabs.objects, *slabs.links, s.base, n, ac, batch)
        yield s.list_unlocks[node]
    if view[ac + AVAIL]:
        return ac
    slab = yield from cache_grow_begin(s, this_cpu, gfp_exact_node(gfp), node)
    ac = s.cpu_cache(this_cpu())
    if slab and not view[ac + AVAIL]:
        alloc_block(*slabs.objects, s.base, ac, slab, batch)
    yield from cache_grow_end(s, slab)
    return ac if view[ac + AVAIL] else 0


def _first_slabs(s: KmemCache, node: int, batch: int) -> list[int]:
    """Return the slabs of a node that a batch of objects would be taken from."""
    found: list[int] = []
    for slab in (*s.node_slabs(node, SLABS_PARTIAL), *s.node_slabs(node, SLABS_FREE)):
        if batch <= 0:
            break
        found.append(slab)
        batch -= s.layout.num - s.active(slab)
    return found


def cache_alloc_node(s: KmemCache, this_cpu: ThisCpu, gfp: int, node: int) -> SlabSteps[int]:
    """Return an object of a node's slabs, or of another one's if the caller has not said which."""
    slabs, view = s.slabs, s.slabs.view
    n, found = s.node(node), 0
    yield s.list_locks[node]
    if slabs.wants_step():
        touched = _first_slabs(s, node, 1)
        yield step(
            "take an object of a node",
            s.touches_node(node, WRITE),
            *(touches_slab(slab, WRITE) for slab in touched),
        )
    slab = first_slab(slabs.words, slabs.pages.next, n)
    if slab:
        found = get_object(*slabs.objects, s.base, slab)
        view[n + FREE_OBJECTS] -= 1
        fixup_slab_list(*slabs.objects, *slabs.links, s.base, n, slab)
    yield s.list_unlocks[node]
    if not slab:
        slab = yield from cache_grow_begin(s, this_cpu, gfp_exact_node(gfp), node)
        if slab:
            found = get_object(*slabs.objects, s.base, slab)
        yield from cache_grow_end(s, slab)
    if found:
        return found
    return (yield from fallback_alloc(s, this_cpu, gfp))


def fallback_alloc(s: KmemCache, this_cpu: ThisCpu, gfp: int) -> SlabSteps[int]:
    """Return an object of any node, the nearest first, 0: no memory; with GFP_THISNODE always 0."""
    slabs, view = s.slabs, s.slabs.view
    if gfp & GFP_THISNODE:
        return 0
    while True:
        here = slabs.cpu_to_mem[this_cpu()]
        for node in (here, *slabs.nodes_by_distance[here]):
            if node in slabs.slab_nodes and view[s.node(node) + FREE_OBJECTS]:
                found = yield from cache_alloc_node(s, this_cpu, gfp_exact_node(gfp), node)
                if found:
                    return found
        slab = yield from cache_grow_begin(s, this_cpu, gfp, slabs.cpu_to_mem[this_cpu()])
        yield from cache_grow_end(s, slab)
        if not slab:
            return 0
        node = slabs.node_of(slab)
        found = yield from cache_alloc_node(s, this_cpu, gfp_exact_node(gfp), node)
        if found:
            return found
