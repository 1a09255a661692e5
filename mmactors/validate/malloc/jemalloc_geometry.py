"""Recorded settings and classes of jemalloc, and how caches of threads are filled and flushed.

Of each class up to 57344 a new thread got blocks one by one, then gave them back in the same
order. Noted are the calls at which the arena had given another number of blocks than before. What
the thread had before is not recorded: some 8 to 15 KB, so say the rows of 10240 and 12288, whose
collections come a step later or earlier else.
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from mmactors.malloc.jemalloc.bins.bin import CUR_REGIONS
from mmactors.malloc.jemalloc.boot import shards_of, slab_bytes_of
from mmactors.malloc.jemalloc.jemalloc import Jemalloc
from mmactors.malloc.jemalloc.large_block import (
    LARGE_STATS_BYTES,
    NR_DALLOC,
    NR_MALLOC,
    STATS_LARGE,
)
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.size_classes import (
    LARGE_MINCLASS,
    NR_BINS,
    NR_SIZES,
    index2size,
    size2index,
)
from mmactors.malloc.jemalloc.tcache.flush import bin_at
from mmactors.malloc.jemalloc.tsd import ARENA
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import UNWATCHED
from mmactors.mm.perform import perform
from mmactors.units import PAGE_SIZE
from mmactors.validate.document import read_object
from mmactors.validate.form import ListOf, Problems, Record, Row, Whole
from mmactors.validate.malloc.linked import USUAL_TLS, linked
from mmactors.validate.malloc.willing_kernel import WillingKernel
from mmactors.validate.result import CaseResult

_ADVICE: Final = "tests/reference/malloc/README.md describes jemalloc_geometry.json"
_JEMALLOC: Final = {"LD_PRELOAD": "libjemalloc.so.2"}
_STACK_BYTES: Final = 0x41000
_CHANGES_MAX: Final = 60
"""How many were noted of each row."""
_NR_SMALL: Final = 1000
_NR_LARGE: Final = 100
"""How many blocks a thread got, as the numbers of the last changes say."""
_BEFORE: Final = {10_240: 12_288}
_USUALLY_BEFORE: Final = 10_240
"""What the thread has got before, by class."""
_CLASS_MAX: Final = 1 << 20
"""Of classes that are used."""

_COUNT: Final = Whole(0)
_BIN: Final = Row(
    dict.fromkeys(("index", "size", "regs_per_slab", "slab_bytes", "nshards"), _COUNT)
)
_CHANGES: Final = ListOf(Row({"call": _COUNT, "regions": Whole()}), maximum=_CHANGES_MAX)
_TCACHE: Final = Row(
    {
        "class_size": Whole(1, _CLASS_MAX),
        "changes while allocating": _CHANGES,
        "changes while freeing": _CHANGES,
    }
)
_GEOMETRY: Final = Record(
    {
        "bins": ListOf(_BIN, 1, NR_SIZES),
        "large_classes": ListOf(_COUNT, 1, NR_SIZES),
        "tcache": ListOf(_TCACHE, 0, NR_SIZES),
    }
)


def validate_jemalloc_geometry(path: Path) -> Iterator[CaseResult]:
    """Look at settings and classes, and use caches; UserError: the file is no such recording."""
    content = read_object(path)
    problems = Problems(path=path, advice=_ADVICE)
    _GEOMETRY.check(content, "", problems)
    problems.raise_any()
    name = path.name.removesuffix(".gz").removesuffix(".json")
    for case, compare in (
        ("settings", _compare_settings),
        ("classes", _compare_classes),
        ("tcache", _compare_caches),
    ):
        result = CaseResult(topic="malloc/jemalloc", case=f"{name}/{case}", path=str(path))
        compare(result, content)
        yield result


def nr_taken(library: Jemalloc, arena: int, class_bytes: int) -> int:
    """Return how many blocks of a class an arena (its address) has given, to caches too."""
    words, index = library.words, size2index(class_bytes)
    if index < NR_BINS:
        par = library.heap.par
        return words.peek(bin_at(words.words, UNWATCHED, par, arena, index, 0) + CUR_REGIONS)
    stats = arena + STATS_LARGE + LARGE_STATS_BYTES * (index - NR_BINS)
    return words.peek(stats + NR_MALLOC) - words.peek(stats + NR_DALLOC)


def _compare_settings(result: CaseResult, content: dict[str, Any]) -> None:
    """Compare what the library was told and what it is built for; others are listed."""
    options = JemallocOptions()
    ours: dict[str, object] = {
        "arenas.page": PAGE_SIZE,
        "arenas.nbins": NR_BINS,
        "arenas.nlextents": NR_SIZES - NR_BINS,
        "arenas.nhbins": size2index(options.tcache_max) + 1,
        "arenas.tcache_max": options.tcache_max,
    }
    for key, recorded in content.items():
        name = key.removeprefix("opt.")
        if key in ours:
            result.compare(key, recorded, ours[key])
        elif name != key and hasattr(options, name):
            result.compare(key, recorded, getattr(options, name))
        elif "." in key:
            result.listed += 1


def _compare_classes(result: CaseResult, content: dict[str, Any]) -> None:
    options = JemallocOptions()
    bins = []
    for index in range(NR_BINS):
        size, slab = index2size(index), slab_bytes_of(options, index)
        bins.append([index, size, slab // size, slab, shards_of(options, index)])
    large = [index2size(index) for index in range(NR_BINS, NR_SIZES)]
    for key, ours in (("bins", bins), ("large_classes", large)):
        for nth, pair in enumerate(zip_longest(content[key], ours)):
            result.compare(f"{key}[{nth}]", *pair)


def _compare_caches(result: CaseResult, content: dict[str, Any]) -> None:
    for nth, (size, *recorded) in enumerate(content["tcache"]):
        names = ("while allocating", "while freeing")
        for name, theirs, ours in zip(names, recorded, _changes_of(size), strict=True):
            result.compare(f"tcache[{nth}], {size} bytes, {name}", theirs, ours)


def _changes_of(size: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return at which calls the arena has given more or fewer blocks, and how many then."""
    kernel = WillingKernel()
    process = linked(_JEMALLOC, (), ((USUAL_TLS - _STACK_BYTES, _STACK_BYTES),))
    library = process.library
    assert isinstance(library, Jemalloc), f"{_JEMALLOC} links {library}"
    perform(library.start(0), kernel.answer)
    thread = library.new_thread()
    library.set_thread_pointer(thread, next(process.thread_pointers))
    perform(library.malloc(thread, _BEFORE.get(size, _USUALLY_BEFORE)), kernel.answer)
    arena = library.words.peek(int(library.tsds[thread]) + ARENA)
    first = nr_taken(library, arena, size)
    blocks: list[int] = []

    def keep() -> MallocSteps[None]:
        blocks.append((yield from library.malloc(thread, size)))

    def changes(calls: Iterable[MallocSteps[None]]) -> list[list[int]]:
        noted: list[list[int]] = []
        before = nr_taken(library, arena, size)
        for number, call in enumerate(calls, start=1):
            perform(call, kernel.answer)
            taken = nr_taken(library, arena, size)
            if taken != before:
                noted.append([number, taken - first])
            before = taken
        return noted[:_CHANGES_MAX]

    nr_calls = _NR_SMALL if size < LARGE_MINCLASS else _NR_LARGE
    while_allocating = changes(keep() for _ in range(nr_calls))
    return while_allocating, changes(library.free(thread, block) for block in blocks)
