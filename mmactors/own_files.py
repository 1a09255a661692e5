"""Files that are ours: there whole or not at all, never through a link, in a folder of one writer.

A `Folder` is held open and names are looked up in it, so that it may be moved meanwhile. Each file
is made beside its place under another name, as a new one (O_EXCL), and renamed; each folder on the
way is opened as one (O_NOFOLLOW). A symbolic link that somebody planted is replaced or refused:
what it leads to is never opened. Everything goes through `os`, where tests let each call fail once.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

PARTIAL: Final = ".partial"
"""Ends the names of files that are not there yet."""

_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE: Final = 0o666
_WRITE_BYTES: Final = 1 << 20


class InUseError(Exception):
    """Somebody else writes the folder."""


class Folder:
    """A folder whose files are ours. All methods raise OSError."""

    def __init__(self, path: Path, *, may_be_link: bool = True) -> None:
        """Open a folder; `may_be_link`: its own name may be that of a link which leads to it."""
        self.path: Final = path
        self._fd: Final = os.open(path, _FOLDER_FLAGS | (0 if may_be_link else os.O_NOFOLLOW))
        self._close: Final = weakref.finalize(self, _close, self._fd)

    def close(self) -> None:
        """Let go of the folder, and of its lock; twice is allowed."""
        self._close()

    def lock(self) -> bool:
        """Be the only one who writes here, until `close` or the end of the process, however it is.

        Return whether the file system can lock folders. Raises InUseError.
        """
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError from None
        except OSError:
            return False
        return True

    def unlock(self) -> None:
        """Let another write here."""
        with contextlib.suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def names(self) -> list[str]:
        """Return the names in the folder, in order."""
        return sorted(os.listdir(self._fd))  # noqa: PTH208 - of what is open

    def modified_ns(self, name: str) -> int:
        """Return when a file was changed last, in ns."""
        return os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mtime_ns

    def new_file(self, name: str) -> int:
        """Return a descriptor of a new, empty file, to be written while it grows."""
        self._remove_file(name, self._fd)
        return os.open(name, _NEW_FLAGS, _MODE, dir_fd=self._fd)

    def write(self, name: str, text: Iterable[str]) -> None:
        """Put a text in place of a file, folders included, whole or not at all."""
        with self._parent_of(name) as (last, parent):
            partial = _beside(last)
            fd = os.open(partial, _NEW_FLAGS, _MODE, dir_fd=parent)
            with self._renamed(partial, last, parent):
                try:
                    for data in _chunks(text):
                        write_all(fd, data)
                finally:
                    os.close(fd)

    def link(self, name: str, target: str) -> None:
        """Put a symbolic link in place of a file; it is never followed.

        Raises ValueError if the file system does not take the target.
        """
        with self._parent_of(name) as (last, parent):
            partial = _beside(last)
            os.symlink(target, partial, dir_fd=parent)
            with self._renamed(partial, last, parent):
                pass  # It is whole as soon as it is there.

    def overwrite(self, name: str, text: str) -> None:
        """Write a short text over a file that is there: for when a full disk takes no new one."""
        data = text.encode()
        fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            write_all(fd, data)
            os.ftruncate(fd, len(data))
        finally:
            os.close(fd)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with what is in it, if it is there; links are not followed."""
        try:
            self._remove_file(name, self._fd)
        except (IsADirectoryError, PermissionError):  # macOS refuses with the second
            shutil.rmtree(name, dir_fd=self._fd)

    @contextlib.contextmanager
    def _renamed(self, partial: str, last: str, folder: int) -> Iterator[None]:
        """Rename what was made beside its place when it is whole; if anything fails, remove it."""
        try:
            yield
            os.replace(partial, last, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                self._remove_file(partial, folder)
            raise

    @contextlib.contextmanager
    def _parent_of(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield the last part of a name, and a descriptor of the folder that has it."""
        *folders, last = _parts(name)
        parent = self._fd
        with contextlib.ExitStack() as stack:
            for folder in folders:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, dir_fd=parent)
                parent = os.open(folder, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=parent)
                stack.callback(os.close, parent)
            yield last, parent

    @staticmethod
    def _remove_file(name: str, folder: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


class GrowingFile:
    """A file that grows by complete lines. What fails is cut off, and after that nothing comes."""

    def __init__(self, fd: int) -> None:
        self.error: OSError | None = None
        """What failed; the file ends before it."""
        self._fd: Final = fd
        self._nr_bytes = 0
        self._close: Final = weakref.finalize(self, _close, fd)

    def append(self, lines: bytes) -> None:
        """Write some lines with their ends. Raises OSError, and the same one ever after."""
        if self.error is not None:
            raise self.error
        try:
            write_all(self._fd, lines)
        except OSError as error:
            self.error = error
            with contextlib.suppress(OSError):  # Readers pass over a line that has no end.
                os.ftruncate(self._fd, self._nr_bytes)
            raise
        self._nr_bytes += len(lines)

    def close(self) -> None:
        """Close it; twice is allowed. Raises OSError: some file systems write only now."""
        if self._close.detach() is not None:
            os.close(self._fd)


def new_file(path: Path) -> int:
    """Return a descriptor of a new, empty file in place of what has its name, if anything."""
    path.unlink(missing_ok=True)
    return os.open(path, _NEW_FLAGS, _MODE)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file, which is put in place of what has a name as soon as it is whole.

    Raises OSError, after which there is what was there before.
    """
    partial = path.with_name(_beside(path.name))
    fd = os.open(partial, _NEW_FLAGS, _MODE)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
        os.replace(partial, path)  # noqa: PTH105 - like all of this module
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)  # noqa: PTH108 - like all of this module
        raise


def write_all(fd: int, data: bytes) -> None:
    """Write all of some bytes; raise OSError, after which some of them may have been written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _parts(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name).parts
    assert parts, "a file of the folder needs a name"
    assert ".." not in parts, f"{name} leaves the folder"
    assert not PurePosixPath(name).is_absolute(), f"{name} leaves the folder"
    return parts


def _beside(name: str) -> str:
    """Return a name that nobody else has, also who writes the same file at the same time."""
    return f"{name}.{secrets.token_hex(4)}{PARTIAL}"


def _chunks(text: Iterable[str]) -> Iterator[bytes]:
    """Yield a text that comes in parts, in pieces that are worth a write."""
    waiting: list[bytes] = []
    nr_bytes = 0
    for part in text:
        data = part.encode()
        waiting.append(data)
        nr_bytes += len(data)
        if nr_bytes >= _WRITE_BYTES:
            yield b"".join(waiting)
            waiting.clear()
            nr_bytes = 0
    yield b"".join(waiting)


def _close(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.close(fd)
