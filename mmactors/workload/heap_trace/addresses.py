"""Recordings that say addresses: which object each is, and rows of operations on objects.

What the readers of mtrace's and ltrace's text have in common. Objects are numbered in the order in
which they are allocated. What is kept has one entry for each address that was seen, so it grows
with the heap and not with the length of the recording.

A recording need not be whole: it may begin late, and a library may allocate unseen. What is freed
and was not seen to be allocated is a row with minus its address for an object. An address that is
allocated twice was freed in between, which becomes a row of its own.
"""

from array import array
from collections import Counter
from typing import Final

import numpy as np

from mmactors.arch.heap_trace import FREE, REALLOC, HeapOperations
from mmactors.workload.heap_trace.rows import ReadRows

FAILED: Final = "allocations that failed"
UNSEEN_FREES: Final = "objects whose free was not seen"
UNSEEN_OBJECTS: Final = "frees of objects whose allocation was not seen"

ADDRESS: Final = rb"0x(?!0)[0-7]?[0-9a-f]{1,11}"
"""An address of user space on x86-64 with 4-level page tables, and not NULL, as a pattern."""
_COLUMNS: Final = 6


def as_column(size: int) -> int:
    """Return a size of 64 bits as a column holds it: from 2^63 on it is negative."""
    return size - (1 << 64) if size >> 63 else size


class RecordedRows:
    """The rows of a recording, and the objects at its addresses.

    `line` of each call is where the recording says so, `tid` the thread that did it.
    """

    def __init__(self, notes: Counter[str]) -> None:
        self.notes: Final = notes
        self._values = array("q")
        self._nr_taken = 0
        self._next_id = 0
        self._objects: Final[dict[int, int]] = {}
        """By address the object there; if that was freed, its complement."""

    def add(
        self, op: int, line: int, *, tid: int = 0, number: int = 0, size: int = 0, arg: int = 0
    ) -> None:
        """Add a row that allocates nothing."""
        self._values.extend((op, tid, number, size, arg, line))

    def allocate(
        self, op: int, line: int, address: int, *, tid: int = 0, size: int, arg: int = 0
    ) -> None:
        """Add the allocation of an object."""
        self._must_be_free(address, line, tid)
        self._objects[address] = number = self._next_id
        self._next_id += 1
        self._values.extend((op, tid, number, as_column(size), as_column(arg), line))

    def free(self, line: int, address: int, *, tid: int = 0, is_again: bool = True) -> None:
        """Add a free. `is_again`: of a freed object it is a second free, not of an unseen one."""
        known = self._objects.get(address)
        if known is not None and known >= 0:
            self._objects[address] = ~known
        elif known is not None and is_again:
            known = ~known
        else:
            self.notes[UNSEEN_OBJECTS] += 1
            known = -address
        self._values.extend((FREE, tid, known, 0, 0, line))

    def take_object(self, address: int) -> int | None:
        """Return the object at an address, which is not there any more; None: there is none."""
        known = self._objects.get(address)
        if known is None or known < 0:
            return None
        self._objects[address] = ~known
        return known

    def put_object(self, address: int, number: int) -> None:
        """Let an object that was taken be at an address."""
        self._objects[address] = number

    def reallocate(self, line: int, number: int, address: int, *, tid: int = 0, size: int) -> None:
        """Add the realloc of an object that was taken, which is at `address` now."""
        self._must_be_free(address, line, tid)
        self._objects[address] = number
        self._values.extend((REALLOC, tid, number, as_column(size), 0, line))

    def has_object(self, address: int) -> bool:
        """Return whether an object that is not freed is at an address."""
        return self._objects.get(address, -1) >= 0

    def _must_be_free(self, address: int, line: int, tid: int) -> None:
        known = self._objects.get(address)
        if known is not None and known >= 0:
            self.notes[UNSEEN_FREES] += 1
            self._values.extend((FREE, tid, known, 0, 0, line))

    def take(self) -> HeapOperations:
        """Return the rows that were added since the last time."""
        values = np.frombuffer(self._values, np.int64).reshape(-1, _COLUMNS)
        op, tid, number, size, arg, line = np.ascontiguousarray(values.T)
        read = ReadRows(op=op, tid=tid, id=number, size=size, arg=arg)
        rows = read.operations(first=self._nr_taken, line=line)
        self._nr_taken += len(rows)
        self._values = array("q")
        return rows
