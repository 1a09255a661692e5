"""A slab's pages: taken, coloured, given their array of indexes, given back (mm/slab.c, v6.1).

Models cache_grow_begin, cache_grow_end, alloc_slabmgmt, cache_init_objs, shuffle_freelist,
slab_destroy and kmem_freepages. Left out: pfmemalloc slabs, memory cgroups' part of account_slab,
objects' constructors, which nothing of what is simulated depends on.
"""

from collections.abc import Sequence
from typing import Final

from mmactors.arch.page import PG_SLAB, list_add_tail
from mmactors.label import Mode
from mmactors.mm.page_alloc.gfp import (
    GFP_DIRECT_RECLAIM,
    GFP_HARDWALL,
    GFP_RECLAIM_MASK,
    GFP_THISNODE,
)
from mmactors.mm.slab.flags import SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.request import AllocSlabPages, CallRcu, FreeSlabPages, SlabSteps
from mmactors.mm.slab.slab.cache import KmemCache
from mmactors.mm.slab.slab.local import fixup_slab_list
from mmactors.mm.slab.slab.struct_slab import (
    ACTIVE_BITS,
    COLOUR_NEXT,
    FREE_OBJECTS,
    FREE_SLABS,
    OBJECT_FREELIST,
    SLABS_FREE,
    TOTAL_SLABS,
)
from mmactors.mm.slab.slab_memory import ThisCpu, step, touches_slab
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

GFP_CONSTRAINT_MASK: Final = GFP_HARDWALL | GFP_THISNODE


def cache_grow_begin(s: KmemCache, this_cpu: ThisCpu, gfp: int, node: int | None) -> SlabSteps[int]:
    """Make a slab, on no list, all its objects free; return its PFN, 0: no memory.

    Interrupts are on meanwhile if the caller may wait: then it may be on another CPU afterwards.
    """
    slabs, layout = s.slabs, s.layout
    gfp &= GFP_CONSTRAINT_MASK | GFP_RECLAIM_MASK
    may_wait = gfp & GFP_DIRECT_RECLAIM
    if may_wait:
        yield slabs.local_unlocks[this_cpu()]
    pfn = yield AllocSlabPages(order=layout.order, gfp=gfp | layout.allocflags, node=node)
    if pfn is not None:
        slabs.claim(this_cpu(), pfn, layout.order, is_reclaimable=s.is_reclaimable)
        slabs.pages.flags_view[pfn] |= PG_SLAB
        slabs.pages.mapping_view[pfn] = 1 + s.number
        if slabs.init_on_alloc:
            # The page allocator hands out clear pages then.
            slabs.zero(pfn << PAGE_SHIFT, PAGE_SIZE << layout.order)
        start = (pfn << PAGE_SHIFT) + _next_colour(s, slabs.node_of(pfn))
        slabs.pages.private_view[pfn] = start << ACTIVE_BITS
        freelist = 0
        if layout.is_off_slab:
            index_gfp = gfp & ~GFP_CONSTRAINT_MASK
            freelist = yield from slabs.indexes.alloc_indexes(
                this_cpu, layout.freelist_size, index_gfp, slabs.node_of(pfn)
            )
            if not freelist:
                yield from kmem_freepages(s, this_cpu(), pfn)
                pfn = None
        elif not layout.flags & OBJECT_FREELIST:
            freelist = (pfn << PAGE_SHIFT) + (PAGE_SIZE << layout.order) - layout.freelist_size
        if pfn is not None:
            slabs.pages.index_view[pfn] = freelist
            _init_indexes(s, pfn)
    if may_wait:
        yield slabs.local_locks[this_cpu()]
    return 0 if pfn is None else pfn


def _next_colour(s: KmemCache, node: int) -> int:
    """Return how far from its slab's beginning the next slab's first object lies."""
    view, n, layout = s.slabs.view, s.node(node), s.layout
    colour = view[n + COLOUR_NEXT] + 1
    if colour >= layout.colour:
        colour = 0
    view[n + COLOUR_NEXT] = colour
    return colour * layout.colour_off


def _init_indexes(s: KmemCache, pfn: int) -> None:
    """Write a new slab's array of indexes (cache_init_objs)."""
    slabs, layout = s.slabs, s.layout
    num = layout.num
    order: Sequence[int] = range(num)
    is_shuffled = len(s.random_seq) > 1
    if is_shuffled:
        position = slabs.random_below(num)
        order = [*s.random_seq[position:], *s.random_seq[:position]]
    if layout.flags & OBJECT_FREELIST:
        # The object that holds the array is the last one that is handed out.
        if is_shuffled:
            order = [*order[1:], order[0]]
        slabs.pages.index_view[pfn] = s.first_object(pfn) + order[-1] * layout.size
    freelist = slabs.pages.index_view[pfn]
    slabs.bytes_view[freelist : freelist + num] = bytes(order)


def cache_grow_end(s: KmemCache, pfn: int) -> SlabSteps[None]:
    """Put a slab, some of whose objects may be taken by now, on a list of its node."""
    if not pfn:
        return
    slabs = s.slabs
    pages, node = slabs.pages, slabs.node_of(pfn)
    n, view = s.node(node), slabs.view
    yield s.list_locks[node]
    if slabs.wants_step():
        yield step("add the slab", touches_slab(pfn, Mode.WRITE), s.touches_node(node, Mode.WRITE))
    pages.next_view[pfn] = pages.prev_view[pfn] = pfn
    view[n + TOTAL_SLABS] += 1
    active = s.active(pfn)
    if active:
        fixup_slab_list(*slabs.objects, *slabs.links, s.base, n, pfn)
    else:
        list_add_tail(pages.next, pages.prev, pfn, view[n + SLABS_FREE])
        view[n + FREE_SLABS] += 1
    view[n + FREE_OBJECTS] += s.layout.num - active
    yield s.list_unlocks[node]


def slab_destroy(s: KmemCache, this_cpu: ThisCpu, pfn: int) -> SlabSteps[None]:
    """Let go of an empty slab that is on no list; its pages may have to wait for readers."""
    freelist = s.slabs.pages.index_view[pfn]
    if s.flags & SLAB_TYPESAFE_BY_RCU:
        yield CallRcu(cache=s.number, freed=pfn)
    else:
        yield from kmem_freepages(s, this_cpu(), pfn)
    if s.layout.is_off_slab:
        yield from s.slabs.indexes.free_indexes(this_cpu, freelist)


def slabs_destroy(s: KmemCache, this_cpu: ThisCpu, slabs: list[int]) -> SlabSteps[None]:
    """Let go of slabs in order."""
    for pfn in slabs:
        yield from slab_destroy(s, this_cpu, pfn)


def kmem_freepages(s: KmemCache, cpu: int, pfn: int) -> SlabSteps[None]:
    """Give a slab's pages back."""
    slabs, order = s.slabs, s.layout.order
    slabs.pages.flags_view[pfn] &= ~PG_SLAB
    slabs.pages.mapping_view[pfn] = 0
    slabs.release(cpu, pfn, order, is_reclaimable=s.is_reclaimable)
    yield FreeSlabPages(pfn=pfn, order=order)
