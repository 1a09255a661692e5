"""Slabs on their way between a CPU and its node (mm/slub.c, v6.1).

get_partial, put_cpu_partial, __unfreeze_partials, flush_slab, deactivate_slab. Left out:
remote_node_defrag_ratio, by which one of 40 searches of other nodes does not take place; cpusets;
pfmemalloc slabs.
"""

from collections.abc import Sequence
from typing import Final

from mmactors.label import Mode
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.oops import lockup
from mmactors.mm.slab.request import LocalLock, LocalUnlock, SlabSteps
from mmactors.mm.slab.slab_memory import step, touches_slab
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.debug.oops import check_length, check_pointer
from mmactors.mm.slab.slub.lists import (
    add_partial,
    has_enough_partial,
    node_partial,
    remove_partial,
)
from mmactors.mm.slab.slub.slab_page import discard_slab
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    CPU_PARTIAL_SLABS,
    FREELIST,
    FROZEN,
    MIN_PARTIAL,
    NR_PARTIAL,
    OBJECTS_SHIFT,
    PARTIAL,
    SLAB,
    TID,
    TID_STEP,
)

READ: Final = Mode.READ
WRITE: Final = Mode.WRITE


def get_partial(s: KmemCache, cpu: int, node: int | None) -> SlabSteps[tuple[int, int]]:
    """Take a partial slab off a node's list, and more for the CPU's list.

    Return the slab, now frozen, with its first free object; all others are the caller's, too.
    (0, 0): there is none.
    """
    slabs = s.slabs
    near = slabs.node_of_cpu[cpu] if node is None else node
    found = yield from _get_partial_node(s, near, cpu)
    if found[0] or node is not None:
        return found
    for other in slabs.nodes_by_distance[near]:
        # Others lend what they have in abundance (get_any_partial).
        if slabs.view[s.node(other) + NR_PARTIAL] > slabs.view[s.base + MIN_PARTIAL]:
            found = yield from _get_partial_node(s, other, cpu)
            if found[0]:
                return found
    return 0, 0


def get_single(
    s: KmemCache, cpu: int, node: int | None, caller: SlabCaller, orig_size: int
) -> SlabSteps[int]:
    """Take one object of a partial slab for a cache that is debugged; 0: there is none."""
    from mmactors.mm.slab.slub.single import alloc_from_partial  # noqa: PLC0415 - of such caches

    slabs = s.slabs
    near = slabs.node_of_cpu[cpu] if node is None else node
    others = slabs.nodes_by_distance[near] if node is None else ()
    for each in (near, *others):
        least = 0 if each == near else slabs.view[s.base + MIN_PARTIAL]
        if slabs.wants_step():
            yield step("look for partial slabs", s.touches_node(each, READ))
        if slabs.view[s.node(each) + NR_PARTIAL] > least:
            yield s.list_locks[each]
            found = yield from alloc_from_partial(s, each, cpu, caller, orig_size)
            yield s.list_unlocks[each]
            if found:
                return found
    return 0


def _get_partial_node(s: KmemCache, node: int, cpu: int) -> SlabSteps[tuple[int, int]]:
    slabs = s.slabs
    if slabs.wants_step():
        yield step("look for partial slabs", s.touches_node(node, READ))
    if not slabs.view[s.node(node) + NR_PARTIAL]:  # Without the lock: a slab may come or go.
        return 0, 0
    yield s.list_locks[node]
    first_slab = first_object = nr_moved = 0
    for slab in node_partial(s, node):
        if slabs.wants_step():
            yield step("acquire_slab", touches_slab(slab, WRITE), s.touches_node(node, WRITE))
        freelist = _acquire_slab(s, node, slab, takes_all=not first_slab)
        if not first_slab:
            first_slab, first_object = slab, freelist
        else:
            yield from put_cpu_partial(s, cpu, slab, drain=False)
            nr_moved += 1
        if nr_moved > slabs.view[s.base + CPU_PARTIAL_SLABS] // 2:
            break
    yield s.list_unlocks[node]
    return first_slab, first_object


def _acquire_slab(s: KmemCache, node: int, slab: int, *, takes_all: bool) -> int:
    """Freeze a slab of the list, with its objects if `takes_all`; return its first free object."""
    pages = s.slabs.pages
    counters = pages.private_view[slab]
    freelist: int = pages.index_view[slab]
    if takes_all:
        objects = counters >> OBJECTS_SHIFT & COUNTERS_OBJECTS
        counters = (counters & ~COUNTERS_INUSE) | objects
        pages.index_view[slab] = 0
    pages.private_view[slab] = counters | FROZEN
    remove_partial(s, node, slab)
    return freelist


def put_cpu_partial(s: KmemCache, cpu: int, slab: int, *, drain: bool) -> SlabSteps[None]:
    """Make a frozen slab the first of a CPU's partial ones; with `drain`, all others may go."""
    slabs = s.slabs
    pages, view = slabs.pages, slabs.view
    word = s.cpu_slab(cpu) + PARTIAL
    if slabs.wants_step():
        yield LocalLock(cpu=cpu)
        yield step("put_cpu_partial", s.touches_cpu(cpu, WRITE), touches_slab(slab, WRITE))
    old = view[word]
    nr_slabs = unfrozen = 0
    if old:
        nr_slabs = pages.prev_view[old]
        if drain and nr_slabs >= view[s.base + CPU_PARTIAL_SLABS]:
            unfrozen = old
            old = nr_slabs = 0
    pages.prev_view[slab] = nr_slabs + 1
    pages.next_view[slab] = old
    view[word] = slab
    if slabs.wants_step():
        yield LocalUnlock(cpu=cpu)
    if unfrozen:
        yield from _unfreeze_chain(s, cpu, unfrozen)


