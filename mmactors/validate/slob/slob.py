"""Recorded caches and sequences of SLOB, replayed on the allocator that `run` uses.

Of `params`: every value of every cache that was created, and of the booted system's. Of the others:
of each operation the block's page, offset and bytes, the size its header says, the pages of all
objects, the page's free units and whether it is on a list, how long the three lists are; of the
final state each list in order, each page's free blocks. Which page came when one was taken is from
the recording.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import define, frozen

from mmactors.arch.page import PG_HEAD
from mmactors.mm.page_alloc.gfp import GFP_NOWAIT, GFP_NOWARN
from mmactors.mm.slab.flags import (
    SLAB_HWCACHE_ALIGN,
    SLAB_NOLEAKTRACE,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.slab.slab_common import CacheRequest, large_order
from mmactors.mm.slab.slob.cache import KmemCache
from mmactors.mm.slab.slob.heap import LISTS
from mmactors.mm.slab.slob.kmalloc import MINALIGN
from mmactors.mm.slab.slob.slob_state import dump_heap, load_heap, params_of
from mmactors.units import PAGE_SHIFT, PAGE_SIZE
from mmactors.validate.asked_caches import asked_of
from mmactors.validate.guest_boot import nr_frames_of
from mmactors.validate.result import CaseResult
from mmactors.validate.slob.guest import Guest
from mmactors.validate.slob.slob_recording import CACHE, read_recording

_GFP: Final = GFP_NOWAIT | GFP_NOWARN
"""What the recorder allocated with."""
ASKED_CTOR: Final = 2
ASKED_FLAGS: Final = (
    (1, SLAB_HWCACHE_ALIGN),
    (4, SLAB_TYPESAFE_BY_RCU),
    (8, SLAB_NOLEAKTRACE),
    (16, SLAB_RECLAIM_ACCOUNT),
)
"""What the bits of `caches_asked` mean."""
_KMALLOC: Final = -1
_FAILED: Final = -1
_PAGES: Final = -1


def validate_slob(path: Path) -> Iterator[CaseResult]:
    """Replay one recording; raise UserError for a file that is none."""
    content = read_recording(path)
    name = path.name.removesuffix(".gz").removesuffix(".json")
    result = CaseResult(topic="slob", case=name, path=str(path))
    guest = Guest(nr_frames_of(content))
    if content["scenario"] == "params":
        _compare_caches(guest, content, result)
    else:
        _replay(guest, content, result)
    yield result


def cache_request(name: str, size: int, align: int, bits: int) -> CacheRequest:
    """Return what a recorder asked for a cache with."""
    flags = sum(flag for bit, flag in ASKED_FLAGS if bits & bit)
    return CacheRequest(
        name=name, object_size=size, align=align, flags=flags, has_ctor=bool(bits & ASKED_CTOR)
    )


def _compare_caches(guest: Guest, content: dict[str, Any], result: CaseResult) -> None:
    """Compare the booted system's caches, then make and destroy those that were created."""
    slob = guest.slob
    for nth, recorded in enumerate(content["system_caches"]):
        request = CacheRequest(
            name=recorded["name"],
            object_size=recorded["object_size"],
            align=recorded["align"],
            flags=recorded["flags"],
            has_ctor=bool(recorded["ctor"]),
        )
        _compare_cache(f"system_caches[{nth}]", recorded, slob.make(request), result)
    columns = content["created_columns"]
    for nth, row in enumerate(content["created"]):
        recorded = dict(zip(columns, row, strict=True))
        asked = asked_of(recorded["asked"])
        assert asked is not None, f"created[{nth}] was read"
        s = slob.create(cache_request(f"lab{nth}", *asked))
        if s is None:
            result.compare(f"created[{nth}]", recorded["asked"], None)
            return
        _compare_cache(f"created[{nth}]", {**recorded, "name": s.name}, s, result)
        slob.release(s.number)


def _compare_cache(place: str, recorded: dict[str, Any], s: KmemCache, result: CaseResult) -> None:
    ours = params_of(s)
    for name in CACHE:
        result.compare(f"{place}.{name}", recorded[name], ours[name])


@frozen
class _Object:
    """What was allocated: where, and for whom."""

    thing: int
    cache: int
    size: int


