"""Files of native code: where they lie, and whether they are of this source.

A file is one line of JSON, the stamp, and then an object file. The stamp names every module that
was imported when the code was made, with a digest of its text: code and constants of compiled
functions come from nowhere else. A file with another stamp is as good as none, so changed source
never runs old code.

The files that a wheel brings lie beside this module; others in the user's cache, a folder for each
place that mmactors is installed at. What lies there runs as this user, so it counts only if nobody
else can have written it: file and folder belong to this user or to root, and neither the group nor
others may write them. No file of the current folder counts: a path that is not absolute names no
cache.
"""

import hashlib
import json
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from mmactors.arch.native.abi import FORMAT, OBJECT_HEADER
from mmactors.arch.native.parts import PACKAGE

SHIPPED: Final = Path(__file__).parent / "built"
CACHE_VARIABLE: Final = "MMACTORS_CACHE_DIR"


class CannotKeepError(Exception):
    """Code cannot be kept for next time; the text says why."""


def cache_dir() -> Path | None:
    """Return the folder for code that is made here; None: this user has none.

    It is in $MMACTORS_CACHE_DIR, or in the user's cache ($XDG_CACHE_HOME, or of the home folder).
    """
    root = _cache_root()
    return None if root is None else root / _digest(os.fsencode(PACKAGE))[:12]


def _cache_root() -> Path | None:
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen) if os.path.isabs(chosen) else None  # noqa: PTH117 - of a text
    root = os.environ.get("XDG_CACHE_HOME", "")
    if sys.platform != "darwin" and os.path.isabs(root):  # noqa: PTH117 - as above
        return Path(root, "mmactors")
    try:
        home = Path.home()
    except RuntimeError:  # A user without a name, as in many containers.
        return None
    if not (home.is_absolute() and _is_folder(home)):
        return None
    caches = home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
    return caches / "mmactors"


def file_name(part: str) -> str:
    """Return the name of the file with the code of a part for this kind of machine.

    Such as `access.x86_64-linux.native`: several may share a home directory.
    """
    return f"{part}.{platform.machine().lower()}-{sys.platform}.native"


@frozen
class Found:
    """The native code of a part, and where it lay."""

    code: bytes = field(repr=False)
    path: Path


def find(part: str) -> Found | None:
    """Return the code of a part for this machine and source; None if it is to be made."""
    name = file_name(part)
    folder = cache_dir()
    for path, is_shipped in ((SHIPPED / name, True), (folder and folder / name, False)):
        if path is None:
            continue
        with suppress(OSError):
            content = path.read_bytes() if is_shipped else _read_own(path)
            code = None if content is None else unpack(content)
            if code is not None:
                return Found(code, path)
    return None


def _read_own(path: Path) -> bytes | None:
    """Return a file's content; None if somebody else can have written it."""
    # A pipe does not block, and a link leads to a file that was not kept here.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        is_own = stat.S_ISREG(status.st_mode) and _is_own(status) and _is_own(path.parent.stat())
        return file.read() if is_own else None


def _is_own(status: os.stat_result) -> bool:
    """Return whether only this user, or root, can write it."""
    is_shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid in {os.geteuid(), 0} and not is_shared


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def unpack(content: bytes) -> bytes | None:
    """Return the object file in a file's content; None if it is of other source, or broken."""
    head, _, code = content.partition(b"\n")
    try:
        stamp = json.loads(head)
        is_ours = (
            (stamp["format"], stamp["object_header"]) == (FORMAT, OBJECT_HEADER)
            and stamp["code"] == _digest(code)
            and all(_is_unchanged(name, digest) for name, digest in stamp["sources"].items())
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return code if is_ours else None


def pack(code: bytes, sources: Iterable[Path]) -> bytes:
    """Return the content of a file with an object file that was made from these modules."""
    digests = {
        path.relative_to(PACKAGE).as_posix(): _digest(path.read_bytes()) for path in sorted(sources)
    }
    stamp: dict[str, Any] = {
        "format": FORMAT,
        "object_header": OBJECT_HEADER,
        "code": _digest(code),
        "sources": digests,
    }
    return json.dumps(stamp).encode() + b"\n" + code


def own_folder() -> Path:
    """Return the cache folder, which is there and only this user's; raise CannotKeepError."""
    folder = cache_dir()
    if folder is None:
        chosen = os.environ.get(CACHE_VARIABLE)
        if chosen:
            raise CannotKeepError(f"{CACHE_VARIABLE} is {chosen!a}, no absolute path")
        raise CannotKeepError("this user has no home folder")
    try:
        for each in (*reversed(folder.parents), folder):
            with suppress(FileExistsError, IsADirectoryError):
                if not _is_folder(each):
                    each.mkdir(mode=0o700)
        status = folder.stat()
        if status.st_uid == os.geteuid() and not _is_own(status):
            folder.chmod(0o700)  # Made under a umask that lets a group write, by an older version.
            status = folder.stat()
    except OSError as error:
        raise CannotKeepError(f"{error.strerror}: {str(error.filename or folder)!a}") from None
    if not _is_own(status):
        raise CannotKeepError(f"others can write {str(folder)!a}, or it is theirs")
    return folder


def keep(part: str, content: bytes) -> None:
    """Keep the file of a part for next time; raise CannotKeepError."""
    folder = own_folder()
    try:
        save(folder / file_name(part), content)
    except OSError as error:
        raise CannotKeepError(f"{error.strerror}: {str(folder)!a}") from None


def save(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def _is_unchanged(name: str, digest: str) -> bool:
    try:
        return _digest((PACKAGE / name).read_bytes()) == digest
    except OSError:
        return False


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
