"""Files of native code: where they lie, and whether they are of this source.

A file is one line of JSON, the stamp, and then an object file. The stamp names every module that
was imported when the code was made, with a digest of its text: code and constants of compiled
functions come from nowhere else. A file with another stamp is as good as none, so changed source
never runs old code.

The files that a wheel brings lie beside this module; others in the user's cache, a folder for each
place that mmactors is installed at.
"""

import hashlib
import json
import os
import platform
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


def cache_dir() -> Path:
    """Return the folder for code that is made here: $MMACTORS_CACHE_DIR, or the user's cache."""
    name = _digest(str(PACKAGE).encode())[:12]
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen) / name
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mmactors" / name
    root = os.environ.get("XDG_CACHE_HOME")
    return Path(root or Path.home() / ".cache") / "mmactors" / name


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
    for path in (SHIPPED / name, cache_dir() / name):
        with suppress(OSError):
            code = unpack(path.read_bytes())
            if code is not None:
                return Found(code, path)
    return None


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
