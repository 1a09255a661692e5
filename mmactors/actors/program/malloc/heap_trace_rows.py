"""A heap trace as a machine runs it: how many threads and objects it has, and its pieces.

The file is read once before anything of it is run: who its threads are must be known, and what is
wrong with it is told before. A row's object has a number below `nr_objects`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from attrs import define, evolve, field

from mmactors.arch.heap_trace import (
    CALLOC,
    FREE,
    HEAP_OPERATIONS,
    MALLOC_TRIM,
    MALLOPT,
    MEMALIGN,
    REALLOC,
    THREAD_BEGIN,
    HeapOperations,
)
from mmactors.units import ULONG_MAX
from mmactors.workload.heap_trace.faults import FAULTS
from mmactors.workload.heap_trace.file import HeapTrace, open_heap_trace
from mmactors.workload.operation.malloc import RunHeapTrace

PIECE_ROWS: Final = 1 << 16
_DENSE_OBJECTS: Final = 1 << 24
"""Numbers of objects from here on are given new ones: nobody has so many, so they have gaps."""


@define(eq=False)
class HeapTraceRows:
    """The first rows of a heap trace, or all of it."""

    call: RunHeapTrace
    begin_later: frozenset[int] = field(init=False)
    """Threads whose first row is thread_begin."""
    nr_threads: int = field(default=1, init=False)
    nr_objects: int = field(default=1, init=False)
    nr_rows: int = field(default=0, init=False)
    _trace: HeapTrace = field(init=False)
    _far: dict[int, int] = field(factory=dict, init=False)
    """By number of an object, from _DENSE_OBJECTS on, the number that it has here."""

    def __attrs_post_init__(self) -> None:
        """Read the file; raise UserError for what is no trace."""
        self._trace = open_heap_trace(Path(self.call.path), self.call.format)
        first_op: dict[int, int] = {}
        for rows in self._pieces():
            self.nr_rows += len(rows)
            self.nr_threads = max(self.nr_threads, int(rows.tid.max()) + 1)
            which = np.where(rows.op <= MEMALIGN, rows.id, 0)
            far = which >= _DENSE_OBJECTS
            for each in np.unique(which[far]).tolist():
                self._far.setdefault(each, _DENSE_OBJECTS + len(self._far))
            near = int(which[~far].max(initial=0)) + 1
            self.nr_objects = max(self.nr_objects, near)
            tids, firsts = np.unique(rows.tid, return_index=True)
            for tid, row in zip(tids.tolist(), firsts.tolist(), strict=True):
                first_op.setdefault(tid, int(rows.op[row]))
        if self._far:
            self.nr_objects = _DENSE_OBJECTS + len(self._far)
        self.begin_later = frozenset(tid for tid, op in first_op.items() if op == THREAD_BEGIN)

    def pieces(self) -> Iterator[HeapOperations]:
        """Yield the rows again, each object with its number here."""
        for rows in self._pieces():
            far = (rows.id >= _DENSE_OBJECTS) & (rows.op <= MEMALIGN)
            if far.any():
                which = rows.id.copy()
                which[far] = [self._far[each] for each in rows.id[far].tolist()]
                yield evolve(rows, id=which)
            else:
                yield rows

    def _pieces(self) -> Iterator[HeapOperations]:
        limit = self.call.limit
        for rows in self._trace.chunks(PIECE_ROWS):
            if limit is not None and rows.first + len(rows) >= limit:
                yield rows.part(0, limit - rows.first)
                return
            yield rows

    def where(self, rows: HeapOperations, row: int) -> str:
        """Return where a row stands, and what the program did wrong there, if that is known."""
        for fault in self._trace.faults:
            if fault.row == rows.first + row:
                return f"{fault.place}: its object {FAULTS[fault.wrong]}"
        return self._trace.place(int(rows.line[row]))


def text_of_row(rows: HeapOperations, row: int) -> str:
    """Return a row as the log shows it: `malloc #7 100`, `calloc #8 4 25`, `free #7`."""
    op, number = int(rows.op[row]), int(rows.id[row])
    size, arg = int(rows.size[row]), int(rows.arg[row])
    words: list[object] = [HEAP_OPERATIONS[op]]
    if op <= MEMALIGN:
        words.append(f"#{number}" if number >= 0 else f"{-number:#x}")
    if op == CALLOC:
        words += [arg, (size & ULONG_MAX) // max(arg & ULONG_MAX, 1)]
    elif op == MEMALIGN:
        words += [arg & ULONG_MAX, size & ULONG_MAX]
    elif op == MALLOPT:
        words += [arg, size]
    elif op in (MALLOC_TRIM, REALLOC) or op < FREE:
        words.append(size & ULONG_MAX)
    return " ".join(map(str, words))
