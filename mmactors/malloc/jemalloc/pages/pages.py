"""What gives arenas extents and takes them back (jemalloc 5.3.0, pa.c, pac.c, extent.c).

An extent that is freed is dirty; it may be used again at once. After a time it is muzzy, if there
are such: the kernel may have its pages, then retained: its pages are gone, its addresses stay. What
no set has comes from a new mapping, each larger than the last, of which the rest is retained.

Lock order: grow, a set's, edata_cache, base. No lock is held while the kernel is asked, but grow.
"""

from typing import Final

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.malloc.jemalloc.mutex import lock_mutex, note_locked, unlock_mutex
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.pages.base import BaseMemory
from mmactors.malloc.jemalloc.pages.base_block import add
from mmactors.malloc.jemalloc.pages.decay import (
    NPAGES_LIMIT,
    PURGING,
    TIME_MS,
    advance_epoch,
    init_decay,
)
from mmactors.malloc.jemalloc.pages.edata import (
    ACTIVE,
    ARENA_MASK,
    COMMITTED,
    DIRTY,
    IS_HEAD,
    SLAB,
    ZEROED,
    base_of,
    bytes_of,
    has_bit,
    init_edata,
    set_class,
    set_field,
)
from mmactors.malloc.jemalloc.pages.emap import (
    NO_EXTENT,
    deregister_boundary,
    remap,
    update_state,
    write_boundary,
    write_interior,
)
from mmactors.malloc.jemalloc.pages.extents import (
    begin_dalloc,
    coalesce_once,
    cut,
    deactivate,
    delays,
    extract,
    extract_behind,
    join,
    lead_bytes,
    npages_in,
    oldest_over,
    state_of_cache,
)
from mmactors.malloc.jemalloc.pages.page_classes import (
    NR_PAGE_CLASSES,
    bytes_of_class,
)
from mmactors.malloc.jemalloc.pages.shard import (
    DECAY_DIRTY,
    DECAY_MUZZY,
    ECACHE_DIRTY,
    ECACHE_MUZZY,
    ECACHE_RETAINED,
    EDATA_CACHE,
    EXP_GROW_LIMIT,
    EXP_GROW_NEXT,
    GROW_LOCK,
    NACTIVE,
    NMADVISE,
    NPURGE,
    PAC_MAPPED,
    PAC_OVERSIZE,
    PAC_STATS,
    PURGED,
    SHARD_INDEX,
    STATS_BYTES,
    init_shard,
    next_serial,
)
from mmactors.malloc.jemalloc.pages.system import (
    pages_boot,
    pages_map,
    pages_unmap,
    purge_forced,
    purge_lazy,
)
from mmactors.malloc.jemalloc.par import OVERSIZE_THRESHOLD, RETAIN
from mmactors.malloc.jemalloc.size_classes import LARGE_MINCLASS, NR_SIZES
from mmactors.malloc.request import Brk, ClockGettime, MallocSteps, TrylockMutex, ask
from mmactors.malloc.user_words import UserWords, load_bits, load_word, note_access, store_bits
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_GROW: Final = "extent_grow"
_DECAY: Final = "decay"
_ECACHES: Final = {1: "extents_dirty", 2: "extents_muzzy", 3: "extents_retained"}
_BACKGROUND_THREADS: Final = 4
_BACKGROUND_THREAD_BYTES: Final = 208
_CACHELINE: Final = 64
_LOCK: Final = 64
"""The pthread mutex, in a malloc_mutex_t."""


