"""A line of /proc/slabinfo (struct slabinfo; mm/slab.h, Linux 6.1)."""

from attrs import frozen


@frozen(kw_only=True)
class SlabInfo:
    """How many objects and slabs a cache has."""

    name: str
    active_objs: int
    num_objs: int
    objsize: int
    """Bytes from one object to the next."""
    objects_per_slab: int
    cache_order: int
    active_slabs: int
    num_slabs: int
    limit: int = 0
    """Entries of a CPU's array; this and what follows are SLAB's."""
    batchcount: int = 0
    shared: int = 0
    shared_avail: int = 0
