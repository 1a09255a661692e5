"""Heap traces as numpy archives: arrays op, tid, id, size and arg, and JSON in meta.

The format is that of tests/reference/malloc. The arrays have one entry an operation and any type of
integers. Other arrays of the archive, such as what an allocator did with the operations, are
passed over. The five are read side by side, so the memory used does not depend on their length.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from mmactors.arch.heap_trace import HeapOperations
from mmactors.limits import HEAP_TRACE_META_BYTES_MAX
from mmactors.workload.heap_trace.rows import ReadRows
from mmactors.workload.trace.archive import ArchiveForm, Column, open_columns
from mmactors.workload.trace.input import bad_trace

COLUMNS: Final = ("op", "tid", "id", "size", "arg")
_ROWS: Final = 1 << 16
_INTEGERS: Final = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8")
_FORM: Final = ArchiveForm(
    dtypes={**dict.fromkeys(COLUMNS, _INTEGERS), "meta": ("|u1",)},
    optional=frozenset({"meta"}),
    legal="expected a numpy archive with the arrays op, tid, id, size and arg, all of integers, "
    "and perhaps meta (u8, JSON)",
    advice="write it with mmactors.write_heap_trace, or as docs/heap-traces.md says",
)


def read_meta(path: Path) -> dict[str, Any]:
    """Return what an archive says of itself; nothing, if it has no meta.

    Raises UserError for a file that is no such archive.
    """
    with open_columns(path, _FORM) as columns:
        column = columns.get("meta")
        if column is None:
            return {}
        if column.length > HEAP_TRACE_META_BYTES_MAX:
            raise bad_trace(
                path,
                f"the array meta has {column.length:,} bytes",
                f"expected at most {HEAP_TRACE_META_BYTES_MAX:,}",
                "keep in meta what the trace is, and nothing else",
            )
        try:
            meta = orjson.loads(column.take(column.length).tobytes())
        except orjson.JSONDecodeError as error:
            raise _no_object(path, f"the array meta is no JSON: {error}") from None
        if not isinstance(meta, dict):
            raise _no_object(path, f"the array meta is JSON of a {type(meta).__name__}")
        return meta


def _no_object(path: Path, found: str) -> Exception:
    return bad_trace(
        path,
        found,
        'expected a JSON object in bytes, such as {"case": "sort"}',
        "write numpy.frombuffer(json.dumps(meta).encode(), numpy.uint8)",
    )


def read_npz(path: Path, notes: Counter[str]) -> Iterator[HeapOperations]:
    """Yield the trace in pieces.

    Raises UserError for a file that is not such a trace.
    """
    del notes  # An archive holds operations only.
    with open_columns(path, _FORM) as columns:
        yield from _read(path, {name: columns[name] for name in COLUMNS})


def _read(path: Path, columns: dict[str, Column]) -> Iterator[HeapOperations]:
    length = columns["op"].length
    for name, column in columns.items():
        if column.length != length:
            raise _FORM.error(path, f"op has {length} entries, {name} has {column.length}")
    for first in range(0, length, _ROWS):
        count = min(_ROWS, length - first)
        read = ReadRows(**{name: column.take(count) for name, column in columns.items()})
        problem = read.first_problem()
        if problem is not None:
            raise bad_trace(
                path,
                f"operation {first + problem.row}: {problem.found}",
                problem.legal,
                problem.advice,
            )
        yield read.operations(first=first, line=np.arange(first, first + count, dtype=np.int64))
    for column in columns.values():
        column.finish()
