"""The text that malloc_stats_print writes (src/stats.c, jemalloc 5.3.0 as Debian 12 builds it).

As with the option `x`: what locks count is left out, in the tables of bins too. It tells of the
heap as it is: a program that calls the library has one block of 64 KiB more while it is written,
and from the first time on some memory of the library's own for it. Huge pages as an allocator of
their own (hpa) are off, so their tables are empty; there are no background threads.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from typing import Final

from mmactors.malloc.jemalloc.arenas import Arenas
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.pages.decay import TIME_MS
from mmactors.malloc.jemalloc.pages.page_classes import bytes_of_class
from mmactors.malloc.jemalloc.pages.shard import DECAY_DIRTY, DECAY_MUZZY
from mmactors.malloc.jemalloc.report.arena_stats import (
    ArenaStats,
    Table,
    arenas_with_stats,
    made_at,
)
from mmactors.malloc.jemalloc.report.general import general_text
from mmactors.malloc.jemalloc.report.table import Column, header_of, row_of
from mmactors.malloc.jemalloc.size_classes import NR_BINS, NR_SIZES, index2size
from mmactors.malloc.jemalloc.statics import (
    BIN_INFO_BYTES,
    BIN_INFOS,
    NR_REGIONS,
    NR_SHARDS,
    SLAB_BYTES,
    ZERO_REALLOCS,
)
from mmactors.malloc.user_words import UNWATCHED, load_bits
from mmactors.units import PAGE_SIZE, ULONG_MAX

_SECOND_NS: Final = 1_000_000_000
_GAP: Final = "                     ---\n"
_RATE: Final = "(#/sec)"
_DECAY: Final = (
    Column("decaying:", 9),
    Column("time", 6),
    *(Column(name, 13) for name in ("npages", "sweeps", "madvises", "purged")),
)
_COUNTS: Final = (
    *(Column("", 21, is_left=True), Column("allocated", 16)),
    *(
        column
        for name in ("nmalloc", "ndalloc", "nrequests", "nfill", "nflush")
        for column in (Column(name, 16), Column(_RATE, 10))
    ),
)
_MEMORY: Final = (Column("", 21, is_left=True), Column("", 16))
_SIZE: Final = (Column("size", 20), Column("ind", 4))
_REQUESTED: Final = (
    *(Column("allocated", 13), Column("nmalloc", 13), Column(_RATE, 8)),
    *(Column("ndalloc", 13), Column(_RATE, 8), Column("nrequests", 13)),
)
_BINS: Final = (
    *(*_SIZE, *_REQUESTED, Column(_RATE, 10), Column("nshards", 9), Column("curregs", 13)),
    *(Column("curslabs", 13), Column("nonfull_slabs", 15), Column("regs", 5), Column("pgs", 4)),
    *(Column(" ", 1), Column("utilization"[:4], 6), Column("nfills", 13), Column(_RATE, 8)),
    *(Column("nflushes", 13), Column(_RATE, 8), Column("nslabs", 13)),
    *(Column("nreslabs", 13), Column(_RATE, 8)),
)
_LARGE: Final = (*_SIZE, *_REQUESTED, Column(_RATE, 8), Column("curlextents", 13))
_EXTENTS: Final = (
    *_SIZE,
    *(
        Column(name, 13)
        for state in ("dirty", "muzzy", "retained", "total")
        for name in (f"n{state}", state)
    ),
)
_HPA: Final = (
    *_SIZE,
    *(Column(f"{name}_huge", 16) for name in ("npageslabs", "nactive", "ndirty")),
    *(Column(f"{name}_nonhuge", 20) for name in ("npageslabs", "nactive", "ndirty", "nretained")),
)
_SLABS: Final = """\
      npageslabs: 0 huge, 0 nonhuge
      nactive: 0 huge, 0 nonhuge \n      ndirty: 0 huge, 0 nonhuge \n\
      nretained: 0 huge, 0 nonhuge \n"""
_NO_HPA: Final = f"""\
Bytes in small extent cache: 0
HPA shard stats:
  Purge passes: 0 (0 / sec)
  Purges: 0 (0 / sec)
  Hugeifies: 0 (0 / sec)
  Dehugifies: 0 (0 / sec)

  In full slabs:
{_SLABS}  In empty slabs:
{_SLABS}
{header_of(_HPA)}{_GAP}"""


def stats_text(heap: Heap, arenas: Arenas, options: JemallocOptions, now_ns: int) -> str:
    """Return the whole text, at a time of the machine's coarse clock."""
    with heap.words.unwatched():
        return "".join(_Text(heap, arenas, options, now_ns).parts())


