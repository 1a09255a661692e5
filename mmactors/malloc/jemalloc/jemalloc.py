"""jemalloc, as a library that a process is linked with (jemalloc 5.3.0, src/jemalloc.c).

The first call sets the library up (malloc_init): its own memory, arena 0, the caller's thread, and
then what libstdc++ asks for before main, which Debian's libjemalloc is linked with.
"""

from collections.abc import Callable
from copy import copy
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.trace import as_signed
from mmactors.label import Mode, WantsStep, never
from mmactors.malloc.heap_map import Segment
from mmactors.malloc.heap_rows import HeapRows
from mmactors.malloc.jemalloc.arenas import CACHELINE, Arenas
from mmactors.malloc.jemalloc.bins.small import SmallBlocks
from mmactors.malloc.jemalloc.boot import (
    arena_bytes,
    map_tables,
    set_up_par,
    write_cache_sizes,
    write_tables,
)
from mmactors.malloc.jemalloc.calls import Calls
from mmactors.malloc.jemalloc.fork import Forks
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.large import LargeBlocks
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.pages.emap import class_at
from mmactors.malloc.jemalloc.pages.pages import Pages
from mmactors.malloc.jemalloc.par import NR_CACHE_BINS, TCACHE_BIN_INFO_AT
from mmactors.malloc.jemalloc.report.heap_bytes import heap_bytes
from mmactors.malloc.jemalloc.report.heap_map import heap_map
from mmactors.malloc.jemalloc.report.print_stats import stats_text
from mmactors.malloc.jemalloc.rows.resume import RowEnds
from mmactors.malloc.jemalloc.rows.rows import replay_rows
from mmactors.malloc.jemalloc.size_classes import NR_BINS, NR_SIZES, index2size
from mmactors.malloc.jemalloc.statics import TCACHE_BIN_INFO
from mmactors.malloc.jemalloc.tcache.flush import FLUSH_STACK
from mmactors.malloc.jemalloc.threads import Threads, map_tsd
from mmactors.malloc.jemalloc.tsd import TSD_BYTES
from mmactors.malloc.jemalloc.zero_realloc import count_zero_realloc
from mmactors.malloc.library import (
    HeapBytes,
    HeapNumbers,
    MallocAbortError,
    MallocLibrary,
)
from mmactors.malloc.request import ClockGettime, MallocSteps, ask
from mmactors.malloc.unused_heap import UNUSED_INFO, UNUSED_NUMBERS, UNUSED_STATS
from mmactors.malloc.user_words import UNWATCHED, UserWords
from mmactors.rules import Rules
from mmactors.units import ULONG_MAX

EMERGENCY_POOL: Final = 72704
"""Bytes that libstdc++ asks for when it is loaded, for exceptions without memory."""


