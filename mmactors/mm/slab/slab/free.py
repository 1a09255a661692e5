"""Taking objects back: a CPU's array, the shared one, slabs, other nodes (mm/slab.c, v6.1).

Models ___cache_free and cache_flusharray; `local.py` has the same as a compiled function for an
array that has room. Left out: pfmemalloc slabs, KFENCE, init_on_free.
"""

from mmactors.label import Mode
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.request import SlabSteps
from mmactors.mm.slab.slab.alien import free_alien
from mmactors.mm.slab.slab.array_cache import free_block, free_one
from mmactors.mm.slab.slab.cache import KmemCache
from mmactors.mm.slab.slab.local import drop_first
from mmactors.mm.slab.slab.slab_page import slabs_destroy
from mmactors.mm.slab.slab.struct_slab import AVAIL, BATCHCOUNT, ENTRY, LIMIT
from mmactors.mm.slab.slab_memory import ThisCpu, step


def cache_free(
    s: KmemCache, this_cpu: ThisCpu, slab: int, thing: int, caller: SlabCaller
) -> SlabSteps[None]:
    """Free an object of a slab of the cache."""
    slabs, view = s.slabs, s.slabs.view
    if slabs.checks is not None:
        slabs.checks.object_freed(s, thing)
    yield slabs.local_locks[this_cpu()]
    cpu = this_cpu()
    node = slabs.node_of(slab)
    if slabs.nr_nodes > 1 and node != slabs.cpu_to_mem[cpu]:
        yield from free_alien(s, this_cpu, thing, node, caller)
    else:
        ac = s.cpu_cache(cpu)
        if slabs.wants_step():
            yield step("put the object into the array", s.touches_cpu(cpu, Mode.WRITE))
        if view[ac + AVAIL] >= view[ac + LIMIT]:
            yield from cache_flusharray(s, this_cpu, ac)
        yield from free_one(s, ac, thing, cpu, caller)
    yield slabs.local_unlocks[this_cpu()]


def cache_flusharray(s: KmemCache, this_cpu: ThisCpu, ac: int) -> SlabSteps[None]:
    """Make room in a CPU's array: a batch goes to the shared one, or, if that is full, to slabs."""
    slabs, view = s.slabs, s.slabs.view
    node = slabs.cpu_to_mem[this_cpu()]
    shared = s.shared(node)
    count = view[ac + BATCHCOUNT]
    surplus: list[int] = []
    yield s.list_locks[node]
    if slabs.wants_step():
        yield step("flush the array", s.touches_node(node, Mode.WRITE))
    room = view[shared + LIMIT] - view[shared + AVAIL]
    if room:
        count = min(count, room)
        there = shared + ENTRY + view[shared + AVAIL]
        view[there : there + count] = view[ac + ENTRY : ac + ENTRY + count]
        view[shared + AVAIL] += count
    else:
        surplus = yield from free_block(s, node, ac, count)
    yield s.list_unlocks[node]
    drop_first(slabs.words, ac, count)
    yield from slabs_destroy(s, this_cpu, surplus)
