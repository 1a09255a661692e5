"""Objects of another node, kept until some are together (mm/slab.c, v6.1).

Models struct alien_cache with cache_free_alien, drain_alien_cache and reap_alien.
"""

from mmactors.label import Mode
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.request import AlienTryLock, SlabSteps
from mmactors.mm.slab.slab.array_cache import free_block, free_one
from mmactors.mm.slab.slab.cache import KmemCache
from mmactors.mm.slab.slab.local import transfer_objects
from mmactors.mm.slab.slab.slab_page import slabs_destroy
from mmactors.mm.slab.slab.struct_slab import AVAIL, ENTRY, LIMIT
from mmactors.mm.slab.slab_memory import ThisCpu, step


def free_alien(
    s: KmemCache,
    this_cpu: ThisCpu,
    thing: int,
    of: int,
    caller: SlabCaller,
) -> SlabSteps[None]:
    """Free an object of another node than the CPU's: it waits here (__cache_free_alien)."""
    slabs, view = s.slabs, s.slabs.view
    cpu = this_cpu()
    node = slabs.cpu_to_mem[cpu]
    ac = s.alien(node, of)
    if not view[ac + LIMIT]:
        yield from _free_to_node(s, this_cpu, thing, of)
        return
    surplus: list[int] = []
    yield s.alien_lock(node, of)
    if slabs.wants_step():
        yield step("free an object of another node", s.touches_node(node, Mode.WRITE))
    if view[ac + AVAIL] == view[ac + LIMIT]:
        surplus = yield from _drain(s, ac, of)
    yield from free_one(s, ac, thing, cpu, caller)
    yield s.alien_unlock(node, of)
    yield from slabs_destroy(s, this_cpu, surplus)


def _free_to_node(s: KmemCache, this_cpu: ThisCpu, thing: int, of: int) -> SlabSteps[None]:
    """Give an object back to its slab at once."""
    slabs = s.slabs
    yield s.list_locks[of]
    ac = slabs.one_array(this_cpu())
    slabs.view[ac + ENTRY] = thing
    surplus = yield from free_block(s, of, ac, 1)
    yield s.list_unlocks[of]
    yield from slabs_destroy(s, this_cpu, surplus)


def _drain(s: KmemCache, ac: int, of: int) -> SlabSteps[list[int]]:
    """Empty an array for objects of node `of`; its lock is held (__drain_alien_cache)."""
    view = s.slabs.view
    surplus: list[int] = []
    if view[ac + AVAIL]:
        yield s.list_locks[of]
        if view[s.shared(of) + LIMIT]:
            transfer_objects(s.slabs.words, s.shared(of), ac, view[ac + LIMIT])
        surplus = yield from free_block(s, of, ac, view[ac + AVAIL])
        view[ac + AVAIL] = 0
        yield s.list_unlocks[of]
    return surplus


def drain_alien(s: KmemCache, this_cpu: ThisCpu, node: int, of: int) -> SlabSteps[None]:
    """Give what a node has of another node's objects back to that."""
    yield s.alien_lock(node, of)
    yield from _drain_and_unlock(s, this_cpu, node, of)


def _drain_and_unlock(s: KmemCache, this_cpu: ThisCpu, node: int, of: int) -> SlabSteps[None]:
    if s.slabs.wants_step():
        yield step("drain objects of another node", s.touches_node(node, Mode.WRITE))
    surplus = yield from _drain(s, s.alien(node, of), of)
    yield s.alien_unlock(node, of)
    yield from slabs_destroy(s, this_cpu, surplus)


def reap_alien(s: KmemCache, this_cpu: ThisCpu, node: int, of: int) -> SlabSteps[None]:
    """Do `drain_alien` if there is anything, and nobody is at it."""
    slabs, ac = s.slabs, s.alien(node, of)
    if of == node or not slabs.view[ac + LIMIT]:
        return
    if slabs.wants_step():
        yield step("look for objects of another node", s.touches_node(node, Mode.READ))
    if slabs.view[ac + AVAIL] and (yield AlienTryLock(s.alien_lock(node, of))):
        yield from _drain_and_unlock(s, this_cpu, node, of)
