"""heap_map.json of a run directory: what each page of a process's heap holds, read and added up."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from attrs import evolve, frozen

from mmactors.errors import Place, Problem, UserError
from mmactors.given_file import read_given
from mmactors.limits import TEXT_BYTES_MAX
from mmactors.malloc.heap_map import KINDS
from mmactors.units import PAGE_SIZE

HEAP_MAP: Final = "heap_map.json"
HEAD: Final = {"schema": "mmactors.heap_map", "version": "1.1"}
_RUN_LENGTH: Final = 1 + len(KINDS) + 1
_PAGES_MAX: Final = 1 << 36
"""There are no more in user space."""


@frozen(kw_only=True)
class PageRun:
    """Pages that hold the same: bytes of each kind in each of them."""

    count: int
    bytes_of: tuple[int, ...]
    is_resident: bool


@frozen(kw_only=True)
class Pin:
    """The highest block of a heap that is in use: what keeps the memory below it."""

    address: int
    usable_bytes: int
    names: tuple[str, ...]
    """What the program calls it."""


@frozen(kw_only=True)
class HeapSegment:
    """Memory that goes on: `main`, a `heap` of another arena, a `mapped` chunk."""

    what: str
    arena: int
    start: int
    end: int
    broken_at: int | None
    top_bytes: int | None
    pin: Pin | None
    runs: tuple[PageRun, ...]

    def sum_of(self, kind: str, *, is_resident: bool = False) -> int:
        """Return the bytes of a kind, of all pages or of those that are resident."""
        nth = KINDS.index(kind)
        runs = (run for run in self.runs if run.is_resident or not is_resident)
        return sum(run.count * run.bytes_of[nth] for run in runs)

    @property
    def nr_resident(self) -> int:
        """How many of its pages are resident."""
        return sum(run.count for run in self.runs if run.is_resident)

    @property
    def nr_pages(self) -> int:
        """How many pages it has, those in part included."""
        return sum(run.count for run in self.runs)

    def groups(self, size: int) -> Iterator[list[PageRun]]:
        """Yield its pages, so many at a time."""
        group: list[PageRun] = []
        room = size
        for run in self.runs:
            left = run.count
            while left:
                taken = min(left, room)
                group.append(evolve(run, count=taken))
                left, room = left - taken, room - taken
                if not room:
                    yield group
                    group, room = [], size
        if group:
            yield group


@frozen(kw_only=True)
class HeapView:
    """A process's heap, when the process or the run ended."""

    process: str
    pid: int
    asked_bytes: int
    asked_usable_bytes: int
    """Of blocks in use of which it is known how much was asked for: this, and usable bytes."""
    segments: tuple[HeapSegment, ...]

    def sum_of(self, kind: str) -> int:
        """Return the bytes of a kind."""
        return sum(segment.sum_of(kind) for segment in self.segments)


def read_heap_map(path: Path) -> HeapView:
    """Return what a map says; raise UserError for what is none."""
    try:
        value = orjson.loads(read_given(path, bytes_max=TEXT_BYTES_MAX))
        return _view(value)
    except OSError as error:
        raise UserError(_damaged(path, error.strerror or type(error).__name__)) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(_damaged(path, "it is damaged, or no map of a heap")) from None


def _view(value: Any) -> HeapView:
    if {key: value[key] for key in HEAD} != HEAD:
        raise ValueError
    return HeapView(
        process=_text(value["process"]),
        pid=_number(value["pid"]),
        asked_bytes=_number(value["asked_bytes"]),
        asked_usable_bytes=_number(value["asked_usable_bytes"]),
        segments=tuple(map(_segment, value["segments"])),
    )


def _segment(value: Any) -> HeapSegment:
    pin = value["pin"]
    segment = HeapSegment(
        what=_text(value["what"]),
        arena=_number(value["arena"]),
        start=_number(value["start"]),
        end=_number(value["end"]),
        broken_at=None if value["broken_at"] is None else _number(value["broken_at"]),
        top_bytes=None if value["top_bytes"] is None else _number(value["top_bytes"]),
        pin=None
        if pin is None
        else Pin(
            address=_number(pin["address"]),
            usable_bytes=_number(pin["usable_bytes"]),
            names=tuple(map(_text, pin["names"])),
        ),
        runs=tuple(map(_run, value["pages"])),
    )
    nr_pages = -(-segment.end // PAGE_SIZE) - segment.start // PAGE_SIZE
    if segment.nr_pages != nr_pages:
        raise ValueError(nr_pages)
    return segment


def _run(value: Sequence[Any]) -> PageRun:
    count, *sizes, resident = map(_number, value)
    if len(sizes) + 2 != _RUN_LENGTH or not 0 < count <= _PAGES_MAX or sum(sizes) > PAGE_SIZE:
        raise ValueError(value)
    return PageRun(count=count, bytes_of=tuple(sizes), is_resident=bool(resident))


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _damaged(path: Path, found: str) -> Problem:
    return Problem(
        place=Place(str(path)),
        found=found,
        legal=f"expected a {HEAP_MAP} that `mmactors run` wrote",
        advice="run the scenario again",
    )
