"""The open files of a process (struct files_struct; fs/file.c, kernel/fork.c; Linux 6.1).

And what the devices among them hold of its pages, until they are closed (mm/gup.c).

A program knows its files by names; a file whose name was given to another stays open until the
process ends. Left out: descriptors, offsets, FD_CLOEXEC.

Invariant: each file here is one user of its inode.
"""

from attrs import define, field, frozen

from mmactors.actors.state.address_space import AddressSpace
from mmactors.mm.area.mapped_file import MappedFile


@frozen
class Pinned:
    """A page that a device holds, and where it was found."""

    space: AddressSpace
    address: int
    pfn: int


@define(eq=False)
class FilesStruct:
    """Open files, by their names in the program."""

    _named: dict[str, MappedFile] = field(factory=dict)
    _unnamed: list[MappedFile] = field(factory=list)

    def get(self, name: str) -> MappedFile | None:
        """Return an open file; None: nothing is open under that name."""
        return self._named.get(name)

    def items(self) -> list[tuple[str, MappedFile]]:
        """Return the names, and the files that they stand for."""
        return list(self._named.items())

    def install(self, name: str, file: MappedFile) -> None:
        """Let `name` be `file`, one user of which is handed over."""
        before = self._named.get(name)
        if before is not None:
            self._unnamed.append(before)
        self._named[name] = file

    def remove(self, name: str) -> MappedFile:
        """Take out a file, whose user is the caller's to drop."""
        return self._named.pop(name)

    def remove_all(self) -> list[MappedFile]:
        """Take out all files, in the order in which they were opened."""
        files = [*self._unnamed, *self._named.values()]
        self._named.clear()
        self._unnamed.clear()
        return files

    def dup(self) -> "FilesStruct":
        """Return the same open files for a child (dup_fd): each closes its own."""
        files = FilesStruct(dict(self._named), list(self._unnamed))
        for file in (*files._named.values(), *files._unnamed):
            file.mapping.nr_users += 1
        return files
