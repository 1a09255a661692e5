"""How many objects and slabs a cache has: /proc/slabinfo (get_slabinfo; mm/slab.c, v6.1).

Objects in arrays count as active, as they do for the kernel.
"""

from mmactors.mm.slab.slab.cache import KmemCache
from mmactors.mm.slab.slab.struct_slab import (
    AVAIL,
    FREE_OBJECTS,
    FREE_SLABS,
    LIMIT,
    TOTAL_SLABS,
)
from mmactors.mm.slab.slabinfo import SlabInfo


def get_slabinfo(s: KmemCache) -> SlabInfo:
    """Count a cache."""
    view = s.slabs.view
    nr_slabs = nr_free_slabs = nr_free = shared_avail = 0
    for node in s.slabs.nodes:
        n = s.node(node)
        nr_slabs += view[n + TOTAL_SLABS]
        nr_free_slabs += view[n + FREE_SLABS]
        nr_free += view[n + FREE_OBJECTS]
        if view[s.shared(node) + LIMIT]:
            shared_avail += view[s.shared(node) + AVAIL]
    layout = s.layout
    num_objs = nr_slabs * layout.num
    return SlabInfo(
        name=s.name,
        active_objs=num_objs - nr_free,
        num_objs=num_objs,
        objsize=layout.size,
        objects_per_slab=layout.num,
        cache_order=layout.order,
        limit=layout.limit,
        batchcount=layout.batchcount,
        shared=layout.shared,
        active_slabs=nr_slabs - nr_free_slabs,
        num_slabs=nr_slabs,
        shared_avail=shared_avail,
    )
