"""The heap: three lists of pages with room, searched from where the last search ended (v6.1).

Models slob_alloc, slob_free, slob_new_pages and slob_free_pages of mm/slob.c. Which list serves a
block says its length; a page that was full comes back to the list of the block that is freed first.
All of it is done under slob_lock. Left out: reclaim_state.

Invariants: a page is on a list if and only if it has free units; none is all free; live blocks and
free blocks never overlap, and no two free blocks of a page touch each other.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from attrs import frozen

from mmactors import label
from mmactors.arch.page import PG_SLAB
from mmactors.label import Mode
from mmactors.mm.page_alloc.gfp import GFP_NOWARN, GFP_ZERO
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.slab.caller import NOBODY
from mmactors.mm.slab.oops import lockup, oops, wild_pointer
from mmactors.mm.slab.request import (
    AllocSlabPages,
    FreeSlabPages,
    Printk,
    SlabSteps,
    SlobLock,
    SlobUnlock,
)
from mmactors.mm.slab.slab_common import PAGE_OFFSET
from mmactors.mm.slab.slab_memory import SlabMemory, ThisCpu, step, touches_slab
from mmactors.mm.slab.slob.slob_block import (
    IS_EMPTY,
    LOST,
    PAGE_UNITS,
    PAGE_UNITS_SHIFT,
    PG_SLOB_FREE,
    SLOB_UNIT,
    UNIT_SHIFT,
    find_block,
    free_block,
    open_page,
    set_slob,
    slob_last,
    slob_next,
    slob_units,
)
from mmactors.mm.slab.warning import warning_once
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

SLOB_BREAK1: Final = 256
SLOB_BREAK2: Final = 1024
"""Bytes from which on a block is of the second, or the third list."""
LISTS: Final = ("small", "medium", "large")
"""free_slob_small and so on."""
_NO_NODE: Final = -1
_UNITS_OF_STRUCT_SLAB: Final = 40
"""offsetof(struct slab, units), bytes."""
_LOCK: Final = SlobLock()
_UNLOCK: Final = SlobUnlock()
_SIGN: Final = 1 << 15


@frozen(kw_only=True)
class SlobPage:
    """A page with room."""

    pfn: int
    units: int
    """Free, of SLOB_UNIT bytes."""
    blocks: tuple[tuple[int, int], ...]
    """Its free blocks as they are strung together: offset and length in units."""


def slob_list(size: int) -> int:
    """Return which of the lists serves a block of so many bytes."""
    return 0 if size < SLOB_BREAK1 else 1 if size < SLOB_BREAK2 else 2


def units_of(size: int) -> int:
    """Return how many units a block takes (SLOB_UNITS)."""
    return (size + SLOB_UNIT - 1) >> UNIT_SHIFT


class SlobHeap:
    """The pages that blocks are cut out of, and how larger ones are had."""

    def __init__(self, memory: SlabMemory) -> None:
        self.memory: Final = memory
        pages = memory.pages
        first = pages.claim_list_heads(len(LISTS))
        self.heads: Final = tuple(range(first, first + len(LISTS)))
        """By number of a list."""
        self._units: Final = memory.memory.words.view(np.int16)
        self._columns: Final = (
            self._units,
            pages.index,
            pages.private,
            pages.next,
            pages.prev,
            pages.flags,
        )
        """What compiled functions work on."""
        nodes = [node for node, _ in memory.zones]
        self._zones: Final = (pages.zone, np.array(nodes, np.int64))

    def alloc(
        self,
        this_cpu: ThisCpu,
        size: int,
        gfp: int,
        align: int,
        node: int | None,
        align_offset: int = 0,
    ) -> SlabSteps[int]:
        """Return the address of a block of so many bytes, 0: no memory (slob_alloc).

        What lies `align_offset` bytes in it is aligned. `node`: the only one that will do.
        """
        memory = self.memory
        head, units = self.heads[slob_list(size)], units_of(size)
        wanted = _NO_NODE if node is None else node
        yield _LOCK
        if memory.wants_step():
            yield self._search_step(head)
        b = find_block(*self._columns, *self._zones, head, units, align, align_offset, wanted)
        if b < 0:
            self._die(this_cpu(), b)
        yield _UNLOCK
        if not b:
            sp = yield from self.new_pages(this_cpu, gfp & ~GFP_ZERO, 0, node)
            if not sp:
                return 0
            memory.pages.flags_view[sp] |= PG_SLAB
            yield _LOCK
            if memory.wants_step():
                yield step("open a page", (label.SLOB, Mode.WRITE), touches_slab(sp, Mode.WRITE))
            b = open_page(*self._columns, sp, head, units, align, align_offset)
            yield _UNLOCK
        address = int(b) << UNIT_SHIFT
        if gfp & GFP_ZERO:
            memory.zero(address, size)
        return address

    def free(self, this_cpu: ThisCpu, block: int, size: int) -> SlabSteps[None]:
        """Take a block of so many bytes back (slob_free); 32 bits, signed."""
        memory = self.memory
        sp = block >> PAGE_SHIFT
        if not memory.pages.flags_view[sp] & PG_SLAB:
            oops(memory, *wild_pointer(_UNITS_OF_STRUCT_SLAB - PAGE_OFFSET))
        units = ((units_of(size) + _SIGN) & (2 * _SIGN - 1)) - _SIGN
        yield _LOCK
        if memory.wants_step():
            yield step("free a block", (label.SLOB, Mode.WRITE), touches_slab(sp, Mode.WRITE))
        head = self.heads[slob_list(size)]
        found = free_block(*self._columns, sp, block >> UNIT_SHIFT, units, head)
        if found < 0:
            self._die(this_cpu(), found)
        yield _UNLOCK
        if found == IS_EMPTY:
            memory.pages.flags_view[sp] &= ~PG_SLAB
            yield from self.free_pages(this_cpu, sp, 0)

    def new_pages(
        self, this_cpu: ThisCpu, gfp: int, order: int, node: int | None
    ) -> SlabSteps[int]:
        """Return the PFN of 2**order pages, 0: no memory (slob_new_pages).

        The page allocator warns, once, of an order that it has no block of (__alloc_pages).
        """
        memory = self.memory
        if order >= MAX_ORDER:
            if not gfp & GFP_NOWARN:
                place = "mm/page_alloc.c:5634 __alloc_pages"
                lines = warning_once(memory, this_cpu(), NOBODY, place)
                if lines:
                    yield Printk(lines=lines)
            return 0
        pfn = yield AllocSlabPages(order=order, gfp=gfp, node=node)
        if not pfn:
            return 0
        memory.claim(this_cpu(), pfn, order, is_reclaimable=False)
        if memory.init_on_alloc or gfp & GFP_ZERO:
            memory.zero(pfn << PAGE_SHIFT, PAGE_SIZE << order)
        return pfn

    def free_pages(self, this_cpu: ThisCpu, pfn: int, order: int) -> SlabSteps[None]:
        """Give 2**order pages back (slob_free_pages)."""
        self.memory.release(this_cpu(), pfn, order, is_reclaimable=False)
        yield FreeSlabPages(pfn=pfn, order=order)

    def is_on_list(self, pfn: int) -> bool:
        """Return whether a page has room (PageSlobFree)."""
        return bool(self.memory.pages.flags_view[pfn] & PG_SLOB_FREE)

    def list_of(self, nth: int) -> list[int]:
        """Return the PFNs of a list, head first."""
        return self.memory.pages.list_pfns(self.heads[nth])

    def page(self, pfn: int) -> SlobPage:
        """Return a page that is on a list."""
        pages = self.memory.pages
        return SlobPage(pfn=pfn, units=pages.private_view[pfn], blocks=tuple(self._blocks(pfn)))

    def write_blocks(self, pfn: int, blocks: Iterable[tuple[int, int]]) -> None:
        """String free blocks together, given as `_blocks` yields them."""
        begin = pfn << PAGE_UNITS_SHIFT
        following = begin + PAGE_UNITS
        for offset, units in reversed(tuple(blocks)):
            set_slob(self._units, begin + offset, units, following)
            following = begin + offset
        self.memory.pages.index_view[pfn] = following << UNIT_SHIFT

    def _blocks(self, pfn: int) -> Iterator[tuple[int, int]]:
        """Yield the free blocks of a page; what leads out of it ends them."""
        begin = pfn << PAGE_UNITS_SHIFT
        s = self.memory.pages.index_view[pfn] >> UNIT_SHIFT
        for _ in range(PAGE_UNITS):
            if s >> PAGE_UNITS_SHIFT != pfn:
                return
            yield s - begin, int(slob_units(self._units, s))
            if slob_last(self._units, s):
                return
            s = int(slob_next(self._units, s))

    def _search_step(self, head: int) -> label.Label:
        """Name what a search may touch: any page of a list."""
        pfns = self.memory.pages.list_pfns(head)
        touches = (touches_slab(pfn, Mode.WRITE) for pfn in pfns)
        return step("search the pages", (label.SLOB, Mode.WRITE), *touches)

    def _die(self, cpu: int, found: int) -> None:
        if found == LOST:
            oops(self.memory, *wild_pointer(self.memory.nr_bytes))
        lockup(self.memory, cpu)
