"""What jemalloc does around a fork (jemalloc_prefork and its like, jemalloc 5.3.0, jemalloc.c).

All locks are taken, arena by arena in stages; the parent gives them back. The child, whose only
thread is the one that forked, makes them anew: arenas have no other threads and caches there.
"""

from collections.abc import Iterator

from attrs import define

from mmactors.malloc.jemalloc.arenas import (
    ARENA_BINS,
    BASE,
    DESCRIPTOR_QL,
    LARGE_MUTEX,
    NR_THREADS,
    TCACHE_QL,
    TCACHE_QL_MUTEX,
    Arenas,
)
from mmactors.malloc.jemalloc.bins.bin import BIN_BYTES
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.mutex import LOCK, MUTEX_BYTES, lock_mutex, mutex_kind, unlock_mutex
from mmactors.malloc.jemalloc.pages.base_block import BASE_LOCK, CACHE_LOCK
from mmactors.malloc.jemalloc.pages.shard import (
    DECAY_DIRTY,
    DECAY_MUZZY,
    ECACHE_DIRTY,
    ECACHE_MUZZY,
    ECACHE_RETAINED,
    EDATA_CACHE,
    GROW_LOCK,
)
from mmactors.malloc.jemalloc.ring import append_element, new_element
from mmactors.malloc.jemalloc.statics import (
    ARENAS_LOCK,
    ARENAS_MOST,
    NOMINAL_TSDS,
    NOMINAL_TSDS_LOCK,
)
from mmactors.malloc.jemalloc.tcache.tcache import BINS, DESCRIPTOR, SLOW_ARENA, SLOW_LINK
from mmactors.malloc.jemalloc.tsd import (
    ARENA,
    IARENA,
    STATE,
    STATE_NOMINAL_MAX,
    TCACHE_ENABLED,
    TSD_LINK,
)
from mmactors.malloc.request import InitMutex, MallocSteps
from mmactors.malloc.user_words import clear_words, load_bits, load_word, store_bits, store_word

_STAGES = (
    ((DECAY_DIRTY, "decay"), (DECAY_MUZZY, "decay")),
    ((TCACHE_QL_MUTEX, "tcache_ql"),),
    ((GROW_LOCK, "extent_grow"),),
    (
        (ECACHE_DIRTY, "extents_dirty"),
        (ECACHE_MUZZY, "extents_muzzy"),
        (ECACHE_RETAINED, "extents_retained"),
    ),
    ((EDATA_CACHE + CACHE_LOCK, "edata_cache"),),
)
"""Locks in an arena, in the order in which they are taken of all arenas."""


@define(eq=False)
class Forks:
    """A process's locks, held still while it forks."""

    heap: Heap
    arenas: Arenas

    def _arenas(self) -> list[int]:
        return [arena for index in range(self._nr_arenas()) if (arena := self.arenas.at(index))]

    def _nr_arenas(self) -> int:
        return min(self.arenas.nr_total, ARENAS_MOST)

    def _locks(self) -> Iterator[tuple[int, str]]:
        """Yield all locks with their names, in the order in which they are taken."""
        data_at = self.heap.data_at
        arenas = self._arenas()
        yield data_at + ARENAS_LOCK, "arenas"
        for stage in _STAGES:
            for arena in arenas:
                for field, name in stage:
                    yield arena + field, name
        for arena in arenas:
            yield self.heap.words.peek(arena + BASE) + BASE_LOCK, "base"
        for arena in arenas:
            yield arena + LARGE_MUTEX, "arena_large"
        nr_bins = (self.arenas.arena_bytes - ARENA_BINS) // BIN_BYTES
        for arena in arenas:
            for number in range(nr_bins):
                yield arena + ARENA_BINS + BIN_BYTES * number, "bin"
        yield data_at + NOMINAL_TSDS_LOCK, "tsd_nominal_tsds_lock"

    def lock_all(self) -> MallocSteps[None]:
        """Take all locks (jemalloc_prefork)."""
        for mutex, name in self._locks():
            yield from lock_mutex(self.heap, mutex, 0, name)

    def unlock_all(self) -> MallocSteps[None]:
        """Give all locks back in the parent (jemalloc_postfork_parent)."""
        for mutex, name in reversed(list(self._locks())):
            yield from unlock_mutex(self.heap, mutex, name)

    def begin_child(self, tsd: int) -> MallocSteps[None]:
        """Make the child's locks anew, and let its only thread be the only one there.

        jemalloc_postfork_child.
        """
        for mutex, name in self._locks():
            words, log, _ = self.heap.arrays()
            clear_words(words, log, mutex, MUTEX_BYTES)
            yield InitMutex(mutex + LOCK, name, mutex_kind(self.heap))
        words, log, _ = self.heap.arrays()
        head = self.heap.data_at + NOMINAL_TSDS
        store_word(words, log, head, 0)
        if load_bits(words, log, tsd + STATE, 1) <= STATE_NOMINAL_MAX:
            new_element(words, log, tsd + TSD_LINK)
            append_element(words, log, head, tsd + TSD_LINK)
        for arena in self._arenas():
            self._leave_alone(arena, tsd)

    def _leave_alone(self, arena: int, tsd: int) -> None:
        """Let an arena have no other thread than a child's only one (arena_postfork_child)."""
        words, log, _ = self.heap.arrays()
        for field, place in ((ARENA, 0), (IARENA, 1)):
            is_mine = load_word(words, log, tsd + field) == arena
            store_bits(words, log, arena + NR_THREADS + 4 * place, 4, int(is_mine))
        store_word(words, log, arena + TCACHE_QL, 0)
        store_word(words, log, arena + DESCRIPTOR_QL, 0)
        has_cache = load_bits(words, log, tsd + TCACHE_ENABLED, 1)
        if has_cache and load_word(words, log, tsd + SLOW_ARENA) == arena:
            new_element(words, log, tsd + SLOW_LINK)
            append_element(words, log, arena + TCACHE_QL, tsd + SLOW_LINK)
            new_element(words, log, tsd + DESCRIPTOR)
            store_word(words, log, tsd + DESCRIPTOR + 16, tsd + BINS)
            append_element(words, log, arena + DESCRIPTOR_QL, tsd + DESCRIPTOR)
