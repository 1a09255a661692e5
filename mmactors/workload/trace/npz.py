"""Recorded traces as numpy archives: `kind`, `size`, and address differences `di` and `dd`.

The format is that of tests/reference/traces: a zip file (members stored, deflated or LZMA) of four
one-dimensional arrays. `kind` (u8) and `size` (u16) have one entry an access; `di` (int64) has one
entry a fetch: its address minus the end of the fetch before it; `dd` (int64) one entry a data
access: its address minus the address of the data access before it. The first of each is absolute.

The four members are read side by side, so the memory used does not depend on the trace's length.
"""

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import numpy as np
from attrs import define
from numpy.typing import NDArray

from mmactors.arch.trace import FETCH, Trace
from mmactors.errors import UserError
from mmactors.given_file import open_given
from mmactors.limits import ARRAYS_RATIO_MAX, ZIP_DIRECTORY_BYTES_MAX
from mmactors.units import KIB
from mmactors.workload.trace.input import (
    CHUNK_ROWS,
    bad_trace,
    check_rows,
    empty_trace,
    must_be_in_proportion,
    unreadable,
)

_DTYPES: Final = {"kind": "|u1", "size": "<u2", "di": "<i8", "dd": "<i8"}
_MEMBERS: Final = frozenset(f"{name}.npy" for name in _DTYPES)
_READ_BYTES: Final = 4 * KIB
"""A read; of LZMA and bzip2, zipfile unpacks as many bytes of the archive as were asked for."""
_HEADER: Final = re.compile(
    r"\{'descr': '([^']{1,16})', 'fortran_order': (?:True|False), 'shape': \((\d{1,18}),\), \}\s*"
)
_HEADER_BYTES_MAX: Final = 4096
ARCHIVE_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
    IndexError,
    OSError,
    ValueError,
)
"""What zipfile raises for archives that are damaged, encrypted, or of a method it does not know."""


def _not_npz(path: Path, found: str) -> UserError:
    return bad_trace(
        path,
        found,
        "expected a numpy archive with the arrays kind (u8), size (u16), di and dd (int64)",
        "write it with numpy.savez_compressed, as tests/reference/traces/README.md describes",
    )


class _Archive:
    """The file of an archive; a directory that is too long is not read."""

    def __init__(self, file: BinaryIO) -> None:
        self.read_max: int | None = ZIP_DIRECTORY_BYTES_MAX
        """Bytes of one read; None: any."""
        self._file: Final = file
        self.seek: Final = file.seek
        self.tell: Final = file.tell
        self.seekable: Final = file.seekable
        self.close: Final = file.close

    def read(self, nr_bytes: int = -1) -> bytes:
        if self.read_max is not None and nr_bytes > self.read_max:
            raise zipfile.BadZipFile(f"its directory has more than {self.read_max:,} bytes")
        return self._file.read(nr_bytes)


@define(eq=False)
class _Column:
    """One array of the archive, read in pieces."""

    path: Path
    name: str
    stream: IO[bytes]
    dtype: str
    length: int
    position: int = 0

    @classmethod
    def open(cls, path: Path, archive: zipfile.ZipFile, name: str, streams: ExitStack) -> "_Column":
        try:
            stream = streams.enter_context(archive.open(f"{name}.npy"))
        except KeyError:
            raise _not_npz(path, f"the archive has no array {name}") from None
        head = stream.read(10)
        if head[:6] != b"\x93NUMPY" or len(head) < 10 or head[6] != 1:
            raise _not_npz(path, f"the member {name} is not a numpy array of format 1")
        (nr_bytes,) = struct.unpack("<H", head[8:10])
        text = stream.read(min(nr_bytes, _HEADER_BYTES_MAX)).decode("latin1")
        match = _HEADER.fullmatch(text)
        if match is None:
            raise _not_npz(path, f"the array {name} is not one-dimensional")
        if match[1] != _DTYPES[name]:
            raise _not_npz(path, f"the array {name} has the type {match[1]}")
        return cls(path, name, stream, match[1], int(match[2]))

    def take(self, count: int) -> NDArray[Any]:
        """Return the next `count` entries."""
        if self.position + count > self.length:
            raise _not_npz(self.path, f"the array {self.name} has only {self.length} entries")
        dtype = np.dtype(self.dtype)
        data = self._read(count * dtype.itemsize)
        if len(data) < count * dtype.itemsize:
            raise bad_trace(
                self.path,
                f"the array {self.name} ends after {self.position + len(data) // dtype.itemsize}"
                " entries",
                f"expected {self.length} entries, as its header says",
                "the file is truncated: fetch it again",
            )
        self.position += count
        return np.frombuffer(data, dtype)

    def _read(self, nr_bytes: int) -> bytes:
        pieces = []
        while nr_bytes and (piece := self.stream.read(min(nr_bytes, _READ_BYTES))):
            pieces.append(piece)
            nr_bytes -= len(piece)
        return b"".join(pieces)

    def finish(self) -> None:
        """Assert that nothing is left; reading to the end also checks the CRC."""
        if self.position < self.length or self.stream.read(1):
            raise _not_npz(
                self.path, f"the array {self.name} has more than the {self.position} entries used"
            )


