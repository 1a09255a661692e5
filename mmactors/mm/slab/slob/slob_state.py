"""The heap in the form of the recordings, put in and taken out.

The form is that of linux-6.1/kernel (topic `slob`): by list, head first, `[pfn, free units,
blocks]` with blocks as `[offset, units]`. Pages without room are not in it.
"""

from typing import Any

from mmactors.arch.page import PG_SLAB
from mmactors.mm.slab.slob.cache import KmemCache
from mmactors.mm.slab.slob.heap import LISTS, SlobHeap
from mmactors.mm.slab.slob.slob_block import PG_SLOB_FREE

State = dict[str, list[list[Any]]]


def load_heap(heap: SlobHeap, state: State) -> None:
    """Let a heap that has nothing have what a state says; its pages are taken to be allocated."""
    memory = heap.memory
    pages = memory.pages
    for head, name in zip(heap.heads, LISTS, strict=True):
        for pfn, units, blocks in state[name]:
            pages.refcount_view[pfn] = 1
            pages.flags_view[pfn] |= PG_SLAB | PG_SLOB_FREE
            pages.private_view[pfn] = units
            memory.memory.claim_slab(pfn, 1)
            heap.write_blocks(pfn, blocks)
            pages.list_add_tail(pfn, head)


def params_of(s: KmemCache) -> dict[str, Any]:
    """Return the sizes and settings of a cache."""
    return {
        "name": s.name,
        "object_size": s.object_size,
        "size": s.size,
        "align": s.align,
        "flags": s.flags,
        "ctor": int(s.has_ctor),
    }


def dump_heap(heap: SlobHeap) -> State:
    """Return what a heap has."""
    found: State = {}
    for nth, name in enumerate(LISTS):
        of_list = map(heap.page, heap.list_of(nth))
        found[name] = [[page.pfn, page.units, list(map(list, page.blocks))] for page in of_list]
    return found
