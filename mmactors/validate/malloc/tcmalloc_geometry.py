"""Recorded classes of tcmalloc, and what moved between a thread's cache and the central lists.

Of each class blocks were got one by one in a process that did nothing else, then given back in
the same order. Noted are the first unbroken chains of addresses, fetches from the central list, and
frees after which the cache had not just one block more.
"""

from collections.abc import Iterator
from itertools import islice, pairwise, zip_longest
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from mmactors.malloc.tcmalloc.cache.thread_cache import list_at, load_int
from mmactors.malloc.tcmalloc.central.size_map import batch_of, class_pages, class_size, nr_classes
from mmactors.malloc.tcmalloc.layout import CACHED_BYTES, LENGTH, MAX_SIZE, PAGE_BYTES
from mmactors.malloc.tcmalloc.tcmalloc import Tcmalloc
from mmactors.malloc.user_words import UNWATCHED
from mmactors.mm.perform import perform
from mmactors.validate.document import read_object
from mmactors.validate.form import ListOf, Problems, Record, Row, Whole
from mmactors.validate.malloc.linked import linked
from mmactors.validate.malloc.willing_kernel import WillingKernel
from mmactors.validate.result import CaseResult

_ADVICE: Final = "tests/reference/malloc/README.md describes tcmalloc_geometry.json"
_TCMALLOC: Final = {"LD_PRELOAD": "libtcmalloc_minimal.so.4"}
_CLASSES_MAX: Final = 128
_RUNS_MAX: Final = 6
_FETCHES_MAX: Final = 40
_RELEASES_MAX: Final = 12
"""How many of each were noted."""
_NR_BLOCKS: Final = ((1024, 6000), (8192, 1500), (MAX_SIZE, 400))
"""Up to which class how many blocks were got, as the recorded chains that nothing breaks say."""
_NOTED: Final = ("runs", "fetches", "releases")
_BETWEEN: Final = 4096
"""What the process got before it gave back the first block: that its list has three more then, of a
fetch of four, is recorded of this class alone. stdio asks for a buffer of so many bytes."""

_COUNT: Final = Whole(0, 1 << 40)
_SIZE: Final = Whole(1, MAX_SIZE)
_CLASS: Final = Row(
    {"class_bytes": _SIZE, "span_bytes": _COUNT, "objects": _COUNT, "transfer_batch": _COUNT}
)
_OBSERVED: Final = Row(
    {
        "class_bytes": _SIZE,
        "runs": ListOf(
            Row({"objects": _COUNT, "distance to the next": Whole(), "offset": _COUNT}),
            maximum=_RUNS_MAX,
        ),
        "fetches": ListOf(Row({"allocation": _COUNT, "objects": _COUNT}), maximum=_FETCHES_MAX),
        "releases": ListOf(
            Row({"free": _COUNT, "bytes before": _COUNT, "after": _COUNT}), maximum=_RELEASES_MAX
        ),
    }
)
_GEOMETRY: Final = Record(
    {
        "page_bytes": _COUNT,
        "max_small": _COUNT,
        "classes": ListOf(_CLASS, 1, _CLASSES_MAX),
        "observed": ListOf(_OBSERVED, 0, _CLASSES_MAX),
    }
)


def validate_tcmalloc_geometry(path: Path) -> Iterator[CaseResult]:
    """Choose the classes, and use each; raise UserError for a file that is no such recording."""
    content = read_object(path)
    problems = Problems(path=path, advice=_ADVICE)
    _GEOMETRY.check(content, "", problems)
    problems.raise_any()
    name = path.name.removesuffix(".gz").removesuffix(".json")
    for case, compare in (("classes", _compare_classes), ("observed", _compare_observed)):
        result = CaseResult(topic="malloc/tcmalloc", case=f"{name}/{case}", path=str(path))
        compare(result, content)
        yield result


def _compare_classes(result: CaseResult, content: dict[str, Any]) -> None:
    result.compare("page_bytes", content["page_bytes"], PAGE_BYTES)
    result.compare("max_small", content["max_small"], MAX_SIZE)
    ours = _Process().classes()
    for nth, pair in enumerate(zip_longest(content["classes"], ours)):
        result.compare(f"classes[{nth}]", *pair)


