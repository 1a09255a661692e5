"""What SLAB's slabs, lists and arrays really hold, walked; none of its counters is trusted.

The invariants are those of mm/slab/slab/cache.py: a slab is on the one list of its node that says
how many of its objects are out; an object is in use, in one array, or free in its slab, once.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from attrs import define, field

from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.mm.slab.flags import SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.oops import pointer
from mmactors.mm.slab.slab.cache import KmemCache, Slabs
from mmactors.mm.slab.slab.slab import Slab
from mmactors.mm.slab.slab.struct_slab import (
    FREE_OBJECTS,
    FREE_SLABS,
    SLABS_FREE,
    SLABS_FULL,
    SLABS_PARTIAL,
    TOTAL_SLABS,
)
from mmactors.sanitize.law import Law
from mmactors.sanitize.slab.look import (
    NOTHING,
    FoundSlab,
    InSlabs,
    Known,
    Problems,
    difference,
    slab_heads,
    vmstat_problems,
)
from mmactors.units import PAGE_SHIFT

_LISTS: Final = ((SLABS_FULL, "full"), (SLABS_PARTIAL, "partial"), (SLABS_FREE, "free"))


@define(eq=False, kw_only=True)
class SlabFound(FoundSlab):
    """One slab, as it is found."""

    s: KmemCache
    active: int
    """How many objects it says are out."""
    free: list[int]
    """Its free objects, as its array of indexes has them."""
    in_arrays: list[int] = field(factory=list)
    """Its objects in arrays."""

    @property
    def things(self) -> range:
        """All its objects."""
        first, size = self.s.first_object(self.pfn), self.s.size
        return range(first, first + self.s.layout.num * size, size)

    @property
    def is_leaving(self) -> bool:
        """Whether it waits for its readers: no list knows it any more, and nobody uses it."""
        return not self.active and not self.places and bool(self.s.flags & SLAB_TYPESAFE_BY_RCU)

    @property
    def place(self) -> str:
        """The list that it belongs on."""
        if not self.active:
            return "free"
        return "full" if self.active == self.s.layout.num else "partial"


class SlabWalk:
    """All slabs of a machine, and where they and their free objects were found."""

    def __init__(self, slab: Slab, heads: Iterable[int]) -> None:
        self.slabs: Final[dict[int, SlabFound]] = {}
        """By first page."""
        self.problems: Final[Problems] = []
        self._shared: Final[Slabs] = slab.slabs
        self._caches: Final = {s.number: s for s in slab.caches}
        for pfn in heads:
            if slab.slabs.is_slab(pfn):
                self._find_slab(pfn)
        for s in slab.caches:
            self._walk_lists(s)
            self._walk_arrays(s)

    def _find_slab(self, pfn: int) -> None:
        s = self._caches.get(self._shared.pages.mapping_view[pfn] - 1)
        if s is None:
            self.problems.append((Law.FREELIST, f"slab {pfn:#x} is of no cache", []))
            return
        first, num = s.first_object(pfn), s.layout.num
        indexes = s.free_indexes(pfn)
        found = SlabFound(
            pfn=pfn,
            s=s,
            active=s.active(pfn),
            free=[first + index * s.size for index in indexes if index < num],
        )
        if len(set(found.free)) < num - found.active:
            text = f"the indexes of {found} name no object, or one twice"
            self.problems.append((Law.FREELIST, text, [f"they are {indexes}"]))
        self.slabs[pfn] = found

    def _walk_lists(self, s: KmemCache) -> None:
        for node in self._shared.nodes:
            for which, name in _LISTS:
                for pfn in s.node_slabs(node, which):
                    found = self.slabs.get(pfn)
                    if found is None or found.s is not s:
                        text = f"page {pfn:#x} is on the {name} list of {s.name}, and no slab of it"
                        self.problems.append((Law.FREELIST, text, []))
                        continue
                    found.places.append(f"{name} list of node {node}")

    def _walk_arrays(self, s: KmemCache) -> None:
        for place, ac in self._arrays(s):
            for thing in s.entries(ac):
                head = self._shared.head_of(thing)
                found = None if head is None else self.slabs.get(head)
                if found is None or found.s is not s or thing not in found.things:
                    text = f"the array {place} of {s.name} has 0x{pointer(thing)}, no object of it"
                    self.problems.append((Law.FREELIST, text, []))
                else:
                    found.in_arrays.append(thing)

    def _arrays(self, s: KmemCache) -> Iterator[tuple[str, int]]:
        shared = self._shared
        yield from ((f"of cpu{cpu}", s.cpu_cache(cpu)) for cpu in range(shared.nr_cpus))
        for node in shared.nodes:
            yield f"shared on node {node}", s.shared(node)
            for of in shared.nodes:
                if of != node:
                    yield f"of node {node} for node {of}", s.alien(node, of)

    def object_problems(self, known: Known) -> Problems:
        """Return the objects and slabs that are in no place, or in two."""
        problems = list(self.problems)
        for slab in self.slabs.values():
            problems += _of_slab(slab, known.used.get(slab.pfn, NOTHING))
        return problems

    def counter_problems(self, blocks: Mapping[int, int]) -> Problems:
        """Return the counters of slabs and nodes that differ from what was found."""
        slabs: Counter[tuple[int, int]] = Counter()
        empty: Counter[tuple[int, int]] = Counter()
        objects: Counter[tuple[int, int]] = Counter()
        problems = Problems()
        for slab in self.slabs.values():
            num = slab.s.layout.num
            problems += difference("active", str(slab), slab.active, num - len(slab.free))
            if not slab.is_leaving:
                key = slab.s.number, self._shared.node_of(slab.pfn)
                slabs[key] += 1
                empty[key] += not slab.active
                objects[key] += len(slab.free)
        view = self._shared.view
        for s in self._caches.values():
            for node in self._shared.nodes:
                n, key, place = s.node(node), (s.number, node), f"{s.name} on node {node}"
                problems += difference("total_slabs", place, view[n + TOTAL_SLABS], slabs[key])
                problems += difference("free_slabs", place, view[n + FREE_SLABS], empty[key])
                problems += difference("free_objects", place, view[n + FREE_OBJECTS], objects[key])
        caches = {pfn: slab.s for pfn, slab in self.slabs.items()}
        return problems + vmstat_problems(self._shared, caches, blocks)


def _of_slab(slab: SlabFound, used: AbstractSet[int]) -> Problems:
    """Return what is wrong with a slab; `used`: its objects that somebody has."""
    free, in_arrays = set(slab.free), set(slab.in_arrays)
    problems = Problems()
    where = [f"the slab is on {' and '.join(slab.places) or 'no list'}, {slab.active} are out"]
    for what, things in (
        ("in two arrays", {each for each in in_arrays if slab.in_arrays.count(each) > 1}),
        ("in an array and free in its slab", in_arrays & free),
        ("in use and in an array", used & in_arrays),
        ("in use and free in its slab", used & free),
    ):
        problems += [
            (Law.FREELIST, f"{slab.name_of(thing)} is {what}", where) for thing in sorted(things)
        ]
    lost = [t for t in slab.things if t not in free and t not in in_arrays and t not in used]
    if lost:
        numbers = ", ".join(str(slab.s.index_of(slab.pfn, thing)) for thing in lost)
        text = f"objects {numbers} of {slab} are not in use, in no array and not free in it"
        problems.append((Law.OBJECT_LOST, text, where))
    right = [place for place in slab.places if place.startswith(slab.place)]
    if not slab.is_leaving and (len(slab.places) != 1 or not right):
        text = f"{slab} belongs on the {slab.place} list, and is not there, or not only there"
        problems.append((Law.FREELIST, text, where))
    return problems


class LookAtSlab(InSlabs):
    """SLAB's objects: a free one may have the array of its slab's indexes in it."""

    def __init__(self, slab: ObjectAllocator[Any]) -> None:
        super().__init__(slab)
        assert isinstance(slab, Slab), f"{slab.kind} is not SLAB"
        self._slab: Final = slab

    def walk(self, heads: Iterable[int]) -> SlabWalk:
        """Look at all there is."""
        return SlabWalk(self._slab, heads)

    def used_objects(self) -> Iterator[tuple[KmemCache, int]]:
        """Yield all objects that are in no array and not free in their slab."""
        for slab in self.walk(slab_heads(self.memory)).slabs.values():
            free = {*slab.free, *slab.in_arrays}
            yield from ((slab.s, thing) for thing in slab.things if thing not in free)

    def own_objects(self, heads: Iterable[int]) -> Iterator[int]:
        """Yield the arrays of indexes that are objects of kmalloc."""
        for pfn in heads:
            found = self.head_and_cache(pfn << PAGE_SHIFT)
            if found is not None and found[1].layout.is_off_slab:
                yield self.memory.pages.index_view[pfn]

    def free_bytes(self, s: KmemCache, thing: int, object_size: int) -> tuple[int, int]:
        """Return what lies behind a free object."""
        return thing + object_size, thing + s.size
