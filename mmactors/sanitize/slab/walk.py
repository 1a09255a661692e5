"""What slabs, lists and freelists really hold, walked; no counter of SLUB's is trusted.

The invariants are those of mm/slab/slub/cache.py and slub.py: a slab is some CPU's, on one list,
or full; an object is in use or on exactly one freelist.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from attrs import define, field

from mmactors.arch.page import PG_SLAB
from mmactors.mm.slab.flags import SLAB_RECLAIM_ACCOUNT, SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.slub.cache import KmemCache, Slabs
from mmactors.mm.slab.slub.debug.oops import pointer
from mmactors.mm.slab.slub.slub import Slub
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    FREELIST,
    FROZEN,
    NR_PARTIAL,
    NR_SLABS,
    OBJECTS_SHIFT,
    PARTIAL,
    PARTIAL_HEAD,
    SLAB,
    TOTAL_OBJECTS,
)
from mmactors.mm.vmstat import NODE_ITEM
from mmactors.sanitize.law import Law

Problems = list[tuple[Law, str, list[str]]]
Difference = tuple[str, str, int, int]
"""A counter's name, of what, what it says, what is true."""


@define(eq=False)
class SlabFound:
    """One slab, as it is found."""

    pfn: int
    s: KmemCache
    objects: int
    inuse: int
    """What it counts itself."""
    is_frozen: bool
    own_free: list[int]
    """Objects on its own freelist."""
    cpu_free: list[int] = field(factory=list)
    """Those on the freelist of the CPU whose slab it is."""
    places: list[str] = field(factory=list)
    """Where it is found: whose it is, on which lists it stands."""

    def __str__(self) -> str:
        return f"slab {self.pfn:#x} of {self.s.name}"

    @property
    def things(self) -> range:
        """All its objects."""
        first = self.s.first_object(self.pfn)
        return range(first, first + self.objects * self.s.size, self.s.size)

    @property
    def is_leaving(self) -> bool:
        """Whether it waits for its readers: no list knows it any more, and nobody uses it."""
        is_empty = not self.inuse and not self.places and not self.is_frozen
        return is_empty and bool(self.s.flags & SLAB_TYPESAFE_BY_RCU)


class SlabWalk:
    """All slabs of a machine, and where they and their free objects were found."""

    def __init__(self, slub: Slub) -> None:
        self.slabs: Final[dict[int, SlabFound]] = {}
        """By first page."""
        self.problems: Final[Problems] = []
        self.nr_partial: Final[dict[tuple[int, int], int]] = {}
        """By cache and node: slabs on its list."""
        self._shared: Final = slub.slabs
        self._caches: Final = {s.number: s for s in slub.caches}
        for pfn in np.flatnonzero(slub.slabs.pages.flags & PG_SLAB).tolist():
            self._find_slab(pfn)
        for s in slub.caches:
            self._walk_cpus(s)
            self._walk_nodes(s)

    def _find_slab(self, pfn: int) -> None:
        s = self._caches.get(self._shared.pages.mapping_view[pfn] - 1)
        if s is None:
            self.problems.append((Law.FREELIST, f"slab {pfn:#x} is of no cache", []))
            return
        counters = self._shared.pages.private_view[pfn]
        slab = self.slabs[pfn] = SlabFound(
            pfn=pfn,
            s=s,
            objects=counters >> OBJECTS_SHIFT & COUNTERS_OBJECTS,
            inuse=counters & COUNTERS_INUSE,
            is_frozen=bool(counters & FROZEN),
            own_free=[],
        )
        slab.own_free += self._chain(slab, self._shared.pages.index_view[pfn], "its freelist")

    def _chain(self, slab: SlabFound, first: int, name: str) -> list[int]:
        """Return the objects of a freelist, which is broken off where it leads astray."""
        found: dict[int, None] = {}
        legal = slab.things
        thing = first
        while thing:
            if thing in found or thing not in legal:
                what = "which it has already" if thing in found else "which is no object of it"
                text = f"{name} of {slab} leads to 0x{pointer(thing)}, {what}"
                after = f"after 0x{pointer(list(found)[-1])}" if found else "it begins so"
                self.problems.append((Law.FREELIST, text, [after]))
                break
            found[thing] = None
            thing = slab.s.get_freepointer(thing)
        return list(found)

    def _walk_cpus(self, s: KmemCache) -> None:
        view, links = self._shared.view, self._shared.pages.next_view
        for cpu in range(self._shared.nr_cpus):
            c = s.cpu_slab(cpu)
            slab = self._place(s, view[c + SLAB], f"the slab of cpu{cpu}")
            if slab is not None:
                slab.cpu_free += self._chain(slab, view[c + FREELIST], f"cpu{cpu}'s freelist")
            pfn = view[c + PARTIAL]
            while pfn:
                partial = self._place(s, pfn, f"on the partial list of cpu{cpu}")
                if partial is None or len(partial.places) > 1:
                    break
                pfn = links[pfn]

    def _walk_nodes(self, s: KmemCache) -> None:
        view, links = self._shared.view, self._shared.pages.next_view
        for node in range(self._shared.nr_nodes):
            head = view[s.node(node) + PARTIAL_HEAD]
            pfn, length = links[head], 0
            while pfn != head:
                slab = self._place(s, pfn, f"on the partial list of node {node}")
                if slab is None or len(slab.places) > 1:
                    break
                length += 1
                pfn = links[pfn]
            self.nr_partial[s.number, node] = length

    def _place(self, s: KmemCache, pfn: int, place: str) -> SlabFound | None:
        """Note that a slab was found somewhere; return it."""
        slab = self.slabs.get(pfn)
        if slab is None or slab.s is not s:
            if pfn:
                text = f"page {pfn:#x} is {place} of {s.name}, and no slab of it"
                self.problems.append((Law.FREELIST, text, []))
            return None
        slab.places.append(place)
        if len(slab.places) > 1:
            where = " and ".join(slab.places)
            self.problems.append((Law.FREELIST, f"{slab} is {where}", []))
        return slab


