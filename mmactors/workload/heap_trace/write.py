"""Heap traces are written: as an archive, as CSV or as JSON lines. What was written reads equal.

A file is put in its place when it is whole. An archive's columns go through files without a name,
for what type they have is known when all numbers were seen; so memory does not depend on the length
of a trace. What an operation has no use for is written as 0, or not at all.
"""

import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import numpy as np
import orjson
from attrs import define
from numpy.typing import NDArray

from mmactors.arch.heap_trace import HEAP_OPERATIONS, MALLOPT, HeapOperations
from mmactors.own_files import whole_file
from mmactors.workload.heap_trace.npz import COLUMNS
from mmactors.workload.heap_trace.rows import NEEDED_FIELDS, ReadRows
from mmactors.workload.trace.input import bad_trace

WRITTEN_FORMATS: Final = ("npz", "csv", "jsonl")
"""What `format` of a heap trace that is written may be."""
_ADVICE: Final = "see docs/heap-traces.md for the format"
_ROWS: Final = 1 << 16
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""The same at all times, so that the same trace gives the same bytes."""
_USED: Final = {
    name: np.array([name in needed for needed in NEEDED_FIELDS]) for name in ("id", "size", "arg")
}


def write_heap_trace(
    path: Path | str,
    pieces: Iterable[HeapOperations],
    *,
    format: str | None = None,  # noqa: A002
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write a heap trace, such as `open_heap_trace(...).chunks()`.

    `format` is one of WRITTEN_FORMATS; None: what the path ends with. `meta`, which JSON can say,
    goes into an archive.

    Raises UserError for another format, for rows that are not legal, for meta of what has none, and
    if the file cannot be written.
    """
    given = Path(path)
    form = given.suffix[1:].lower() if format is None else format
    if form not in WRITTEN_FORMATS:
        raise bad_trace(
            given,
            f"a heap trace cannot be written as {form or 'a file without a suffix'}",
            f"expected one of {', '.join(WRITTEN_FORMATS)}",
            "name the file FILE.npz, or say format='npz'",
        )
    if meta is not None and form != "npz":
        raise bad_trace(given, f"{form} holds no meta", "expected npz", "write an archive")
    rows = _checked(given, pieces)
    try:
        text = None if meta is None else orjson.dumps(dict(meta))
    except orjson.JSONEncodeError as error:
        legal = "expected what JSON can say"
        raise bad_trace(given, f"meta is no JSON: {error}", legal, _ADVICE) from None
    try:
        with whole_file(given) as file:
            if form == "npz":
                _write_npz(file, rows, text)
            else:
                write = _write_csv if form == "csv" else _write_json_lines
                write(file, rows)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise bad_trace(
            given,
            f"the heap trace cannot be written: {reason}",
            "expected a place for a file",
            "check the path, its permissions and the free space",
        ) from error


def _checked(path: Path, pieces: Iterable[HeapOperations]) -> Iterator[HeapOperations]:
    for piece in pieces:
        problem = ReadRows(
            op=piece.op,
            tid=piece.tid,
            id=piece.id,
            size=piece.size.view(np.uint64),
            arg=piece.arg.view(np.uint64),
        ).first_problem()
        if problem is not None:
            row = piece.first + problem.row
            found = f"operation {row}: {problem.found}"
            raise bad_trace(path, found, problem.legal, problem.advice)
        yield piece


def _used(piece: HeapOperations, name: str) -> NDArray[np.int64]:
    column: NDArray[np.int64] = np.where(_USED[name][piece.op], getattr(piece, name), 0)
    return column


@define(eq=False)
class _Spool:
    """A column that waits until all of its numbers were seen."""

    file: IO[bytes]
    length: int = 0
    has_negative: bool = False
    highest: int = 0

    def add(self, values: NDArray[np.int64]) -> None:
        self.file.write(values.tobytes())
        self.length += len(values)
        self.has_negative = self.has_negative or bool((values < 0).any())
        self.highest = max(self.highest, int(values.max(initial=0)))

    def dtype(self, *, is_signed: bool) -> np.dtype[np.integer]:
        """Return the smallest type; negative numbers of a column without a sign are of 64 bits."""
        if self.has_negative:
            return np.dtype("<i8" if is_signed else "<u8")
        return np.min_scalar_type(self.highest)

    def pieces(self) -> Iterator[NDArray[np.int64]]:
        self.file.seek(0)
        while data := self.file.read(_ROWS * 8):
            yield np.frombuffer(data, np.int64)


def _write_npz(file: BinaryIO, pieces: Iterable[HeapOperations], meta: bytes | None) -> None:
    with ExitStack() as stack:
        spools = {name: _Spool(stack.enter_context(tempfile.TemporaryFile())) for name in COLUMNS}
        for piece in pieces:
            for name, spool in spools.items():
                values = _used(piece, name) if name in _USED else getattr(piece, name)
                spool.add(values.astype(np.int64))
        with zipfile.ZipFile(file, "w") as archive:
            for name, spool in spools.items():
                dtype = spool.dtype(is_signed=name == "id")
                _write_array(archive, name, dtype, spool.length, spool.pieces())
            if meta is not None:
                text = np.frombuffer(meta, np.uint8)
                _write_array(archive, "meta", text.dtype, len(text), [text])


def _write_array(
    archive: zipfile.ZipFile,
    name: str,
    dtype: np.dtype[Any],
    length: int,
    pieces: Iterable[NDArray[Any]],
) -> None:
    member = zipfile.ZipInfo(f"{name}.npy", _ZIP_TIME)
    member.compress_type = zipfile.ZIP_DEFLATED
    head = {"descr": dtype.str, "fortran_order": False, "shape": (length,)}
    with archive.open(member, "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, head)
        for piece in pieces:
            stream.write(piece.astype(dtype).tobytes())


def _numbers(piece: HeapOperations) -> Iterator[tuple[int, int, dict[str, int]]]:
    """Yield of each row the operation, the thread, and what the operation has a use for."""
    columns = (piece.op, piece.tid, piece.id, piece.size, piece.arg)
    for op, tid, number, size, arg in zip(*(each.tolist() for each in columns), strict=True):
        values = {"id": number, "size": size, "arg": arg}
        if op != MALLOPT:
            values["size"] %= 1 << 64
            values["arg"] %= 1 << 64
        yield op, tid, {name: values[name] for name in NEEDED_FIELDS[op]}


def _write_csv(file: BinaryIO, pieces: Iterable[HeapOperations]) -> None:
    file.write(b"op,tid,id,size,arg\n")
    for piece in pieces:
        lines = [
            f"{HEAP_OPERATIONS[op]},{tid},"
            f"{used.get('id', '')},{used.get('size', '')},{used.get('arg', '')}\n"
            for op, tid, used in _numbers(piece)
        ]
        file.write("".join(lines).encode())


def _write_json_lines(file: BinaryIO, pieces: Iterable[HeapOperations]) -> None:
    for piece in pieces:
        lines = [
            orjson.dumps({"op": HEAP_OPERATIONS[op], "tid": tid, **used})
            for op, tid, used in _numbers(piece)
        ]
        file.write(b"".join(line + b"\n" for line in lines))
