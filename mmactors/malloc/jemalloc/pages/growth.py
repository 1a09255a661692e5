"""Extents that were not there before: address space from the kernel (jemalloc 5.3.0, extent.c)."""

from typing import Final

from attrs import define

from mmactors.malloc.jemalloc.mutex import lock_mutex, unlock_mutex
from mmactors.malloc.jemalloc.pages.edata import (
    ACTIVE,
    ARENA_MASK,
    COMMITTED,
    IS_HEAD,
    ZEROED,
    init_edata,
    past_of,
)
from mmactors.malloc.jemalloc.pages.emap import (
    write_boundary,
)
from mmactors.malloc.jemalloc.pages.extent_sets import ExtentSets
from mmactors.malloc.jemalloc.pages.page_classes import (
    NR_PAGE_CLASSES,
    bytes_of_class,
)
from mmactors.malloc.jemalloc.pages.shard import (
    ECACHE_RETAINED,
    EDATA_CACHE,
    EXP_GROW_LIMIT,
    EXP_GROW_NEXT,
    GROW_LOCK,
    SHARD_INDEX,
    next_serial,
)
from mmactors.malloc.jemalloc.pages.system import (
    pages_map,
    pages_map_at,
)
from mmactors.malloc.jemalloc.par import RETAIN
from mmactors.malloc.jemalloc.size_classes import NR_SIZES
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import load_bits, store_bits
from mmactors.units import PAGE_SIZE

_GROW: Final = "extent_grow"


@define(eq=False)
class Growth:
    """Retained addresses, and new mappings, each larger than the last."""

    sets: ExtentSets

    def alloc(
        self, tsd: int, arena: int, size: int, alignment: int, *, zero: bool, behind: int = 0
    ) -> MallocSteps[int]:
        """Return an extent whose pages are not there yet; 0: there is no room (ecache_alloc_grow).

        Retained addresses are used first, then there is a new mapping, of which the rest is
        retained.
        """
        yield from lock_mutex(self.sets, arena + GROW_LOCK, tsd, _GROW)
        edata = yield from self.sets.recycle(
            tsd, arena, ECACHE_RETAINED, size, alignment, zero=zero, behind=behind
        )
        if not edata and self.sets.par[RETAIN] and not behind:
            edata = yield from self._grow(tsd, arena, size, alignment)
        yield from unlock_mutex(self.sets, arena + GROW_LOCK, _GROW)
        if edata or (self.sets.par[RETAIN] and behind):
            return edata
        at = past_of(*self.sets.arrays()[:2], behind) if behind else 0
        return (yield from self._map(tsd, arena, size, alignment, at=at))

    def _grow(self, tsd: int, arena: int, size: int, alignment: int) -> MallocSteps[int]:
        """Map more than is needed, and retain the rest (extent_grow_retained)."""
        words, log, _ = self.sets.arrays()
        following = load_bits(words, log, arena + EXP_GROW_NEXT, 4)
        limit = load_bits(words, log, arena + EXP_GROW_LIMIT, 4)
        chosen = following
        while bytes_of_class(chosen) < size + alignment - PAGE_SIZE:
            chosen += 1
            if chosen >= NR_PAGE_CLASSES - 1:
                return 0
        edata = yield from self._map(tsd, arena, bytes_of_class(chosen), PAGE_SIZE, is_head=True)
        if not edata:
            return 0
        lead, edata, trail = yield from self.sets.cut_out(tsd, arena, edata, size, alignment)
        for rest in (lead, trail):
            if rest:
                yield from self.sets.record(tsd, arena, ECACHE_RETAINED, rest)
        if edata:
            words, log, _ = self.sets.arrays()
            store_bits(words, log, arena + EXP_GROW_NEXT, 4, min(chosen + 1, limit))
        return edata

    def _map(
        self, tsd: int, arena: int, size: int, alignment: int, *, is_head: bool = False, at: int = 0
    ) -> MallocSteps[int]:
        """Return an extent that is a mapping; 0: there is no room (extent_alloc_wrapper).

        `at`: where it must begin; 0: anywhere.
        """
        edata = yield from self.sets.base.new_edata(tsd, arena + EDATA_CACHE)
        if not edata:
            return 0
        address = yield from (pages_map_at(at, size) if at else pages_map(size, alignment))
        is_there = bool(address)
        for page in (address, address + size - PAGE_SIZE):
            is_there = is_there and (yield from self.sets.base.need_leaf(tsd, page))
        if not is_there:
            yield from self.sets.base.put_edata(tsd, arena + EDATA_CACHE, edata)
            return 0
        yield from self.sets.map_step("register an extent")
        words, log, par = self.sets.arrays()
        head = IS_HEAD if is_head or par[RETAIN] else 0
        index = load_bits(words, log, arena + SHARD_INDEX, 4) & ARENA_MASK
        serial = next_serial(words, log, arena)
        flags = COMMITTED | ZEROED | head
        init_edata(words, log, edata, index, address, size, serial, flags, ACTIVE)
        write_boundary(words, log, par, tsd, edata, NR_SIZES, 0)
        return edata
