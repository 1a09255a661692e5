"""Unused pages go: when it is time, at once, or all (jemalloc 5.3.0, pac.c, arena_decay).

Dirty extents become muzzy, if there are such, or retained, as muzzy ones do.
"""

from typing import Final

from attrs import define

from mmactors.malloc.jemalloc.mutex import LOCK, lock_mutex, mutex_kind, note_locked, unlock_mutex
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.pages.decay import (
    NPAGES_LIMIT,
    PURGING,
    TIME_MS,
    advance_epoch,
    init_decay,
)
from mmactors.malloc.jemalloc.pages.edata import (
    base_of,
    bytes_of,
)
from mmactors.malloc.jemalloc.pages.extent_sets import ExtentSets
from mmactors.malloc.jemalloc.pages.extents import (
    begin_dalloc,
    npages_in,
)
from mmactors.malloc.jemalloc.pages.shard import (
    DECAY_DIRTY,
    DECAY_MUZZY,
    ECACHE_DIRTY,
    ECACHE_MUZZY,
    NMADVISE,
    NPURGE,
    PAC_MAPPED,
    PAC_STATS,
    PURGED,
    STATS_BYTES,
)
from mmactors.malloc.jemalloc.pages.system import (
    purge_lazy,
)
from mmactors.malloc.request import ClockGettime, MallocSteps, TrylockMutex, ask
from mmactors.malloc.user_words import add_to, load_bits, load_word, store_bits
from mmactors.units import PAGE_SHIFT

_DECAY: Final = "decay"


