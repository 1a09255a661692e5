"""What a path means (fs/namei.c: getname_flags, link_path_walk; Linux 6.1).

Every process stands in `/`, so that a path that does not begin there is looked up from there. All
directories that a path goes through are there, unless a file has the name. Left out: making and
removing directories, symbolic links, permissions.
"""

import errno
from collections.abc import Callable
from typing import Final

from attrs import frozen

PATH_MAX: Final = 4096
"""Bytes of a path, the NUL at its end too (include/uapi/linux/limits.h)."""
NAME_MAX: Final = 255
"""Bytes of one name in it."""


@frozen
class Found:
    """Where a path ends."""

    name: str
    """The path from `/` on, without `.`, `..` and empty names."""
    ends_in_slash: bool
    """Nothing but a directory may have the last name."""
    has_last_name: bool
    """It ends in a name, not in `.` or `..`, and is not `/` (LAST_NORM)."""


def getname(path: str) -> int:
    """Return 0, or minus the errno of a path that is not even looked up."""
    if not path:
        return -errno.ENOENT
    if len(path.encode("utf-8", "surrogateescape")) >= PATH_MAX:
        return -errno.ENAMETOOLONG
    return 0


def walk(path: str, is_file: Callable[[str], bool] = lambda _: False) -> Found | int:
    """Return where a path ends, or minus the errno.

    ENOENT: it is empty; ENAMETOOLONG: it has PATH_MAX bytes, or a name more than NAME_MAX; ENOTDIR:
    it goes through a file.
    """
    error = getname(path)
    if error:
        return error
    at: list[str] = []
    names = [name for name in path.split("/") if name]
    for name in names:
        if at and is_file("/" + "/".join(at)):
            return -errno.ENOTDIR
        if name == "..":
            del at[-1:]
        elif len(name.encode("utf-8", "surrogateescape")) > NAME_MAX:
            return -errno.ENAMETOOLONG
        elif name != ".":
            at.append(name)
    return Found(
        "/" + "/".join(at),
        ends_in_slash=path.endswith("/"),
        has_last_name=bool(names) and names[-1] not in (".", ".."),
    )


def full_path(path: str) -> str:
    """Return what a path means if nothing is wrong with it, else the path."""
    found = walk(path)
    return path if isinstance(found, int) else found.name
