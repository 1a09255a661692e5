"""`mmactors heap RUN_DIR`: what each page of a program's heap holds, and what keeps its memory.

One character stands for a page, or for some pages side by side: what most of their bytes are. A
capital letter is a page that is resident.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
from attrs import asdict
from cyclopts import Parameter

from mmactors.cli.terminal.screen import say_json, show
from mmactors.errors import Place, Problem, UserError
from mmactors.malloc.heap_map import KINDS
from mmactors.observe.heap_view import (
    HEAP_MAP,
    HeapSegment,
    HeapView,
    PageRun,
    read_heap_map,
)
from mmactors.observe.history.tables import table_of
from mmactors.observe.run_dir import HEAPS
from mmactors.observe.run_meta import read_meta
from mmactors.units import PAGE_SIZE, format_bytes

_LETTERS: Final = dict(zip(KINDS, "lcftmr", strict=True))
_EMPTY: Final = "."
_COLUMNS: Final = 64
_LINES_MAX: Final = 24
"""Of one segment: if it has more, a character stands for several pages."""
_MEANINGS: Final = {
    "live": "in use by the program",
    "cached": "freed, in a thread's cache or a fastbin",
    "free": "freed, in a bin: used again, but not given back",
    "top": "at the end: what a trim gives back",
    "metadata": "the library's own: sizes, arenas, caches",
    "returned": "given back to the kernel, or never used; the library keeps the addresses",
}
_MAPPED_SHOWN: Final = 8
"""Segments of mapped chunks that are drawn; the others are in the sums."""


def heap(
    run_dir: Annotated[Path, Parameter(help="Run directory.")],
    *,
    process: Annotated[
        str | None, Parameter(help="Name or pid of a process; otherwise all that have a heap.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print JSON: the sums.", negative="")] = False,
) -> int:
    """Show what the pages of programs' heaps held at their ends, and what kept the memory."""
    read_meta(run_dir)
    views = _chosen(run_dir, process)
    if json:
        say_json(orjson.dumps({"heaps": [_as_json(view) for view in views]}).decode() + "\n")
        return 0
    for nth, view in enumerate(views):
        if nth:
            show("")
        _show(view)
    return 0


def _chosen(run_dir: Path, process: str | None) -> list[HeapView]:
    """Return the heaps that are asked for; raise UserError if there are none."""
    folder = run_dir / HEAPS
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    pids = sorted(int(name) for name in names if name.isdecimal())
    views = [read_heap_map(folder / str(pid) / HEAP_MAP) for pid in pids]
    if not views:
        raise UserError(
            Problem(
                place=Place(str(run_dir)),
                found="no heap: no program of the run called its C library's allocator",
                legal=f"expected {HEAPS}/PID/{HEAP_MAP}",
                advice="run a scenario with operations such as malloc, or let the run end",
            )
        )
    chosen = [view for view in views if process in (None, view.process, str(view.pid))]
    if not chosen:
        known = ", ".join(f"{view.process} ({view.pid})" for view in views)
        raise UserError(
            Problem(
                place=Place(f"{run_dir}: --process"),
                found=f"{process!r} has no heap",
                legal=f"expected a name or pid: {known}",
                advice="leave --process out to see all",
            )
        )
    return chosen


def _as_json(view: HeapView) -> dict[str, Any]:
    return {
        "process": view.process,
        "pid": view.pid,
        **{f"{kind}_bytes": view.sum_of(kind) for kind in KINDS},
        "resident_pages": sum(segment.nr_resident for segment in view.segments),
        "asked_bytes": view.asked_bytes,
        "asked_usable_bytes": view.asked_usable_bytes,
        "segments": [
            {
                "what": segment.what,
                "arena": segment.arena,
                "start": segment.start,
                "end": segment.end,
                "broken_at": segment.broken_at,
                "resident_pages": segment.nr_resident,
                **{f"{kind}_bytes": segment.sum_of(kind) for kind in KINDS},
                "pin": None if segment.pin is None else asdict(segment.pin),
            }
            for segment in view.segments
        ],
    }


def _show(view: HeapView) -> None:
    show(f"heap of {view.process}, pid {view.pid}")
    show(
        "legend: "
        + ", ".join(f"{letter} {kind}" for kind, letter in _LETTERS.items())
        + f", {_EMPTY} nothing; capital: mostly resident"
    )
    mapped = [segment for segment in view.segments if segment.what == "mapped"]
    hidden = mapped[_MAPPED_SHOWN:]
    for segment in view.segments:
        if segment not in hidden:
            show("", *_drawn(segment))
    if hidden:
        nr_bytes = sum(segment.end - segment.start for segment in hidden)
        show("", f"and {len(hidden)} more mapped chunks, {format_bytes(nr_bytes)}")
    show("", _sums(view), "", *_fragmentation(view))