@define
class _Replay:
    """A recording on its way."""

    guest: Guest
    caches: list[KmemCache]
    pages_before: int
    held: dict[int, _Object]
    """By id."""

    def hold(self, number: int, cache: int, size: int, pfn: int, offset: int) -> None:
        """Let an object be there that was allocated before the recording."""
        block = (pfn << PAGE_SHIFT) + offset
        guest, pages = self.guest, self.guest.pages
        thing = block
        if self._is_pages(cache, size):
            order = large_order(size if cache == _KMALLOC else self.caches[cache].size)
            guest.claim(pfn, 1 << order, is_slab=False)
            if order and cache == _KMALLOC:
                pages.flags_view[pfn] |= PG_HEAD
                pages.order_view[pfn] = order
        else:
            guest.claim(pfn, 1, is_slab=True)
            if cache == _KMALLOC:
                view = guest.slob.memory.bytes_view
                view[block : block + 4] = size.to_bytes(4, "little")
                thing += MINALIGN
        self.held[number] = _Object(thing, cache, size)

    def do(self, op: list[Any]) -> tuple[int, ...]:
        """Do an operation; return what is recorded of it, from the PFN on."""
        kind, _, cache, number, size, pfn = op[:6]
        guest = self.guest
        if kind == "a":
            guest.named.next_pfns = [pfn]
            thing = guest.perform(self._alloc(cache, size))
            place = self._place(thing, cache, size) if thing else (_FAILED, 0, 0, _PAGES, 0)
            self.held[number] = _Object(thing, cache, size)
        elif kind == "f":
            it = self.held.pop(number)
            place = self._place(it.thing, it.cache, it.size)
            if it.cache == _KMALLOC:
                steps = guest.kmalloc.kfree(int, it.thing)
            else:
                steps = guest.slob.kmem_cache_free(self.caches[it.cache], int, it.thing)
            guest.perform(steps)
        else:
            # Shrinking has nothing to do here; nor has the reaper.
            for s in self.caches:
                guest.perform(guest.slob.shrink(s, 0))
            place = (_FAILED, 0, 0, _PAGES, 0)
        where, offset, nr_bytes, slob, header = place
        heap, pages = guest.slob.heap, guest.pages
        units = on_list = 0
        if slob != _PAGES:
            is_there = guest.slob.memory.is_slab(where)
            units = pages.private_view[where] if is_there else -1
            on_list = int(heap.is_on_list(where))
        lengths = (len(heap.list_of(nth)) for nth in range(len(LISTS)))
        nr_pages = self.pages_before + guest.named.nr_pages
        return where, offset, nr_bytes, slob, nr_pages, header, units, *lengths, on_list

    def _alloc(self, cache: int, size: int) -> Any:
        guest = self.guest
        if cache == _KMALLOC:
            return guest.kmalloc.kmalloc(int, size, _GFP)
        return guest.slob.alloc(self.caches[cache], int, _GFP)

    def _is_pages(self, cache: int, size: int) -> bool:
        if cache == _KMALLOC:
            return size >= PAGE_SIZE - MINALIGN
        return self.caches[cache].size >= PAGE_SIZE

    def _place(self, thing: int, cache: int, size: int) -> tuple[int, int, int, int, int]:
        """Return page, offset and bytes of a block, whether it is pages, what its header says."""
        memory, is_kmalloc = self.guest.slob.memory, cache == _KMALLOC
        if not memory.is_slab(thing >> PAGE_SHIFT):
            pages = large_order(size if is_kmalloc else self.caches[cache].size)
            return thing >> PAGE_SHIFT, 0, PAGE_SIZE << pages, _PAGES, 0
        block, header = thing, 0
        nr_bytes = 0 if is_kmalloc else self.caches[cache].size
        if is_kmalloc:
            block -= MINALIGN
            header = int.from_bytes(memory.bytes_view[block : block + 4], "little")
            nr_bytes = (header + MINALIGN + 1) & ~1
        return block >> PAGE_SHIFT, block & (PAGE_SIZE - 1), nr_bytes, 0, header


def _replay(guest: Guest, content: dict[str, Any], result: CaseResult) -> None:
    """Load `initial`, do all operations, and compare what is left."""
    caches: list[KmemCache] = []
    for nth, (asked, recorded) in enumerate(
        zip(content["caches_asked"], content["initial"]["caches"], strict=True)
    ):
        s = guest.slob.create(cache_request(recorded["name"], *asked))
        if s is None:
            result.compare(f"initial.caches[{nth}]", asked, None)
            return
        _compare_cache(f"initial.caches[{nth}]", recorded, s, result)
        caches.append(s)
    load_heap(guest.slob.heap, content["initial"])
    replay = _Replay(guest, caches, content["pages_at_start"], {})
    for held in content["held"]:
        replay.hold(*held)
    # After the first difference the two differ, and nothing more can be learnt from them.
    for nth, op in enumerate(content["ops"]):
        try:
            ours = replay.do(op)
        except KernelOopsError as oops:
            result.compare(f"ops[{nth}]", op, str(oops))
            return
        if not result.compare(f"ops[{nth}]", tuple(op[5:]), ours):
            return
    _compare_lists(content, dump_heap(guest.slob.heap), result)


def _compare_lists(
    content: dict[str, Any], ours: dict[str, list[list[Any]]], result: CaseResult
) -> None:
    """Compare each list's order, and each page; one that is named alone is as it was."""
    before = {page[0]: page for name in LISTS for page in content["initial"][name]}
    for name in LISTS:
        recorded = [before[page[0]] if len(page) == 1 else page for page in content["final"][name]]
        pfns = [page[0] for page in recorded]
        if not result.compare(f"final.{name}", pfns, [page[0] for page in ours[name]]):
            return
        for nth, (page, own) in enumerate(zip(recorded, ours[name], strict=True)):
            result.compare(f"final.{name}[{nth}]", page, own)
