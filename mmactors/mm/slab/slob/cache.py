"""struct kmem_cache of SLOB: a size and an alignment, but no memory of its own (v6.1)."""

from typing import Final

from attrs import define, field

from mmactors.mm.slab.flags import SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.slab_common import CacheRequest, align_up, calculate_alignment
from mmactors.mm.slab.slob.slob_block import SLOB_UNIT

KMEM_CACHE_SIZE: Final = 64
"""sizeof(struct kmem_cache), bytes."""
SLOB_RCU_SIZE: Final = 24
"""sizeof(struct slob_rcu): the words of the callback, and how long the block is."""
SLOB_RCU_LENGTH: Final = 16
"""offsetof(struct slob_rcu, size)."""


@define(eq=False, kw_only=True)
class KmemCache:
    """One cache."""

    number: int
    """Names it; the number of a destroyed cache is used again."""
    name: str
    object_size: int
    """Bytes that were asked for."""
    size: int
    """Bytes of a block."""
    align: int
    flags: int
    has_ctor: bool
    refcount: int
    useroffset: int
    usersize: int
    aliases: list[str] = field(factory=list)
    """Of none: no two caches share anything by name, as all share their pages."""
    own_objects: list[int] = field(factory=list)
    """What the cache itself is made of: its name, struct kmem_cache."""
    is_listed: bool = True
    """Whether it is on slab_caches: what waits for readers before it is gone is not."""
    is_bootstrap: bool = False
    """It is that of struct kmem_cache."""


def make_cache(request: CacheRequest, *, number: int, refcount: int) -> KmemCache:
    """Return a cache (create_cache, __kmem_cache_create); `request.flags` are those that count."""
    size = request.object_size
    if request.flags & SLAB_TYPESAFE_BY_RCU:
        size += SLOB_RCU_SIZE
    return KmemCache(
        number=number,
        name=request.name,
        object_size=request.object_size,
        size=align_up(size, SLOB_UNIT),
        align=calculate_alignment(request.flags, request.align, request.object_size),
        flags=request.flags,
        has_ctor=request.has_ctor,
        refcount=refcount,
        useroffset=request.useroffset,
        usersize=request.usersize,
    )
