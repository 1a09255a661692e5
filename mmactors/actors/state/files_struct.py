"""The open files of a process (struct files_struct; fs/file.c, kernel/fork.c; Linux 6.1).

And what the devices among them hold of its pages, until they are closed (mm/gup.c).

A program knows its files by names, the kernel by descriptors: the lowest number that is free. A
file whose name was given to another stays open until the process ends. Left out: offsets,
FD_CLOEXEC, RLIMIT_NOFILE, and the three standard streams, for which the first numbers are kept.

Invariant: each file here has one user more for it.
"""

from itertools import count
from typing import Final

from attrs import define, field, frozen

from mmactors.actors.state.address_space import AddressSpace
from mmactors.mm.area.mapped_file import MappedFile

FIRST_FD: Final = 3


@frozen
class Pinned:
    """A page that a device holds, and where it was found."""

    space: AddressSpace
    address: int
    pfn: int


@define(eq=False)
class FilesStruct:
    """Open files, by their descriptors."""

    _files: dict[int, MappedFile] = field(factory=dict)
    _names: dict[str, int] = field(factory=dict)
    """By name in the program: the descriptor."""
    thing: int = 0
    """Address of the object; 0: there is none, or it was given back."""

    def get(self, name: str) -> MappedFile | None:
        """Return an open file; None: nothing is open under that name."""
        fd = self._names.get(name)
        return None if fd is None else self._files[fd]

    def items(self) -> list[tuple[str, MappedFile]]:
        """Return the names, and the files that they stand for."""
        return [(name, self._files[fd]) for name, fd in self._names.items()]

    def descriptors(self) -> list[tuple[int, MappedFile]]:
        """Return all open files with their descriptors, rising."""
        return sorted(self._files.items(), key=lambda item: item[0])

    def install(self, name: str, file: MappedFile) -> None:
        """Let `name` be `file`, one user of which is handed over (alloc_fd, fd_install)."""
        fd = next(number for number in count(FIRST_FD) if number not in self._files)
        self._files[fd] = file
        self._names[name] = fd

    def remove(self, name: str) -> MappedFile:
        """Take out a file, whose user is the caller's to drop."""
        return self._files.pop(self._names.pop(name))

    def remove_all(self) -> list[MappedFile]:
        """Take out all files, by descriptor (close_files)."""
        files = [file for _, file in self.descriptors()]
        self._files.clear()
        self._names.clear()
        return files

    def dup(self, thing: int) -> "FilesStruct":
        """Return the same open files at `thing`: each table closes its own."""
        for file in self._files.values():
            file.get()
        return FilesStruct(dict(self._files), dict(self._names), thing)
