"""How many objects and slabs a cache has, as /proc/slabinfo counts them (get_slabinfo, v6.1).

An object on a CPU's freelist or in its partial slabs counts as active: nobody looks there.
"""

from attrs import frozen

from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.lists import nr_partial_free
from mmactors.mm.slab.slub.struct_slab import NR_SLABS, TOTAL_OBJECTS


@frozen(kw_only=True)
class SlabInfo:
    """A line of /proc/slabinfo (struct slabinfo)."""

    name: str
    active_objs: int
    num_objs: int
    objsize: int
    """Bytes from one object to the next."""
    objects_per_slab: int
    cache_order: int
    active_slabs: int
    num_slabs: int


def get_slabinfo(s: KmemCache) -> SlabInfo:
    """Count a cache."""
    view = s.slabs.view
    nr_slabs = nr_objects = nr_free = 0
    for node in range(s.slabs.nr_nodes):
        nr_slabs += view[s.node(node) + NR_SLABS]
        nr_objects += view[s.node(node) + TOTAL_OBJECTS]
        nr_free += nr_partial_free(s, node)
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
