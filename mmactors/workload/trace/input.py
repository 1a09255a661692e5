"""What all trace readers share: where the bytes come from, which rows are legal, how errors read.

Compressed files are recognised by their first bytes, never by their names, and are decompressed
piece by piece, so that no reader ever holds a whole file. Several streams one after the other in
one file (`cat a.gz b.gz`, `pixz`, `zstd --long` in frames) are one text, as their tools say.

Invariants: only UserError leaves a reader, whatever the bytes are; every row that leaves a reader
is a legal access of user space (`check_rows`).
"""

import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import zstandard
from numpy.typing import NDArray

from mmactors.arch.trace import MODIFY
from mmactors.errors import Place, Problem, UserError
from mmactors.given_file import open_given
from mmactors.limits import LZMA_BYTES_MAX, UNPACKED_FREE_BYTES, UNPACKED_RATIO_MAX
from mmactors.units import KIB, MIB, PAGE_SIZE

CHUNK_ROWS: Final = 1 << 20
"""Rows of a chunk of a trace, at most."""

USER_END: Final = (1 << 47) - PAGE_SIZE
"""TASK_SIZE_MAX of x86-64 with 4-level page tables: the first address that is no user address."""

_INPUT_BYTES: Final = 4 * KIB
"""Compressed bytes a step. LZMA makes at most about 7000 bytes of one: a step stays below 32 MiB,
so a file made to explode cannot."""
_PLAIN_BYTES: Final = 1 * MIB
_LINES_BYTES: Final = 1 * MIB
_LINE_BYTES_MAX: Final = 64 * KIB
_QUOTED_BYTES: Final = 60


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _open_gzip() -> _Decompressor:
    return zlib.decompressobj(wbits=31)


def _open_xz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_BYTES_MAX)


def _open_zstd() -> _Decompressor:
    return zstandard.ZstdDecompressor().decompressobj()


_MAGIC: Final[dict[bytes, tuple[str, Callable[[], _Decompressor]]]] = {
    b"\x1f\x8b": ("gzip", _open_gzip),
    b"\xfd7zXZ\x00": ("xz", _open_xz),
    b"\x28\xb5\x2f\xfd": ("zstd", _open_zstd),
}


def bad_trace(
    path: Path,
    found: str,
    legal: str,
    advice: str,
    *,
    line: int | None = None,
    column: int | None = None,
) -> UserError:
    """Return the error about a place of a trace file."""
    place = Place(str(path), line, column)
    return UserError(Problem(place=place, found=found, legal=legal, advice=advice))