class _Text:
    """The text's parts."""

    def __init__(self, heap: Heap, arenas: Arenas, options: JemallocOptions, now_ns: int) -> None:
        self._heap, self._arenas, self._options, self._now_ns = heap, arenas, options, now_ns

    def parts(self) -> Iterator[str]:
        """Yield them in their order; of all arenas together only if there are several."""
        yield "___ Begin jemalloc statistics ___\n"
        yield general_text(self._heap, self._arenas, self._options)
        stats = dict(arenas_with_stats(self._heap, self._arenas))
        if stats:
            yield from self._arenas_text(stats)
        yield "--- End jemalloc statistics ---\n"

    def _arenas_text(self, stats: dict[int, ArenaStats]) -> Iterator[str]:
        total: ArenaStats = reduce(add, stats.values())
        yield self._summary(total)
        if len(stats) > 1:
            yield "Merged arenas stats:\n"
            yield from self._arena_text(total, self._arenas.at(0), is_sum=True)
        for index, mine in stats.items():
            yield f"arenas[{index}]:\n"
            yield from self._arena_text(mine, self._arenas.at(index), is_sum=False)

    def _summary(self, total: ArenaStats) -> str:
        zero_reallocs = self._heap.words.peek(self._heap.data_at + ZERO_REALLOCS)
        allocated = _small_bytes(total.bins) + _large_bytes(total.large)
        return (
            f"Allocated: {allocated}, active: {total.nr_active * PAGE_SIZE}, "
            f"metadata: {total.base + total.internal} (n_thp 0), resident: {total.resident}, "
            f"mapped: {total.mapped}, retained: {total.retained}\n"
            f"Count of realloc(non-null-ptr, 0) calls: {zero_reallocs}\n"
            "Background threads: 0, num_runs: 0, run_interval: 0 ns\n"
        )

    def _arena_text(self, stats: ArenaStats, arena: int, *, is_sum: bool) -> Iterator[str]:
        """Yield what is said of an arena (stats_arena_print); of a sum the first one is `arena`."""
        uptime_ns = self._now_ns - made_at(self._heap, arena) & ULONG_MAX
        precedence = "N/A" if is_sum else self._options.dss
        yield f"assigned threads: {stats.nr_threads}\nuptime: {uptime_ns}\n"
        yield f'dss allocation precedence: "{precedence}"\n'
        yield header_of(_DECAY)
        times = (-1, -1) if is_sum else self._decay_times(arena)
        pages = stats.nr_dirty, stats.nr_muzzy
        for which, name in enumerate(("dirty:", "muzzy:")):
            time = "N/A" if times[which] < 0 else times[which]
            purges = stats.purges[3 * which : 3 * which + 3].tolist()
            yield row_of(_DECAY, [name, time, pages[which], *purges])
        yield from _counts(stats, uptime_ns)
        yield from _memory(stats)
        yield from self._bins(stats.bins, uptime_ns)
        yield from _large(stats.large, uptime_ns)
        yield from _extents(stats.extents)
        yield _NO_HPA

    def _decay_times(self, arena: int) -> tuple[int, int]:
        """Return after how many ms an arena's dirty and muzzy pages go."""
        peek = self._heap.words.peek
        return peek(arena + DECAY_DIRTY + TIME_MS), peek(arena + DECAY_MUZZY + TIME_MS)

    def _bins(self, bins: Table, uptime_ns: int) -> Iterator[str]:
        yield header_of(_BINS, "bins:")
        rows = [self._bin(index, row, uptime_ns) for index, row in enumerate(bins.tolist())]
        yield from _with_gaps(rows)

    def _bin(self, index: int, row: Sequence[int], uptime_ns: int) -> str:
        """Return the row of a small class; empty if it never had a slab."""
        nmalloc, ndalloc, nrequests, curregs, nfills, nflushes, nslabs, nreslabs, slabs, rest = row
        if not nslabs:
            return ""
        words, info = (
            self._heap.words.words,
            self._heap.data_at + BIN_INFOS + BIN_INFO_BYTES * index,
        )
        size = index2size(index)
        nregs, nshards = (
            load_bits(words, UNWATCHED, info + at, 4) for at in (NR_REGIONS, NR_SHARDS)
        )
        values: list[int | str] = [size, index, curregs * size]
        for count in (nmalloc, ndalloc, nrequests):
            values += [count, _rate(count, uptime_ns)]
        pages = self._heap.words.peek(info + SLAB_BYTES) // PAGE_SIZE
        values += [nshards, curregs, slabs, rest, nregs, pages, " ", _util(curregs, nregs * slabs)]
        for count in (nfills, nflushes):
            values += [count, _rate(count, uptime_ns)]
        return row_of(_BINS, [*values, nslabs, nreslabs, _rate(nreslabs, uptime_ns)])


