"""Files with their locks: what all who use one file share (fs/inode.c, include/linux/fs.h, 6.1).

A tmpfs file has its pages in memory only. A file below /mnt has a store behind it, where pages go
when they are written back and from where they are read again; what that takes is left out, the
store answers at once. Left out: directories that are opened, permissions, times, invalidate_lock,
i_lock and the lock of the page cache's tree: adding and removing a page is one step.

The labels of the steps on a file stand here too: `page_cache[<inode>][<index>]` is one place of
its page cache, `i_size[<inode>]` its length, `store[<inode>][<index>]` a page on disk.
"""

import errno
from typing import Final

from attrs import define, field

from mmactors.actors.state.namei import walk
from mmactors.engine.baton import Engine
from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.rwsem import RwSem
from mmactors.label import Label, Mode, cached_page, i_size, stored_page
from mmactors.mm.area.mapped_file import MappedFile, Mapping

I_RWSEM_CLASS: Final = "&sb->s_type->i_mutex_key"
I_MMAP_RWSEM_CLASS: Final = "&mapping->i_mmap_rwsem"
STORE_ROOT: Final = "/mnt/"
"""Where a file system on disk is mounted, as in the recordings' guest; all else is tmpfs."""
_TMPFS_DEV: Final = (0, 22)
DISK_DEV: Final = (254, 0)
DISK_NAME: Final = "vda"
_MOUNTED: Final = ("/", STORE_ROOT.rstrip("/"), "/proc", "/sys")
_FIRST_INODE: Final = 12
"""ext4 keeps the first eleven for itself."""


@define(eq=False)
class Inode:
    """struct inode and its struct address_space, with their locks."""

    engine: Engine
    locks: LockStatistics
    mapping: Mapping
    number: int
    """Names the inode in labels; no other of the run has it."""
    i_rwsem: RwSem = field(init=False)
    """Held for writing by who writes, truncates or punches holes."""
    i_mmap_rwsem: RwSem = field(init=False)
    """Held for reading by who looks for the areas that map a page."""
    stored: set[int] = field(factory=set, init=False)
    """Indices of the pages that are on disk; others read as zeros."""

    def __attrs_post_init__(self) -> None:
        engine, locks, number = self.engine, self.locks, self.number
        self.i_rwsem = RwSem(engine, locks.of(I_RWSEM_CLASS), name=f"i_rwsem[{number}]")
        self.i_mmap_rwsem = RwSem(
            engine, locks.of(I_MMAP_RWSEM_CLASS), name=f"i_mmap_rwsem[{number}]"
        )

    def size_label(self, text: str, mode: Mode) -> Label:
        """Return the label of a step on the length."""
        return Label(text, ((i_size(self.number), mode),))

    def cache_touch(self, index: int, mode: Mode) -> tuple[str, Mode]:
        """Return what a step on one place of the page cache touches."""
        return (cached_page(self.number, index), mode)

    def store_touch(self, index: int, mode: Mode) -> tuple[str, Mode]:
        """Return what a step on one page on disk touches."""
        return (stored_page(self.number, index), mode)


