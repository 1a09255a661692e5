"""Files that somebody names: only regular ones are opened, so that every read ends.

A pipe without a writer, a terminal, or /dev/zero would never end. Files of /proc and /sys say that
they have no bytes, and some of them wait for more: they are taken at their word.
"""

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

_KINDS: Final = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_given(path: Path, *, may_grow: bool = False) -> BinaryIO:
    """Open a regular file for reading; with `may_grow`, also one that is empty so far.

    Raises OSError, whose strerror says what else the path is, and ValueError for what is no path.
    """
    _must_be_regular(path.stat())  # Before it is opened: to open a device may do something.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        _must_be_regular(status)
        if status.st_size == 0 and not may_grow:
            os.close(handle)
            return io.BytesIO()
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_given(path: Path, *, bytes_max: int) -> bytes:
    """Return what a regular file holds; raise as `open_given` does, and if it is longer."""
    with open_given(path) as file:
        is_longer = path.stat().st_size > bytes_max
        data = b"" if is_longer else file.read(bytes_max + 1)
    if is_longer or len(data) > bytes_max:
        raise OSError(errno.EFBIG, f"it has more than {bytes_max:,} bytes")
    return data


def is_given_file(path: Path) -> bool:
    """Return whether there is such a regular file; False also for what no file can be called."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _must_be_regular(status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    kind = next((kind for is_kind, kind in _KINDS if is_kind(status.st_mode)), "no regular file")
    raise OSError(errno.EINVAL, f"it is {kind}; only a regular file is read")