def read_npz_chunks(path: Path, *, chunk_rows: int = CHUNK_ROWS) -> Iterator[Trace]:
    """Yield the trace in chunks of at most `chunk_rows` rows.

    Raises UserError for a file that is not such a trace.
    """
    assert chunk_rows > 0, f"chunk_rows is {chunk_rows}"
    try:
        file = _Archive(open_given(path))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    try:
        with closing(file), zipfile.ZipFile(file) as archive, ExitStack() as streams:
            file.read_max = None
            sizes = [each.file_size for each in archive.infolist() if each.filename in _MEMBERS]
            nr_packed = sum(each.compress_size for each in archive.infolist())
            must_be_in_proportion(path, sum(sizes), nr_packed, ratio_max=ARRAYS_RATIO_MAX)
            columns = {name: _Column.open(path, archive, name, streams) for name in _DTYPES}
            yield from _read(path, columns, chunk_rows)
    except UserError:
        raise
    except ARCHIVE_ERRORS as error:
        raise bad_trace(
            path,
            f"the archive cannot be read: {error}",
            "expected a whole zip file of numpy arrays",
            "test it with `unzip -t` and fetch it again",
        ) from error


def _read(path: Path, columns: dict[str, _Column], chunk_rows: int) -> Iterator[Trace]:
    length = columns["kind"].length
    if length != columns["size"].length:
        raise _not_npz(path, f"kind has {length} entries, size has {columns['size'].length}")
    if length == 0:
        raise empty_trace(path)
    fetch_end = 0
    data_address = 0
    for first in range(0, length, chunk_rows):
        count = min(chunk_rows, length - first)
        kind = columns["kind"].take(count)
        size = columns["size"].take(count)
        is_fetch = kind == FETCH
        nr_fetches = int(np.count_nonzero(is_fetch))
        step = columns["di"].take(nr_fetches).astype(np.int64)
        fetch_size = size[is_fetch].astype(np.int64)
        if nr_fetches:
            step[:1] += fetch_end
            step[1:] += fetch_size[:-1]
        fetch_address = np.cumsum(step)
        data_step = columns["dd"].take(count - nr_fetches).astype(np.int64)
        if len(data_step):
            data_step[:1] += data_address
        data_addresses = np.cumsum(data_step)
        address = np.empty(count, np.int64)
        address[is_fetch] = fetch_address
        address[~is_fetch] = data_addresses
        check_rows(path, kind=kind, size=size, address=address, first=first)
        if nr_fetches:
            fetch_end = int(fetch_address[-1] + fetch_size[-1])
        if len(data_step):
            data_address = int(data_addresses[-1])
        yield Trace.of_columns(kind, size, address)
    for column in columns.values():
        column.finish()


def read_npz(path: Path, *, limit: int | None = None) -> Trace:
    """Return the whole trace, or its first `limit` accesses, in memory.

    Raises UserError for a file that is not such a trace.
    """
    chunks = []
    nr_rows = 0
    for chunk in read_npz_chunks(path):
        chunks.append(chunk)
        nr_rows += len(chunk)
        if limit is not None and nr_rows >= limit:
            break
    return Trace(
        address=np.concatenate([chunk.address for chunk in chunks])[:limit],
        meta=np.concatenate([chunk.meta for chunk in chunks])[:limit],
    )
