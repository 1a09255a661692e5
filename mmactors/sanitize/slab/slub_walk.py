"""What slabs, lists and freelists really hold, walked; no counter of SLUB's is trusted.

The invariants are those of mm/slab/slub/cache.py and slub.py: a slab is some CPU's, on one list,
or full; an object is in use or on exactly one freelist.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

import numpy as np
from attrs import define, field

from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.mm.slab.flags import SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.oops import pointer
from mmactors.mm.slab.slab_common import WORD
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.slub import Slub
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    FREELIST,
    FROZEN,
    NR_CACHE_WORDS,
    NR_CPU_WORDS,
    NR_NODE_WORDS,
    NR_PARTIAL,
    NR_SLABS,
    OBJECTS_SHIFT,
    PARTIAL,
    PARTIAL_HEAD,
    SLAB,
    TOTAL_OBJECTS,
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


@define(eq=False, kw_only=True)
class SlabFound(FoundSlab):
    """One slab, as it is found."""

    s: KmemCache
    objects: int
    inuse: int
    """What it counts itself."""
    is_frozen: bool
    own_free: list[int]
    """Objects on its own freelist."""
    cpu_free: list[int] = field(factory=list)
    """Those on the freelist of the CPU whose slab it is."""

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


class SlubWalk:
    """All slabs of a machine, and where they and their free objects were found."""

    def __init__(self, slub: Slub, heads: Iterable[int]) -> None:
        self.slabs: Final[dict[int, SlabFound]] = {}
        """By first page."""
        self.problems: Final[Problems] = []
        self.nr_partial: Final[dict[tuple[int, int], int]] = {}
        """By cache and node: slabs on its list; a cache that has and counts none is left out."""
        self._shared: Final = slub.slabs
        self._caches: Final = {s.number: s for s in slub.caches}
        for pfn in heads:
            if slub.slabs.is_slab(pfn):
                self._find_slab(pfn)
        used = {slab.s.number for slab in self.slabs.values()} | set(self._with_words())
        for s in slub.caches:
            if s.number in used:
                self._walk_cpus(s)
                self._walk_nodes(s)

    def object_problems(self, known: Known) -> Problems:
        """Return the objects and slabs that are in no place, or in two."""
        problems = list(self.problems)
        for slab in self.slabs.values():
            problems += _of_slab(slab, known.used.get(slab.pfn, NOTHING))
        return problems

    def counter_problems(self, blocks: Mapping[int, int]) -> Problems:
        """Return the counters of slabs, caches and nodes that differ from what was found."""
        view, problems = self._shared.view, Problems()
        slabs: Counter[tuple[int, int]] = Counter()
        objects: Counter[tuple[int, int]] = Counter()
        for slab in self.slabs.values():
            problems += difference(
                "inuse", str(slab), slab.inuse, slab.objects - len(slab.own_free)
            )
            if not slab.is_leaving:
                key = slab.s.number, self._shared.node_of(slab.pfn)
                slabs[key] += 1
                objects[key] += slab.objects
        for key, nr_partial in self.nr_partial.items():
            s = self._caches[key[0]]
            word, place = s.node(key[1]), f"{s.name} on node {key[1]}"
            problems += difference("nr_slabs", place, view[word + NR_SLABS], slabs[key])
            problems += difference("total_objects", place, view[word + TOTAL_OBJECTS], objects[key])
            problems += difference("nr_partial", place, view[word + NR_PARTIAL], nr_partial)
        caches = {pfn: slab.s for pfn, slab in self.slabs.items()}
        return problems + vmstat_problems(self._shared, caches, blocks)

    def _with_words(self) -> list[int]:
        """Return the numbers of the caches that count slabs, or have some on a CPU."""
        shared = self._shared
        nodes = [NR_CACHE_WORDS + node * NR_NODE_WORDS for node in range(shared.nr_nodes)]
        cpus = [shared.first_cpu_word + cpu * NR_CPU_WORDS for cpu in range(shared.nr_cpus)]
        columns = [word + nth for word in nodes for nth in (NR_PARTIAL, NR_SLABS, TOTAL_OBJECTS)]
        columns += [word + nth for word in cpus for nth in (FREELIST, SLAB, PARTIAL)]
        nr_rows = 1 + max(self._caches, default=0)
        rows = shared.words[: nr_rows * shared.row_words].reshape(nr_rows, shared.row_words)
        return np.flatnonzero(rows[:, columns].any(axis=1)).tolist()

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


def _of_slab(slab: SlabFound, used: AbstractSet[int]) -> Problems:
    free = {*slab.own_free, *slab.cpu_free}
    is_found = slab.places or not free or slab.is_leaving
    is_once = len(free) == len(slab.own_free) + len(slab.cpu_free)
    if is_found and is_once and len(free) + len(used) == slab.objects and used.isdisjoint(free):
        return []
    return list(_problems_of(slab, used, free))


def _problems_of(
    slab: SlabFound, used: AbstractSet[int], free: AbstractSet[int]
) -> Iterator[tuple[Law, str, list[str]]]:
    for thing in sorted(set(slab.own_free) & set(slab.cpu_free)):
        text = f"{slab.name_of(thing)} is on its slab's freelist and on a CPU's"
        yield Law.FREELIST, text, []
    where = [f"the slab is {' and '.join(slab.places) or 'on no list, and of no CPU'}"]
    where.append(_state(slab))
    for thing in sorted(used & free):
        yield Law.FREELIST, f"{slab.name_of(thing)} is in use and on a freelist", where
    lost = [thing for thing in slab.things if thing not in free and thing not in used]
    if len(lost) == 1:
        text = f"{slab.name_of(lost[0])} is not in use and on no freelist"
        yield Law.OBJECT_LOST, text, where
    elif lost:
        numbers = ", ".join(str(slab.s.index_of(slab.pfn, thing)) for thing in lost)
        text = f"objects {numbers} of {slab} are not in use and on no freelist"
        yield Law.OBJECT_LOST, text, where
    if free and not slab.places and not slab.is_leaving:
        text = f"{slab} is no CPU's and on no list, and has free objects: {len(free)}"
        yield Law.OBJECT_LOST, text, [_state(slab)]


def _state(slab: SlabFound) -> str:
    frozen = "frozen" if slab.is_frozen else "not frozen"
    return f"it has {slab.objects} objects, counts {slab.inuse} in use, and is {frozen}"


class LookAtSlub(InSlabs):
    """SLUB's objects, with a pointer in each that is free, and what a debugged cache adds."""

    def __init__(self, slub: ObjectAllocator[Any]) -> None:
        super().__init__(slub)
        assert isinstance(slub, Slub), f"{slub.kind} is not SLUB"
        self._slub: Final = slub

    def walk(self, heads: Iterable[int]) -> SlubWalk:
        """Look at all there is."""
        return SlubWalk(self._slub, heads)

    def used_objects(self) -> Iterator[tuple[KmemCache, int]]:
        """Yield all objects that are on no freelist."""
        for slab in self.walk(slab_heads(self.memory)).slabs.values():
            free = {*slab.own_free, *slab.cpu_free}
            yield from ((slab.s, thing) for thing in slab.things if thing not in free)

    def pad(self, s: KmemCache) -> int:
        """Return the bytes of the red zone before an object."""
        return s.layout.red_left_pad

    def freepointer(self, s: KmemCache, thing: int) -> tuple[int, int]:
        """Return where the pointer to the next free object stands."""
        begin = thing + s.layout.offset
        return begin, begin + WORD

    def free_bytes(self, s: KmemCache, thing: int, object_size: int) -> tuple[int, int]:
        """Return what lies behind a free object, but the pointer; of a debugged cache nothing."""
        layout = s.layout
        if layout.is_debug:
            return thing, thing
        return thing + max(object_size, layout.offset + WORD), thing + layout.size

    def misplaced(self, s: KmemCache) -> tuple[int, int] | None:
        """Return where the pointer stands if it ends behind its object, where there is no room."""
        offset, size = s.layout.offset, s.layout.object_size
        if size < WORD or offset + WORD <= size or s.layout.is_freeptr_outside:
            return None
        return offset, offset + WORD
