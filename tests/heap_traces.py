"""Heap traces that tests read: rows as tuples, files of a text, and recordings."""

from pathlib import Path

import numpy as np

from mmactors.arch.heap_trace import HEAP_OPERATIONS, HeapOperations
from mmactors.workload.heap_trace.file import open_heap_trace

RECORDINGS = Path(__file__).parent / "reference" / "malloc"
TEXTS = RECORDINGS / "text"
COLUMNS = ("op", "tid", "id", "size", "arg")


def rows_of(trace):
    """Return a trace's rows: name of the operation, tid, id, size, arg."""
    return [
        (HEAP_OPERATIONS[op], *rest)
        for piece in trace.chunks()
        for op, *rest in zip(*(getattr(piece, name).tolist() for name in COLUMNS), strict=True)
    ]


def columns_of(trace, rows=1 << 16):
    """Return a trace's columns, whole, that of lines too."""
    pieces = list(trace.chunks(rows))
    return {
        name: np.concatenate([getattr(piece, name) for piece in pieces])
        for name in (*COLUMNS, "line")
    }


def opened(folder, text, name="trace.csv", **options):
    """Write a text to a file and open it."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_heap_trace(path, **options)


def operations(rows, first=0):
    """Make a piece of a trace of tuples: name of the operation, tid, id, size, arg."""
    op, tid, number, size, arg = zip(*rows, strict=True)
    return HeapOperations(
        first=first,
        op=np.array([HEAP_OPERATIONS.index(name) for name in op], np.uint8),
        tid=np.array(tid, np.int32),
        id=np.array(number, np.int64),
        size=np.array(size, np.int64),
        arg=np.array(arg, np.int64),
        line=np.arange(first, first + len(op)),
    )
