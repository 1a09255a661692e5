"""What caches of objects hold, as values: a CPU's words and slabs, nodes' lists, slabs' objects.

Of SLUB a CPU's transaction number is part of its value: who has read one goes on otherwise when it
is another, whatever the freelist looks like. Of a slab count struct slab and the pointers inside
all objects, free or not: a path may still follow one that was free when it looked. Of SLAB count
arrays as far as they are filled, and of a slab the indexes of its free objects; of SLOB all that a
page holds, for free blocks say there what follows them.
"""

from collections.abc import Hashable
from typing import Final

from mmactors.mm.slab.slab.cache import CPU_WORDS
from mmactors.mm.slab.slab.slab import Slab
from mmactors.mm.slab.slab.struct_slab import AVAIL, ENTRY, SLABS_FREE, SLABS_FULL, SLABS_PARTIAL
from mmactors.mm.slab.slab.struct_slab import NR_CACHE_WORDS as NR_SLAB_CACHE_WORDS
from mmactors.mm.slab.slab.struct_slab import NR_NODE_WORDS as NR_SLAB_NODE_WORDS
from mmactors.mm.slab.slob.heap import LISTS
from mmactors.mm.slab.slob.slob import Slob
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


class SlubValues:
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


class SlabValues:
    """Reads them of a machine with SLAB."""

    def __init__(self, slab: Slab) -> None:
        self._slab: Final = slab
        self._slabs: Final = slab.slabs

    def cpu(self, cache: int, cpu: int) -> Hashable:
        """Return what a cache has on a CPU."""
        slabs = self._slabs
        return self._array(cache * slabs.row_words + slabs.first_cpu_word + cpu * CPU_WORDS)

    def node(self, cache: int, node: int) -> Hashable:
        """Return what a cache has on a node."""
        slabs = self._slabs
        n = cache * slabs.row_words + NR_SLAB_CACHE_WORDS + node * slabs.node_words
        words = tuple(slabs.view[n : n + NR_SLAB_NODE_WORDS])
        heads = [words[which] for which in (SLABS_FULL, SLABS_PARTIAL, SLABS_FREE)]
        lists = tuple([tuple(slabs.pages.list_pfns(head)) for head in heads if head])
        shared = n + NR_SLAB_NODE_WORDS
        aliens = [shared + slabs.shared_words + of * slabs.alien_words for of in slabs.nodes]
        return words, lists, self._array(shared), tuple(map(self._array, aliens))

    def slab(self, pfn: int) -> Hashable:
        """Return what a slab holds; None: the page is no slab's first."""
        slabs, pages = self._slabs, self._slabs.pages
        if not slabs.is_slab(pfn):
            return None
        own = pages.index_view[pfn], pages.private_view[pfn]
        return own, tuple(self._slab.cache_of(pfn).free_indexes(pfn))

    def _array(self, ac: int) -> Hashable:
        view = self._slabs.view
        return tuple(view[ac : ac + ENTRY + view[ac + AVAIL]])


class SlobValues:
    """Reads them of a machine with SLOB."""

    def __init__(self, slob: Slob) -> None:
        self._slob: Final = slob

    def lists(self) -> Hashable:
        """Return the pages with room, by list."""
        return tuple([tuple(self._slob.heap.list_of(nth)) for nth in range(len(LISTS))])

    def page(self, pfn: int) -> Hashable:
        """Return what a page of blocks holds; None: it is none."""
        memory = self._slob.memory
        if not memory.is_slab(pfn):
            return None
        own = memory.pages.index_view[pfn], memory.pages.private_view[pfn]
        start = pfn << PAGE_SHIFT
        return own, memory.bytes_view[start : start + PAGE_SIZE].tobytes()