class Jemalloc(MallocLibrary):
    """The allocator of a process, which has arenas, and a cache for each thread."""

    def __init__(
        self,
        *,
        data_at: int,
        nr_cpus: int,
        options: JemallocOptions | None = None,
        rules: Rules | None = None,
        number: int = 0,
        wants_step: WantsStep = never,
    ) -> None:
        """Link a process with the library, whose writable data lies at `data_at` (statics.py)."""
        self._rules: Final = rules or Rules()
        self._number = number
        self._wants_step: Final = wants_step
        self.words = UserWords()
        self.options = options or JemallocOptions()
        par = set_up_par(data_at, self.options, nr_cpus)
        map_tables(self.words, data_at)
        self.tsds = np.zeros(0, dtype=np.int64)
        """By thread the address of its tsd."""
        self._join(par, is_initialized=False)

    def _join(self, par: NDArray[np.int64], *, is_initialized: bool) -> None:
        """Let all parts work on the words."""
        pages = Pages(
            words=self.words,
            par=par,
            options=self.options,
            rules=self._rules,
            number=self._number,
            wants_step=self._wants_step,
        )
        self.heap = Heap(words=self.words, par=par, pages=pages)
        self.arenas = Arenas(self.heap, arena_bytes(self.options))
        small, large = SmallBlocks(self.heap), LargeBlocks(self.heap, self.arenas)
        self.calls = Calls(self.heap, self.arenas, small, large)
        self.threads = Threads(
            self.heap, self.arenas, self.calls, self.options.tcache, is_initialized
        )
        self.row_ends = RowEnds(self.calls, np.zeros(FLUSH_STACK, dtype=np.int64))
        self.forks = Forks(self.heap, self.arenas)

    def new_thread(self) -> int:
        """Return the number of a thread that begins."""
        number = len(self.tsds)
        self.tsds = np.append(self.tsds, 0)
        return number

    def set_thread_pointer(self, thread: int, pointer: int) -> None:
        """Learn where a thread's tsd is: right below its descriptor."""
        tsd = pointer - TSD_BYTES
        self.tsds[thread] = tsd
        map_tsd(self.words, tsd)

    def start(self, thread: int) -> MallocSteps[None]:
        """Set the library up, as libstdc++'s call before main() does."""
        yield from self.initialize(thread)

    def initialize(self, thread: int) -> MallocSteps[int]:
        """Set the library up, if it is not, and the thread; return its tsd (malloc_init)."""
        tsd = int(self.tsds[thread])
        if not self.threads.is_initialized:
            yield from self._boot(tsd)
            yield from self.calls.malloc(tsd, EMERGENCY_POOL)
        return tsd

    def _boot(self, tsd: int) -> MallocSteps[None]:
        """Set the library up (malloc_init_hard)."""
        pages = self.heap.pages
        write_tables(self.words, self.heap.data_at, self.options)
        yield from pages.boot(tsd)
        nr_bins = max(int(self.heap.par[NR_CACHE_BINS]), NR_BINS)
        infos = yield from pages.base_alloc(tsd, 0, 2 * nr_bins, CACHELINE)
        self.heap.par[TCACHE_BIN_INFO_AT] = infos
        self.words.put(self.heap.data_at + TCACHE_BIN_INFO, infos)
        write_cache_sizes(self.words, infos, self.options)
        arena = yield from self.arenas.new(0, 0)
        assert arena
        yield from self.threads.fetch(tsd)
        yield from self.heap.pages.boot_background_threads(tsd)
        self.threads.is_initialized = True

    def _ready(self, thread: int) -> MallocSteps[int]:
        """Return the tsd of a thread, for all that its call may need (tsd_fetch)."""
        tsd = yield from self.initialize(thread)
        yield from self.threads.fetch(tsd)
        return tsd

    def run_rows(self, rows: HeapRows, end: int) -> None:
        """Do rows of a heap trace in one compiled loop, as far as possible without a request."""
        words, log, par = self.heap.arrays()
        rows.row = replay_rows(
            words,
            log,
            par,
            self.tsds,
            *rows.arrays(),
            self.row_ends.stack,
            rows.row,
            end,
            rows.most_accesses,
            rows.touches,
        )

    def resume_row(
        self,
        rows: HeapRows,
        thread: int,
        op: int,
        old: int,
        size: int,  # noqa: ARG002 - the compiled path has said what it is
        arg: int,  # noqa: ARG002
    ) -> MallocSteps[int]:
        """Go on with a row where its compiled path has stopped."""
        return (yield from self.row_ends.resume(rows.stop, int(self.tsds[thread]), op, old))

    def peek_usable_size(self, address: int) -> int:
        """Return the usable size of a block, without an access."""
        index = class_at(self.words.words, UNWATCHED, self.heap.par, 0, address)
        return index2size(index) if index < NR_SIZES else 0

    def malloc(self, thread: int, size: int) -> MallocSteps[int]:
        """malloc(size)."""
        tsd = yield from self._ready(thread)
        return (yield from self.calls.malloc(tsd, as_signed(size)))

    def calloc(self, thread: int, members: int, size: int) -> MallocSteps[int]:
        """calloc(members, size)."""
        tsd = yield from self._ready(thread)
        if members * size > ULONG_MAX:
            return 0
        return (yield from self.calls.malloc(tsd, as_signed(members * size), zero=True))

    def memalign(self, thread: int, alignment: int, size: int) -> MallocSteps[int]:
        """memalign(alignment, size); 0 with EINVAL if `alignment` is no power of two."""
        tsd = yield from self._ready(thread)
        if not alignment or alignment & alignment - 1:
            return 0
        return (yield from self.calls.memalign(tsd, as_signed(alignment), as_signed(size)))

    def realloc(self, thread: int, address: int, size: int) -> MallocSteps[int]:
        """realloc(address, size)."""
        if not address:
            return (yield from self.malloc(thread, size))
        tsd = yield from self._ready(thread)
        if size:
            return (yield from self.calls.realloc(tsd, address, as_signed(size)))
        count_zero_realloc(*self.heap.arrays())
        if self.options.zero_realloc == "alloc":
            return (yield from self.calls.realloc(tsd, address, 1, may_cache=False))
        if self.options.zero_realloc == "abort":
            raise MallocAbortError("Called realloc(non-null-ptr, 0) with zero_realloc:abort set")
        yield from self.calls.free(tsd, address)
        return 0

    def free(self, thread: int, address: int) -> MallocSteps[None]:
        """free(address)."""
        if not address:
            return
        tsd = yield from self.initialize(thread)
        yield from self.threads.fetch_minimal(tsd)
        yield from self.heap.pages.sets.map_step("look up an extent", Mode.READ)
        yield from self.calls.free(tsd, address)

    def end_thread(self, thread: int) -> MallocSteps[None]:
        """Let a thread's cache and arenas go, as it ends (tsd_cleanup)."""
        yield from self.threads.end(int(self.tsds[thread]))

    def malloc_trim(self, thread: int, pad: int) -> MallocSteps[int]:  # noqa: ARG002 - glibc's
        """malloc_trim(pad): it is glibc's own, whose heap has nothing: 0."""
        yield from ()
        return 0

    def mallopt(self, thread: int, parameter: int, value: int) -> MallocSteps[int]:  # noqa: ARG002
        """mallopt(parameter, value): it is glibc's own, which says 1, and changes nothing here."""
        yield from ()
        return 1

    def heap_bytes(self) -> HeapBytes:
        """Return what is where, without an access."""
        return heap_bytes(self.heap, self.arenas, self.tsds.tolist())

    def mallinfo2(self, thread: int) -> MallocSteps[HeapNumbers]:  # noqa: ARG002 - glibc's
        """mallinfo2(): it is glibc's own, and tells of an empty top chunk."""
        yield from ()
        return UNUSED_NUMBERS

    def malloc_info(self, thread: int) -> MallocSteps[str]:  # noqa: ARG002 - glibc's
        """The text that malloc_info(0, stream) prints: glibc's own, whose heap is empty."""
        yield from ()
        return UNUSED_INFO

    def malloc_stats(self, thread: int) -> MallocSteps[str]:  # noqa: ARG002 - glibc's
        """The text that malloc_stats() prints on stderr: glibc's own, too."""
        yield from ()
        return UNUSED_STATS

    def reports(self) -> dict[str, Callable[[], MallocSteps[object]]]:
        """Return the library's calls that tell of its heap, by the name of what they tell."""
        return {"malloc_stats_print": self.malloc_stats_print}

    def malloc_stats_print(self) -> MallocSteps[str]:
        """The text that malloc_stats_print(NULL, NULL, "x") writes, but for its own blocks."""
        now_ns = yield from ask(ClockGettime())
        return stats_text(self.heap, self.arenas, self.options, now_ns)

    def heap_map(self) -> list[Segment]:
        """Return all memory that it has got from the system and what it holds, without access."""
        return heap_map(self.heap, self.arenas, self.tsds.tolist())

    def before_fork(self) -> MallocSteps[None]:
        """Hold all locks (jemalloc_prefork)."""
        if self.threads.is_initialized:
            yield from self.forks.lock_all()

    def after_fork(self) -> MallocSteps[None]:
        """Give all locks back in the parent (jemalloc_postfork_parent)."""
        if self.threads.is_initialized:
            yield from self.forks.unlock_all()

    def fork(self, number: int) -> Self:
        """Return the library of a child whose memory is a copy."""
        child = copy(self)
        child.words = self.words.copy()
        child.tsds = self.tsds.copy()
        child._number = number  # noqa: SLF001 - one of us
        child._join(self.heap.par.copy(), is_initialized=self.threads.is_initialized)  # noqa: SLF001
        return child

    def begin_child(self, thread: int) -> MallocSteps[None]:
        """Make the child's locks anew (jemalloc_postfork_child)."""
        if self.threads.is_initialized:
            yield from self.forks.begin_child(int(self.tsds[thread]))