def unreadable(path: Path, error: OSError | ValueError) -> UserError:
    """Return the error about a file that the operating system does not give us."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return bad_trace(
        path,
        f"the trace cannot be read: {reason}",
        "expected a readable file",
        "check the path and its permissions",
    )


def read_pieces(path: Path) -> Iterator[bytes]:
    """Yield the decompressed bytes of a file in pieces, none of them empty.

    Raises UserError if the file is unreadable, corrupt or truncated.
    """
    try:
        with open_given(path) as file:
            head = file.read(_INPUT_BYTES)
            for magic, (name, factory) in _MAGIC.items():
                if head.startswith(magic):
                    rest = iter(lambda: file.read(_INPUT_BYTES), b"")
                    yield from _decompress(path, name, factory, head, rest)
                    return
            if head:
                yield head
            yield from iter(lambda: file.read(_PLAIN_BYTES), b"")
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def read_whole_lines(path: Path, *, legal: str, advice: str) -> Iterator[bytes]:
    """Yield the decompressed text of a file in pieces of whole lines, each about a MiB.

    Raises UserError as `read_pieces` does, for a line that is too long, which `legal` and `advice`
    tell of, and for a last line without a line end, of which something may have been cut.
    """
    nr_lines = 0
    pieces: list[bytes] = []
    nr_bytes = 0
    for piece in read_pieces(path):
        pieces.append(piece)
        nr_bytes += len(piece)
        if nr_bytes < _LINES_BYTES:
            continue
        text = b"".join(pieces)
        end = text.rfind(b"\n") + 1
        if len(text) - end > _LINE_BYTES_MAX:
            raise bad_trace(
                path,
                f"a line has more than {_LINE_BYTES_MAX} bytes",
                legal,
                advice,
                line=nr_lines + text.count(b"\n") + 1,
            )
        nr_lines += text.count(b"\n")
        yield text[:end]
        pieces = [text[end:]]
        nr_bytes = len(text) - end
    text = b"".join(pieces)
    end = text.rfind(b"\n") + 1
    if end:
        yield text[:end]
    if end < len(text):
        raise bad_trace(
            path,
            f"the last line, {quoted(text[end:])}, has no line end",
            "expected a line end after every line",
            "the file is truncated: record again, or remove the last line",
            line=nr_lines + text.count(b"\n") + 1,
        )


def quoted(line: bytes) -> str:
    """Return a line for people: its beginning, in quotes."""
    text = line[:_QUOTED_BYTES].decode("latin1")
    return repr(text) + ("..." if len(line) > _QUOTED_BYTES else "")


def _decompress(
    path: Path, name: str, factory: Callable[[], _Decompressor], data: bytes, rest: Iterator[bytes]
) -> Iterator[bytes]:
    stream = factory()
    offset = 0
    nr_unpacked = 0
    while data:
        try:
            piece = stream.decompress(data)
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError, MemoryError) as error:
            raise bad_trace(
                path,
                f"the {name} data is corrupt near byte {offset} of the file: {error}",
                f"expected a whole {name} file",
                f"test it with `{_TEST_COMMAND[name]}` and fetch it again",
            ) from error
        offset += len(data)
        nr_unpacked += len(piece)
        must_be_in_proportion(path, nr_unpacked, offset)
        if piece:
            yield piece
        data = stream.unused_data if stream.eof else b""
        offset -= len(data)
        if stream.eof and (data or (data := next(rest, b""))):
            # Zeros behind a stream are padding, in gzip as in xz.
            padding = len(data) - len(data.lstrip(b"\0"))
            offset += padding
            data = data[padding:]
            if data:
                stream = factory()
            else:
                data = next(rest, b"")
        elif not stream.eof:
            data = next(rest, b"")
    if not stream.eof:
        raise bad_trace(
            path,
            f"the {name} data ends at byte {offset} of the file before its end mark",
            f"expected a whole {name} file",
            "the file is truncated: fetch it again",
        )


def must_be_in_proportion(
    path: Path, nr_unpacked: int, nr_packed: int, *, ratio_max: int = UNPACKED_RATIO_MAX
) -> None:
    """Raise UserError if so few bytes of a file have become so many."""
    if nr_unpacked > UNPACKED_FREE_BYTES + ratio_max * nr_packed:
        raise bad_trace(
            path,
            f"{nr_packed:,} bytes of the file unpack to {nr_unpacked:,} and more",
            f"expected at most {ratio_max} times as many, after the first {UNPACKED_FREE_BYTES:,}",
            "check that the file is a recording; if it is, unpack it and name what it held",
        )


_TEST_COMMAND: Final = {"gzip": "gzip -t", "xz": "xz -t", "zstd": "zstd -t"}


def empty_trace(path: Path) -> UserError:
    """Return the error about a trace without any access."""
    return bad_trace(
        path,
        "the trace holds no access",
        "expected at least one access",
        "check that the program was traced to its end",
    )


def check_rows(
    path: Path,
    *,
    kind: NDArray[np.uint8],
    size: NDArray[np.uint16],
    address: NDArray[np.int64],
    first: int,
    record: str = "access",
) -> None:
    """Raise UserError unless every row is an access of user space.

    `first` is the number of the first row in the file, from 0; `record` is what a row is called.
    """
    end = address + size
    is_bad = (kind > MODIFY) | (size == 0) | (address < 0) | (end > USER_END) | (end < address)
    if not is_bad.any():
        return
    row = int(np.argmax(is_bad))
    where = f"{record} {first + row}"
    if kind[row] > MODIFY:
        raise bad_trace(
            path,
            f"{where} is of kind {kind[row]}",
            f"expected a kind from 0 to {MODIFY}: fetch, load, store, modify",
            "check how the trace was written",
        )
    if size[row] == 0:
        raise bad_trace(
            path,
            f"{where} has the size 0",
            "expected at least 1 byte",
            "check how the trace was written",
        )
    raise bad_address(path, where, int(address[row]), int(size[row]))


def bad_address(
    path: Path, where: str, address: int, size: int, *, line: int | None = None
) -> UserError:
    """Return the error about an access outside user space."""
    return bad_trace(
        path,
        f"{where} touches {size} bytes at {address & 0xFFFF_FFFF_FFFF_FFFF:#x}",
        f"expected canonical addresses of user space, below {USER_END:#x}",
        "trace a program of user space, and check that the file is what its name says",
        line=line,
    )
