"""A slab's pages: taken from the page allocator, cut into objects, given back (mm/slub.c, v6.1).

Left out: pfmemalloc slabs, memory cgroups' part of account_slab, objects' constructors, which
nothing of what is simulated depends on.
"""

from typing import Final

from mmactors.arch.page import PG_SLAB
from mmactors.label import Mode
from mmactors.mm.page_alloc.gfp import (
    GFP_ATOMIC_BIT,
    GFP_DIRECT_RECLAIM,
    GFP_FS,
    GFP_HARDWALL,
    GFP_HIGH,
    GFP_IO,
    GFP_MEMALLOC,
    GFP_NOFAIL,
    GFP_NOMEMALLOC,
    GFP_NORETRY,
    GFP_NOWARN,
    GFP_RECLAIM,
    GFP_RETRY_MAYFAIL,
    GFP_THISNODE,
)
from mmactors.mm.slab.flags import (
    SLAB_CONSISTENCY_CHECKS,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.request import AllocSlabPages, CallRcu, FreeSlabPages, Printk, SlabSteps
from mmactors.mm.slab.slab_memory import step
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.lists import dec_slabs_node
from mmactors.mm.slab.slub.local import make_freelist
from mmactors.mm.slab.slub.struct_slab import COUNTERS_OBJECTS, OBJECTS_SHIFT, counters_of
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_GFP_OF_SLABS: Final = (
    GFP_RECLAIM
    | GFP_HIGH
    | GFP_IO
    | GFP_FS
    | GFP_NOWARN
    | GFP_RETRY_MAYFAIL
    | GFP_NOFAIL
    | GFP_NORETRY
    | GFP_MEMALLOC
    | GFP_NOMEMALLOC
    | GFP_ATOMIC_BIT
    | GFP_HARDWALL
    | GFP_THISNODE
)
"""GFP_RECLAIM_MASK and GFP_CONSTRAINT_MASK: what of a request its slab's pages are asked with."""


def new_slab(s: KmemCache, cpu: int, gfp: int, node: int | None) -> SlabSteps[int]:
    """Make a slab, on no list and thawed, all its objects free; return its PFN, 0: no memory."""
    layout = s.layout
    flags = (gfp & _GFP_OF_SLABS) | layout.allocflags
    first_gfp = (flags | GFP_NOWARN | GFP_NORETRY) & ~GFP_NOFAIL
    if first_gfp & GFP_DIRECT_RECLAIM and layout.order > layout.min_order:
        first_gfp = (first_gfp | GFP_NOMEMALLOC) & ~GFP_RECLAIM
    order, objects = layout.order, layout.objects
    pfn = yield AllocSlabPages(order=order, gfp=first_gfp, node=node)
    if pfn is None:
        order, objects = layout.min_order, layout.min_objects
        pfn = yield AllocSlabPages(order=order, gfp=flags, node=node)
        if pfn is None:
            return 0
    slabs = s.slabs
    pages = slabs.pages
    pages.flags_view[pfn] |= PG_SLAB
    pages.mapping_view[pfn] = 1 + s.number
    pages.private_view[pfn] = counters_of(inuse=0, objects=objects, is_frozen=False)
    slabs.claim(cpu, pfn, order, is_reclaimable=bool(s.flags & SLAB_RECLAIM_ACCOUNT))
    if slabs.config.init_on_alloc:
        # The page allocator hands out clear pages then.
        slabs.zero(pfn << PAGE_SHIFT, PAGE_SIZE << order)
    if layout.is_debug:
        from mmactors.mm.slab.slub.debug.check import setup_slab  # noqa: PLC0415 - of debugged caches

        setup_slab(s, pfn, order, objects)
    pages.index_view[pfn] = _make_freelist(s, pfn, objects)
    return pfn


def _make_freelist(s: KmemCache, slab: int, objects: int) -> int:
    """String all objects of a slab together; return the first (shuffle_freelist)."""
    slabs, sequence = s.slabs, s.random_seq
    position = slabs.random_below(len(sequence)) if objects > 1 and len(sequence) else 0
    start = s.first_object(slab)
    words, memory = slabs.words, slabs.memory.words
    return make_freelist(words, memory, s.base, sequence, position, start, objects)


def discard_slab(s: KmemCache, cpu: int, slab: int) -> SlabSteps[None]:
    """Let go of an empty slab: its node counts it no more, its pages go back."""
    slabs = s.slabs
    node = slabs.node_of(slab)
    if slabs.wants_step():
        yield step("discard_slab", s.touches_node(node, Mode.ADD))
    dec_slabs_node(s, node, slabs.pages.private_view[slab] >> OBJECTS_SHIFT & COUNTERS_OBJECTS)
    yield from free_slab(s, cpu, slab)


def free_slab(s: KmemCache, cpu: int, slab: int) -> SlabSteps[None]:
    """Give a slab's pages back, at once or after a grace period."""
    if s.flags & SLAB_TYPESAFE_BY_RCU:
        yield CallRcu(cache=s.number, freed=slab)
    else:
        yield from give_back_slab(s, cpu, slab)


def give_back_slab(s: KmemCache, cpu: int, slab: int) -> SlabSteps[None]:
    """Give a slab's pages back (__free_slab)."""
    slabs = s.slabs
    order = slabs.pages.order_view[slab]
    if s.flags & SLAB_CONSISTENCY_CHECKS:
        from mmactors.mm.slab.slub.debug.check import check_free_slab  # noqa: PLC0415 - of debugged caches

        lines = check_free_slab(s, slab)
        if lines:
            yield Printk(lines=lines)
    slabs.pages.flags_view[slab] &= ~PG_SLAB
    slabs.pages.mapping_view[slab] = 0
    slabs.release(cpu, slab, order, is_reclaimable=bool(s.flags & SLAB_RECLAIM_ACCOUNT))
    yield FreeSlabPages(pfn=slab, order=order)
