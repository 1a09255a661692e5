"""Extents that nobody uses, in sets by state, with their locks (jemalloc 5.3.0, extent.c).

Lock order: grow, a set's, edata_cache, base. The kernel is asked without them, but for grow.
"""

from typing import Final

import numpy as np
from attrs import define
from numpy.typing import NDArray

from mmactors.label import Label, Mode, WantsStep, extent_map
from mmactors.malloc.jemalloc.mutex import lock_mutex, unlock_mutex
from mmactors.malloc.jemalloc.pages.base import BaseMemory
from mmactors.malloc.jemalloc.pages.decay import (
    TIME_MS,
)
from mmactors.malloc.jemalloc.pages.edata import (
    ACTIVE,
    DIRTY,
    ZEROED,
    base_of,
    bytes_of,
    has_bit,
    set_field,
)
from mmactors.malloc.jemalloc.pages.emap import (
    deregister_boundary,
    update_state,
)
from mmactors.malloc.jemalloc.pages.extents import (
    coalesce_once,
    cut,
    deactivate,
    delays,
    extract,
    extract_behind,
    lead_bytes,
    oldest_over,
    state_of_cache,
)
from mmactors.malloc.jemalloc.pages.shard import (
    DECAY_DIRTY,
    DECAY_MUZZY,
    ECACHE_DIRTY,
    ECACHE_RETAINED,
    EDATA_CACHE,
    NMADVISE,
    PAC_MAPPED,
    PAC_OVERSIZE,
    PAC_STATS,
    PURGED,
)
from mmactors.malloc.jemalloc.pages.system import (
    pages_unmap,
    purge_forced,
    purge_lazy,
)
from mmactors.malloc.jemalloc.par import RETAIN
from mmactors.malloc.jemalloc.size_classes import LARGE_MINCLASS
from mmactors.malloc.library import MallocCircleError
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import UserWords, add_to, load_word, longest_walk, note_access
from mmactors.rules import Rules
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_ECACHES: Final = {1: "extents_dirty", 2: "extents_muzzy", 3: "extents_retained"}
_JOINS_MOST: Final = 1 << 10
"""Of an extent of a set whose extents never border on each other: more go round."""