def _rate(count: int, uptime_ns: int) -> int:
    """Return how many there were a second; all, if less than one has passed (rate_per_second)."""
    if uptime_ns <= 0:
        return 0
    return count // max(uptime_ns // _SECOND_NS, 1)


def _util(used: int, available: int) -> str:
    """Return the part that is used, with three digits (get_rate_str)."""
    if available == 0:
        return "1"
    if not 0 <= used <= available:
        return " race"
    thousandths = used * 1000 // available
    return "1" if thousandths == 1000 else f"0.{thousandths:03}"


def _with_gaps(rows: Sequence[str]) -> Iterator[str]:
    """Yield rows; where some in a row are empty a line says so."""
    is_gap = False
    for row in rows:
        if row and is_gap:
            yield _GAP
        is_gap = not row
        yield row
    if is_gap:
        yield _GAP


def _small_bytes(bins: Table) -> int:
    return sum(count * index2size(index) for index, count in enumerate(bins[:, 3].tolist()))


def _large_bytes(large: Table) -> int:
    counts = (large[:, 0] - large[:, 1]).tolist()
    return sum(count * index2size(index) for index, count in enumerate(counts, NR_BINS))


def _counts(stats: ArenaStats, uptime_ns: int) -> Iterator[str]:
    """Yield the rows of what was given and taken; each large block counts as a fill."""
    nmalloc, ndalloc, nrequests, _, nfills, nflushes = stats.bins.sum(axis=0).tolist()[:6]
    small = [_small_bytes(stats.bins), nmalloc, ndalloc, nrequests, nfills, nflushes]
    given, taken, asked, flushes = stats.large.sum(axis=0).tolist()
    large = [_large_bytes(stats.large), given, taken, asked, given, flushes]
    yield header_of(_COUNTS)
    total = [sum(both) for both in zip(small, large, strict=True)]
    for name, counts in (("small:", small), ("large:", large), ("total:", total)):
        values: list[int | str] = [name, counts[0]]
        for count in counts[1:]:
            values += [count, _rate(count, uptime_ns)]
        yield row_of(_COUNTS, values)


def _memory(stats: ArenaStats) -> Iterator[str]:
    yield header_of(_MEMORY)
    for name, number in (
        *(("active", stats.nr_active * PAGE_SIZE), ("mapped", stats.mapped)),
        *(("retained", stats.retained), ("base", stats.base), ("internal", stats.internal)),
        *(("metadata_thp", 0), ("tcache_bytes", stats.cached), ("tcache_stashed_bytes", 0)),
        *(("resident", stats.resident), ("abandoned_vm", 0), ("extent_avail", stats.nr_edatas)),
    ):
        yield row_of(_MEMORY, [f"{name}:", number])


def _large(large: Table, uptime_ns: int) -> Iterator[str]:
    yield header_of(_LARGE, "large:")
    rows = []
    for index, (given, taken, asked, _) in zip(
        range(NR_BINS, NR_SIZES), large.tolist(), strict=True
    ):
        left = given - taken
        values: list[int | str] = [index2size(index), index, left * index2size(index)]
        for count in (given, taken, asked):
            values += [count, _rate(count, uptime_ns)]
        rows.append(row_of(_LARGE, [*values, left]) if asked else "")
    yield from _with_gaps(rows)


def _extents(extents: Table) -> Iterator[str]:
    yield header_of(_EXTENTS, "extents:")
    rows = []
    for index, row in enumerate(extents.tolist()):
        number, nr_bytes = sum(row[::2]), sum(row[1::2])
        values = [bytes_of_class(index), index, *row, number, nr_bytes]
        rows.append(row_of(_EXTENTS, values) if number else "")
    yield from _with_gaps(rows)
