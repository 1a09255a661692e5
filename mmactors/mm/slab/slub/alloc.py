"""Handing out an object (slab_alloc_node, ___slab_alloc; mm/slub.c, v6.1).

The fast path takes no lock: it reads the CPU's transaction number, then its freelist, and changes
both at once if neither has changed; each of these is a step of its own. `local.py` has the same
as one compiled function. Left out: pfmemalloc slabs, KFENCE, memory cgroups.
"""

from functools import partial
from typing import Final

from mmactors.label import Mode
from mmactors.mm.page_alloc.gfp import GFP_NOFAIL, GFP_NOWARN, GFP_ZERO
from mmactors.mm.slab.alloc_site import SlabAllocation
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.request import (
    GetCpu,
    LocalLock,
    LocalUnlock,
    Printk,
    PutCpu,
    ShouldFailslab,
    SlabSteps,
)
from mmactors.mm.slab.slab_memory import ThisCpu, step, touches_slab
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.debug.oops import check_pointer
from mmactors.mm.slab.slub.lists import inc_slabs_node
from mmactors.mm.slab.slub.partial import deactivate_slab, get_partial, get_single
from mmactors.mm.slab.slub.slab_page import new_slab
from mmactors.mm.slab.slub.struct_slab import (
    CLEARED,
    COUNTERS_OBJECTS,
    FREELIST,
    OBJECTS_SHIFT,
    PARTIAL,
    SLAB,
    TID,
    TID_STEP,
    counters_of,
)

READ: Final = Mode.READ
WRITE: Final = Mode.WRITE
_GET_CPU: Final = GetCpu()
_PUT_CPU: Final = PutCpu()


def slab_alloc_node(
    s: KmemCache,
    this_cpu: ThisCpu,
    gfp: int,
    node: int | None,
    caller: SlabCaller,
    orig_size: int,
) -> SlabSteps[int]:
    """Return an object's address, 0: no memory (kmem_cache_alloc_node)."""
    slabs = s.slabs
    view = slabs.view
    wants_step = slabs.wants_step
    if slabs.may_fail() and not (gfp & GFP_NOFAIL or s.is_bootstrap):
        allocation = SlabAllocation(
            cache=s.name,
            object_size=s.object_size,
            gfp=gfp,
            site=caller.site,
        )
        if (yield ShouldFailslab(allocation)):
            return 0
    while True:
        cpu = this_cpu()
        c = s.cpu_slab(cpu)
        if wants_step():
            yield from s.turn_on(partial(s.cpu_of_tid, cpu, this_cpu), "read tid", READ)
        tid = s.read_tid(cpu, this_cpu)
        if wants_step():
            yield step("read freelist and slab", s.touches_cpu(cpu, READ))
        thing, slab = view[c + FREELIST], view[c + SLAB]
        if not thing or not slab or (node is not None and slabs.node_of(slab) != node):
            thing = yield from _slab_alloc(s, this_cpu, gfp, node, caller, orig_size)
            break
        check_pointer(s, thing)
        if wants_step():
            yield step("read the free pointer", touches_slab(slab, READ))
        following = s.get_freepointer(thing)
        if wants_step():
            yield from s.turn_on(this_cpu, "this_cpu_cmpxchg_double", WRITE)
        if s.this_cpu_cmpxchg(this_cpu(), thing, tid, following):
            break
    if thing and (view[s.base + CLEARED] or gfp & GFP_ZERO):
        slabs.zero(thing, s.object_size)
    if thing and slabs.checks is not None:
        slabs.checks.object_allocated(s, thing)
    return thing


def _slab_alloc(
    s: KmemCache,
    this_cpu: ThisCpu,
    gfp: int,
    node: int | None,
    caller: SlabCaller,
    orig_size: int,
) -> SlabSteps[int]:
    """Return an object of another slab than the CPU's freelist is of, 0: no memory."""
    slabs = s.slabs
    if node is not None and node not in slabs.slab_nodes:
        node = None
    if slabs.wants_step():
        yield _GET_CPU
    cpu = this_cpu()
    found = yield from _from_cpu(s, cpu, node)
    is_debug = s.layout.is_debug
    while not found:
        if is_debug:
            slab, found = 0, (yield from get_single(s, cpu, node, caller, orig_size))
        else:
            slab, found = yield from get_partial(s, cpu, node)
        if found:
            if slab:
                yield from _make_cpu_slab(s, cpu, slab, found)
            break
        if slabs.wants_step():
            yield _PUT_CPU
        slab = yield from new_slab(s, cpu, gfp, node)
        if slabs.wants_step():
            yield _GET_CPU
        cpu = this_cpu()
        if not slab:
            break
        if is_debug:
            from mmactors.mm.slab.slub.single import alloc_from_new_slab  # noqa: PLC0415 - of debugged caches

            found = yield from alloc_from_new_slab(s, slab, cpu, caller, orig_size)
        else:
            found = _freeze_new(s, slab)
            yield from _make_cpu_slab(s, cpu, slab, found)
    if not found and not gfp & GFP_NOWARN:
        from mmactors.mm.slab.slub.debug.report import no_memory  # noqa: PLC0415 - of few runs

        yield Printk(lines=no_memory(s, gfp, node))
    if slabs.wants_step():
        yield _PUT_CPU
    return found


