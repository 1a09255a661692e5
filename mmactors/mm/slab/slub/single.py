"""Caches that are debugged: one object at a time, under list_lock, with all checks (v6.1).

Models alloc_single_from_partial, alloc_single_from_new_slab, alloc_debug_processing,
free_to_partial_list and free_debug_processing of mm/slub.c. Such a cache has no per-CPU slabs.
Left out: SLAB_TRACE's lines.
"""

from typing import Final

from mmactors.arch.page import PG_SLAB
from mmactors.label import Mode
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.flags import SLAB_CONSISTENCY_CHECKS
from mmactors.mm.slab.oops import pointer
from mmactors.mm.slab.request import Printk, SlabSteps
from mmactors.mm.slab.slab_memory import step, touches_slab
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.debug.check import (
    SLUB_RED_ACTIVE,
    SLUB_RED_INACTIVE,
    Checker,
    init_object,
    set_orig_size,
)
from mmactors.mm.slab.slub.debug.oops import check_pointer
from mmactors.mm.slab.slub.debug.track import TRACK_ALLOC, TRACK_FREE, set_track
from mmactors.mm.slab.slub.lists import (
    add_full,
    add_partial,
    dec_slabs_node,
    has_enough_partial,
    inc_slabs_node,
    node_partial,
    remove_full,
    remove_partial,
)
from mmactors.mm.slab.slub.slab_page import free_slab

WRITE: Final = Mode.WRITE


def alloc_from_partial(
    s: KmemCache, node: int, cpu: int, caller: SlabCaller, orig_size: int
) -> SlabSteps[int]:
    """Return an object of the node's partial slabs, 0: none has one that is whole; locked."""
    for slab in node_partial(s, node):
        if s.slabs.wants_step():
            yield step("take an object", touches_slab(slab, WRITE), s.touches_node(node, WRITE))
        checker = Checker(s, slab, caller.jiffies)
        thing = _take_first(s, slab, checker, orig_size)
        if checker.log:
            yield Printk(lines=tuple(checker.log))
        if not thing:
            if s.slabs.pages.flags_view[slab] & PG_SLAB:
                remove_partial(s, node, slab)
            continue
        inuse, objects, _ = checker.counters
        if inuse == objects:
            remove_partial(s, node, slab)
            add_full(s, node, slab)
        set_track(s, thing, TRACK_ALLOC, cpu, caller)
        return thing
    return 0


def alloc_from_new_slab(
    s: KmemCache, slab: int, cpu: int, caller: SlabCaller, orig_size: int
) -> SlabSteps[int]:
    """Return the first object of a new slab, which comes to its node's list; 0: it is not whole."""
    node = s.slabs.node_of(slab)
    checker = Checker(s, slab, caller.jiffies)
    thing = _take_first(s, slab, checker, orig_size)
    if checker.log:
        yield Printk(lines=tuple(checker.log))
    if not thing:
        return 0
    yield s.list_locks[node]
    if s.slabs.wants_step():
        yield step("add the slab", touches_slab(slab, WRITE), s.touches_node(node, WRITE))
    inuse, objects, _ = checker.counters
    if inuse == objects:
        add_full(s, node, slab)
    else:
        add_partial(s, node, slab, at_tail=False)
    inc_slabs_node(s, node, objects)
    yield s.list_unlocks[node]
    set_track(s, thing, TRACK_ALLOC, cpu, caller)
    return thing


def _take_first(s: KmemCache, slab: int, checker: Checker, orig_size: int) -> int:
    """Take a slab's first object and paint it as used, if it is whole (alloc_debug_processing)."""
    pages = s.slabs.pages
    thing: int = pages.index_view[slab]
    check_pointer(s, thing)
    pages.index_view[slab] = s.get_freepointer(thing)
    inuse, objects, is_frozen = checker.counters
    checker.set_counters(inuse=inuse + 1, objects=objects, is_frozen=is_frozen)
    if s.flags & SLAB_CONSISTENCY_CHECKS and not _is_whole(checker, thing):
        if pages.flags_view[slab] & PG_SLAB:
            checker.fix("Marking all objects used")
            pages.index_view[slab] = 0
            _, objects, _ = checker.counters
            checker.set_counters(inuse=objects, objects=objects, is_frozen=True)
        return 0
    set_orig_size(s, thing, orig_size)
    init_object(s, thing, SLUB_RED_ACTIVE)
    return thing


def _is_whole(checker: Checker, thing: int) -> bool:
    """Return whether an object that is handed out is as a free one should be."""
    if not checker.check_slab():
        return False
    if not checker.is_pointer_valid(thing):
        checker.object_err(thing, "Freelist Pointer check fails")
        return False
    return checker.check_object(thing, SLUB_RED_INACTIVE)


def free_to_partial_list(
    s: KmemCache, cpu: int, slab: int, thing: int, caller: SlabCaller
) -> SlabSteps[None]:
    """Free an object with all checks; what fails them stays in use for ever."""
    slabs = s.slabs
    node = slabs.node_of(slab)
    yield s.list_locks[node]
    if slabs.wants_step():
        yield step("free an object", touches_slab(slab, WRITE), s.touches_node(node, WRITE))
    checker = Checker(s, slab, caller.jiffies)
    goes = False
    if _may_be_freed(s, slab, thing, checker):
        set_track(s, thing, TRACK_FREE, cpu, caller)
        init_object(s, thing, SLUB_RED_INACTIVE)
        goes = _put_back(s, node, slab, thing, checker)
    else:
        checker.fix(f"Object at 0x{pointer(thing)} not freed")
    if goes:
        dec_slabs_node(s, node, checker.counters[1])
    if checker.log:
        yield Printk(lines=tuple(checker.log))
    yield s.list_unlocks[node]
    if goes:
        yield from free_slab(s, cpu, slab)


def _may_be_freed(s: KmemCache, slab: int, thing: int, checker: Checker) -> bool:
    checks = bool(s.flags & SLAB_CONSISTENCY_CHECKS)
    if checks and not checker.check_slab():
        return False
    inuse, _, _ = checker.counters
    if inuse < 1:
        checker.slab_err(f"Slab has {inuse} allocated objects but 1 are to be freed")
        return False
    return not checks or _is_in_use(s, slab, thing, checker)


def _is_in_use(s: KmemCache, slab: int, thing: int, checker: Checker) -> bool:
    """Return whether an object that is freed is one, in use, and of the cache."""
    if not checker.is_pointer_valid(thing):
        checker.slab_err(f"Invalid object pointer 0x{pointer(thing)}")
        return False
    if checker.is_on_freelist(thing):
        checker.object_err(thing, "Object already free")
        return False
    if not checker.check_object(thing, SLUB_RED_ACTIVE):
        return False
    if s.slabs.pages.mapping_view[slab] != 1 + s.number:
        checker.object_err(thing, "page slab pointer corrupt.")
        return False
    return True


def _put_back(s: KmemCache, node: int, slab: int, thing: int, checker: Checker) -> bool:
    """Put an object on its slab's list; return whether the slab, off all lists, is to go."""
    pages = s.slabs.pages
    prior = pages.index_view[slab]
    inuse, objects, is_frozen = checker.counters
    inuse -= 1
    checker.set_counters(inuse=inuse, objects=objects, is_frozen=is_frozen)
    s.set_freepointer(thing, prior)
    pages.index_view[slab] = thing
    goes = inuse == 0 and has_enough_partial(s, node)
    if not prior:
        remove_full(s, slab)
        if not goes:
            add_partial(s, node, slab, at_tail=True)
    elif goes:
        remove_partial(s, node, slab)
    return goes
