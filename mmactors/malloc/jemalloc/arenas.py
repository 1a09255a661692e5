"""Arenas, arena_t, and which of them a thread has (jemalloc 5.3.0, arena_structs.h, jemalloc.c).

A thread has one for what its program asks for, and one for what the library itself needs. Each is
the one with the fewest threads, a new one as long as all have some and there may be more.
"""

from typing import Final

from attrs import define

from mmactors.malloc.jemalloc.bins.bin import LOCK, NR_REQUESTS
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.large_block import count_large_flush
from mmactors.malloc.jemalloc.mutex import lock_mutex, unlock_mutex
from mmactors.malloc.jemalloc.pages.edata import arena_index_of
from mmactors.malloc.jemalloc.par import (
    HUGE_ARENA,
    NR_ARENAS_AUTO,
    NR_CACHE_BINS,
    OVERSIZE_THRESHOLD,
)
from mmactors.malloc.jemalloc.ring import append_element, new_element, remove_element
from mmactors.malloc.jemalloc.size_classes import NR_BINS
from mmactors.malloc.jemalloc.statics import (
    ARENAS,
    ARENAS_LOCK,
    BIN_INFO_BYTES,
    BIN_INFOS,
    NR_SHARDS,
)
from mmactors.malloc.jemalloc.tcache.cache_bin import take_requests
from mmactors.malloc.jemalloc.tcache.flush import arena_at, bin_at, binshard_of
from mmactors.malloc.jemalloc.tcache.tcache import (
    BINS,
    DESCRIPTOR,
    SLOW_ARENA,
    SLOW_LINK,
    cache_bin_of,
)
from mmactors.malloc.jemalloc.tsd import ARENA, BINSHARDS, IARENA, TCACHE_ENABLED
from mmactors.malloc.request import ClockGettime, MallocSteps, ask
from mmactors.malloc.user_words import add_to, load_bits, load_word, store_bits, store_word

NR_THREADS: Final = 0
"""nthreads: 4 bytes, then as many for the threads whose metadata it has."""
BINSHARD_NEXT: Final = 8
STATS_INTERNAL: Final = 24 + 32
TCACHE_QL: Final = 10392
DESCRIPTOR_QL: Final = 10400
TCACHE_QL_MUTEX: Final = 10408
LARGE_MUTEX: Final = 10536
INDEX: Final = 78928
BASE: Final = 78936
CREATE_TIME: Final = 78944
ARENA_BINS: Final = 78952
CACHELINE: Final = 64