def _freeze_new(s: KmemCache, slab: int) -> int:
    """Take all objects of a new slab, which nobody knows yet; return the first."""
    slabs = s.slabs
    pages = slabs.pages
    objects = pages.private_view[slab] >> OBJECTS_SHIFT & COUNTERS_OBJECTS
    found: int = pages.index_view[slab]
    pages.index_view[slab] = 0
    pages.private_view[slab] = counters_of(inuse=objects, objects=objects, is_frozen=True)
    inc_slabs_node(s, slabs.node_of(slab), objects)
    return found


def _from_cpu(s: KmemCache, cpu: int, node: int | None) -> SlabSteps[int]:
    """Return an object of the CPU's slab or of its partial ones, 0: they have none."""
    slabs = s.slabs
    view, pages, c = slabs.view, slabs.pages, s.cpu_slab(cpu)
    while True:
        if slabs.wants_step():
            yield step("read the CPU's slab", s.touches_cpu(cpu, READ))
        slab = view[c + SLAB]
        if slab and node is not None and slabs.node_of(slab) != node:
            yield from _deactivate_cpu_slab(s, cpu, slab)
            slab = 0
        if not slab:
            if slabs.wants_step():
                yield LocalLock(cpu=cpu)
                yield step("take a partial slab", s.touches_cpu(cpu, WRITE))
            if not view[c + SLAB]:
                slab = view[c + PARTIAL]
                if slab:
                    view[c + SLAB] = slab
                    view[c + PARTIAL] = pages.next_view[slab]
            if slabs.wants_step():
                yield LocalUnlock(cpu=cpu)
            if not slab and not view[c + SLAB]:
                return 0
            continue
        if slabs.wants_step():
            yield LocalLock(cpu=cpu)
            yield step("refill", s.touches_cpu(cpu, WRITE), touches_slab(slab, WRITE))
        found = _refill(s, cpu, slab) if view[c + SLAB] == slab else 0
        if slabs.wants_step():
            yield LocalUnlock(cpu=cpu)
        if found:
            return found


def _refill(s: KmemCache, cpu: int, slab: int) -> int:
    """Return the first free object of the CPU's slab; 0: it has none, and is the CPU's no more."""
    slabs = s.slabs
    view, c = slabs.view, s.cpu_slab(cpu)
    found = view[c + FREELIST] or _get_freelist(s, slab)
    if found:
        check_pointer(s, found)
        view[c + FREELIST] = s.get_freepointer(found)
    else:
        view[c + SLAB] = 0
    view[c + TID] += TID_STEP
    return found


def _get_freelist(s: KmemCache, slab: int) -> int:
    """Take the objects that others have freed; a slab that has none is thawed."""
    pages = s.slabs.pages
    found: int = pages.index_view[slab]
    objects = pages.private_view[slab] >> OBJECTS_SHIFT & COUNTERS_OBJECTS
    pages.index_view[slab] = 0
    pages.private_view[slab] = counters_of(inuse=objects, objects=objects, is_frozen=found != 0)
    return found


def _deactivate_cpu_slab(s: KmemCache, cpu: int, slab: int) -> SlabSteps[None]:
    """Take away the CPU's slab, unless it has another one by now."""
    slabs = s.slabs
    view, c = slabs.view, s.cpu_slab(cpu)
    if slabs.wants_step():
        yield LocalLock(cpu=cpu)
        yield step("take the slab away", s.touches_cpu(cpu, WRITE))
    is_same = view[c + SLAB] == slab
    freelist = view[c + FREELIST]
    if is_same:
        view[c + SLAB] = view[c + FREELIST] = 0
        view[c + TID] += TID_STEP
    if slabs.wants_step():
        yield LocalUnlock(cpu=cpu)
    if is_same:
        yield from deactivate_slab(s, cpu, slab, freelist)


def _make_cpu_slab(s: KmemCache, cpu: int, slab: int, found: int) -> SlabSteps[None]:
    """Let a CPU go on with a slab whose first object was taken; its old one is taken away."""
    slabs = s.slabs
    view, c = slabs.view, s.cpu_slab(cpu)
    while True:
        if slabs.wants_step():
            yield LocalLock(cpu=cpu)
            yield step("load the slab", s.touches_cpu(cpu, WRITE), touches_slab(slab, READ))
        old, freelist = view[c + SLAB], view[c + FREELIST]
        if not old:
            break
        view[c + SLAB] = view[c + FREELIST] = 0
        view[c + TID] += TID_STEP
        if slabs.wants_step():
            yield LocalUnlock(cpu=cpu)
        yield from deactivate_slab(s, cpu, old, freelist)
    check_pointer(s, found)
    view[c + SLAB] = slab
    view[c + FREELIST] = s.get_freepointer(found)
    view[c + TID] += TID_STEP
    if slabs.wants_step():
        yield LocalUnlock(cpu=cpu)
