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
from mmactors.workload.trace.npz import read_npz_chunks

_HEAD_BYTES: Final = 4 * KIB
_ZIP_MAGIC: Final = b"PK\x03\x04"
_LACKEY_LINE: Final = re.compile(rb"(?:==|--|\*\*|I  [0-9a-fA-F]| [LSM] [0-9a-fA-F])")
_COMPRESSION: Final = re.compile(r"\.(gz|xz|zst)$")


class TraceFormat(Enum):
    """The forms of traces that can be read."""

    NPZ = "npz"
    LACKEY = "lackey"
    CHAMPSIM = "champsim"


def trace_format(path: Path) -> TraceFormat:
    """Return the form of a trace file; reads only its first bytes.

    Raises UserError if the file is unreadable, empty, or of no known form.
    """
    head = b""
    for piece in read_pieces(path):
        head += piece
        if len(head) >= _HEAD_BYTES:
            break
    if not head:
        raise empty_trace(path)
    if head.startswith(_ZIP_MAGIC):
        return TraceFormat.NPZ
    if _LACKEY_LINE.match(head):
        return TraceFormat.LACKEY
    name = _COMPRESSION.sub("", path.name.lower())
    # A file of a known name is read as what it claims to be: the reader says what is wrong with it.
    if name.endswith(".npz"):
        return TraceFormat.NPZ
    if name.endswith(".lackey"):
        return TraceFormat.LACKEY
    if "champsim" in name or is_champsim(head[:_HEAD_BYTES]):
        return TraceFormat.CHAMPSIM
    raise bad_trace(
        path,
        "the trace is of no known form",
        "expected a numpy archive, the text of lackey, or ChampSim's 64-byte records",
        "record one: valgrind --tool=lackey --trace-mem=yes --log-file=FILE PROGRAM",
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
    path: Path, *, limit: int | None = None, chunk_rows: int = CHUNK_ROWS
) -> Iterator[Trace]:
    """Yield a recorded trace, or its first `limit` accesses, in chunks of at most `chunk_rows`.

    Raises UserError, at the latest when the place is reached, for what is no trace.
    """
    assert limit is None or limit > 0, f"limit is {limit}"
    left = limit
    for chunk in _reader(trace_format(path))(path, chunk_rows=chunk_rows):
        if left is not None and len(chunk) >= left:
            yield Trace(address=chunk.address[:left], meta=chunk.meta[:left])
            return
        yield chunk
        if left is not None:
            left -= len(chunk)