def head_and_cache(slub: Slub, address: int) -> tuple[int, KmemCache] | None:
    """Return the slab that an address lies in, and its cache; None: it is in none."""
    head = slub.slabs.head_of(address)
    if head is None or not slub.slabs.is_slab(head):
        return None
    number = slub.slabs.pages.mapping_view[head] - 1
    return next(((head, s) for s in slub.caches if s.number == number), None)


def used_objects(slub: Slub) -> Iterator[tuple[KmemCache, int]]:
    """Yield all objects that are on no freelist."""
    for slab in SlabWalk(slub).slabs.values():
        free = {*slab.own_free, *slab.cpu_free}
        yield from ((slab.s, thing) for thing in slab.things if thing not in free)


def object_problems(walk: SlabWalk, is_used: Callable[[int], bool]) -> Problems:
    """Return the objects and slabs that are in no place, or in two."""
    problems = list(walk.problems)
    for slab in walk.slabs.values():
        problems += _of_slab(slab, is_used)
    return problems


def _of_slab(slab: SlabFound, is_used: Callable[[int], bool]) -> Problems:
    problems: Problems = []
    own, cpus = set(slab.own_free), set(slab.cpu_free)
    for thing in sorted(own & cpus):
        text = f"{_name(slab, thing)} is on its slab's freelist and on a CPU's"
        problems.append((Law.FREELIST, text, []))
    free = own | cpus
    where = [f"the slab is {' and '.join(slab.places) or 'on no list, and of no CPU'}"]
    where.append(_state(slab))
    lost = []
    for thing in slab.things:
        if thing in free and is_used(thing):
            text = f"{_name(slab, thing)} is in use and on a freelist"
            problems.append((Law.FREELIST, text, where))
        elif thing not in free and not is_used(thing):
            lost.append(thing)
    if len(lost) == 1:
        text = f"{_name(slab, lost[0])} is not in use and on no freelist"
        problems.append((Law.OBJECT_LOST, text, where))
    elif lost:
        numbers = ", ".join(str(slab.s.index_of(slab.pfn, thing)) for thing in lost)
        text = f"objects {numbers} of {slab} are not in use and on no freelist"
        problems.append((Law.OBJECT_LOST, text, where))
    if free and not slab.places and not slab.is_leaving:
        text = f"{slab} has {len(free)} free objects, and is no CPU's and on no list"
        problems.append((Law.OBJECT_LOST, text, [_state(slab)]))
    return problems


def _name(slab: SlabFound, thing: int) -> str:
    index = slab.s.index_of(slab.pfn, thing)
    return f"object {index} of {slab} at 0x{pointer(thing)}"


def _state(slab: SlabFound) -> str:
    frozen = "frozen" if slab.is_frozen else "not frozen"
    return f"it has {slab.objects} objects, counts {slab.inuse} in use, and is {frozen}"


def slab_differences(slub: Slub, walk: SlabWalk, nr_large_pages: int) -> Iterator[Difference]:
    """Return what counters of slabs, caches and nodes say, and what was found.

    `nr_large_pages`: pages that kmalloc has given out as they are.
    """
    shared = slub.slabs
    for slab in walk.slabs.values():
        yield "inuse", f"of {slab}", slab.inuse, slab.objects - len(slab.own_free)
    slabs: Counter[tuple[int, int]] = Counter()
    objects: Counter[tuple[int, int]] = Counter()
    for slab in walk.slabs.values():
        if not slab.is_leaving:
            key = slab.s.number, shared.node_of(slab.pfn)
            slabs[key] += 1
            objects[key] += slab.objects
    for s in slub.caches:
        for node in range(shared.nr_nodes):
            key, word, place = (s.number, node), s.node(node), f"of {s.name} on node {node}"
            yield "nr_slabs", place, shared.view[word + NR_SLABS], slabs[key]
            yield "total_objects", place, shared.view[word + TOTAL_OBJECTS], objects[key]
            nr_partial = walk.nr_partial[s.number, node]
            yield "nr_partial", place, shared.view[word + NR_PARTIAL], nr_partial
    yield from _vmstat_differences(shared, walk, nr_large_pages)


def _vmstat_differences(shared: Slabs, walk: SlabWalk, nr_large_pages: int) -> Iterator[Difference]:
    vmstat = shared.vmstat
    if vmstat is None:
        return
    pages = {"nr_slab_reclaimable": 0, "nr_slab_unreclaimable": nr_large_pages}
    for slab in walk.slabs.values():
        is_reclaimable = slab.s.flags & SLAB_RECLAIM_ACCOUNT
        name = "nr_slab_reclaimable" if is_reclaimable else "nr_slab_unreclaimable"
        pages[name] += 1 << shared.pages.order_view[slab.pfn]
    for name, true in pages.items():
        item = NODE_ITEM[name]
        nodes = range(vmstat.nr_nodes)
        counted = sum(vmstat.node_page_state_snapshot(node, item) for node in nodes)
        yield name, "of all nodes", counted, true