@define(eq=False, kw_only=True)
class Pages:
    """The page allocator of a process's arenas, which are known by their addresses."""

    words: UserWords
    par: NDArray[np.int64]
    options: JemallocOptions
    base: BaseMemory = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.base = BaseMemory(self.words, self.par)

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return words, log and settings, with room for what a step writes."""
        self.words.make_room()
        return self.words.words, self.words.log, self.par

    # -- the library's own memory --------------------------------------------------------------

    def boot(self, tsd: int) -> MallocSteps[None]:  # noqa: ARG002 - nobody locks yet
        """Set up what there is before the first arena (pages_boot, base_boot, extent_dss_boot)."""
        yield from pages_boot(self.words)
        yield from self.base.boot()
        yield from ask(Brk(0))

    def boot_background_threads(self, tsd: int) -> MallocSteps[None]:
        """Make room for threads that would purge, of which none is started."""
        size = _BACKGROUND_THREADS * _BACKGROUND_THREAD_BYTES
        yield from self.base_alloc(tsd, 0, size, _CACHELINE)

    def new_base(self, tsd: int, index: int) -> MallocSteps[int]:  # noqa: ARG002 - it is new
        """Return the base of a new arena; 0: there is no memory."""
        return (yield from self.base.new()) if index else self.base.b0

    def base_alloc(self, tsd: int, base: int, size: int, alignment: int) -> MallocSteps[int]:
        """Return memory of a base, of the first one if it is 0; 0: there is none."""
        return (yield from self.base.alloc(tsd, base or self.base.b0, size, alignment))

    def init_shard(self, tsd: int, arena: int, index: int, base: int) -> MallocSteps[None]:  # noqa: ARG002 - it is new
        """Set up a new arena's part."""
        now_ns = yield from ask(ClockGettime())
        words, log, par = self.arrays()
        dirty_ms, muzzy_ms = self.options.dirty_decay_ms, self.options.muzzy_decay_ms
        oversize = int(par[OVERSIZE_THRESHOLD])
        init_shard(words, log, arena, index, base, now_ns, oversize, dirty_ms, muzzy_ms)

    # -- extents for blocks --------------------------------------------------------------------

    def alloc(
        self,
        tsd: int,
        arena: int,
        size: int,
        alignment: int,
        *,
        is_slab: bool,
        index: int,
        zero: bool,
    ) -> MallocSteps[int]:
        """Return an extent for blocks of a class; 0: there is no memory (pa_alloc)."""
        alignment = max(alignment + PAGE_SIZE - 1 & -PAGE_SIZE, PAGE_SIZE)
        edata = yield from self._recycle(tsd, arena, ECACHE_DIRTY, size, alignment, zero=zero)
        words, log, par = self.arrays()
        if not edata and load_word(words, log, arena + DECAY_MUZZY + TIME_MS):
            edata = yield from self._recycle(tsd, arena, ECACHE_MUZZY, size, alignment, zero=zero)
        if not edata:
            edata = yield from self._alloc_retained(tsd, arena, size, alignment, zero=zero)
            if not edata:
                return 0
            words, log, par = self.arrays()
            add(words, log, arena + PAC_MAPPED, size)
        words, log, par = self.arrays()
        add(words, log, arena + NACTIVE, size >> PAGE_SHIFT)
        remap(words, log, par, tsd, edata, index, is_slab)
        set_class(words, log, edata, index, is_slab)
        return edata

    def dalloc(self, tsd: int, arena: int, edata: int) -> MallocSteps[None]:
        """Take an extent back (pa_dalloc), and purge it if nothing may stay dirty."""
        words, log, par = self.arrays()
        if has_bit(words, log, edata, SLAB):
            write_interior(words, log, par, tsd, edata, NO_EXTENT)
        set_field(words, log, edata, 0xFF << 20, NR_SIZES << 20)
        add(words, log, arena + NACTIVE, -(bytes_of(words, log, edata) >> PAGE_SHIFT))
        begin_dalloc(words, log, edata)
        yield from self._record(tsd, arena, ECACHE_DIRTY, edata)
        yield from self._deferred_work(tsd, arena)

    def resize(
        self, tsd: int, arena: int, edata: int, new_size: int, *, index: int, zero: bool
    ) -> MallocSteps[bool]:
        """Let an extent have another size where it is; say whether (pa_expand, pa_shrink)."""
        words, log, par = self.arrays()
        old_size = bytes_of(words, log, edata)
        if new_size > old_size:
            done = yield from self._expand(tsd, arena, edata, new_size - old_size, zero=zero)
        else:
            done = yield from self._shrink(tsd, arena, edata, new_size)
        if not done:
            return False
        words, log, par = self.arrays()
        add(words, log, arena + NACTIVE, (new_size - old_size) >> PAGE_SHIFT)
        set_field(words, log, edata, 0xFF << 20, index << 20)
        remap(words, log, par, tsd, edata, index, 0)
        if new_size < old_size:
            yield from self._deferred_work(tsd, arena)
        return True

    def _expand(
        self, tsd: int, arena: int, edata: int, more: int, *, zero: bool
    ) -> MallocSteps[bool]:
        """Let an extent have what lies behind it, if that is free (pac_expand_impl)."""
        trail = 0
        for ecache in (ECACHE_DIRTY, ECACHE_MUZZY):
            trail = trail or (
                yield from self._recycle(
                    tsd, arena, ecache, more, PAGE_SIZE, zero=zero, behind=edata
                )
            )
        if not trail:
            trail = yield from self._alloc_retained(
                tsd, arena, more, PAGE_SIZE, zero=zero, behind=edata
            )
            if not trail:
                return False
            words, log, par = self.arrays()
            add(words, log, arena + PAC_MAPPED, more)
        words, log, par = self.arrays()
        join(words, log, par, tsd, edata, trail)
        yield from self.base.put_edata(tsd, arena + EDATA_CACHE, trail)
        return True

    def _shrink(self, tsd: int, arena: int, edata: int, new_size: int) -> MallocSteps[bool]:
        """Take back what an extent has too much (pac_shrink_impl)."""
        trail = yield from self._cut(tsd, arena, edata, new_size)
        if not trail:
            return False
        words, log, par = self.arrays()
        begin_dalloc(words, log, trail)
        yield from self._record(tsd, arena, ECACHE_DIRTY, trail)
        return True

    def _deferred_work(self, tsd: int, arena: int) -> MallocSteps[None]:
        """Purge at once, if so it is set (arena_handle_deferred_work)."""
        words, log, _ = self.arrays()
        if load_word(words, log, arena + DECAY_DIRTY + TIME_MS) == 0:
            yield from self._decay_all(tsd, arena, DECAY_DIRTY, ECACHE_DIRTY)

    # -- sets of extents -----------------------------------------------------------------------

    def _lock(self, tsd: int, ecache: int) -> MallocSteps[str]:
        words, log, _ = self.arrays()
        name = _ECACHES.get(state_of_cache(words, log, ecache), _ECACHES[DIRTY])
        yield from lock_mutex(self.words, ecache, tsd, name)
        return name

    def _recycle(
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
        """Return an extent of a set, cut to size; 0: the set has none (extent_recycle).

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
        yield from unlock_mutex(self.words, ecache, name)
        if edata and zero:
            yield from self._zero(edata)
        return edata

    def _zero(self, edata: int) -> MallocSteps[None]:
        """Let an extent's bytes be zero (extent_commit_zero): the kernel does it."""
        words, log, _ = self.arrays()
        if not has_bit(words, log, edata, ZEROED):
            base, nr_bytes = base_of(words, log, edata), bytes_of(words, log, edata)
            if self.options.thp == "always" or not (yield from purge_forced(base, nr_bytes)):
                note_access(self.words.log, base, nr_bytes, 1)

    def _fit(
        self, tsd: int, arena: int, ecache: int, edata: int, size: int, alignment: int
    ) -> MallocSteps[int]:
        """Cut an extent to size; its ends go back to the set (extent_recycle_split)."""
        lead, edata, trail = yield from self._cut_out(tsd, arena, edata, size, alignment)
        words, log, par = self.arrays()
        for rest in (lead, trail):
            if rest:
                deactivate(words, log, par, tsd, ecache, rest)
        return edata

    def _cut_out(
        self, tsd: int, arena: int, edata: int, size: int, alignment: int
    ) -> MallocSteps[tuple[int, int, int]]:
        """Cut an extent in up to three: before, for the request, behind (extent_split_interior).

        Without memory for another edata the extent is left as it is, and is none for the request.
        """
        words, log, par = self.arrays()
        lead, trail = 0, 0
        lead_size = lead_bytes(words, log, edata, alignment)
        if lead_size:
            rest = yield from self._cut(tsd, arena, edata, lead_size)
            if not rest:
                return edata, 0, 0
            lead, edata = edata, rest
        words, log, par = self.arrays()
        if bytes_of(words, log, edata) > size:
            trail = yield from self._cut(tsd, arena, edata, size)
            if not trail:
                return lead, 0, edata
        return lead, edata, trail

    def _cut(self, tsd: int, arena: int, edata: int, nr_bytes: int) -> MallocSteps[int]:
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
        while again:
            again = False
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

    def _record(self, tsd: int, arena: int, which: int, edata: int) -> MallocSteps[None]:
        """Let a set have an extent, joined with its neighbors (extent_record)."""
        ecache = arena + which
        name = yield from self._lock(tsd, ecache)
        words, log, par = self.arrays()
        if not delays(words, log, ecache):
            edata, _ = yield from self._coalesce(tsd, arena, ecache, edata)
        elif bytes_of(words, log, edata) >= LARGE_MINCLASS:
            is_joined = True
            while is_joined:
                edata, is_joined = yield from self._coalesce(tsd, arena, ecache, edata)
            words, log, par = self.arrays()
            is_oversize = bytes_of(words, log, edata) >= load_word(words, log, arena + PAC_OVERSIZE)
            if is_oversize and self._may_force_decay(arena):
                yield from unlock_mutex(self.words, ecache, name)
                yield from self._purge_whole(tsd, arena, edata)
                return
        words, log, par = self.arrays()
        deactivate(words, log, par, tsd, ecache, edata)
        yield from unlock_mutex(self.words, ecache, name)

    def _may_force_decay(self, arena: int) -> bool:
        words, log, _ = self.arrays()
        decays = (DECAY_DIRTY, DECAY_MUZZY)
        return all(load_word(words, log, arena + decay + TIME_MS) != -1 for decay in decays)

    def _purge_whole(self, tsd: int, arena: int, edata: int) -> MallocSteps[None]:
        """Let a large extent's pages go at once (extent_maximally_purge)."""
        words, log, _ = self.arrays()
        nr_bytes = bytes_of(words, log, edata)
        yield from self._let_go(tsd, arena, edata)
        words, log, _ = self.arrays()
        add(words, log, arena + PAC_STATS + NMADVISE, 1)
        add(words, log, arena + PAC_STATS + PURGED, nr_bytes >> PAGE_SHIFT)
        add(words, log, arena + PAC_MAPPED, -nr_bytes)

    def _let_go(self, tsd: int, arena: int, edata: int) -> MallocSteps[None]:
        """Give an extent's pages back; its addresses are retained, or not (extent_dalloc_wrapper)."""
        words, log, par = self.arrays()
        base, nr_bytes = base_of(words, log, edata), bytes_of(words, log, edata)
        if not par[RETAIN]:
            deregister_boundary(words, log, par, tsd, edata)
            yield from pages_unmap(base, nr_bytes)
            yield from self.base.put_edata(tsd, arena + EDATA_CACHE, edata)
            return
        is_zero = yield from purge_forced(base, nr_bytes)
        words, log, _ = self.arrays()
        set_field(words, log, edata, ZEROED, ZEROED if is_zero else 0)
        yield from self._record(tsd, arena, ECACHE_RETAINED, edata)

    # -- new mappings --------------------------------------------------------------------------

    def _alloc_retained(
        self, tsd: int, arena: int, size: int, alignment: int, *, zero: bool, behind: int = 0
    ) -> MallocSteps[int]:
        """Return an extent whose pages are not there yet; 0: there is no room (ecache_alloc_grow).

        Retained addresses are used first, then there is a new mapping, of which the rest is
        retained.
        """
        yield from lock_mutex(self.words, arena + GROW_LOCK, tsd, _GROW)
        edata = yield from self._recycle(
            tsd, arena, ECACHE_RETAINED, size, alignment, zero=zero, behind=behind
        )
        if not edata and self.par[RETAIN] and not behind:
            edata = yield from self._grow(tsd, arena, size, alignment)
        yield from unlock_mutex(self.words, arena + GROW_LOCK, _GROW)
        if edata or behind:
            return edata
        return (yield from self._map(tsd, arena, size, alignment))

    def _grow(self, tsd: int, arena: int, size: int, alignment: int) -> MallocSteps[int]:
        """Map more than is needed, and retain the rest (extent_grow_retained)."""
        words, log, _ = self.arrays()
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
        lead, edata, trail = yield from self._cut_out(tsd, arena, edata, size, alignment)
        for rest in (lead, trail):
            if rest:
                yield from self._record(tsd, arena, ECACHE_RETAINED, rest)
        if edata:
            words, log, _ = self.arrays()
            store_bits(words, log, arena + EXP_GROW_NEXT, 4, min(chosen + 1, limit))
        return edata

    def _map(
        self, tsd: int, arena: int, size: int, alignment: int, *, is_head: bool | None = None
    ) -> MallocSteps[int]:
        """Return an extent that is a mapping; 0: there is no room (extent_alloc_wrapper)."""
        edata = yield from self.base.new_edata(tsd, arena + EDATA_CACHE)
        if not edata:
            return 0
        address = yield from pages_map(size, alignment)
        is_there = bool(address)
        for page in (address, address + size - PAGE_SIZE):
            is_there = is_there and (yield from self.base.need_leaf(tsd, page))
        if not is_there:
            yield from self.base.put_edata(tsd, arena + EDATA_CACHE, edata)
            return 0
        words, log, par = self.arrays()
        head = IS_HEAD if is_head or par[RETAIN] else 0
        index = load_bits(words, log, arena + SHARD_INDEX, 4) & ARENA_MASK
        serial = next_serial(words, log, arena)
        flags = COMMITTED | ZEROED | head
        init_edata(words, log, edata, index, address, size, serial, flags, ACTIVE)
        write_boundary(words, log, par, tsd, edata, NR_SIZES, 0)
        return edata

    # -- unused pages go -----------------------------------------------------------------------

    def decay(self, tsd: int, arena: int, *, purge_all: bool = False) -> MallocSteps[None]:
        """Look whether it is time for unused pages to go (arena_decay); or let all go."""
        if purge_all:
            yield from self._decay_all(tsd, arena, DECAY_DIRTY, ECACHE_DIRTY)
        elif not (yield from self._try_decay(tsd, arena, DECAY_DIRTY, ECACHE_DIRTY)):
            return
        words, log, _ = self.arrays()
        decay_ms = load_word(words, log, arena + DECAY_MUZZY + TIME_MS)
        if decay_ms <= 0 and not npages_in(words, log, arena + ECACHE_MUZZY):
            return
        if purge_all:
            yield from self._decay_all(tsd, arena, DECAY_MUZZY, ECACHE_MUZZY)
        else:
            yield from self._try_decay(tsd, arena, DECAY_MUZZY, ECACHE_MUZZY)

    def _decay_all(self, tsd: int, arena: int, which: int, ecache: int) -> MallocSteps[None]:
        yield from lock_mutex(self.words, arena + which, tsd, _DECAY)
        words, log, _ = self.arrays()
        npages = npages_in(words, log, arena + ecache)
        yield from self._purge(tsd, arena, which, ecache, 0, npages, is_full=True)
        yield from unlock_mutex(self.words, arena + which, _DECAY)

    def _try_decay(self, tsd: int, arena: int, which: int, ecache: int) -> MallocSteps[bool]:
        """Let pages go whose time has come; False: another thread does it (arena_decay_impl)."""
        decay = arena + which
        if not (yield from ask(TrylockMutex(decay + _LOCK, _DECAY))):
            return False
        words, log, _ = self.arrays()
        note_locked(words, log, decay, tsd)
        decay_ms = load_word(words, log, decay + TIME_MS)
        npages = npages_in(words, log, arena + ecache)
        limit = 0
        is_time = decay_ms == 0
        if decay_ms > 0:
            now_ns = yield from ask(ClockGettime())
            words, log, _ = self.arrays()
            npages = npages_in(words, log, arena + ecache)
            is_time = advance_epoch(words, log, decay, now_ns, npages)
            limit = load_word(words, log, decay + NPAGES_LIMIT)
        if is_time and npages > limit:
            yield from self._purge(tsd, arena, which, ecache, limit, npages - limit)
        yield from unlock_mutex(self.words, decay, _DECAY)
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
        words, log, _ = self.arrays()
        if load_bits(words, log, decay + PURGING, 1) or not npages_most:
            return
        store_bits(words, log, decay + PURGING, 1, 1)
        yield from unlock_mutex(self.words, decay, _DECAY)
        stashed, npages = [], 0
        while npages < npages_most:
            edata = yield from self._evict(tsd, arena, ecache, limit)
            if not edata:
                break
            words, log, _ = self.arrays()
            npages += bytes_of(words, log, edata) >> PAGE_SHIFT
            stashed.append(edata)
        if stashed:
            words, log, _ = self.arrays()
            muzzy_ms = load_word(words, log, arena + DECAY_MUZZY + TIME_MS)
            tries_muzzy = which == DECAY_DIRTY and not is_full and muzzy_ms != 0
            nunmapped = 0
            for edata in stashed:
                nunmapped += yield from self._purge_one(tsd, arena, edata, tries_muzzy)
            words, log, _ = self.arrays()
            stats = arena + PAC_STATS + (0 if which == DECAY_DIRTY else STATS_BYTES)
            add(words, log, stats + NPURGE, 1)
            add(words, log, stats + NMADVISE, len(stashed))
            add(words, log, stats + PURGED, npages)
            add(words, log, arena + PAC_MAPPED, -(nunmapped << PAGE_SHIFT))
        yield from lock_mutex(self.words, decay, tsd, _DECAY)
        words, log, _ = self.arrays()
        store_bits(words, log, decay + PURGING, 1, 0)

    def _purge_one(self, tsd: int, arena: int, edata: int, tries_muzzy: bool) -> MallocSteps[int]:
        """Let an extent be muzzy, or retained; return how many of its pages are not mapped then."""
        words, log, _ = self.arrays()
        base, nr_bytes = base_of(words, log, edata), bytes_of(words, log, edata)
        if tries_muzzy and (yield from purge_lazy(base, nr_bytes)):
            words, log, _ = self.arrays()
            begin_dalloc(words, log, edata)
            yield from self._record(tsd, arena, ECACHE_MUZZY, edata)
            return 0
        yield from self._let_go(tsd, arena, edata)
        return nr_bytes >> PAGE_SHIFT

    def _evict(self, tsd: int, arena: int, which: int, npages_min: int) -> MallocSteps[int]:
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
        yield from unlock_mutex(self.words, ecache, name)
        return edata

    def purge_at_once(self, tsd: int, arena: int) -> MallocSteps[None]:
        """Let an arena's pages go as soon as they are not used (arena_choose_huge)."""
        for which, default_ms, ecache in (
            (DECAY_DIRTY, self.options.dirty_decay_ms, ECACHE_DIRTY),
            (DECAY_MUZZY, self.options.muzzy_decay_ms, ECACHE_MUZZY),
        ):
            if default_ms <= 0:
                continue
            yield from lock_mutex(self.words, arena + which, tsd, _DECAY)
            now_ns = yield from ask(ClockGettime())
            words, log, _ = self.arrays()
            init_decay(words, log, arena + which, now_ns, 0)
            npages = npages_in(words, log, arena + ecache)
            yield from self._purge(tsd, arena, which, ecache, 0, npages)
            yield from unlock_mutex(self.words, arena + which, _DECAY)