@define(eq=False, kw_only=True)
class ExtentSets:
    """The sets of a process's arenas, which are known by their addresses."""

    words: UserWords
    par: NDArray[np.int64]
    base: BaseMemory
    rules: Rules
    number: int
    """Of the process."""
    wants_step: WantsStep
    has_huge_pages: bool
    """opt.thp is `always`: pages are cleared by the library, so that they stay huge."""

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return words, log and settings, with room for what a step writes."""
        self.words.make_room()
        return self.words.words, self.words.log, self.par

    def _lock(self, tsd: int, ecache: int) -> MallocSteps[str]:
        words, log, _ = self.arrays()
        name = _ECACHES.get(state_of_cache(words, log, ecache), _ECACHES[DIRTY])
        yield from lock_mutex(self, ecache, tsd, name)
        yield from self.map_step(f"hold {name}")
        return name

    def map_step(self, text: str, mode: Mode = Mode.WRITE) -> MallocSteps[None]:
        """Say that the map of extents is read or changed from here to the next request."""
        if self.wants_step():
            yield Label(text, ((extent_map(self.number), mode),))

    def recycle(
        self,
        tsd: int,
        arena: int,
        which: int,
        size: int,
        alignment: int,
        *,
        zero: bool,
        behind: int = 0,
    ) -> MallocSteps[int]:
        """Return an extent of a set, cut to size; 0: the set has none (extentrecycle).

        `behind`: it must lie right behind that extent.
        """
        ecache = arena + which
        name = yield from self._lock(tsd, ecache)
        words, log, par = self.arrays()
        if behind:
            edata = extract_behind(words, log, par, tsd, ecache, behind, size)
        else:
            edata = extract(words, log, par, tsd, ecache, size, alignment)
        if edata:
            edata = yield from self._fit(tsd, arena, ecache, edata, size, alignment)
        yield from unlock_mutex(self, ecache, name)
        if edata and zero:
            yield from self._zero(edata)
        return edata

    def _zero(self, edata: int) -> MallocSteps[None]:
        """Let an extent's bytes be zero (extent_commit_zero): the kernel does it."""
        words, log, _ = self.arrays()
        if not has_bit(words, log, edata, ZEROED):
            base, nr_bytes = base_of(words, log, edata), bytes_of(words, log, edata)
            if self.has_huge_pages or not (yield from purge_forced(base, nr_bytes)):
                note_access(self.words.log, base, nr_bytes, 1)

    def _fit(
        self, tsd: int, arena: int, ecache: int, edata: int, size: int, alignment: int
    ) -> MallocSteps[int]:
        """Cut an extent to size; its ends go back to the set (extentrecycle_split)."""
        lead, edata, trail = yield from self.cut_out(tsd, arena, edata, size, alignment)
        words, log, par = self.arrays()
        for rest in (lead, trail):
            if rest:
                deactivate(words, log, par, tsd, ecache, rest)
        return edata

    def cut_out(
        self, tsd: int, arena: int, edata: int, size: int, alignment: int
    ) -> MallocSteps[tuple[int, int, int]]:
        """Cut an extent in up to three: before, for the request, behind (extent_split_interior).

        Without memory for another edata the extent is left as it is, and is none for the request.
        """
        words, log, _ = self.arrays()
        lead, trail = 0, 0
        lead_size = lead_bytes(words, log, edata, alignment)
        if lead_size:
            rest = yield from self.cut_off(tsd, arena, edata, lead_size)
            if not rest:
                return edata, 0, 0
            lead, edata = edata, rest
        words, log, _ = self.arrays()
        if bytes_of(words, log, edata) > size:
            trail = yield from self.cut_off(tsd, arena, edata, size)
            if not trail:
                return lead, 0, edata
        return lead, edata, trail

    def cut_off(self, tsd: int, arena: int, edata: int, nr_bytes: int) -> MallocSteps[int]:
        """Cut an extent in two; return the second; 0: there is no memory (extent_split_impl)."""
        trail = yield from self.base.new_edata(tsd, arena + EDATA_CACHE)
        if not trail:
            return 0
        words, log, par = self.arrays()
        base = base_of(words, log, edata)
        for address in (base + nr_bytes - PAGE_SIZE, base + nr_bytes):
            if not (yield from self.base.need_leaf(tsd, address)):
                yield from self.base.put_edata(tsd, arena + EDATA_CACHE, trail)
                return 0
        words, log, par = self.arrays()
        cut(words, log, par, tsd, edata, nr_bytes, trail)
        return trail

    def _coalesce(
        self, tsd: int, arena: int, ecache: int, edata: int
    ) -> MallocSteps[tuple[int, bool]]:
        """Join an extent with its neighbors (extent_try_coalesce): with one if that is delayed.

        Return it, and whether one was joined.
        """
        is_joined = False
        again = True
        nr_steps = 0
        while again:
            again = False
            nr_steps += 1
            if nr_steps > _JOINS_MOST:
                raise MallocCircleError
            for is_forward in (1, 0):
                words, log, par = self.arrays()
                edata, unused = coalesce_once(words, log, par, tsd, ecache, edata, is_forward)
                if not unused:
                    continue
                yield from self.base.put_edata(tsd, arena + EDATA_CACHE, unused)
                is_joined = again = True
                if delays(*self.arrays()[:2], ecache):
                    return edata, True
        return edata, is_joined

    def record(self, tsd: int, arena: int, which: int, edata: int) -> MallocSteps[None]:
        """Let a set have an extent, joined with its neighbors (extentrecord)."""
        ecache = arena + which
        name = yield from self._lock(tsd, ecache)
        words, log, par = self.arrays()
        if not delays(words, log, ecache):
            edata, _ = yield from self._coalesce(tsd, arena, ecache, edata)
        elif bytes_of(words, log, edata) >= LARGE_MINCLASS:
            is_joined = True
            nr_steps = 0
            while is_joined:
                nr_steps += 1
                if nr_steps > longest_walk(words):
                    raise MallocCircleError
                edata, is_joined = yield from self._coalesce(tsd, arena, ecache, edata)
            words, log, par = self.arrays()
            is_oversize = bytes_of(words, log, edata) >= load_word(words, log, arena + PAC_OVERSIZE)
            if is_oversize and which == ECACHE_DIRTY and self._may_force_decay(arena):
                yield from unlock_mutex(self, ecache, name)
                yield from self._purge_whole(tsd, arena, edata)
                return
        words, log, par = self.arrays()
        deactivate(words, log, par, tsd, ecache, edata)
        yield from unlock_mutex(self, ecache, name)

    def _may_force_decay(self, arena: int) -> bool:
        words, log, _ = self.arrays()
        decays = (DECAY_DIRTY, DECAY_MUZZY)
        return all(load_word(words, log, arena + decay + TIME_MS) != -1 for decay in decays)

    def _purge_whole(self, tsd: int, arena: int, edata: int) -> MallocSteps[None]:
        """Let a large extent's pages go at once (extent_maximally_purge)."""
        words, log, _ = self.arrays()
        nr_bytes = bytes_of(words, log, edata)
        yield from self.let_go(tsd, arena, edata)
        words, log, _ = self.arrays()
        add_to(words, log, arena + PAC_STATS + NMADVISE, 1)
        add_to(words, log, arena + PAC_STATS + PURGED, nr_bytes >> PAGE_SHIFT)
        add_to(words, log, arena + PAC_MAPPED, -nr_bytes)

    def let_go(self, tsd: int, arena: int, edata: int) -> MallocSteps[None]:
        """Give an extent's pages back, not the addresses if so set (extent_dalloc_wrapper)."""
        words, log, par = self.arrays()
        base, nr_bytes = base_of(words, log, edata), bytes_of(words, log, edata)
        if not par[RETAIN]:
            steps = [pages_unmap(base, nr_bytes), self._deregister(tsd, edata)]
            if self.rules.jemalloc_deregisters_before_unmap:
                steps.reverse()
            for each in steps:
                yield from each
            yield from self.base.put_edata(tsd, arena + EDATA_CACHE, edata)
            return
        is_zero = yield from purge_forced(base, nr_bytes)
        if not is_zero:
            yield from purge_lazy(base, nr_bytes)
        words, log, _ = self.arrays()
        set_field(words, log, edata, ZEROED, ZEROED if is_zero else 0)
        yield from self.record(tsd, arena, ECACHE_RETAINED, edata)

    def _deregister(self, tsd: int, edata: int) -> MallocSteps[None]:
        yield from self.map_step("deregister an extent")
        deregister_boundary(*self.arrays(), tsd, edata)

    def evict(self, tsd: int, arena: int, which: int, npages_min: int) -> MallocSteps[int]:
        """Return the extent that waits for longest, joined with its neighbors (ecache_evict).

        0: there is none, or no more pages than `npages_min`.
        """
        ecache = arena + which
        name = yield from self._lock(tsd, ecache)
        while True:
            words, log, par = self.arrays()
            edata = oldest_over(words, log, par, ecache, npages_min)
            if not edata:
                break
            update_state(words, log, par, tsd, edata, ACTIVE)
            if not delays(words, log, ecache):
                break
            edata, is_joined = yield from self._coalesce(tsd, arena, ecache, edata)
            if not is_joined:
                break
            words, log, par = self.arrays()
            deactivate(words, log, par, tsd, ecache, edata)
        yield from unlock_mutex(self, ecache, name)
        return edata
