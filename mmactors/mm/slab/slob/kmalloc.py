"""kmalloc and its relatives on SLOB (mm/slob.c, v6.1).

Bytes that fit into a page with 8 more are a block, which begins with how many they are; all others
are whole pages. Left out: kmalloc of constant sizes, which asks for pages above 4096 bytes only.
"""

# ruff: noqa: ARG002 - what the other allocators need to know, this one does not

from typing import Final

from mmactors.arch.page import PG_SLAB
from mmactors.mm.page_alloc.gfp import GFP_COMP
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.slab.caller import NOBODY, SlabCaller
from mmactors.mm.slab.common_calls import SlabCommon
from mmactors.mm.slab.oops import oops, wild_pointer
from mmactors.mm.slab.request import SlabSteps
from mmactors.mm.slab.slab_common import ARCH_KMALLOC_MINALIGN, ZERO_SIZE_PTR, large_order
from mmactors.mm.slab.slab_memory import ThisCpu
from mmactors.mm.slab.slob.cache import KmemCache
from mmactors.mm.slab.slob.heap import units_of
from mmactors.mm.slab.slob.slob import Slob
from mmactors.mm.slab.slob.slob_block import SLOB_UNIT
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

MINALIGN: Final = ARCH_KMALLOC_MINALIGN
"""Bytes before those that were asked for, the first four of which say how many these are."""
_HEADER: Final = 4
_UINT: Final = (1 << 32) - 1
_SIGN: Final = 1 << 31


def kmalloc_align(size: int) -> int:
    """Return how so many bytes are aligned: if they are a power of two, to it."""
    return max(MINALIGN, size) if size & (size - 1) == 0 else MINALIGN


class SlobKmalloc(SlabCommon[KmemCache]):
    """What is asked for by size."""

    def __init__(self, slob: Slob) -> None:
        super().__init__(slob)
        self._slob: Final = slob

    def cache_for(self, size: int, gfp: int) -> None:
        """Return that no cache serves any size."""

    def bytes_alloc(self, size: int, gfp: int) -> int:
        """Return how many bytes a request takes, as its event tells."""
        if size < PAGE_SIZE - MINALIGN:
            return size + MINALIGN if size else 0
        return PAGE_SIZE << large_order(size)

    def kmalloc(
        self,
        this_cpu: ThisCpu,
        size: int,
        gfp: int,
        node: int | None = None,
        *,
        caller: SlabCaller = NOBODY,
    ) -> SlabSteps[int]:
        """Return the address of `size` bytes, 0: no memory; of nothing, ZERO_SIZE_PTR.

        Of a power of two they are aligned to that. `node`: the only one that will do.
        """
        if size == 0:
            return ZERO_SIZE_PTR
        heap, memory = self._slob.heap, self._slob.memory
        if size < PAGE_SIZE - MINALIGN:
            align = kmalloc_align(size)
            block = yield from heap.alloc(this_cpu, size + MINALIGN, gfp, align, node, MINALIGN)
            if not block:
                return 0
            memory.bytes_view[block : block + _HEADER] = size.to_bytes(_HEADER, "little")
            thing = block + MINALIGN
        else:
            order = large_order(size)
            if order >= MAX_ORDER:
                return 0
            pfn = yield from heap.new_pages(this_cpu, gfp | (GFP_COMP if order else 0), order, node)
            if not pfn:
                return 0
            thing = pfn << PAGE_SHIFT
        if memory.checks is not None:
            memory.checks.object_allocated(None, thing)
        return thing

    def kfree(
        self, this_cpu: ThisCpu, thing: int, *, caller: SlabCaller = NOBODY
    ) -> SlabSteps[None]:
        """Free what kmalloc has returned; 0 and ZERO_SIZE_PTR are nothing."""
        if 0 <= thing <= ZERO_SIZE_PTR:
            return
        heap, memory = self._slob.heap, self._slob.memory
        if not 0 < thing < memory.nr_bytes:
            oops(memory, *wild_pointer(thing))
        if memory.checks is not None:
            memory.checks.object_freed(None, thing)
        pages = memory.pages
        pfn = memory.head_of(thing)
        if pfn is not None and pages.flags_view[pfn] & PG_SLAB:
            block = thing - MINALIGN
            if block < 0:
                oops(memory, *wild_pointer(block))
            size = ((self._header(block) + MINALIGN + _SIGN) & _UINT) - _SIGN
            yield from heap.free(this_cpu, block, size)
            return
        if pfn is None:
            yield from heap.free_pages(this_cpu, thing >> PAGE_SHIFT, 0)
        else:
            yield from heap.free_pages(this_cpu, pfn, pages.order_view[pfn])

    def ksize(self, thing: int) -> int:
        """Return how many bytes an address has to itself, 0: none (__ksize)."""
        if thing <= ZERO_SIZE_PTR:
            return 0
        memory = self._slob.memory
        pfn = memory.head_of(thing)
        if pfn is not None and memory.is_slab(pfn):
            return units_of(self._header(thing - MINALIGN)) * SLOB_UNIT
        return PAGE_SIZE if pfn is None else PAGE_SIZE << memory.pages.order_view[pfn]

    def _header(self, block: int) -> int:
        """Return what a block says that was asked for; 32 bits."""
        seen = self._slob.memory.bytes_view[block : block + _HEADER]
        return int.from_bytes(seen, "little")
