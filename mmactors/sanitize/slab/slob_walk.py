"""What SLOB's pages and lists really hold, walked; no number of free units is trusted.

The invariants are those of mm/slab/slob/heap.py: a page is on a list exactly if it has room; blocks
in use and free ones never overlap, and all of a page is in one or the other.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.mm.slab.slob.cache import KmemCache
from mmactors.mm.slab.slob.heap import LISTS, units_of
from mmactors.mm.slab.slob.kmalloc import MINALIGN
from mmactors.mm.slab.slob.slob import Slob
from mmactors.mm.slab.slob.slob_block import SLOB_UNIT
from mmactors.sanitize.law import Law
from mmactors.sanitize.slab.look import NOTHING, Known, Look, Problems, difference, vmstat_problems
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_HEADER: Final = 4
"""Bytes that say how many were asked for."""
Block = tuple[int, int, str]
"""Where in its page it begins, how long it is, in bytes, and what it is."""


class SlobWalk:
    """All pages of a machine that have blocks, and the lists that they are on."""

    def __init__(self, slob: Slob, heads: Iterable[int]) -> None:
        self._slob: Final = slob
        self._pages: Final = [pfn for pfn in heads if slob.memory.is_slab(pfn)]
        self._lists: Final[dict[int, list[str]]] = {}
        """By page: the lists that it is on."""
        for nth, name in enumerate(LISTS):
            for pfn in slob.heap.list_of(nth):
                self._lists.setdefault(pfn, []).append(name)

    def object_problems(self, known: Known) -> Problems:
        """Return the blocks that are in no place, or in two, and the pages."""
        problems = Problems()
        waiting: dict[int, list[Block]] = {}
        for thing, size in self._slob.in_grace.items():
            block = thing & (PAGE_SIZE - 1), size, "waiting for readers"
            waiting.setdefault(thing >> PAGE_SHIFT, []).append(block)
        for pfn in self._lists.keys() - set(self._pages):
            text = f"page {pfn:#x} is on the {self._lists[pfn][0]} list, and has no blocks"
            problems.append((Law.FREELIST, text, []))
        for pfn in self._pages:
            used = map(known.own_bytes, known.used.get(pfn, NOTHING))
            blocks = [(first - (pfn << PAGE_SHIFT), end - first, "in use") for first, end in used]
            problems += self._of_page(pfn, [*blocks, *waiting.get(pfn, [])])
        return problems

    def _of_page(self, pfn: int, taken: list[Block]) -> Problems:
        problems = Problems()
        strung = self._free_blocks(pfn)
        free = list(dict.fromkeys(strung))
        if len(strung) > len(free):
            back = strung[len(free)][0]
            text = f"the free blocks of page {pfn:#x} lead in a circle, back to the one at {back}"
            problems.append((Law.FREELIST, text, []))
        lists = self._lists.get(pfn, [])
        if len(lists) != bool(free):
            text = f"page {pfn:#x} has {len(free)} free blocks, and is on {len(lists)} lists"
            problems.append((Law.FREELIST, text, [", ".join(lists)]))
        blocks = sorted([*taken, *((offset, size, "free") for offset, size in free)])
        end = 0
        for offset, size, _ in blocks:
            if offset > end:
                text = f"bytes {end} to {offset - 1} of page {pfn:#x} are not in use and not free"
                problems.append((Law.OBJECT_LOST, text, []))
            end = max(end, offset + size)
        if end < PAGE_SIZE:
            text = f"bytes {end} to {PAGE_SIZE - 1} of page {pfn:#x} are not in use and not free"
            problems.append((Law.OBJECT_LOST, text, []))
        for (first, size, what), (second, _, other) in pairwise(blocks):
            if first + size > second:
                text = (
                    f"a block {what} at {first} of page {pfn:#x} overlaps one {other} at {second}"
                )
                problems.append((Law.FREELIST, text, []))
        return problems

    def _free_blocks(self, pfn: int) -> list[tuple[int, int]]:
        """Return offset and size of a page's free blocks, in bytes; in a circle again and again."""
        if not self._slob.heap.is_on_list(pfn):
            return []
        blocks = self._slob.heap.page(pfn).blocks
        return [(offset * SLOB_UNIT, units * SLOB_UNIT) for offset, units in blocks]

    def counter_problems(self, blocks: Mapping[int, int]) -> Problems:
        """Return the numbers of free units, and of pages, that differ from what was found."""
        problems = Problems()
        for pfn in self._pages:
            if self._slob.heap.is_on_list(pfn):
                page = self._slob.heap.page(pfn)
                units = sum(units for _, units in set(page.blocks))
                problems += difference("units", f"page {pfn:#x}", page.units, units)
        return problems + vmstat_problems(self._slob.memory, {}, blocks)


class LookAtSlob(Look):
    """SLOB's objects: blocks of any length in pages that all caches share."""

    def __init__(self, slob: ObjectAllocator[Any]) -> None:
        super().__init__(slob)
        assert isinstance(slob, Slob), f"{slob.kind} is not SLOB"
        self._slob: Final = slob

    def walk(self, heads: Iterable[int]) -> SlobWalk:
        """Look at all there is."""
        return SlobWalk(self._slob, heads)

    def slab_of(self, s: Any, thing: int) -> int:  # noqa: ARG002 - of no cache
        """Return the page that an object begins in."""
        return thing >> PAGE_SHIFT

    def index_of(self, s: Any, slab: int, thing: int) -> int:  # noqa: ARG002 - of no cache
        """Return where in its page an object lies, in units."""
        return (thing & (PAGE_SIZE - 1)) // SLOB_UNIT

    def own_bytes(self, s: KmemCache | None, thing: int) -> tuple[int, int]:
        """Return the block of an object, with its header if it is kmalloc's; of pages, none."""
        if not self.memory.is_slab(thing >> PAGE_SHIFT):
            return thing, thing
        if s is not None:
            return thing, thing + s.size
        block = thing - MINALIGN
        nr_bytes = int.from_bytes(self.memory.bytes_view[block : block + _HEADER], "little")
        return block, thing + units_of(nr_bytes) * SLOB_UNIT

    def free_bytes(self, s: Any, thing: int, object_size: int) -> tuple[int, int]:  # noqa: ARG002
        """Return that whatever was free may be another block's."""
        return thing, thing

    def is_there(self, slab: int, cache: str, thing: int) -> bool:  # noqa: ARG002 - of no cache
        """Return whether the page has blocks."""
        return self.memory.is_slab(slab)

    def things(self, begin: int, end: int, known: Known) -> list[int]:
        """Return the objects in use whose blocks are in a range."""
        found = []
        for pfn in range(begin >> PAGE_SHIFT, ((end - 1) >> PAGE_SHIFT) + 1):
            for thing in sorted(known.used.get(pfn, NOTHING)):
                first, behind = known.own_bytes(thing)
                if first < end and behind > begin:
                    found.append(thing)
        return found
