"""Numpy archives from strangers: columns and tables, read side by side, piece by piece.

The memory used does not depend on the length of the arrays. A member may be stored, deflated, or
packed with LZMA or bzip2; nothing is unpickled.
"""

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from mmactors.errors import UserError
from mmactors.given_file import open_given
from mmactors.limits import ARRAYS_RATIO_MAX, ZIP_DIRECTORY_BYTES_MAX
from mmactors.units import KIB
from mmactors.workload.trace.input import bad_trace, must_be_in_proportion, unreadable

_READ_BYTES: Final = 4 * KIB
"""A read; of LZMA and bzip2, zipfile unpacks as many bytes of the archive as were asked for."""
_HEADER: Final = re.compile(
    r"\{'descr': '([^']{1,16})', 'fortran_order': (True|False),"
    r" 'shape': \((\d{1,18}),(?: (\d{1,9}))?\), \}\s*"
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


@frozen
class ArchiveForm:
    """Which arrays an archive has."""

    dtypes: Mapping[str, tuple[str, ...]]
    """By array the types that it may have, as its header names them."""
    optional: frozenset[str]
    """Arrays that may be missing; others in the archive are passed over."""
    legal: str
    advice: str
    widths: Mapping[str, int] = field(factory=dict)
    """By array of two dimensions the numbers in each of its rows."""

    def error(self, path: Path, found: str) -> UserError:
        """Return the error about an archive that is not of this form."""
        return bad_trace(path, found, self.legal, self.advice)


class _File:
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
class Column:
    """One array of an archive, read in pieces."""

    path: Path
    name: str
    length: int
    """Numbers, or rows of them."""
    dtype: np.dtype[Any]
    width: int | None
    """Numbers in a row; None: the array has one dimension."""
    _stream: IO[bytes]
    _form: ArchiveForm
    _position: int = 0

    @classmethod
    def open(cls, path: Path, name: str, stream: IO[bytes], form: ArchiveForm) -> "Column":
        """Read the header of an array."""
        head = stream.read(10)
        if head[:6] != b"\x93NUMPY" or len(head) < 10 or head[6] != 1:
            raise form.error(path, f"the member {name} is not a numpy array of format 1")
        (nr_bytes,) = struct.unpack("<H", head[8:10])
        text = stream.read(min(nr_bytes, _HEADER_BYTES_MAX)).decode("latin1")
        match = _HEADER.fullmatch(text)
        width = form.widths.get(name)
        # Of rows the first column must not come first.
        is_by_rows = match is not None and (width is None or match[2] == "False")
        if match is None or not is_by_rows or match[4] != (None if width is None else str(width)):
            shape = "one-dimensional" if width is None else f"of rows of {width} numbers"
            raise form.error(path, f"the array {name} is not {shape}")
        if match[1] not in form.dtypes[name]:
            raise form.error(path, f"the array {name} has the type {match[1]}")
        return cls(path, name, int(match[3]), np.dtype(match[1]), width, stream, form)

    def take(self, count: int) -> NDArray[Any]:
        """Return the next `count` entries, or rows of them."""
        if self._position + count > self.length:
            raise self._form.error(
                self.path, f"the array {self.name} has only {self.length} entries"
            )
        itemsize = self.dtype.itemsize * (1 if self.width is None else self.width)
        data = self._read(count * itemsize)
        if len(data) < count * itemsize:
            raise bad_trace(
                self.path,
                f"the array {self.name} ends after {self._position + len(data) // itemsize}"
                " entries",
                f"expected {self.length} entries, as its header says",
                "the file is truncated: fetch it again",
            )
        self._position += count
        taken = np.frombuffer(data, self.dtype)
        return taken if self.width is None else taken.reshape(count, self.width)

    def _read(self, nr_bytes: int) -> bytes:
        pieces = []
        while nr_bytes and (piece := self._stream.read(min(nr_bytes, _READ_BYTES))):
            pieces.append(piece)
            nr_bytes -= len(piece)
        return b"".join(pieces)

    def finish(self) -> None:
        """Assert that nothing is left; reading to the end also checks the CRC."""
        if self._position < self.length or self._stream.read(1):
            raise self._form.error(
                self.path,
                f"the array {self.name} has more than the {self._position} entries used",
            )


@contextmanager
def open_columns(path: Path, form: ArchiveForm) -> Iterator[dict[str, Column]]:
    """Give the arrays of an archive, by name; those that are optional and missing are left out.

    Raises UserError for what is no such archive, also for damage that shows while it is read.
    """
    try:
        file = _File(open_given(path))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    members = {f"{name}.npy" for name in form.dtypes}
    try:
        with closing(file), zipfile.ZipFile(file) as archive, ExitStack() as streams:
            file.read_max = None
            sizes = [each.file_size for each in archive.infolist() if each.filename in members]
            nr_packed = sum(each.compress_size for each in archive.infolist())
            must_be_in_proportion(path, sum(sizes), nr_packed, ratio_max=ARRAYS_RATIO_MAX)
            columns = {}
            for name in form.dtypes:
                try:
                    stream = streams.enter_context(archive.open(f"{name}.npy"))
                except KeyError:
                    if name in form.optional:
                        continue
                    raise form.error(path, f"the archive has no array {name}") from None
                columns[name] = Column.open(path, name, stream, form)
            yield columns
    except UserError:
        raise
    except ARCHIVE_ERRORS as error:
        raise bad_trace(
            path,
            f"the archive cannot be read: {error}",
            "expected a whole zip file of numpy arrays",
            "test it with `unzip -t` and fetch it again",
        ) from error