def _compare_observed(result: CaseResult, content: dict[str, Any]) -> None:
    for nth, (size, *recorded) in enumerate(content["observed"]):
        process = _Process()
        number = process.class_of(size)
        if result.compare(f"observed[{nth}], class_bytes", size, process.bytes_of(number)):
            ours = _observe(process, number)
            for name, theirs, our in zip(_NOTED, recorded, ours, strict=True):
                result.compare(f"observed[{nth}], {size} bytes, {name}", theirs, our)


def _observe(process: "_Process", number: int) -> tuple[list[list[int]], ...]:
    """Return runs, fetches and releases of a class."""
    size = process.bytes_of(number)
    nr_blocks = next(count for most, count in _NR_BLOCKS if size <= most)
    blocks, fetches = [], []
    for nth in range(1, nr_blocks + 1):
        block = process.library.malloc_hit(0, size)
        if not block:
            block = process.malloc(size)
            fetches.append([nth, process.nr_cached(number) + 1])
        blocks.append(block)
    process.malloc(_BETWEEN)
    releases: list[list[int]] = []
    for nth, block in enumerate(blocks, start=1):
        if len(releases) == _RELEASES_MAX:
            break
        before = process.cached_bytes()
        process.free(block)
        after = process.cached_bytes()
        if after != before + size:
            releases.append([nth, before, after])
    return _runs(blocks, size), fetches[:_FETCHES_MAX], releases


def _runs(blocks: list[int], size: int) -> list[list[int]]:
    """Return chains that another follows: blocks, distance, place in the page; else the only one.

    Of the only one the distance is 0.
    """
    starts = [
        nth for nth, block in enumerate(blocks) if nth == 0 or block != blocks[nth - 1] + size
    ]
    if len(starts) == 1:
        return [[len(blocks), 0, blocks[0] % PAGE_BYTES]]
    return [
        [end - start, blocks[end] - blocks[start], blocks[start] % PAGE_BYTES]
        for start, end in islice(pairwise(starts), _RUNS_MAX)
    ]


@define(eq=False)
class _Process:
    """A process that has just begun."""

    library: Tcmalloc = field(init=False)
    _kernel: WillingKernel = field(factory=WillingKernel, init=False)

    def __attrs_post_init__(self) -> None:
        library = linked(_TCMALLOC, (), ()).library
        assert isinstance(library, Tcmalloc), f"{_TCMALLOC} links {library}"
        self.library = library
        perform(library.start(0), self._kernel.answer)

    def malloc(self, size: int) -> int:
        """Get a block."""
        return perform(self.library.malloc(0, size), self._kernel.answer)

    def free(self, block: int) -> None:
        """Give a block back."""
        if not self.library.free_hit(0, block):
            perform(self.library.free(0, block), self._kernel.answer)

    def nr_cached(self, number: int) -> int:
        """Return how many blocks of a class the thread's cache has."""
        return self._int_at(list_at(self._cache, number) + LENGTH)

    def cached_bytes(self) -> int:
        """Return the bytes of all blocks in the thread's cache."""
        return self._int_at(self._cache + CACHED_BYTES)

    def class_of(self, size: int) -> int:
        """Return the class of a size."""
        words, par = self.library.words.words, self.library.par
        numbers = range(1, nr_classes(words, UNWATCHED, par))
        return next(number for number in numbers if size <= self.bytes_of(number))

    def bytes_of(self, number: int) -> int:
        """Return the bytes of a class's blocks."""
        return class_size(self.library.words.words, UNWATCHED, self.library.par, number)

    def classes(self) -> list[list[int]]:
        """Return of each class the bytes, those of a span, blocks of a span, blocks of a move."""
        words, par = self.library.words.words, self.library.par
        rows = []
        for number in range(1, nr_classes(words, UNWATCHED, par)):
            size = self.bytes_of(number)
            span = class_pages(words, UNWATCHED, par, number) * PAGE_BYTES
            batch = batch_of(words, UNWATCHED, par, number)
            rows.append([size, span, span // size, batch])
        return rows

    @property
    def _cache(self) -> int:
        return int(self.library.caches[0])

    def _int_at(self, address: int) -> int:
        return load_int(self.library.words.words, UNWATCHED, address)
