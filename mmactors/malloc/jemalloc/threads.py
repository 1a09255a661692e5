"""The begin and end of a thread, as the library sees it (jemalloc 5.3.0, src/tsd.c, tcache.c).

A thread's tsd is set up at its first call: for one that only frees just so that nothing needs to be
cleaned up. When it ends its cache is emptied; what it frees after that goes straight to the bins.
"""

from typing import Final

from attrs import define

from mmactors.malloc.jemalloc.arenas import STATS_INTERNAL, Arenas
from mmactors.malloc.jemalloc.calls import Calls
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.mutex import lock_mutex, unlock_mutex
from mmactors.malloc.jemalloc.pages.emap import init_rtree_ctx
from mmactors.malloc.jemalloc.par import IS_SLOW, NR_CACHE_BINS
from mmactors.malloc.jemalloc.ring import append_element, new_element, remove_element
from mmactors.malloc.jemalloc.size_classes import (
    SMALL_MAXCLASS,
    size2index,
    usable_aligned,
)
from mmactors.malloc.jemalloc.statics import NOMINAL_TSDS, NOMINAL_TSDS_LOCK
from mmactors.malloc.jemalloc.tcache.cache_bin import cached_in
from mmactors.malloc.jemalloc.tcache.events import init_events, recompute_fast
from mmactors.malloc.jemalloc.tcache.tcache import (
    SLOW_ARENA,
    cache_bin_of,
    init_tcache,
    most_cached,
    stacks_of,
)
from mmactors.malloc.jemalloc.tcache.ticker import DECAY_NTICKS_PER_UPDATE
from mmactors.malloc.jemalloc.tsd import (
    BINSHARDS,
    DECAY_TICKER,
    PRNG_STATE,
    REENTRANCY_LEVEL,
    SEC_SHARD,
    STATE,
    STATE_MINIMAL_INITIALIZED,
    STATE_NOMINAL,
    STATE_NOMINAL_MAX,
    STATE_NOMINAL_SLOW,
    STATE_PURGATORY,
    STATE_REINCARNATED,
    STATE_UNINITIALIZED,
    TCACHE_ENABLED,
    TSD_BYTES,
    TSD_LINK,
)
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import (
    UserWords,
    add_to,
    load_bits,
    load_word,
    store_bits,
    store_word,
)
from mmactors.units import PAGE_SIZE

_NOMINAL_LOCK: Final = "tsd_nominal_tsds_lock"
_NO_SHARD: Final = 255


def map_tsd(words: UserWords, tsd: int) -> None:
    """Let a tsd be as the library's file says (TSD_INITIALIZER): no access of the library's.

    Nothing is left of a thread that had its stack before: glibc fills all of it (_dl_allocate_tls).
    """
    for place in range(0, TSD_BYTES, 8):
        words.put(tsd + place, 0)
    words.put(tsd + DECAY_TICKER, DECAY_NTICKS_PER_UPDATE << 32 | DECAY_NTICKS_PER_UPDATE)
    # sec_shard, and the first of the shards of bins.
    assert BINSHARDS == SEC_SHARD + 1
    words.put(tsd + SEC_SHARD, _NO_SHARD << 8 | _NO_SHARD)
    words.put(tsd + STATE, STATE_UNINITIALIZED)


