"""A chain of caches without translation: what trace-driven cache simulators model.

Every level is one unified cache, or one for instruction fetches beside one for data, all of them
caches of `hw.cache`. A level takes rows of a trace and gives the rows that the level below it
sees, in order: first the line that it fetches, then the store that it passes on, then the line
that it writes back. What a level does depends on nothing below it, so a chain runs level by level,
one buffer of rows at a time.

The options of a level are the places where the tools differ whose recordings are compared:
dineroIV 4.7 (ref.c, misc.c: d4ref, d4copyback) and pycachesim 0.3.1 (backend.c: Cache__load,
Cache__store, Cache__inject). Both choose the set by block number modulo the number of sets, which
need not be a power of two.

Left out: prefetching, sub-blocks, random replacement, victim caches and write combining.

Invariant: with no store passed on or written back, the counters of level n + 1 count the misses of
level n.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.arena import Arena
from mmactors.arch.trace import (
    FETCH,
    LOAD,
    SIZE_SHIFT,
    STORE,
    Trace,
)
from mmactors.hw.cache import (
    EXCLUSIVE,
    HEADER_WORDS,
    MASK,
    MODIFIED,
    STATE_BITS,
    STATE_MASK,
    STRIDE,
    Geometry,
    format_cache,
)
from mmactors.hw.geometry import REPLACEMENT
from mmactors.hw.level import (
    ALLOCATE,
    BASE,
    CAPACITY,
    COMPULSORY,
    CONFLICT,
    FETCHES,
    HIT_BYTES,
    MISS_BYTES,
    MISSES,
    MODULUS,
    NR_COUNTERS,
    NR_OPTIONS,
    PIECES,
    REQUEST_BYTES,
    REQUESTS,
    SET_BITS,
    SHADOW,
    SHIFT,
    STORE_FETCHES,
    STORE_MOVES,
    UNCUT,
    WRITE_ALLOCATE,
    WRITE_BACK,
    WRITE_BACKS,
    WRITE_THROUGH_BYTES,
    WRITE_THROUGHS,
    is_new,
    run_level,
)
from mmactors.option import option

Words = NDArray[np.int64]

LINE_BYTES_MIN: Final = 4
LINE_BYTES_MAX: Final = 1 << 15
"""The size of a row has 16 bits."""
_BUFFER_ROWS: Final = 1 << 17
_SEEN_SLOTS: Final = 1 << 17
"""Both are enough for a modify of the greatest size and the smallest lines."""


@frozen(kw_only=True)
class CacheOptions:
    """One cache of a level."""

    nr_sets: int = option(doc="Number of sets.", minimum=1)
    ways: int = option(doc="Lines in a set.", minimum=1)
    line_bytes: int = option(
        doc="Bytes in a line.",
        unit="bytes",
        minimum=LINE_BYTES_MIN,
        maximum=LINE_BYTES_MAX,
        power_of_two=True,
    )
    replacement: str = option("lru", doc="Which line has to go.", choices=("lru", "fifo", "mru"))
    write_allocate: str = option(
        "fetch",
        doc="What a store does that misses. never: it is passed on. fetch: the line is brought in,"
        " and fetched unless the store covers it. fetch_always: it is fetched even then. covered:"
        " the line is brought in only when the store covers it. no_fetch: it is brought in and"
        " never fetched.",
        choices=tuple(WRITE_ALLOCATE),
    )
    write_back: bool = option(
        default=True, doc="Stores to lines that are present wait until the line has to go."
    )
    store_moves: bool = option(default=True, doc="A store that hits counts for the replacement.")
    uncut_write_through: bool = option(
        default=False,
        doc="A store passed on is not cut at the end of the line it starts in (pycachesim).",
    )
    classify: bool = option(
        default=False,
        doc="Compare with a fully associative cache of the same size and replacement, and with an"
        " infinite one: tells compulsory, capacity and conflict misses apart.",
    )


@frozen(kw_only=True)
class Level:
    """One level of the chain; a unified cache is given as `data` alone."""

    data: CacheOptions
    instruction: CacheOptions | None = None


@frozen(kw_only=True)
class KindCounts:
    """Counts of one kind of access: fetch, load or store."""

    requests: int
    request_bytes: int
    pieces: int
    """Requests after they were cut at line boundaries."""
    misses: int
    compulsory: int
    capacity: int
    conflict: int
    """The last three are 0 without `classify`, and `misses` in sum with it."""


@frozen(kw_only=True)
class CacheStatistics:
    """What one cache counted."""

    fetch: KindCounts
    load: KindCounts
    store: KindCounts
    hit_bytes: int
    """Of fetches and loads: for each line, the smaller of the request's and the line's size."""
    miss_bytes: int
    fetches: int
    """Lines fetched from below."""
    store_fetches: int
    """Those of them that a store needed."""
    write_backs: int
    """Lines written back, `flush` included."""
    write_throughs: int
    """Stores passed on."""
    write_through_bytes: int


class Hierarchy:
    """The caches of all levels, empty at the start; the first level is nearest to the processor."""

    def __init__(self, levels: Sequence[Level], arena: Arena | None = None) -> None:
        assert levels, "a hierarchy needs a level"
        arena = Arena() if arena is None else arena
        self._levels: Final = [_LevelState(level, arena, n) for n, level in enumerate(levels, 1)]

    def run(self, trace: Trace) -> None:
        """Let all accesses of `trace` happen; a modify is a load and then a store."""
        assert trace.line_bytes is None, "a hierarchy takes traces of one row an access"
        self._feed(0, trace.address, trace.meta)

    def flush(self) -> None:
        """Write back the dirty lines of the data side, level by level from the first.

        As dineroIV does at the end of a run: sets from the last to the first, and in a set from
        the oldest line to the newest; the lines stay, clean.
        """
        for index, level in enumerate(self._levels):
            rows = level.take_dirty()
            if index + 1 < len(self._levels):
                self._feed(index + 1, *rows)

    def statistics(self, level: int, *, instruction: bool = False) -> CacheStatistics:
        """Return the counts of a cache; levels count from 0."""
        return self._levels[level].statistics(instruction=instruction)

    def _feed(self, index: int, address: Words, meta: Words) -> None:
        level = self._levels[index]
        level.cursor[0] = 0
        while level.cursor[0] < len(address):
            nr_rows = level.run(address, meta)
            if nr_rows and index + 1 < len(self._levels):
                self._feed(index + 1, level.out_address[:nr_rows], level.out_meta[:nr_rows])


class _LevelState:
    """The caches of one level and what they count."""

    def __init__(self, level: Level, arena: Arena, number: int) -> None:
        caches = [level.data] if level.instruction is None else [level.instruction, level.data]
        self.is_split: Final = len(caches) == 2
        geometries = [_geometries(cache) for cache in caches]
        nr_words = sum(geometry.nr_words for pair in geometries for geometry in pair)
        self.words: Final = arena.array(f"hierarchy.l{number}.words", nr_words)
        self.counters: Final = arena.array(
            f"hierarchy.l{number}.counters", len(caches) * NR_COUNTERS
        )
        self.options: Final = np.concatenate([_option_words(cache) for cache in caches])
        base = 0
        for which, pair in enumerate(geometries):
            for field, geometry in zip((BASE, SHADOW), pair, strict=False):
                self.options[which * NR_OPTIONS + field] = base
                format_cache(self.words, base, geometry)
                base += geometry.nr_words
        self.out_address: Final = np.empty(_BUFFER_ROWS, np.int64)
        self.out_meta: Final = np.empty(_BUFFER_ROWS, np.int64)
        self.cursor: Final = np.zeros(2, np.int64)
        """Rows taken so far, blocks in `seen`."""
        self.seen = np.zeros(_SEEN_SLOTS, np.int64)
        """The infinite cache of `classify`, a hash table of blocks + 1; it grows, so it is not in
        the arena."""

    def run(self, address: Words, meta: Words) -> int:
        """Take rows from the cursor on until the buffer is full; return the rows in it."""
        if 8 * self.cursor[1] > len(self.seen):
            old, self.seen = self.seen, np.zeros(4 * len(self.seen), np.int64)
            for key in old[old != 0]:
                is_new(self.seen, key)
        return run_level(
            self.words,
            self.options,
            self.counters,
            self.seen,
            address,
            meta,
            self.out_address,
            self.out_meta,
            self.cursor,
            self.is_split,
        )

    def take_dirty(self) -> tuple[Words, Words]:
        """Make all lines of the data cache clean; return the rows that write them back."""
        which = int(self.is_split)
        options = self.options[which * NR_OPTIONS :]
        first = options[BASE] + HEADER_WORDS
        nr_sets = self.words[options[BASE] + MASK] + 1
        ways = self.words[first : first + nr_sets * self.words[options[BASE] + STRIDE]]
        indices = np.flatnonzero((ways & STATE_MASK) == MODIFIED)[::-1]
        lines = ways[indices] >> STATE_BITS
        ways[indices] -= MODIFIED - EXCLUSIVE
        if options[MODULUS]:
            bits = options[SET_BITS]
            lines = (lines >> bits) * options[MODULUS] + (lines & ((1 << bits) - 1))
        self.counters[which * NR_COUNTERS + WRITE_BACKS] += len(lines)
        shift = options[SHIFT]
        return lines << shift, np.full(len(lines), STORE | (1 << shift) << SIZE_SHIFT, np.int64)

    def statistics(self, *, instruction: bool) -> CacheStatistics:
        which = int(self.is_split and not instruction)
        first = which * NR_COUNTERS
        counts = [int(count) for count in self.counters[first : first + NR_COUNTERS]]

        def of_kind(kind: int) -> KindCounts:
            return KindCounts(
                requests=counts[REQUESTS + kind],
                request_bytes=counts[REQUEST_BYTES + kind],
                pieces=counts[PIECES + kind],
                misses=counts[MISSES + kind],
                compulsory=counts[COMPULSORY + kind],
                capacity=counts[CAPACITY + kind],
                conflict=counts[CONFLICT + kind],
            )

        return CacheStatistics(
            fetch=of_kind(FETCH),
            load=of_kind(LOAD),
            store=of_kind(STORE),
            hit_bytes=counts[HIT_BYTES],
            miss_bytes=counts[MISS_BYTES],
            fetches=counts[FETCHES],
            store_fetches=counts[STORE_FETCHES],
            write_backs=counts[WRITE_BACKS],
            write_throughs=counts[WRITE_THROUGHS],
            write_through_bytes=counts[WRITE_THROUGH_BYTES],
        )


def _geometries(cache: CacheOptions) -> list[Geometry]:
    """Return the geometry of the cache, and of the fully associative one beside it."""
    policy = REPLACEMENT[cache.replacement]
    geometry = Geometry(
        nr_sets=1 << (cache.nr_sets - 1).bit_length(),
        ways=cache.ways,
        line_bytes=cache.line_bytes,
        policy=policy,
    )
    if not cache.classify:
        return [geometry]
    nr_lines = cache.nr_sets * cache.ways
    shadow = Geometry(nr_sets=1, ways=nr_lines, line_bytes=cache.line_bytes, policy=policy)
    return [geometry, shadow]


def _option_words(cache: CacheOptions) -> Words:
    """Return the options as the compiled functions read them, places to be filled in."""
    line_bytes = cache.line_bytes
    assert LINE_BYTES_MIN <= line_bytes <= LINE_BYTES_MAX, f"lines of {line_bytes} bytes"
    words = np.zeros(NR_OPTIONS, np.int64)
    words[SHIFT] = line_bytes.bit_length() - 1
    words[MODULUS] = cache.nr_sets if cache.nr_sets & (cache.nr_sets - 1) else 0
    words[SET_BITS] = (cache.nr_sets - 1).bit_length()
    words[ALLOCATE] = WRITE_ALLOCATE[cache.write_allocate]
    words[WRITE_BACK] = cache.write_back
    words[STORE_MOVES] = cache.store_moves
    words[UNCUT] = cache.uncut_write_through
    return words
