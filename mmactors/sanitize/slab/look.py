"""How checkers look at an object allocator: where its objects lie, and what its lists hold.

No word of the allocator is trusted but those that say where an object is.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

import numpy as np
from attrs import define, field

from mmactors.arch.page import PG_SLAB
from mmactors.mm.slab.allocator import KmemCacheLike, ObjectAllocator
from mmactors.mm.slab.flags import SLAB_RECLAIM_ACCOUNT
from mmactors.mm.slab.oops import pointer
from mmactors.mm.slab.slab_memory import SlabMemory
from mmactors.mm.vmstat import NODE_ITEM
from mmactors.sanitize.law import Law
from mmactors.units import PAGE_SHIFT

Problems = list[tuple[Law, str, list[str]]]
NOTHING: Final[frozenset[int]] = frozenset()


class Known(Protocol):
    """The objects that somebody has, as they were told of."""

    used: dict[int, set[int]]
    """By the first page of their slab; without slabs, by the page that they begin in."""

    def own_bytes(self, thing: int) -> tuple[int, int]:
        """Return which bytes only who has an object changes, half open."""


class Walked(Protocol):
    """All slabs of a machine, and where they and their free objects were found."""

    def object_problems(self, known: Known) -> Problems:
        """Return the objects and slabs that are in no place, or in two."""

    def counter_problems(self, blocks: Mapping[int, int]) -> Problems:
        """Return the counters that differ from what was found; `blocks`: orders by first page.

        What of them is no slab was given out as it is.
        """


class Look(ABC):
    """The objects of one machine."""

    def __init__(self, allocator: ObjectAllocator[Any]) -> None:
        self.memory: Final[SlabMemory] = allocator.memory

    @abstractmethod
    def walk(self, heads: Iterable[int]) -> Walked:
        """Look at all there is; `heads`: the first pages of all slabs, and perhaps others."""

    def used_objects(self) -> Iterator[tuple[KmemCacheLike, int]]:
        """Yield the objects that are in use at boot."""
        yield from ()

    def own_objects(self, heads: Iterable[int]) -> Iterator[int]:  # noqa: ARG002 - SLAB's
        """Yield the objects that the allocator has itself, but for those that caches consist of."""
        yield from ()

    def slab_of(self, s: Any, thing: int) -> int:  # noqa: ARG002 - SLOB has none
        """Return the first page of the slab of an object; of one of no cache, its page."""
        head = self.memory.head_of(thing)
        assert head is not None, f"{thing:#x} is in no slab"
        return head

    @abstractmethod
    def index_of(self, s: Any, slab: int, thing: int) -> int:
        """Return which object of its slab one is; without slabs, where in its page it lies."""

    @abstractmethod
    def own_bytes(self, s: Any | None, thing: int) -> tuple[int, int]:
        """Return which bytes only who has the object changes, half open; None: of no cache."""

    def freepointer(self, s: Any, thing: int) -> tuple[int, int]:  # noqa: ARG002 - SLUB's
        """Return which of them the allocator writes when it takes the object back."""
        return thing, thing

    @abstractmethod
    def free_bytes(self, s: Any, thing: int, object_size: int) -> tuple[int, int]:
        """Return which bytes nobody changes while the object is free."""

    def misplaced(self, s: Any) -> tuple[int, int] | None:  # noqa: ARG002 - SLUB's
        """Return which bytes of an object a cache writes that are not all in it; None: none."""
        return None

    @abstractmethod
    def is_there(self, slab: int, cache: str, thing: int) -> bool:
        """Return whether the memory of an object is still that of its cache."""

    @abstractmethod
    def things(self, begin: int, end: int, known: Known) -> list[int]:
        """Return the objects whose bytes, or those around them, are in a range; some are known."""


@define(eq=False, kw_only=True)
class FoundSlab:
    """One slab, as it is found."""

    pfn: int
    s: Any
    """Its cache."""
    places: list[str] = field(factory=list)
    """Where it is found: whose it is, on which lists it stands."""

    def __str__(self) -> str:
        return f"slab {self.pfn:#x} of {self.s.name}"

    def name_of(self, thing: int) -> str:
        """Return how one of its objects is called."""
        return f"object {self.s.index_of(self.pfn, thing)} of {self} at 0x{pointer(thing)}"


def slab_heads(memory: SlabMemory) -> list[int]:
    """Return the first pages of all slabs."""
    return np.flatnonzero(memory.pages.flags & PG_SLAB).tolist()


class InSlabs(Look):
    """SLUB and SLAB: objects lie one beside the other in slabs, each of which is of one cache."""

    def __init__(self, allocator: ObjectAllocator[Any]) -> None:
        super().__init__(allocator)
        self._allocator: Final = allocator

    def head_and_cache(self, address: int) -> tuple[int, Any] | None:
        """Return the slab that an address lies in, and its cache; None: it is in none."""
        memory = self.memory
        head = memory.head_of(address)
        if head is None or not memory.is_slab(head):
            return None
        number = memory.pages.mapping_view[head] - 1
        return next(((head, s) for s in self._allocator.caches if s.number == number), None)

    def pad(self, s: Any) -> int:  # noqa: ARG002 - SLUB's
        """Return how many bytes before an object are its cache's."""
        return 0

    def own_bytes(self, s: Any | None, thing: int) -> tuple[int, int]:
        """Return which bytes only who has the object changes: all from one to the next."""
        if s is None:
            return thing, thing
        first = thing - self.pad(s)
        return first, first + s.size

    def index_of(self, s: Any, slab: int, thing: int) -> int:
        """Return which object of its slab one is."""
        index: int = s.index_of(slab, thing)
        return index

    def is_there(self, slab: int, cache: str, thing: int) -> bool:
        """Return whether the slab is still the cache's; its pages are another's to write."""
        found = self.head_and_cache(thing)
        return found is not None and found[0] == slab and found[1].name == cache

    def things(self, begin: int, end: int, known: Known) -> list[int]:  # noqa: ARG002 - SLOB's
        """Return the objects whose bytes, or those around them, are in a range."""
        found = []
        address = begin
        while address < end:
            there = self.head_and_cache(address)
            if there is None:
                address = ((address >> PAGE_SHIFT) + 1) << PAGE_SHIFT
                continue
            head, s = there
            index = s.index_of(head, address)
            found.append(s.first_object(head) + index * s.size)
            slab_end = (head + (1 << self.memory.pages.order_view[head])) << PAGE_SHIFT
            # From one object's bytes to the next one's; before the first one of all lie none.
            address = min(found[-1] + s.size - self.pad(s), slab_end)
        return found


def vmstat_problems(
    memory: SlabMemory, slabs: Mapping[int, KmemCacheLike], blocks: Mapping[int, int]
) -> Problems:
    """Return the counters of pages that differ from what there is: slabs, and all other blocks."""
    vmstat = memory.vmstat
    if vmstat is None:
        return []
    pages = {"nr_slab_reclaimable": 0, "nr_slab_unreclaimable": 0}
    for pfn, order in blocks.items():
        s = slabs.get(pfn)
        is_reclaimable = s is not None and s.flags & SLAB_RECLAIM_ACCOUNT
        pages["nr_slab_reclaimable" if is_reclaimable else "nr_slab_unreclaimable"] += 1 << order
    problems: Problems = []
    for name, true in pages.items():
        item = NODE_ITEM[name]
        nodes = range(vmstat.nr_nodes)
        counted = sum(vmstat.node_page_state_snapshot(node, item) for node in nodes)
        problems += difference(name, "all nodes", counted, true)
    return problems


def difference(name: str, place: str, counted: int, true: int) -> Problems:
    """Return that a counter is wrong, or nothing."""
    if counted == true:
        return []
    return [(Law.COUNTER, f"{name} of {place} is {counted}, but there are {true}", [])]
