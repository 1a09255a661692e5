"""The heap of a process's C library, as those see it who do not call the library."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # A machine without a heap does without the library, and its compiled functions.
    from mmactors.malloc.library import MallocLibrary


class Heap(Protocol):
    """What ends, is copied and changes with an address space (`UserHeap`)."""

    ctx_id: int
    """Of the address space in which it lies."""
    library: "MallocLibrary"
    is_copy: bool
    """It was copied by a fork, and nobody has let its locks be free yet."""

    def counters(self) -> tuple[int, ...]:
        """Return what there is of it, as observe/counters/table.py names it (HEAP)."""

    def forget(self, start: int, length: int) -> None:
        """Let what the library wrote into some pages read 0: they are gone, or new."""

    def fill(self, start: int, nr_bytes: int, byte: int) -> None:
        """The program has written one byte again and again."""

    def put_bytes(self, address: int, data: bytes) -> None:
        """The program has written a few bytes."""

    def fork(self, ctx_id: int, thread: int) -> "Heap":
        """Return that of a child, whose address space is `ctx_id` and whose thread is `thread`."""
