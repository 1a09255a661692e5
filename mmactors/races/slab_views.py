"""What caches of objects hold, as values: a CPU's words and slabs, nodes' lists, slabs' objects.

A CPU's transaction number is part of its value: who has read one goes on otherwise when it is
another, whatever the freelist looks like. Of a slab count struct slab and the pointers inside all
objects, free or not: a path may still follow one that was free when it looked.
"""

from collections.abc import Hashable
from typing import Final

from mmactors.mm.slab.slub.slub import Slub
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_OBJECTS,
    FULL_HEAD,
    NR_CACHE_WORDS,
    NR_CPU_WORDS,
    NR_NODE_WORDS,
    OBJECTS_SHIFT,
    PARTIAL,
    PARTIAL_HEAD,
)
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_WORD: Final = 8


class SlabValues:
    """Reads them of one machine."""

    def __init__(self, slub: Slub) -> None:
        self._slub: Final = slub
        self._slabs: Final = slub.slabs
        self._pages: Final = slub.slabs.pages

    def cpu(self, cache: int, cpu: int) -> Hashable:
        """Return what a cache has on a CPU."""
        slabs = self._slabs
        first = cache * slabs.row_words + slabs.first_cpu_word + cpu * NR_CPU_WORDS
        words = tuple(slabs.view[first : first + NR_CPU_WORDS])
        partial: list[tuple[int, int]] = []
        slab = words[PARTIAL]
        while slab and len(partial) < self._pages.nr_frames:
            partial.append((slab, self._pages.prev_view[slab]))
            slab = self._pages.next_view[slab]
        return words, tuple(partial)

    def node(self, cache: int, node: int) -> Hashable:
        """Return what a cache has on a node."""
        slabs = self._slabs
        first = cache * slabs.row_words + NR_CACHE_WORDS + node * NR_NODE_WORDS
        words = tuple(slabs.view[first : first + NR_NODE_WORDS])
        heads = words[PARTIAL_HEAD], words[FULL_HEAD]
        return words, tuple([tuple(self._pages.list_pfns(head)) for head in heads if head])

    def slab(self, pfn: int) -> Hashable:
        """Return what a slab holds; None: the page is no slab's first."""
        slabs, pages = self._slabs, self._pages
        if not slabs.is_slab(pfn):
            return None
        s = self._slub.cache_of(pfn)
        layout = s.layout
        own = pages.index_view[pfn], pages.private_view[pfn]
        if layout.is_debug or (layout.size | layout.offset) % _WORD:
            start = pfn << PAGE_SHIFT
            end = start + (PAGE_SIZE << pages.order_view[pfn])
            return own, slabs.bytes_view[start:end].tobytes()
        objects = own[1] >> OBJECTS_SHIFT & COUNTERS_OBJECTS
        first = (s.first_object(pfn) + layout.offset) // _WORD
        step = layout.size // _WORD
        return own, slabs.memory.words[first : first + objects * step : step].tobytes()
