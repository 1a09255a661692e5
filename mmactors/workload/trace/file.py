"""Recorded traces of any form: the reader a file needs, by its content, then by its name."""

import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Final

from mmactors.arch.trace import Trace
from mmactors.units import KIB
from mmactors.workload.trace.champsim import is_champsim, read_champsim
from mmactors.workload.trace.input import CHUNK_ROWS, bad_trace, empty_trace, read_pieces
from mmactors.workload.trace.lackey_line import is_lackey, is_text, must_begin_as_lackey
from mmactors.workload.trace.npz import read_npz_chunks

_HEAD_BYTES: Final = 4 * KIB
_FIRST_ROWS: Final = 64
_ZIP_MAGIC: Final = b"PK\x03\x04"
_COMPRESSION: Final = re.compile(r"\.(gz|xz|zst)$")


class TraceFormat(Enum):
    """The forms of traces that can be read."""

    NPZ = "npz"
    LACKEY = "lackey"
    CHAMPSIM = "champsim"


TRACE_FORMATS: Final = tuple(form.value for form in TraceFormat)
"""What `format=` of the operation `trace` may be."""


def trace_format(path: Path, form: str | None = None) -> TraceFormat:
    """Return the form of a trace file: `form`, one of TRACE_FORMATS, or what its beginning says.

    Reads only the beginning. Raises UserError if the file is unreadable, empty, or of no known
    form; for a text whose first access is none, or for a file that does not begin as `form` says,
    the error names the place.
    """
    head = b""
    for piece in read_pieces(path):
        head += piece
        if len(head) >= _HEAD_BYTES:
            break
    if not head:
        raise empty_trace(path)
    found = _format_of(path, head[:_HEAD_BYTES]) if form is None else TraceFormat(form)
    if found is TraceFormat.LACKEY:
        must_begin_as_lackey(path, head, is_whole=len(head) < _HEAD_BYTES)
    elif form is not None:
        next(_reader(found)(path, chunk_rows=_FIRST_ROWS), None)
    return found


def _format_of(path: Path, head: bytes) -> TraceFormat:
    if head.startswith(_ZIP_MAGIC):
        return TraceFormat.NPZ
    if is_lackey(head):
        return TraceFormat.LACKEY
    name = _COMPRESSION.sub("", path.name.lower())
    # A file of a known name is read as what it claims to be: the reader says what is wrong with it.
    if name.endswith(".npz"):
        return TraceFormat.NPZ
    if "champsim" in name or is_champsim(head):
        return TraceFormat.CHAMPSIM
    if name.endswith(".lackey") or is_text(head):
        return TraceFormat.LACKEY
    raise bad_trace(
        path,
        "the trace is of no known form",
        "expected a numpy archive, the text of lackey, or ChampSim's 64-byte records",
        "name the form, such as format=champsim, or record a trace: "
        "valgrind --tool=lackey --trace-mem=yes --log-file=FILE PROGRAM",
    )


def _reader(trace_form: TraceFormat) -> Callable[..., Iterator[Trace]]:
    match trace_form:
        case TraceFormat.NPZ:
            return read_npz_chunks
        case TraceFormat.CHAMPSIM:
            return read_champsim
        case TraceFormat.LACKEY:
            # Brings the compiler with it, which a look at a file's form does without.
            from mmactors.workload.trace.lackey import read_lackey  # noqa: PLC0415 - see above

            return read_lackey


def open_trace(
    path: Path,
    *,
    form: str | None = None,
    limit: int | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[Trace]:
    """Yield a recorded trace, or its first `limit` accesses, in chunks of at most `chunk_rows`.

    `form` is one of TRACE_FORMATS; None: as `trace_format` finds.

    Raises UserError, at the latest when the place is reached, for what is no trace.
    """
    assert limit is None or limit > 0, f"limit is {limit}"
    left = limit
    for chunk in _reader(trace_format(path, form))(path, chunk_rows=chunk_rows):
        if left is not None and len(chunk) >= left:
            yield Trace(address=chunk.address[:left], meta=chunk.meta[:left])
            return
        yield chunk
        if left is not None:
            left -= len(chunk)
