"""What caches of objects hold, as text: the teller's part of mm/slab (told/told.py)."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from mmactors.actors.state.kernel import Kernel
from mmactors.mm.slab.slab.cache import KmemCache as SlabCache
from mmactors.mm.slab.slab.slab import Slab
from mmactors.mm.slab.slab.struct_slab import (
    FREE_OBJECTS,
    LIMIT,
    SLABS_FREE,
    SLABS_FULL,
    SLABS_PARTIAL,
)
from mmactors.mm.slab.slob.heap import LISTS
from mmactors.mm.slab.slob.slob import Slob
from mmactors.mm.slab.slob.slob_block import SLOB_UNIT
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.lists import cpu_partial, node_partial
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    FREELIST,
    FROZEN,
    OBJECTS_SHIFT,
    SLAB,
    TID,
    TID_STEP,
)

Parts = dict[str, str]
_SLAB_LISTS: Final = (("full", SLABS_FULL), ("partial", SLABS_PARTIAL), ("free", SLABS_FREE))
_FEW: Final = 4
"""So many objects or slabs of a list are named."""


class ToldCaches:
    """The parts of what an object allocator has; of one that has none of a kind, nothing."""

    def __init__(self, kernel: Kernel) -> None:
        self._slab: Final = kernel.slab
        self._pages: Final = kernel.pages

    def cache(self, number: int) -> str:
        """Return how a cache is called."""
        s = self._cache(number)
        return f"cache {number}" if s is None else str(s.name)

    def of_cpu(self, number: int, cpu: int) -> Parts:  # noqa: ARG002 - of SLOB
        """Return what a cache has on a CPU."""
        return {}

    def of_node(self, number: int, node: int) -> Parts:  # noqa: ARG002 - of SLOB
        """Return what a cache has on a node."""
        return {}

    def slab(self, pfn: int) -> Parts:  # noqa: ARG002 - of a machine without objects
        """Return what a slab holds, or a page of blocks."""
        return {}

    def lists(self) -> Parts:
        """Return the lists of pages that all caches share."""
        return {}

    def _cache(self, number: int) -> Any:
        return next((s for s in self._slab.caches if s.number == number), None)


class ToldSlabs(ToldCaches):
    """The parts of all caches of SLUB."""

    def of_cpu(self, number: int, cpu: int) -> Parts:
        """Return what a cache has on a CPU."""
        s = self._cache(number)
        if s is None:
            return {}
        view, c = s.slabs.view, s.cpu_slab(cpu)
        slab, where = view[c + SLAB], f"of {s.name} on cpu{cpu}"
        return {
            f"slab {where}": f"{slab:#x}" if slab else "none",
            f"freelist {where}": self._objects(s, slab, view[c + FREELIST]),
            f"tid {where}": str(view[c + TID] // TID_STEP),
            f"partial slabs {where}": _some(f"{each:#x}" for each in cpu_partial(s, cpu)),
        }

    def of_node(self, number: int, node: int) -> Parts:
        """Return what a cache has on a node."""
        s = self._cache(number)
        if s is None:
            return {}
        slabs = _some(f"{each:#x}" for each in node_partial(s, node))
        return {f"partial slabs of {s.name} on node {node}": slabs}

    def slab(self, pfn: int) -> Parts:
        """Return what a slab holds."""
        if not self._slab.memory.is_slab(pfn):
            return {}
        s = self._slab.cache_of(pfn)
        counters = self._pages.private_view[pfn]
        objects = counters >> OBJECTS_SHIFT & COUNTERS_OBJECTS
        of = f"of slab {pfn:#x} of {s.name}"
        return {
            f"freelist {of}": self._objects(s, pfn, self._pages.index_view[pfn]),
            f"inuse {of}": f"{counters & COUNTERS_INUSE} of {objects}",
            f"frozen {of}": "yes" if counters & FROZEN else "no",
        }

    def _objects(self, s: KmemCache, slab: int, first: int) -> str:
        """Return a freelist: the numbers of its objects, with the slab if it is another one."""
        return _some(self._object(s, slab, thing) for thing in s.chain(first))

    def _object(self, s: KmemCache, slab: int, thing: int) -> str:
        head = s.slabs.head_of(thing)
        if head is None:
            return "nowhere"
        number = f"{s.index_of(head, thing)}"
        return number if head == slab else f"{number} of slab {head:#x}"


class ToldArrays(ToldCaches):
    """The parts of all caches of SLAB."""

    def of_cpu(self, number: int, cpu: int) -> Parts:
        """Return what a cache has on a CPU."""
        s = self._cache(number)
        return {} if s is None else {f"array of {s.name} on cpu{cpu}": _array(s, s.cpu_cache(cpu))}

    def of_node(self, number: int, node: int) -> Parts:
        """Return what a cache has on a node."""
        s = self._cache(number)
        if s is None:
            return {}
        view, where = s.slabs.view, f"of {s.name} on node {node}"
        parts = {
            f"{name} slabs {where}": _some(f"{each:#x}" for each in s.node_slabs(node, which))
            for name, which in _SLAB_LISTS
        }
        parts[f"free objects {where}"] = str(view[s.node(node) + FREE_OBJECTS])
        arrays = {f"shared array {where}": s.shared(node)} | {
            f"array {where} for node {of}": s.alien(node, of) for of in s.slabs.nodes if of != node
        }
        return parts | {name: _array(s, ac) for name, ac in arrays.items() if view[ac + LIMIT]}

    def slab(self, pfn: int) -> Parts:
        """Return what a slab holds."""
        if not self._slab.memory.is_slab(pfn):
            return {}
        s = self._slab.cache_of(pfn)
        of = f"of slab {pfn:#x} of {s.name}"
        return {
            f"active {of}": f"{s.active(pfn)} of {s.layout.num}",
            f"free {of}": _some(map(str, s.free_indexes(pfn))),
        }


class ToldBlocks(ToldCaches):
    """The parts of SLOB's pages and lists."""

    def __init__(self, kernel: Kernel, slob: Slob) -> None:
        super().__init__(kernel)
        self._heap: Final = slob.heap

    def slab(self, pfn: int) -> Parts:
        """Return the free blocks of a page."""
        if not self._slab.memory.is_slab(pfn):
            return {}
        page = self._heap.page(pfn)
        blocks = page.blocks if self._heap.is_on_list(pfn) else ()
        return {
            f"free blocks of page {pfn:#x}": _some(
                f"{units * SLOB_UNIT} bytes at {offset * SLOB_UNIT}" for offset, units in blocks
            )
        }

    def lists(self) -> Parts:
        """Return the lists of pages with room."""
        return {
            f"{name} pages": _some(f"{pfn:#x}" for pfn in self._heap.list_of(nth))
            for nth, name in enumerate(LISTS)
        }


def told_caches(kernel: Kernel) -> ToldCaches:
    """Return what tells of a machine's object allocator."""
    allocator = kernel.slab
    if isinstance(allocator, Slob):
        return ToldBlocks(kernel, allocator)
    return ToldArrays(kernel) if isinstance(allocator, Slab) else ToldSlabs(kernel)


def _array(s: SlabCache, ac: int) -> str:
    """Return the objects of an array: slab and number, the next one to be handed out first."""
    words = []
    for thing in reversed(s.entries(ac)):
        head = s.slabs.head_of(thing)
        words.append("nowhere" if head is None else f"{s.index_of(head, thing)} of {head:#x}")
    return _some(words)


def _some(words: Iterable[str]) -> str:
    """Return the first words, and whether there are more."""
    found = list(islice(words, _FEW + 1))
    more = ", ..." if len(found) > _FEW else ""
    return ", ".join(found[:_FEW]) + more or "empty"
