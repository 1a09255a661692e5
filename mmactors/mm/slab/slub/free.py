"""Taking an object back (do_slab_free, __slab_free; mm/slub.c, v6.1).

An object of the CPU's own slab goes to the CPU's freelist without a lock; any other one to its
slab's, whose two words change at once. Left out: KFENCE, memory cgroups, init_on_free.
"""

from functools import partial
from typing import Final

from mmactors.label import Mode
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.oops import bug, oops
from mmactors.mm.slab.request import SlabSteps
from mmactors.mm.slab.slab_memory import ThisCpu, step, touches_slab
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.lists import has_enough_partial, remove_partial
from mmactors.mm.slab.slub.partial import put_cpu_partial
from mmactors.mm.slab.slub.slab_page import discard_slab
from mmactors.mm.slab.slub.struct_slab import COUNTERS_INUSE, FREELIST, FROZEN, SLAB

READ: Final = Mode.READ
WRITE: Final = Mode.WRITE
_SET_FREEPOINTER_LINE: Final = 419
"""Where mm/slub.c refuses an object that would follow itself."""


def do_slab_free(
    s: KmemCache, this_cpu: ThisCpu, slab: int, thing: int, caller: SlabCaller
) -> SlabSteps[None]:
    """Free an object of a slab."""
    slabs = s.slabs
    view = slabs.view
    wants_step = slabs.wants_step
    if wants_step():
        yield step("end the list of what is freed", touches_slab(slab, WRITE))
    if slabs.checks is not None:
        slabs.checks.object_freed(s, thing)
    # Of an object that is free already this cuts off the list that it is on.
    s.set_freepointer(thing, 0)
    while True:
        cpu = this_cpu()
        c = s.cpu_slab(cpu)
        if wants_step():
            yield from s.turn_on(partial(s.cpu_of_tid, cpu, this_cpu), "read tid", READ)
        tid = s.read_tid(cpu, this_cpu)
        if wants_step():
            yield step("read slab", s.touches_cpu(cpu, READ))
        if view[c + SLAB] != slab:
            if s.layout.is_debug:
                from mmactors.mm.slab.slub.single import free_to_partial_list  # noqa: PLC0415 - of debugged caches

                yield from free_to_partial_list(s, cpu, slab, thing, caller)
            else:
                yield from _slab_free(s, this_cpu, slab, thing)
            return
        if wants_step():
            yield step("read freelist", s.touches_cpu(cpu, READ))
        freelist = view[c + FREELIST]
        if wants_step():
            yield step("write the free pointer", touches_slab(slab, WRITE))
        _set_freepointer(s, thing, freelist)
        if wants_step():
            yield from s.turn_on(this_cpu, "this_cpu_cmpxchg_double", WRITE)
        if s.this_cpu_cmpxchg(this_cpu(), freelist, tid, thing):
            return


def _set_freepointer(s: KmemCache, thing: int, following: int) -> None:
    if thing == following and s.slabs.config.hardened:
        oops(s.slabs, *bug("mm/slub.c", _SET_FREEPOINTER_LINE))
    s.set_freepointer(thing, following)


def _slab_free(s: KmemCache, this_cpu: ThisCpu, slab: int, thing: int) -> SlabSteps[None]:
    """Free an object of a slab that is not this CPU's."""
    slabs = s.slabs
    pages = slabs.pages
    wants_step = slabs.wants_step
    locked: int | None = None
    while True:
        if locked is not None:
            yield s.list_unlocks[locked]
            locked = None
        if wants_step():
            yield step("read the slab's freelist", touches_slab(slab, WRITE))
        prior, counters = pages.index_view[slab], pages.private_view[slab]
        _set_freepointer(s, thing, prior)
        was_frozen = bool(counters & FROZEN)
        inuse = (counters - 1) & COUNTERS_INUSE
        freezes = False
        if not was_frozen and (not inuse or not prior):
            if not prior:
                # It was full and on no list: it waits in the CPU's list for more to come.
                freezes = True
            else:
                locked = slabs.node_of(slab)
                yield s.list_locks[locked]
        new_counters = (counters & ~COUNTERS_INUSE) | inuse | (FROZEN if freezes else 0)
        if wants_step():
            yield step("cmpxchg_double_slab", touches_slab(slab, WRITE))
        if pages.index_view[slab] == prior and pages.private_view[slab] == counters:
            break
    pages.index_view[slab] = thing
    pages.private_view[slab] = new_counters
    if locked is None:
        if freezes:
            yield from put_cpu_partial(s, this_cpu(), slab, drain=True)
        return
    if wants_step():
        yield step("look whether it goes", s.touches_node(locked, WRITE))
    goes = not inuse and has_enough_partial(s, locked)
    if goes:
        remove_partial(s, locked, slab)
    yield s.list_unlocks[locked]
    if goes:
        yield from discard_slab(s, this_cpu(), slab)