def unfreeze_partials(s: KmemCache, cpu: int) -> SlabSteps[None]:
    """Give all partial slabs of a CPU to their nodes."""
    slabs = s.slabs
    word = s.cpu_slab(cpu) + PARTIAL
    if slabs.wants_step():
        yield LocalLock(cpu=cpu)
        yield step("unfreeze_partials", s.touches_cpu(cpu, WRITE))
    slab = slabs.view[word]
    slabs.view[word] = 0
    if slabs.wants_step():
        yield LocalUnlock(cpu=cpu)
    if slab:
        yield from _unfreeze_chain(s, cpu, slab)


def _unfreeze_chain(s: KmemCache, cpu: int, slab: int) -> SlabSteps[None]:
    """Unfreeze a chain of slabs: to the tail of the node's list, or discarded."""
    slabs = s.slabs
    pages = slabs.pages
    locked: int | None = None
    discarded: list[int] = []
    length = 0
    while slab:
        length += 1
        check_length(s, cpu, length)
        following = pages.next_view[slab]
        node = slabs.node_of(slab)
        if node != locked:
            if locked is not None:
                yield s.list_unlocks[locked]
            locked = node
            yield s.list_locks[node]
        if slabs.wants_step():
            yield step("unfreeze a slab", touches_slab(slab, WRITE), s.touches_node(node, WRITE))
        counters = pages.private_view[slab]
        pages.private_view[slab] = counters & ~FROZEN
        if not counters & COUNTERS_INUSE and has_enough_partial(s, node):
            discarded.append(slab)
        else:
            add_partial(s, node, slab, at_tail=True)
        slab = following
    if locked is not None:
        yield s.list_unlocks[locked]
    for each in reversed(discarded):
        yield from discard_slab(s, cpu, each)


def flush_slab(s: KmemCache, cpu: int) -> SlabSteps[None]:
    """Take its slab away from a CPU."""
    slabs = s.slabs
    view, c = slabs.view, s.cpu_slab(cpu)
    if slabs.wants_step():
        yield LocalLock(cpu=cpu)
        yield step("flush_slab", s.touches_cpu(cpu, WRITE))
    slab, freelist = view[c + SLAB], view[c + FREELIST]
    view[c + SLAB] = view[c + FREELIST] = 0
    view[c + TID] += TID_STEP
    if slabs.wants_step():
        yield LocalUnlock(cpu=cpu)
    if slab:
        yield from deactivate_slab(s, cpu, slab, freelist)


def deactivate_slab(s: KmemCache, cpu: int, slab: int, freelist: int) -> SlabSteps[None]:
    """Unfreeze a slab that was a CPU's, with what is left of the CPU's freelist."""
    slabs = s.slabs
    pages = slabs.pages
    node = slabs.node_of(slab)
    if slabs.wants_step():
        yield step("deactivate_slab", touches_slab(slab, READ))
    at_tail = pages.index_view[slab] != 0
    left: list[int] = []
    while freelist:
        check_pointer(s, freelist)
        left.append(freelist)
        if len(left) > s.layout.objects:
            lockup(slabs, cpu)
        freelist = s.get_freepointer(freelist)
    while True:
        if slabs.wants_step():
            yield step("read the slab's freelist", touches_slab(slab, WRITE))
        old = pages.index_view[slab], pages.private_view[slab]
        returned = left if slabs.rules.deactivate_slab_keeps_cpu_freelist else ()
        new_freelist, inuse = _spliced(s, returned, *old)
        is_freed = not inuse and has_enough_partial(s, node)
        is_listed = not is_freed and new_freelist != 0
        if is_listed:
            yield s.list_locks[node]
        if slabs.wants_step():
            yield step("unfreeze the slab", touches_slab(slab, WRITE), s.touches_node(node, WRITE))
        if (pages.index_view[slab], pages.private_view[slab]) == old:
            break
        if is_listed:
            yield s.list_unlocks[node]
    pages.index_view[slab] = new_freelist
    pages.private_view[slab] = (old[1] & ~(COUNTERS_INUSE | FROZEN)) | inuse
    if is_freed:
        yield from discard_slab(s, cpu, slab)
    elif is_listed:
        add_partial(s, node, slab, at_tail=at_tail)
        yield s.list_unlocks[node]


def _spliced(
    s: KmemCache, left: Sequence[int], old_freelist: int, old_counters: int
) -> tuple[int, int]:
    """Put a CPU's free objects before the slab's own; return the first, and how many are in use."""
    inuse = old_counters & COUNTERS_INUSE
    if not left:
        return old_freelist, inuse
    s.set_freepointer(left[-1], old_freelist)
    return left[0], (inuse - len(left)) & COUNTERS_INUSE
