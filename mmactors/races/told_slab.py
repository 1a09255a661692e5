"""What caches of objects hold, as text: the teller's part of mm/slab/slub (told.py)."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from mmactors.actors.state.kernel import Kernel
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
_FEW: Final = 4
"""So many objects or slabs of a list are named."""


class ToldSlabs:
    """The parts of all caches of one machine."""

    def __init__(self, kernel: Kernel) -> None:
        self._slab: Final = kernel.slab
        self._pages: Final = kernel.pages

    def cache(self, number: int) -> str:
        """Return how a cache is called."""
        s = self._cache(number)
        return f"cache {number}" if s is None else s.name

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

    def _cache(self, number: int) -> KmemCache | None:
        return next((s for s in self._slab.caches if s.number == number), None)

    def _objects(self, s: KmemCache, slab: int, first: int) -> str:
        """Return a freelist: the numbers of its objects, with the slab if it is another one."""
        return _some(self._object(s, slab, thing) for thing in s.chain(first))

    def _object(self, s: KmemCache, slab: int, thing: int) -> str:
        head = s.slabs.head_of(thing)
        if head is None:
            return "nowhere"
        number = f"{s.index_of(head, thing)}"
        return number if head == slab else f"{number} of slab {head:#x}"


def _some(words: Iterable[str]) -> str:
    """Return the first words, and whether there are more."""
    found = list(islice(words, _FEW + 1))
    more = ", ..." if len(found) > _FEW else ""
    return ", ".join(found[:_FEW]) + more or "empty"