def _drawn(segment: HeapSegment) -> Iterator[str]:
    """Yield a segment's lines: what it is, its map, what keeps its memory."""
    size = segment.end - segment.start
    what = {
        "main": "main arena",
        "heap": f"heap of arena {segment.arena}",
        "mapped": "mapped chunk",
    }.get(segment.what, segment.what)
    yield (
        f"{what}, {segment.start:#x} to {segment.end:#x}: {_bytes(size)},"
        f" {segment.nr_resident:,} of {segment.nr_pages:,} pages resident"
    )
    group = max(1, -(-segment.nr_pages // (_COLUMNS * _LINES_MAX)))
    if group > 1:
        yield f"  a character is {group} pages, {_bytes(group * PAGE_SIZE)}"
    letters = map(_letter, segment.groups(group))
    address = segment.start & -PAGE_SIZE
    while line := "".join(islice(letters, _COLUMNS)):
        yield f"  {address:#x} {line}"
        address += _COLUMNS * group * PAGE_SIZE
    if segment.broken_at is not None:
        yield f"  the size at {segment.broken_at:#x} cannot be true: nobody knows what is behind it"
    if segment.pin is not None:
        yield from _pinned(segment)


def _letter(pages: list[PageRun]) -> str:
    """Return the character of some pages."""
    sums = Counter[str]()
    for run in pages:
        sums.update({kind: run.count * n for kind, n in zip(KINDS, run.bytes_of, strict=True)})
    kind, nr_bytes = max(sums.items(), key=lambda each: each[1])
    if not nr_bytes:
        return _EMPTY
    nr_resident = sum(run.count for run in pages if run.is_resident)
    is_resident = 2 * nr_resident > sum(run.count for run in pages)
    return _LETTERS[kind].upper() if is_resident else _LETTERS[kind]


def _pinned(segment: HeapSegment) -> Iterator[str]:
    """Yield what keeps the memory below the top, and how much that is."""
    pin = segment.pin
    assert pin is not None, "it has one"
    called = f", `{'`, `'.join(pin.names)}`" if pin.names else ""
    free = segment.sum_of("free")
    resident = segment.sum_of("free", is_resident=True)
    block = f"block {pin.address:#x} of {pin.usable_bytes:,} bytes{called}"
    if not free:
        yield f"  the top begins behind {block}; nothing is free below it"
        return
    yield f"  does not come back: {_bytes(free)} free below {block}"
    yield (
        f"  {_bytes(resident)} of them on resident pages: free gives back the top only,"
        " malloc_trim whole free pages, too"
    )


def _sums(view: HeapView) -> Any:
    total = sum(view.sum_of(kind) for kind in KINDS)
    rows = []
    for kind in KINDS:
        nr_bytes = view.sum_of(kind)
        resident = sum(segment.sum_of(kind, is_resident=True) for segment in view.segments)
        share = f"{100 * nr_bytes / total:.1f} %" if total else ""
        rows.append([kind, f"{nr_bytes:,}", share, f"{resident:,}", _MEANINGS[kind]])
    return table_of(
        [
            ("", "left"),
            ("bytes", "right"),
            ("", "right"),
            ("on resident pages", "right"),
            ("", "left"),
        ],
        rows,
    )


def _fragmentation(view: HeapView) -> Iterator[str]:
    """Yield how much is lost inside blocks, and between them."""
    if view.asked_usable_bytes:
        lost = view.asked_usable_bytes - view.asked_bytes
        share = 100 * lost / view.asked_usable_bytes
        yield (
            f"fragmentation inside: {lost:,} of {view.asked_usable_bytes:,} usable bytes"
            f" were not asked for, {share:.1f} %"
        )
    heaps = [segment for segment in view.segments if segment.what != "mapped"]
    held = sum(segment.end - segment.start for segment in heaps)
    if held:
        free = sum(segment.sum_of("free") for segment in heaps)
        share = 100 * free / held
        yield (
            f"fragmentation outside: {free:,} of {held:,} bytes of heaps are free in bins,"
            f" {share:.1f} %"
        )


def _bytes(nr_bytes: int) -> str:
    return f"{nr_bytes:,} bytes"
