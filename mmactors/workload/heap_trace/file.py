"""Recorded heap traces of any form: what a file is, its operations, and where each stands."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from mmactors.arch.heap_trace import HeapOperations
from mmactors.errors import UserError
from mmactors.limits import HEAP_TRACE_THREADS_MAX, PROBLEMS_MAX
from mmactors.units import KIB
from mmactors.workload.heap_trace.csv_text import is_csv, read_csv
from mmactors.workload.heap_trace.faults import FAULTS, MISTAKES, HeapFault, Wrong
from mmactors.workload.heap_trace.forms import HEAP_TRACE_FORMATS, HeapTraceFormat
from mmactors.workload.heap_trace.json_lines import is_json_lines, read_json_lines
from mmactors.workload.heap_trace.ltrace import read_ltrace
from mmactors.workload.heap_trace.ltrace_line import is_ltrace
from mmactors.workload.heap_trace.mtrace import is_mtrace, read_mtrace
from mmactors.workload.heap_trace.npz import read_meta, read_npz
from mmactors.workload.trace.input import bad_trace, read_pieces

ROWS: Final = 1 << 16
"""Operations of a piece of a heap trace, unless somebody asks for another number."""
_HEAD_BYTES: Final = 4 * KIB
_ZIP_MAGIC: Final = b"PK\x03\x04"
_COMPRESSION: Final = re.compile(r"\.(gz|xz|zst)$")

Reader = Callable[[Path, Counter[str]], Iterator[HeapOperations]]
"""Yields the operations of a file, in pieces of any length, and counts what is none."""


_LEGAL_FORMAT: Final = f"expected one of {', '.join(HEAP_TRACE_FORMATS)}"
_ADVICE: Final = "name the form, such as format='csv', or record one as docs/heap-traces.md says"


@define(eq=False)
class HeapTrace:
    """A recorded heap trace, read piece by piece, as often as somebody likes."""

    path: Path
    form: HeapTraceFormat
    meta: dict[str, Any] = field(factory=dict)
    """What an archive says of itself."""
    threads: int | None = None
    """The highest number of a thread and 1; None: not known before all was read once."""
    notes: Counter[str] = field(factory=Counter)
    """What the last reading met that is no row, or a row that was not written as one, and how
    often."""
    faults: list[HeapFault] = field(factory=list)
    """What the last reading found that the program did wrong; the first PROBLEMS_MAX of it."""

    def chunks(self, rows: int = ROWS) -> Iterator[HeapOperations]:
        """Yield the operations in pieces of at most `rows`.

        Raises UserError, at the latest when the place is reached, for what is no trace.
        """
        # Brings compiled functions with it, which a look at a file's form does without.
        from mmactors.workload.heap_trace.lives import Lives  # noqa: PLC0415 - see above

        assert rows > 0, f"pieces of {rows} rows"
        self.notes.clear()
        self.faults.clear()
        threads = self.threads or 1
        lives = Lives()
        is_empty = True
        for piece in _READERS[self.form](self.path, self.notes):
            room = PROBLEMS_MAX - len(self.faults)
            for row, wrong in lives.follow(piece, faults_max=room):
                self._judge(piece, row, wrong)
            for start in range(0, len(piece), rows):
                is_empty = False
                yield piece.part(start, start + rows)
            if len(piece):
                threads = max(threads, int(piece.tid.max()) + 1)
        if is_empty:
            raise _empty(self.path)
        self.threads = threads

    def _judge(self, piece: HeapOperations, row: int, wrong: Wrong) -> None:
        line = int(piece.line[row])
        number = int(piece.id[row])
        if wrong in FAULTS:
            self.faults.append(HeapFault(piece.first + row, number, wrong, self.place(line)))
            return
        is_archive = self.form is HeapTraceFormat.NPZ
        found, legal, advice = MISTAKES[wrong]
        raise bad_trace(
            self.path,
            (f"operation {line}: " if is_archive else "")
            + found.format(id=number, tid=int(piece.tid[row])),
            legal,
            advice,
            line=None if is_archive else line,
        )

    def place(self, line: int) -> str:
        """Return `file:line` of what `HeapOperations.line` says; of an archive `file[row]`."""
        if self.form is HeapTraceFormat.NPZ:
            return f"{self.path}[{line}]"
        return f"{self.path}:{line}"

    def where(self, row: int) -> str:
        """Return where an operation, counted from 0, stands; the file is read again up to it."""
        for piece in _READERS[self.form](self.path, Counter()):
            if row < piece.first + len(piece):
                return self.place(int(piece.line[row - piece.first]))
        raise IndexError(f"{self.path} has no operation {row}")


def heap_trace_format(path: Path, form: str | None = None) -> HeapTraceFormat:
    """Return the form of a heap trace: `form`, of HEAP_TRACE_FORMATS, or what its beginning says.

    Raises UserError if the file is unreadable, or of no known form.
    """
    head = b""
    for piece in read_pieces(path):
        head += piece
        if len(head) >= _HEAD_BYTES:
            break
    if not head:
        raise _empty(path)
    if form is None:
        return _format_of(path, head[:_HEAD_BYTES])
    if form not in HEAP_TRACE_FORMATS:
        raise bad_trace(path, f"format is {form!r}", _LEGAL_FORMAT, _ADVICE)
    return HeapTraceFormat(form)


def _empty(path: Path) -> UserError:
    return bad_trace(
        path,
        "the heap trace holds no operation",
        "expected at least one operation",
        "check that the program was traced to its end",
    )


def _format_of(path: Path, head: bytes) -> HeapTraceFormat:
    if head.startswith(_ZIP_MAGIC):
        return HeapTraceFormat.NPZ
    for form, begins_so in _BEGINNINGS.items():
        if begins_so(head):
            return form
    # A file of a known name is read as what it claims to be: the reader says what is wrong with it.
    name = _COMPRESSION.sub("", path.name.lower())
    for form in HeapTraceFormat:
        if name.endswith(f".{form.value}"):
            return form
    raise bad_trace(path, "the heap trace is of no known form", _LEGAL_FORMAT, _ADVICE)


_BEGINNINGS: Final[dict[HeapTraceFormat, Callable[[bytes], bool]]] = {
    HeapTraceFormat.JSON_LINES: is_json_lines,
    HeapTraceFormat.MTRACE: is_mtrace,
    HeapTraceFormat.CSV: is_csv,
    HeapTraceFormat.LTRACE: is_ltrace,
}
_READERS: Final[dict[HeapTraceFormat, Reader]] = {
    HeapTraceFormat.NPZ: read_npz,
    HeapTraceFormat.CSV: read_csv,
    HeapTraceFormat.JSON_LINES: read_json_lines,
    HeapTraceFormat.MTRACE: read_mtrace,
    HeapTraceFormat.LTRACE: read_ltrace,
}


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
    next(_READERS[form](given, Counter()), None)
    return trace
