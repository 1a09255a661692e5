"""Files of a machine: their length, their pages in memory and on disk."""

from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

from mmactors.actors.state.inode import FileSystem


@frozen(kw_only=True)
class File:
    """One file that has a name."""

    path: str
    inode: int
    size_bytes: int
    is_shmem: bool
    """Memory is all it has (tmpfs)."""
    nr_users: int
    """Its name, open files, and areas that map it."""
    pages: Mapping[int, int]
    """The page cache: pfn by index, lowest index first."""
    stored: tuple[int, ...]
    """Indices of the pages that are on disk."""


def files_of(file_system: FileSystem) -> dict[str, File]:
    """Return all files that have a name, by path."""
    return {
        path: File(
            path=path,
            inode=inode.number,
            size_bytes=inode.mapping.size_bytes,
            is_shmem=inode.mapping.is_shmem,
            nr_users=inode.mapping.nr_users,
            pages=MappingProxyType(dict(sorted(inode.mapping.pages.items()))),
            stored=tuple(sorted(inode.stored)),
        )
        for path, inode in file_system.named()
    }
