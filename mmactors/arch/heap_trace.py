"""The form in which operations on a heap reach an allocator: columns, one row an operation.

An operation is a call of the C library's malloc family (glibc 2.36, malloc/malloc.c), or the begin
or end of a thread, which the library learns of, too (tcache_thread_shutdown). Objects have numbers
instead of addresses, so that a row says the same under every allocator.
"""

from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

MALLOC: Final = 0
CALLOC: Final = 1
REALLOC: Final = 2
FREE: Final = 3
MEMALIGN: Final = 4
MALLOC_TRIM: Final = 5
THREAD_END: Final = 6
THREAD_BEGIN: Final = 7
MALLOPT: Final = 8

HEAP_OPERATIONS: Final = (
    "malloc",
    "calloc",
    "realloc",
    "free",
    "memalign",
    "malloc_trim",
    "thread_end",
    "thread_begin",
    "mallopt",
)
"""Names of the operations, by number."""


@frozen(eq=False)
class HeapOperations:
    """A piece of a heap trace: columns of one length, in the order of the trace.

    | op | id | size | arg |
    |---|---|---|---|
    | malloc, calloc, memalign | the new object | bytes (calloc: the product) | calloc: members; memalign: alignment |
    | realloc | the object, which stays the same; one that is new: realloc(NULL, size) | bytes; 0 frees | |
    | free | the object; below 0: minus an address that the trace has seen nobody allocate | | |
    | malloc_trim | | pad, bytes | |
    | mallopt | | the value | the parameter |
    | thread_begin, thread_end | | | |

    An object's number is never used again. A column that an operation has no use for may hold
    anything. Sizes and alignments have 64 bits: from 2^63 on they are negative here.
    """  # noqa: E501 - a table

    first: int
    """Number of the first row in the trace, from 0."""
    op: NDArray[np.uint8]
    tid: NDArray[np.int32]
    """Number of the thread that makes the call; 0 is the main thread. Of thread_begin and
    thread_end the thread itself."""
    id: NDArray[np.int64]
    size: NDArray[np.int64]
    arg: NDArray[np.int64]
    line: NDArray[np.int64]
    """The line of the file that the row was read from, from 1; of an archive the row, from 0."""

    def __len__(self) -> int:
        return len(self.op)

    def part(self, start: int, end: int) -> "HeapOperations":
        """Return the rows from `start` up to `end`, counted in this piece."""
        rows = slice(start, end)
        return HeapOperations(
            first=self.first + start,
            op=self.op[rows],
            tid=self.tid[rows],
            id=self.id[rows],
            size=self.size[rows],
            arg=self.arg[rows],
            line=self.line[rows],
        )