@define(eq=False)
class Purge:
    """Lets the pages of arenas' unused extents go."""

    sets: ExtentSets
    options: JemallocOptions

    def decay(self, tsd: int, arena: int, *, purge_all: bool = False) -> MallocSteps[None]:
        """Look whether it is time for unused pages to go (arena_decay); or let all go."""
        if purge_all:
            yield from self.decay_all(tsd, arena, DECAY_DIRTY, ECACHE_DIRTY)
        elif not (yield from self._try_decay(tsd, arena, DECAY_DIRTY, ECACHE_DIRTY)):
            return
        words, log, _ = self.sets.arrays()
        decay_ms = load_word(words, log, arena + DECAY_MUZZY + TIME_MS)
        if decay_ms <= 0 and not npages_in(words, log, arena + ECACHE_MUZZY):
            return
        if purge_all:
            yield from self.decay_all(tsd, arena, DECAY_MUZZY, ECACHE_MUZZY)
        else:
            yield from self._try_decay(tsd, arena, DECAY_MUZZY, ECACHE_MUZZY)

    def decay_all(self, tsd: int, arena: int, which: int, ecache: int) -> MallocSteps[None]:
        yield from lock_mutex(self.sets, arena + which, tsd, _DECAY)
        words, log, _ = self.sets.arrays()
        npages = npages_in(words, log, arena + ecache)
        yield from self._purge(tsd, arena, which, ecache, 0, npages, is_full=True)
        yield from unlock_mutex(self.sets, arena + which, _DECAY)

    def _try_decay(self, tsd: int, arena: int, which: int, ecache: int) -> MallocSteps[bool]:
        """Let pages go whose time has come; False: another thread does it (arena_decay_impl)."""
        decay = arena + which
        if not (yield from ask(TrylockMutex(decay + LOCK, _DECAY, mutex_kind(self.sets)))):
            return False
        words, log, _ = self.sets.arrays()
        note_locked(words, log, decay, tsd)
        decay_ms = load_word(words, log, decay + TIME_MS)
        npages = npages_in(words, log, arena + ecache)
        limit = 0
        is_time = decay_ms == 0
        if decay_ms > 0:
            now_ns = yield from ask(ClockGettime())
            words, log, _ = self.sets.arrays()
            npages = npages_in(words, log, arena + ecache)
            is_time = advance_epoch(words, log, decay, now_ns, npages)
            limit = load_word(words, log, decay + NPAGES_LIMIT)
        if is_time and npages > limit:
            yield from self._purge(tsd, arena, which, ecache, limit, npages - limit)
        yield from unlock_mutex(self.sets, decay, _DECAY)
        return True

    def _purge(
        self,
        tsd: int,
        arena: int,
        which: int,
        ecache: int,
        limit: int,
        npages_most: int,
        *,
        is_full: bool = False,
    ) -> MallocSteps[None]:
        """Let the oldest extents' pages go, as long as more than `limit` are there.

        pac_decay_to_limit: the decay's lock is held, but not while it is done.
        """
        decay = arena + which
        words, log, _ = self.sets.arrays()
        if load_bits(words, log, decay + PURGING, 1) or not npages_most:
            return
        store_bits(words, log, decay + PURGING, 1, 1)
        yield from unlock_mutex(self.sets, decay, _DECAY)
        stashed, npages = [], 0
        while npages < npages_most:
            edata = yield from self.sets.evict(tsd, arena, ecache, limit)
            if not edata:
                break
            words, log, _ = self.sets.arrays()
            npages += bytes_of(words, log, edata) >> PAGE_SHIFT
            stashed.append(edata)
        if stashed:
            words, log, _ = self.sets.arrays()
            muzzy_ms = load_word(words, log, arena + DECAY_MUZZY + TIME_MS)
            tries_muzzy = which == DECAY_DIRTY and not is_full and muzzy_ms != 0
            nunmapped = 0
            for edata in stashed:
                nunmapped += yield from self._purge_one(tsd, arena, edata, tries_muzzy=tries_muzzy)
            words, log, _ = self.sets.arrays()
            stats = arena + PAC_STATS + (0 if which == DECAY_DIRTY else STATS_BYTES)
            add_to(words, log, stats + NPURGE, 1)
            add_to(words, log, stats + NMADVISE, len(stashed))
            add_to(words, log, stats + PURGED, npages)
            add_to(words, log, arena + PAC_MAPPED, -(nunmapped << PAGE_SHIFT))
        yield from lock_mutex(self.sets, decay, tsd, _DECAY)
        words, log, _ = self.sets.arrays()
        store_bits(words, log, decay + PURGING, 1, 0)

    def _purge_one(
        self, tsd: int, arena: int, edata: int, *, tries_muzzy: bool
    ) -> MallocSteps[int]:
        """Let an extent be muzzy, or retained; return how many of its pages are not mapped then."""
        words, log, _ = self.sets.arrays()
        base, nr_bytes = base_of(words, log, edata), bytes_of(words, log, edata)
        if tries_muzzy and (yield from purge_lazy(base, nr_bytes)):
            words, log, _ = self.sets.arrays()
            begin_dalloc(words, log, edata)
            yield from self.sets.record(tsd, arena, ECACHE_MUZZY, edata)
            return 0
        yield from self.sets.let_go(tsd, arena, edata)
        return nr_bytes >> PAGE_SHIFT

    def purge_at_once(self, tsd: int, arena: int) -> MallocSteps[None]:
        """Let an arena's pages go as soon as they are not used (arena_choose_huge)."""
        for which, default_ms, ecache in (
            (DECAY_DIRTY, self.options.dirty_decay_ms, ECACHE_DIRTY),
            (DECAY_MUZZY, self.options.muzzy_decay_ms, ECACHE_MUZZY),
        ):
            if default_ms <= 0:
                continue
            yield from lock_mutex(self.sets, arena + which, tsd, _DECAY)
            now_ns = yield from ask(ClockGettime())
            words, log, _ = self.sets.arrays()
            init_decay(words, log, arena + which, now_ns, 0)
            npages = npages_in(words, log, arena + ecache)
            yield from self._purge(tsd, arena, which, ecache, 0, npages)
            yield from unlock_mutex(self.sets, arena + which, _DECAY)
