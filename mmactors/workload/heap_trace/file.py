"""Recorded heap traces of any form: what a file is, its operations, and where each stands."""

from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from mmactors.arch.heap_trace import HeapOperations
from mmactors.limits import HEAP_TRACE_THREADS_MAX
from mmactors.units import KIB
from mmactors.workload.heap_trace.npz import read_meta, read_npz
from mmactors.workload.trace.input import bad_trace, read_pieces

ROWS: Final = 1 << 16
"""Operations of a piece of a heap trace, unless somebody asks for another number."""
_HEAD_BYTES: Final = 4 * KIB
_FIRST_ROWS: Final = 64
_ZIP_MAGIC: Final = b"PK\x03\x04"


class HeapTraceFormat(Enum):
    """The forms of heap traces that can be read."""

    NPZ = "npz"


HEAP_TRACE_FORMATS: Final = tuple(form.value for form in HeapTraceFormat)
"""What `format` of a heap trace may be."""


@define(eq=False)
class HeapTrace:
    """A recorded heap trace, read piece by piece, as often as somebody likes."""

    path: Path
    form: HeapTraceFormat
    meta: dict[str, Any] = field(factory=dict)
    """What an archive says of itself."""
    threads: int | None = None
    """The highest number of a thread and 1; None: not known before all was read once."""
    left_out: Counter[str] = field(factory=Counter)
    """What the last reading met that is no operation, by its name, and how often."""

    def chunks(self, rows: int = ROWS) -> Iterator[HeapOperations]:
        """Yield the operations in pieces of at most `rows`.

        Raises UserError, at the latest when the place is reached, for what is no trace.
        """
        assert rows > 0, f"pieces of {rows} rows"
        self.left_out.clear()
        threads = self.threads or 1
        for piece in _reader(self.form)(self.path, rows=rows, left_out=self.left_out):
            threads = max(threads, int(piece.tid.max()) + 1)
            yield piece
        self.threads = threads

    def place(self, line: int) -> str:
        """Return `file:line` of what `HeapOperations.line` says; of an archive `file[row]`."""
        if self.form is HeapTraceFormat.NPZ:
            return f"{self.path}[{line}]"
        return f"{self.path}:{line}"

    def where(self, row: int) -> str:
        """Return where an operation, counted from 0, stands; the file is read again up to it."""
        for piece in _reader(self.form)(self.path, rows=ROWS, left_out=Counter()):
            if row < piece.first + len(piece):
                return self.place(int(piece.line[row - piece.first]))
        raise IndexError(f"{self.path} has no operation {row}")


def heap_trace_format(path: Path, form: str | None = None) -> HeapTraceFormat:
    """Return the form of a heap trace: `form`, one of HEAP_TRACE_FORMATS, or what its beginning says.

    Raises UserError if the file is unreadable, or of no known form.
    """
    head = b""
    for piece in read_pieces(path):
        head += piece
        if len(head) >= _HEAD_BYTES:
            break
    return _format_of(path, head[:_HEAD_BYTES]) if form is None else HeapTraceFormat(form)


def _format_of(path: Path, head: bytes) -> HeapTraceFormat:
    if head.startswith(_ZIP_MAGIC) or path.name.lower().endswith(".npz"):
        return HeapTraceFormat.NPZ
    raise bad_trace(
        path,
        "the heap trace is of no known form",
        f"expected one of {', '.join(HEAP_TRACE_FORMATS)}",
        "name the form, such as format=csv, or see docs/heap-traces.md for how to record one",
    )


def _reader(form: HeapTraceFormat) -> Callable[..., Iterator[HeapOperations]]:
    match form:
        case HeapTraceFormat.NPZ:
            return read_npz


def open_heap_trace(path: Path | str, format: str | None = None) -> HeapTrace:  # noqa: A002
    """Open a recorded heap trace.

    `format` is one of HEAP_TRACE_FORMATS; None: what the file's beginning says. Files may be packed
    with gzip, xz or zstd.

    Raises UserError if the file is unreadable, or does not begin as a heap trace does.
    """
    given = Path(path)
    form = heap_trace_format(given, format)
    trace = HeapTrace(given, form)
    if form is HeapTraceFormat.NPZ:
        trace.meta = read_meta(given)
        threads = trace.meta.get("threads")
        if isinstance(threads, int) and 0 < threads <= HEAP_TRACE_THREADS_MAX:
            trace.threads = threads
    next(_reader(form)(given, rows=_FIRST_ROWS, left_out=Counter()), None)
    return trace