@define(eq=False)
class Arenas:
    """The arenas of a process."""

    heap: Heap
    arena_bytes: int
    """Of each, with its bins."""

    def at(self, index: int) -> int:
        """Return the address of an arena by its number; 0: there is none yet."""
        words, log, par = self.heap.arrays()
        return arena_at(words, log, par, index)

    @property
    def nr_total(self) -> int:
        """How many arenas there may be, that of huge blocks with them (narenas_total)."""
        return max(int(self.heap.par[NR_ARENAS_AUTO]), int(self.heap.par[HUGE_ARENA]) + 1)

    def of_extent(self, edata: int) -> int:
        """Return the arena that an extent is of (arena_get_from_edata)."""
        words, log, par = self.heap.arrays()
        return arena_at(words, log, par, arena_index_of(words, log, edata))

    def nr_threads(self, arena: int, *, internal: bool) -> int:
        """Return how many threads an arena has (arena_nthreads_get)."""
        words, log, _ = self.heap.arrays()
        return load_bits(words, log, arena + NR_THREADS + 4 * internal, 4)

    def _add_threads(self, arena: int, number: int, *, internal: bool) -> None:
        words, log, _ = self.heap.arrays()
        at = arena + NR_THREADS + 4 * internal
        store_bits(words, log, at, 4, load_bits(words, log, at, 4) + number)

    def choose(self, tsd: int) -> MallocSteps[int]:
        """Return a thread's arena for what its program asks for (arena_choose)."""
        words, log, _ = self.heap.arrays()
        arena = load_word(words, log, tsd + ARENA)
        if arena:
            return arena
        arena = yield from self._choose_hard(tsd)
        words, log, _ = self.heap.arrays()
        if load_bits(words, log, tsd + TCACHE_ENABLED, 1):
            old = load_word(words, log, tsd + SLOW_ARENA)
            if old != arena:
                if old:
                    yield from self.dissociate(tsd)
                yield from self.associate(tsd, arena)
        return arena

    def choose_for(self, tsd: int, size: int) -> MallocSteps[int]:
        """Return the arena of a request: a large one has its own (arena_choose_maybe_huge)."""
        par = self.heap.par
        if size >= par[OVERSIZE_THRESHOLD] and par[HUGE_ARENA]:
            return (yield from self._huge(tsd))
        return (yield from self.choose(tsd))

    def _huge(self, tsd: int) -> MallocSteps[int]:
        """Return the arena of huge blocks, made at the first of them (arena_choose_huge)."""
        index = int(self.heap.par[HUGE_ARENA])
        arena = self.at(index)
        if not arena:
            yield from lock_mutex(self.heap, self._lock, tsd, "arenas")
            arena = self.at(index) or (yield from self.new(tsd, index))
            yield from unlock_mutex(self.heap, self._lock, "arenas")
            if arena:
                yield from self.heap.pages.purge.purge_at_once(tsd, arena)
        return arena

    @property
    def _lock(self) -> int:
        return self.heap.data_at + ARENAS_LOCK

    def _choose_hard(self, tsd: int) -> MallocSteps[int]:
        """Give a thread its two arenas; return the first (arena_choose_hard)."""
        nr_arenas = int(self.heap.par[NR_ARENAS_AUTO])
        if nr_arenas == 1:
            arena = self.at(0)
            self._bind(tsd, arena, internal=False)
            self._bind(tsd, arena, internal=True)
            return arena
        yield from lock_mutex(self.heap, self._lock, tsd, "arenas")
        chosen = [0, 0]
        first_null = nr_arenas
        for index in range(1, nr_arenas):
            arena = self.at(index)
            if arena:
                for kind in range(2):
                    fewest = self.nr_threads(self.at(chosen[kind]), internal=bool(kind))
                    if self.nr_threads(arena, internal=bool(kind)) < fewest:
                        chosen[kind] = index
            elif first_null == nr_arenas:
                first_null = index
        mine = 0
        for kind in range(2):
            internal = bool(kind)
            arena = self.at(chosen[kind])
            if self.nr_threads(arena, internal=internal) and first_null < nr_arenas:
                arena = self.at(first_null) or (yield from self.new(tsd, first_null))
                if not arena:
                    break
            if not internal:
                mine = arena
            self._bind(tsd, arena, internal=internal)
        yield from unlock_mutex(self.heap, self._lock, "arenas")
        return mine

    def _bind(self, tsd: int, arena: int, *, internal: bool) -> None:
        """Let a thread have an arena, and a shard of its bins (arena_bind)."""
        self._add_threads(arena, 1, internal=internal)
        words, log, _ = self.heap.arrays()
        if internal:
            store_word(words, log, tsd + IARENA, arena)
            return
        store_word(words, log, tsd + ARENA, arena)
        shard = load_bits(words, log, arena + BINSHARD_NEXT, 4)
        store_bits(words, log, arena + BINSHARD_NEXT, 4, shard + 1)
        for index in range(NR_BINS):
            at = self.heap.data_at + BIN_INFOS + BIN_INFO_BYTES * index + NR_SHARDS
            nr_shards = load_bits(words, log, at, 4)
            store_bits(words, log, tsd + BINSHARDS + index, 1, shard % max(nr_shards, 1))

    def unbind(self, tsd: int) -> None:
        """Let go of the arenas of a thread that ends (iarena_cleanup, arena_cleanup)."""
        for field, internal in ((IARENA, True), (ARENA, False)):
            words, log, _ = self.heap.arrays()
            arena = load_word(words, log, tsd + field)
            if arena:
                self._add_threads(arena, -1, internal=internal)
                store_word(words, log, tsd + field, 0)

    def associate(self, tsd: int, arena: int) -> MallocSteps[None]:
        """Let a thread's cache be one of an arena's (tcache_arena_associate)."""
        words, log, _ = self.heap.arrays()
        store_word(words, log, tsd + SLOW_ARENA, arena)
        yield from lock_mutex(self.heap, arena + TCACHE_QL_MUTEX, tsd, "tcache_ql")
        words, log, _ = self.heap.arrays()
        new_element(words, log, tsd + SLOW_LINK)
        append_element(words, log, arena + TCACHE_QL, tsd + SLOW_LINK)
        new_element(words, log, tsd + DESCRIPTOR)
        store_word(words, log, tsd + DESCRIPTOR + 16, tsd + BINS)
        append_element(words, log, arena + DESCRIPTOR_QL, tsd + DESCRIPTOR)
        yield from unlock_mutex(self.heap, arena + TCACHE_QL_MUTEX, "tcache_ql")

    def dissociate(self, tsd: int) -> MallocSteps[None]:
        """Let a thread's cache be no arena's (tcache_arena_dissociate)."""
        words, log, _ = self.heap.arrays()
        arena = load_word(words, log, tsd + SLOW_ARENA)
        yield from lock_mutex(self.heap, arena + TCACHE_QL_MUTEX, tsd, "tcache_ql")
        words, log, _ = self.heap.arrays()
        remove_element(words, log, arena + TCACHE_QL, tsd + SLOW_LINK)
        remove_element(words, log, arena + DESCRIPTOR_QL, tsd + DESCRIPTOR)
        yield from self._merge_requests(tsd, arena)
        yield from unlock_mutex(self.heap, arena + TCACHE_QL_MUTEX, "tcache_ql")
        words, log, _ = self.heap.arrays()
        store_word(words, log, tsd + SLOW_ARENA, 0)

    def _merge_requests(self, tsd: int, arena: int) -> MallocSteps[None]:
        """Count what a cache's owner asked for (tcache_stats_merge)."""
        words, log, par = self.heap.arrays()
        for index in range(int(par[NR_CACHE_BINS])):
            cache_bin = cache_bin_of(tsd, index)
            if index >= NR_BINS:
                requests = take_requests(words, log, cache_bin)
                count_large_flush(words, log, arena, index, requests)
                continue
            arena_bin = bin_at(words, log, par, arena, index, binshard_of(words, log, tsd, index))
            yield from lock_mutex(self.heap, arena_bin + LOCK, tsd, "bin")
            words, log, par = self.heap.arrays()
            add_to(words, log, arena_bin + NR_REQUESTS, take_requests(words, log, cache_bin))
            yield from unlock_mutex(self.heap, arena_bin + LOCK, "bin")

    def new(self, tsd: int, index: int) -> MallocSteps[int]:
        """Make an arena, with a base of its own but for the first; 0: no memory (arena_new)."""
        pages = self.heap.pages
        base = yield from pages.new_base(tsd, index)
        if not base:
            return 0
        arena = yield from pages.base_alloc(tsd, base, self.arena_bytes, CACHELINE)
        if not arena:
            return 0
        yield from pages.init_shard(tsd, arena, index, base)
        now_ns = yield from ask(ClockGettime())
        words, log, _ = self.heap.arrays()
        store_word(words, log, arena + CREATE_TIME, now_ns)
        store_word(words, log, arena + BASE, base)
        store_word(words, log, self.heap.data_at + ARENAS + 8 * index, arena)
        store_bits(words, log, arena + INDEX, 4, index)
        return arena
