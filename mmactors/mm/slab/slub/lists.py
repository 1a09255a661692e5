"""The lists that slabs are on: a node's partial and full ones, a CPU's partial ones (v6.1)."""

from collections.abc import Iterator

from mmactors.mm.slab.flags import SLAB_STORE_USER
from mmactors.mm.slab.oops import oops, wild_pointer
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.debug.list_debug import list_add, list_del
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    FULL_HEAD,
    MIN_PARTIAL,
    NR_PARTIAL,
    NR_SLABS,
    OBJECTS_SHIFT,
    PARTIAL,
    PARTIAL_HEAD,
    TOTAL_OBJECTS,
)
from mmactors.units import PAGE_SHIFT


def add_partial(s: KmemCache, node: int, slab: int, *, at_tail: bool) -> None:
    """Put a slab on its node's list; list_lock is held."""
    slabs = s.slabs
    word = s.node(node)
    slabs.view[word + NR_PARTIAL] += 1
    head = slabs.view[word + PARTIAL_HEAD]
    if at_tail:
        list_add(slabs, slab, slabs.pages.prev_view[head], head)
    else:
        list_add(slabs, slab, head, slabs.pages.next_view[head])


def remove_partial(s: KmemCache, node: int, slab: int) -> None:
    """Take a slab off its node's list; list_lock is held."""
    s.slabs.view[s.node(node) + NR_PARTIAL] -= 1
    list_del(s.slabs, slab)


def add_full(s: KmemCache, node: int, slab: int) -> None:
    """Remember a slab without free objects, if users are stored; list_lock is held."""
    if s.flags & SLAB_STORE_USER:
        head = s.slabs.view[s.node(node) + FULL_HEAD]
        list_add(s.slabs, slab, head, s.slabs.pages.next_view[head])


def remove_full(s: KmemCache, slab: int) -> None:
    """Forget what `add_full` remembered; list_lock is held."""
    if s.flags & SLAB_STORE_USER:
        list_del(s.slabs, slab)


def node_partial(s: KmemCache, node: int) -> Iterator[int]:
    """Yield the slabs of a node's list, head first; the one that was yielded last may go."""
    slabs = s.slabs
    links, nr_frames = slabs.pages.next_view, slabs.pages.nr_frames
    head = slabs.view[s.node(node) + PARTIAL_HEAD]
    slab = links[head]
    length = 0
    while slab != head:
        length += 1
        if not 0 < slab < nr_frames or length > nr_frames:
            # The slab before is on another list by now.
            oops(slabs, *wild_pointer(slab << PAGE_SHIFT))
        following = links[slab]
        yield slab
        slab = following


def cpu_partial(s: KmemCache, cpu: int) -> Iterator[int]:
    """Yield a CPU's partial slabs, the one that is used first first."""
    slab = s.slabs.view[s.cpu_slab(cpu) + PARTIAL]
    while slab:
        yield slab
        slab = s.slabs.pages.next_view[slab]


def nr_partial_free(s: KmemCache, node: int) -> int:
    """Return how many objects are free in a node's partial slabs (count_partial)."""
    counters = s.slabs.pages.private_view
    return sum(
        (counters[slab] >> OBJECTS_SHIFT & COUNTERS_OBJECTS) - (counters[slab] & COUNTERS_INUSE)
        for slab in node_partial(s, node)
    )


def has_enough_partial(s: KmemCache, node: int) -> bool:
    """Return whether a node has as many partial slabs as it keeps even if they are empty."""
    view = s.slabs.view
    return bool(view[s.node(node) + NR_PARTIAL] >= view[s.base + MIN_PARTIAL])


def inc_slabs_node(s: KmemCache, node: int, objects: int) -> None:
    """Count a new slab."""
    word = s.node(node)
    s.slabs.view[word + NR_SLABS] += 1
    s.slabs.view[word + TOTAL_OBJECTS] += objects


def dec_slabs_node(s: KmemCache, node: int, objects: int) -> None:
    """Count a slab that goes."""
    word = s.node(node)
    s.slabs.view[word + NR_SLABS] -= 1
    s.slabs.view[word + TOTAL_OBJECTS] -= objects
