"""How many objects and slabs a cache has: /proc/slabinfo and /sys/kernel/slab (mm/slub.c, v6.1).

Models get_slabinfo and show_slab_objects. An object on a CPU's freelist or in its partial slabs
counts as active: nobody looks there. Where a node's list is broken, counting ends.
"""

from collections.abc import Iterator

from mmactors.mm.slab.slabinfo import SlabInfo
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    NR_PARTIAL,
    NR_SLABS,
    OBJECTS_SHIFT,
    PARTIAL,
    PARTIAL_HEAD,
    SLAB,
    TOTAL_OBJECTS,
)


def get_slabinfo(s: KmemCache) -> SlabInfo:
    """Count a cache."""
    view = s.slabs.view
    nr_slabs = nr_objects = nr_free = 0
    for node in range(s.slabs.nr_nodes):
        word = s.node(node)
        nr_slabs += view[word + NR_SLABS]
        nr_objects += view[word + TOTAL_OBJECTS]
        if view[word + NR_PARTIAL]:
            nr_free += sum(objects - inuse for objects, inuse in _partial(s, node))
    return SlabInfo(
        name=s.name,
        active_objs=nr_objects - nr_free,
        num_objs=nr_objects,
        objsize=s.layout.size,
        objects_per_slab=s.layout.objects,
        cache_order=s.layout.order,
        active_slabs=nr_slabs,
        num_slabs=nr_slabs,
    )


def node_slabs(s: KmemCache) -> list[int]:
    """Return by node its slabs (SO_ALL)."""
    view = s.slabs.view
    return [view[s.node(node) + NR_SLABS] for node in range(s.slabs.nr_nodes)]


def node_total_objects(s: KmemCache) -> list[int]:
    """Return by node the objects of its slabs, free ones too (SO_ALL | SO_TOTAL)."""
    view = s.slabs.view
    return [view[s.node(node) + TOTAL_OBJECTS] for node in range(s.slabs.nr_nodes)]


def node_objects(s: KmemCache) -> list[int]:
    """Return by node its objects but for the free ones of partial slabs (SO_ALL | SO_OBJECTS)."""
    return [
        total - sum(objects - inuse for objects, inuse in _partial(s, node))
        for node, total in enumerate(node_total_objects(s))
    ]


def node_partial_slabs(s: KmemCache) -> list[int]:
    """Return by node its partial slabs (SO_PARTIAL)."""
    view = s.slabs.view
    return [view[s.node(node) + NR_PARTIAL] for node in range(s.slabs.nr_nodes)]


def node_partial_objects(s: KmemCache) -> list[int]:
    """Return by node the objects in use of its partial slabs (SO_PARTIAL | SO_OBJECTS)."""
    return [sum(inuse for _, inuse in _partial(s, node)) for node in range(s.slabs.nr_nodes)]


def node_cpu_slabs(s: KmemCache) -> list[int]:
    """Return by node the slabs that CPUs have (SO_CPU).

    A CPU's partial slabs count on the node of the first one; on a CPU that has only such, not at
    all.
    """
    slabs = s.slabs
    found = [0] * slabs.nr_nodes
    for cpu in range(slabs.nr_cpus):
        c = s.cpu_slab(cpu)
        slab, partial = slabs.view[c + SLAB], slabs.view[c + PARTIAL]
        if not slab:
            continue
        found[slabs.node_of(slab)] += 1
        if partial:
            found[slabs.node_of(partial)] += slabs.pages.prev_view[partial]
    return found


def cpu_partial_slabs(s: KmemCache) -> list[int]:
    """Return by CPU how many partial slabs it has."""
    slabs = s.slabs
    firsts = [slabs.view[s.cpu_slab(cpu) + PARTIAL] for cpu in range(slabs.nr_cpus)]
    return [slabs.pages.prev_view[first] if first else 0 for first in firsts]


def partial_slabs(s: KmemCache, node: int) -> Iterator[int]:
    """Yield the slabs of a node's list as far as it is whole, and changes nothing."""
    slabs = s.slabs
    links, word = slabs.pages.next_view, s.node(node)
    head = slab = slabs.view[word + PARTIAL_HEAD]
    for _ in range(slabs.view[word + NR_PARTIAL]):
        slab = links[slab]
        if slab == head or not 0 < slab < slabs.pages.nr_frames:
            return
        yield slab


def _partial(s: KmemCache, node: int) -> Iterator[tuple[int, int]]:
    """Yield of each slab of a node's list how many objects it has, and how many are in use."""
    counters = s.slabs.pages.private_view
    for slab in partial_slabs(s, node):
        word = counters[slab]
        yield word >> OBJECTS_SHIFT & COUNTERS_OBJECTS, word & COUNTERS_INUSE