@define(eq=False)
class FileSystem:
    """All files of a machine, by path, and the inodes of everything that is mapped."""

    engine: Engine
    locks: LockStatistics
    _by_path: dict[str, Inode] = field(factory=dict, init=False)
    _by_mapping: dict[Mapping, Inode] = field(factory=dict, init=False)
    _directories: dict[str, int] = field(
        factory=lambda: {path: number for number, path in enumerate(_MOUNTED)}, init=False
    )
    """By path: a number that names the directory in labels."""
    negative: dict[str, int] = field(factory=dict, init=False)
    """Dentries of names that a disk does not have, by path: no file has a name that is here."""
    left_behind: list[int] = field(factory=list, init=False)
    """Nodes of page caches that are lost with their files: the next one down was not to be had."""
    _next_number: int = field(default=_FIRST_INODE, init=False)
    """Names inodes in labels."""
    _next_ino: int = field(default=_FIRST_INODE, init=False)
    """What stat and maps show of the next file that is made."""

    def look_up(self, path: str) -> tuple[str, Mapping | None] | None:
        """Return the last name of a path in full, and its file, None: there is no such file.

        None: the path ends before, at a directory, or in none.
        """
        found = walk(path, self._by_path.__contains__)
        if isinstance(found, int) or not found.has_last_name or found.name in self._directories:
            return None
        inode = self._by_path.get(found.name)
        return found.name, None if inode is None else inode.mapping

    def directory_of(self, path: str) -> int:
        """Return the number of the directory where the last name of a path is, or would be made.

        Where directories are missing it is the last one before them, which gets the next one.
        """
        found = walk(path)
        parent = "/" if isinstance(found, int) else found.name
        while len(parent) > 1:
            parent = parent.rpartition("/")[0] or "/"
            if parent in self._directories:
                break
        return self._directories[parent]

    def names_in(self, number: int) -> tuple[tuple[str, int], ...]:
        """Return the names in a directory with their inodes' numbers, 0: of none (as a value)."""
        named = [(path, inode.number) for path, inode in self._by_path.items()]
        named += [(path, 0) for path in self.negative]
        return tuple(sorted(each for each in named if self.directory_of(each[0]) == number))

    @property
    def next_numbers(self) -> tuple[int, int]:
        """What the next inode will be called, in labels and by stat."""
        return self._next_number, self._next_ino

    def keeps_negative(self, name: str) -> bool:
        """Say whether the dentry of a path in full, which had no file, is to stay."""
        is_known = name in self._by_path or name in self.negative
        return name.startswith(STORE_ROOT) and not is_known

    def open(self, path: str, *, may_create: bool, mode: int) -> MappedFile | int:
        """Return a new open file, or minus the errno (path_openat, fs/namei.c).

        ENOENT: there is no such file and it may not be made; EISDIR: it is a directory, or is to be
        made as one; ENOTDIR: a file is used as a directory; what walk() says.
        """
        found = walk(path, self._by_path.__contains__)
        if isinstance(found, int):
            return found
        path = found.name
        is_made_as_one = found.ends_in_slash or not found.has_last_name
        if path in self._directories or (may_create and is_made_as_one):
            return -errno.EISDIR
        inode = self._by_path.get(path)
        if inode is None:
            if not may_create:
                return -errno.ENOENT
            inode = self._create(path)
        elif found.ends_in_slash:
            return -errno.ENOTDIR
        inode.mapping.nr_users += 1
        on_disk = not inode.mapping.is_shmem
        return MappedFile(
            mapping=inode.mapping,
            path=path,
            mode=mode,
            aligns_huge=on_disk,
            wants_writenotify=on_disk,
        )

    def add_file(self, path: str, *, inode: int, size_bytes: int) -> None:
        """Let a file be on disk with all of its pages, under an inode number that is known."""
        made = self._create(path, inode)
        made.mapping.size_bytes = size_bytes
        made.stored.update(range(made.mapping.nr_pages))

    def add_inode(self, *, dev: tuple[int, int], inode: int) -> Mapping:
        """Return the empty mapping of a file in memory, with a number that is known."""
        mapping = Mapping(dev=dev, inode=inode, size_bytes=0, is_shmem=True, is_noreserve=True)
        self._by_mapping[mapping] = Inode(self.engine, self.locks, mapping, self._new_number())
        return mapping

    def unlink(self, path: str) -> Inode | int:
        """Remove a name; return its inode, or minus the errno (do_unlinkat, fs/namei.c).

        ENOENT: there was no such name; EISDIR: it is a directory's; ENOTDIR: a file is used as a
        directory; what walk() says.
        """
        found = walk(path, self._by_path.__contains__)
        if isinstance(found, int):
            return found
        if not found.has_last_name or found.name in self._directories:
            return -errno.EISDIR
        if found.name not in self._by_path:
            return -errno.ENOENT
        if found.ends_in_slash:
            return -errno.ENOTDIR
        inode = self._by_path.pop(found.name)
        inode.mapping.nr_users -= 1
        inode.mapping.is_unlinked = True
        return inode

    def named(self) -> tuple[tuple[str, Inode], ...]:
        """Return all paths with their inodes, in the order in which the files were made."""
        return tuple(self._by_path.items())

    def inode_of(self, mapping: Mapping) -> Inode:
        """Return the inode of what a file or an area maps; shared anonymous memory has one, too."""
        inode = self._by_mapping.get(mapping)
        if inode is None:
            inode = Inode(self.engine, self.locks, mapping, self._new_number())
            self._by_mapping[mapping] = inode
        return inode

    def mappings(self) -> list[Mapping]:
        """Return what all files and all shared memory with an inode hold."""
        named = (inode.mapping for inode in self._by_path.values())
        return list(dict.fromkeys([*named, *self._by_mapping]))

    def inode_numbered(self, number: int) -> Inode:
        """Return the inode of a number; KeyError: there is none."""
        for inode in self._by_mapping.values():
            if inode.number == number:
                return inode
        raise KeyError(number)

    def forget(self, mapping: Mapping) -> None:
        """Drop an inode that nobody can reach any more."""
        self._by_mapping.pop(mapping, None)

    def _create(self, path: str, ino: int | None = None) -> Inode:
        on_disk = path.startswith(STORE_ROOT)
        if ino is None:
            ino = self._next_ino
        self._next_ino = max(self._next_ino, ino + 1)
        mapping = Mapping(
            dev=DISK_DEV if on_disk else _TMPFS_DEV,
            inode=ino,
            size_bytes=0,
            is_shmem=not on_disk,
            is_noreserve=not on_disk,
        )
        mapping.nr_users = 1  # its name
        inode = Inode(self.engine, self.locks, mapping, self._new_number())
        self._by_path[path] = inode
        parent = path
        while len(parent) > 1:
            parent = parent.rpartition("/")[0] or "/"
            self._directories.setdefault(parent, len(self._directories))
        self._by_mapping[mapping] = inode
        return inode

    def _new_number(self) -> int:
        number = self._next_number
        self._next_number += 1
        return number
