"""Lives of objects and threads in a heap trace, and what is wrong with them (faults.py).

What is kept is a byte an object.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.heap_trace import (
    FREE,
    MEMALIGN,
    REALLOC,
    THREAD_BEGIN,
    THREAD_END,
    HeapOperations,
)
from mmactors.arch.jit import compiled
from mmactors.limits import HEAP_TRACE_THREADS_MAX
from mmactors.workload.heap_trace.faults import FAULTS, Wrong

_UNSEEN: Final = 0
_THERE: Final = 1
_GONE: Final = 2
"""What becomes of an object or a thread."""


_FREED_TWICE: Final = int(Wrong.FREED_TWICE)
_FREED_UNSEEN: Final = int(Wrong.FREED_UNSEEN)
_REALLOCATED_FREED: Final = int(Wrong.REALLOCATED_FREED)
_ALLOCATED_TWICE: Final = int(Wrong.ALLOCATED_TWICE)
_ACTS_AFTER_END: Final = int(Wrong.ACTS_AFTER_END)
_BEGINS_TWICE: Final = int(Wrong.BEGINS_TWICE)

_FIRST_OBJECTS: Final = 1 << 16
_DENSE_OBJECTS: Final = 1 << 28
"""Numbers of objects from here on are given new ones: nobody has so many, so they have gaps."""


@compiled
def follow_rows(
    op: NDArray[np.uint8],
    tid: NDArray[np.int32],
    number: NDArray[np.int64],
    size: NDArray[np.int64],
    objects: NDArray[np.int8],
    threads: NDArray[np.int8],
    wrong: NDArray[np.int8],
) -> int:
    """Follow rows; write what is wrong with each, or 0, and return with how many something is."""
    nr_wrong = 0
    for row in range(len(op)):
        found = 0
        operation = op[row]
        thread = threads[tid[row]]
        if operation == THREAD_BEGIN:
            if thread == _THERE:
                found = _BEGINS_TWICE
            threads[tid[row]] = _THERE
        elif thread == _GONE:
            found = _ACTS_AFTER_END
        elif operation == THREAD_END:
            threads[tid[row]] = _GONE
        else:
            threads[tid[row]] = _THERE
        which = number[row]
        if operation <= MEMALIGN and which >= 0 and found == 0:
            known = objects[which]
            if operation == FREE:
                if known == _GONE:
                    found = _FREED_TWICE
                elif known == _UNSEEN:
                    found = _FREED_UNSEEN
                objects[which] = _GONE
            elif operation == REALLOC:
                if known == _GONE:
                    found = _REALLOCATED_FREED
                elif known == _THERE and size[row] == 0:
                    objects[which] = _GONE
                else:
                    objects[which] = _THERE
            else:
                if known != _UNSEEN:
                    found = _ALLOCATED_TWICE
                objects[which] = _THERE
        wrong[row] = found
        if found != 0:
            nr_wrong += 1
    return nr_wrong


class Lives:
    """The objects and threads of a trace, after the rows so far."""

    def __init__(self) -> None:
        self._objects = np.zeros(_FIRST_OBJECTS, np.int8)
        self._threads: Final = np.zeros(HEAP_TRACE_THREADS_MAX, np.int8)
        self._far: Final[dict[int, int]] = {}
        """By number of an object, from _DENSE_OBJECTS on, its place."""

    def follow(self, rows: HeapOperations, *, faults_max: int) -> list[tuple[int, Wrong]]:
        """Follow rows; return which are wrong, and how: `faults_max` faults, then a mistake."""
        number = np.where(rows.op <= MEMALIGN, rows.id, -1)
        highest = int(number.max(initial=0))
        if highest >= _DENSE_OBJECTS:
            number = np.array([self._place_of(each) for each in number.tolist()], np.int64)
            highest = int(number.max())
        if highest >= len(self._objects):
            objects = np.zeros(max(highest + 1, 2 * len(self._objects)), np.int8)
            objects[: len(self._objects)] = self._objects
            self._objects = objects
        wrong = np.zeros(len(rows), np.int8)
        nr_wrong = follow_rows(
            np.ascontiguousarray(rows.op),
            np.ascontiguousarray(rows.tid),
            number,
            np.ascontiguousarray(rows.size),
            self._objects,
            self._threads,
            wrong,
        )
        if nr_wrong == 0:
            return []
        mistakes = np.flatnonzero(wrong > max(FAULTS))[:1]
        end = int(mistakes[0]) if len(mistakes) else len(wrong)
        found = np.concatenate([np.flatnonzero(wrong[:end])[:faults_max], mistakes])
        return [(row, Wrong(int(wrong[row]))) for row in found.tolist()]

    def _place_of(self, number: int) -> int:
        if number < _DENSE_OBJECTS:
            return number
        return self._far.setdefault(number, _DENSE_OBJECTS + len(self._far))