@define(eq=False)
class Threads:
    """The threads of a process, by the addresses of their tsd."""

    heap: Heap
    arenas: Arenas
    calls: Calls
    has_tcaches: bool
    """Threads have caches (opt.tcache)."""
    is_initialized: bool = False
    """malloc_init_state: the process's first call is done with what it sets up."""

    def _state(self, tsd: int) -> int:
        words, log, _ = self.heap.arrays()
        return load_bits(words, log, tsd + STATE, 1)

    def fetch(self, tsd: int) -> MallocSteps[None]:
        """Let a thread be set up for all that a call may need (tsd_fetch)."""
        state = self._state(tsd)
        if state == STATE_UNINITIALIZED:
            yield from self._set_state(tsd, STATE_NOMINAL)
            yield from self._init_data(tsd)
        elif state == STATE_MINIMAL_INITIALIZED:
            yield from self._set_state(tsd, STATE_NOMINAL)
            self._add_reentrancy(tsd, -1)
            yield from self._init_data(tsd)
        elif state == STATE_PURGATORY:
            yield from self._reincarnate(tsd, STATE_REINCARNATED)

    def fetch_minimal(self, tsd: int) -> MallocSteps[None]:
        """Let a thread be set up for a free (tsd_fetch_min)."""
        state = self._state(tsd)
        if state == STATE_UNINITIALIZED:
            yield from self._reincarnate(tsd, STATE_MINIMAL_INITIALIZED)
        elif state == STATE_PURGATORY:
            yield from self._reincarnate(tsd, STATE_REINCARNATED)

    def _reincarnate(self, tsd: int, state: int) -> MallocSteps[None]:
        """Set a thread up so that nothing need be cleaned up (tsd_data_init_nocleanup)."""
        yield from self._set_state(tsd, state)
        words, log, par = self.heap.arrays()
        init_rtree_ctx(words, log, tsd)
        store_bits(words, log, tsd + TCACHE_ENABLED, 1, 0)
        store_bits(words, log, tsd + REENTRANCY_LEVEL, 1, 1)
        store_word(words, log, tsd + PRNG_STATE, tsd)
        init_events(words, log, par, tsd)

    def _add_reentrancy(self, tsd: int, number: int) -> None:
        words, log, _ = self.heap.arrays()
        level = load_bits(words, log, tsd + REENTRANCY_LEVEL, 1)
        store_bits(words, log, tsd + REENTRANCY_LEVEL, 1, level + number)

    def _set_state(self, tsd: int, state: int) -> MallocSteps[None]:
        """Let a thread be in another state (tsd_state_set): there is a list of the usual ones."""
        words, log, _ = self.heap.arrays()
        old = load_bits(words, log, tsd + STATE, 1)
        head = self.heap.data_at + NOMINAL_TSDS
        lock = self.heap.data_at + NOMINAL_TSDS_LOCK
        store_bits(words, log, tsd + STATE, 1, state)
        was_listed, is_listed = old <= STATE_NOMINAL_MAX, state <= STATE_NOMINAL_MAX
        if is_listed != was_listed:
            yield from lock_mutex(self.heap, lock, tsd, _NOMINAL_LOCK)
            words, log, _ = self.heap.arrays()
            if is_listed:
                new_element(words, log, tsd + TSD_LINK)
                append_element(words, log, head, tsd + TSD_LINK)
            else:
                remove_element(words, log, head, tsd + TSD_LINK)
            yield from unlock_mutex(self.heap, lock, _NOMINAL_LOCK)
        self._update_slow(tsd)

    def _update_slow(self, tsd: int) -> None:
        """See whether a thread may take the fast paths (tsd_slow_update)."""
        words, log, par = self.heap.arrays()
        if load_bits(words, log, tsd + STATE, 1) <= STATE_NOMINAL_MAX:
            is_slow = (
                par[IS_SLOW]
                or not load_bits(words, log, tsd + TCACHE_ENABLED, 1)
                or load_bits(words, log, tsd + REENTRANCY_LEVEL, 1)
            )
            state = STATE_NOMINAL_SLOW if is_slow else STATE_NOMINAL
            store_bits(words, log, tsd + STATE, 1, state)
        recompute_fast(words, log, tsd)

    def _init_data(self, tsd: int) -> MallocSteps[None]:
        """Set up a thread, with its cache (tsd_data_init)."""
        words, log, par = self.heap.arrays()
        init_rtree_ctx(words, log, tsd)
        store_word(words, log, tsd + PRNG_STATE, tsd)
        init_events(words, log, par, tsd)
        store_bits(words, log, tsd + TCACHE_ENABLED, 1, self.has_tcaches)
        self._update_slow(tsd)
        if not self.has_tcaches:
            return
        stacks = yield from self._new_stacks(tsd)
        if not stacks:
            return
        words, log, par = self.heap.arrays()
        init_tcache(words, log, par, tsd, stacks)
        if not self.is_initialized:
            yield from self.arenas.associate(tsd, self.arenas.at(0))
            return
        arena = yield from self.arenas.choose(tsd)
        words, log, par = self.heap.arrays()
        if not load_word(words, log, tsd + SLOW_ARENA):
            yield from self.arenas.associate(tsd, arena)

    def _stack_bytes(self) -> int:
        """Return how long the stacks of a cache's bins are (tcache_bin_alloc_size)."""
        words, log, par = self.heap.arrays()
        nr_bins = int(par[NR_CACHE_BINS])
        return 16 + 8 * sum(most_cached(words, log, par, index) for index in range(nr_bins))

    def _new_stacks(self, tsd: int) -> MallocSteps[int]:
        """Return a block of arena 0 for the stacks of a cache's bins (tsd_tcache_data_init)."""
        usable = usable_aligned(self._stack_bytes(), PAGE_SIZE)
        arena = self.arenas.at(0)
        if usable <= SMALL_MAXCLASS:
            block = yield from self.calls.small.malloc(tsd, arena, size2index(usable), zero=True)
        else:
            block = yield from self.calls.large.palloc(tsd, arena, usable, PAGE_SIZE, zero=True)
        if block:
            words, log, _ = self.heap.arrays()
            add_to(words, log, arena + STATS_INTERNAL, usable)
        return block

    def end(self, tsd: int) -> MallocSteps[None]:
        """Let all of a thread go that ends (tsd_cleanup)."""
        state = self._state(tsd)
        if state in {STATE_UNINITIALIZED, STATE_PURGATORY}:
            return
        self.arenas.unbind(tsd)
        words, log, _ = self.heap.arrays()
        if load_bits(words, log, tsd + TCACHE_ENABLED, 1):
            yield from self._destroy_tcache(tsd)
            words, log, _ = self.heap.arrays()
        store_bits(words, log, tsd + REENTRANCY_LEVEL, 1, 1)
        yield from self._set_state(tsd, STATE_PURGATORY)

    def _destroy_tcache(self, tsd: int) -> MallocSteps[None]:
        """Empty a thread's cache, and give back its stacks (tcache_destroy)."""
        yield from self.flush_all(tsd)
        words, log, _ = self.heap.arrays()
        arena = load_word(words, log, tsd + SLOW_ARENA)
        yield from self.arenas.dissociate(tsd)
        stacks = stacks_of(words, log, tsd)
        first = self.arenas.at(0)
        usable = usable_aligned(self._stack_bytes(), PAGE_SIZE)
        words, log, _ = self.heap.arrays()
        add_to(words, log, first + STATS_INTERNAL, -usable)
        if usable <= SMALL_MAXCLASS:
            yield from self.calls.small.free(tsd, stacks)
        else:
            yield from self.calls.large.free(tsd, stacks)
        yield from self.heap.pages.purge.decay(tsd, first)
        is_last = not self.arenas.nr_threads(arena, internal=False)
        yield from self.heap.pages.purge.decay(tsd, arena, purge_all=is_last)

    def flush_all(self, tsd: int) -> MallocSteps[None]:
        """Give back all that a thread's cache has (tcache_flush_cache)."""
        for index in range(int(self.heap.par[NR_CACHE_BINS])):
            words, log, _ = self.heap.arrays()
            nr_blocks = cached_in(words, log, cache_bin_of(tsd, index))
            yield from self.calls.flush(tsd, index, nr_blocks)
