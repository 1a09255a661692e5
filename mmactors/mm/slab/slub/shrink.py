"""Taking slabs back from CPUs and nodes: flush, shrink, shutdown (mm/slub.c, v6.1)."""

from typing import Final

from mmactors.mm.slab.oops import bug, oops
from mmactors.mm.slab.request import FlushCpus, SlabSteps
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.debug.list_debug import list_add
from mmactors.mm.slab.slub.lists import (
    dec_slabs_node,
    node_partial,
    remove_partial,
)
from mmactors.mm.slab.slub.partial import flush_slab, unfreeze_partials
from mmactors.mm.slab.slub.slab_page import discard_slab, free_slab
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    NR_PARTIAL,
    NR_SLABS,
    OBJECTS_SHIFT,
    PARTIAL,
    PARTIAL_HEAD,
    SLAB,
)

_BUG_ON_FULL_LINE: Final = 4655
"""Where mm/slub.c finds a full slab on a partial list."""
SHRINK_PROMOTE_MAX: Final = 32
"""Slabs with more free objects than that are not sorted."""


def flush_cpu_slab(s: KmemCache, cpu: int) -> SlabSteps[None]:
    """Give back what a CPU has of a cache; runs on that CPU."""
    if s.slabs.view[s.cpu_slab(cpu) + SLAB]:
        yield from flush_slab(s, cpu)
    yield from unfreeze_partials(s, cpu)


def flush_all(s: KmemCache) -> SlabSteps[None]:
    """Let every CPU give back what it has."""
    view = s.slabs.view
    cpus = tuple(
        cpu
        for cpu in range(s.slabs.nr_cpus)
        if view[s.cpu_slab(cpu) + SLAB] or view[s.cpu_slab(cpu) + PARTIAL]
    )
    if cpus:
        yield FlushCpus(cache=s.number, cpus=cpus)


def shrink(s: KmemCache, cpu: int) -> SlabSteps[bool]:
    """Give empty slabs back and sort the others; return whether slabs are left."""
    yield from flush_all(s)
    is_left = False
    for node in range(s.slabs.nr_nodes):
        yield s.list_locks[node]
        discarded = _sort_partial(s, node)
        yield s.list_unlocks[node]
        for slab in discarded:
            yield from free_slab(s, cpu, slab)
        is_left |= s.slabs.view[s.node(node) + NR_SLABS] != 0
    return is_left


def _sort_partial(s: KmemCache, node: int) -> list[int]:
    """Put the fullest slabs of a node first; return those that were empty, off the list."""
    pages, view = s.slabs.pages, s.slabs.view
    links = pages.next_view
    discarded: list[int] = []
    promoted: list[list[int]] = [[] for _ in range(SHRINK_PROMOTE_MAX)]
    for slab in node_partial(s, node):
        counters = pages.private_view[slab]
        objects = counters >> OBJECTS_SHIFT & COUNTERS_OBJECTS
        nr_free = objects - (counters & COUNTERS_INUSE)
        if nr_free <= 0:
            oops(s.slabs, *bug("mm/slub.c", _BUG_ON_FULL_LINE))
        if nr_free == objects:
            remove_partial(s, node, slab)
            dec_slabs_node(s, node, objects)
            discarded.append(slab)
        elif nr_free <= SHRINK_PROMOTE_MAX:
            remove_partial(s, node, slab)
            promoted[nr_free - 1].append(slab)
    # Each was moved to the head of its list, so the last one found stands first.
    head = view[s.node(node) + PARTIAL_HEAD]
    in_order = [slab for slabs in promoted for slab in reversed(slabs)]
    for slab in reversed(in_order):
        list_add(s.slabs, slab, head, links[head])
    view[s.node(node) + NR_PARTIAL] += len(in_order)
    discarded.reverse()
    return discarded


def shutdown(s: KmemCache, cpu: int) -> SlabSteps[list[int]]:
    """Give all slabs back; return those of the partial lists that still have objects in use."""
    yield from flush_all(s)
    remaining: list[int] = []
    for node in range(s.slabs.nr_nodes):
        discarded: list[int] = []
        yield s.list_locks[node]
        for slab in node_partial(s, node):
            if s.slabs.pages.private_view[slab] & COUNTERS_INUSE:
                remaining.append(slab)
            else:
                remove_partial(s, node, slab)
                discarded.append(slab)
        yield s.list_unlocks[node]
        for slab in reversed(discarded):
            yield from discard_slab(s, cpu, slab)
        if s.slabs.view[s.node(node) + NR_SLABS]:
            break
    return remaining
