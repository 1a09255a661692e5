"""Heap traces that people write themselves: numbers become columns, or the place of an error.

What CSV and JSON lines have in common. The numbers are Python's.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.heap_trace import HEAP_OPERATIONS, HeapOperations
from mmactors.workload.heap_trace.rows import ReadRows, RowProblem
from mmactors.workload.trace.input import bad_trace

FIELDS: Final = ("op", "tid", "id", "size", "arg")
OPERATION_NUMBERS: Final = {
    **{name: number for number, name in enumerate(HEAP_OPERATIONS)},
    **{str(number): number for number in range(len(HEAP_OPERATIONS))},
}
"""What an operation may be written as."""
LEGAL_NUMBER: Final = "expected a number of 64 bits"
_INT64_MIN: Final = -(1 << 63)
_UINT64_END: Final = 1 << 64


def operations_of(
    path: Path,
    fields: Mapping[str, Sequence[int]],
    *,
    first: int,
    line: NDArray[np.int64],
    column_of: Callable[[int, str], int | None],
) -> HeapOperations:
    """Return rows as operations; `first` is the number of the first, `line` has the line of each.

    Raises UserError with the line of a row that is not legal and the column that `column_of` gives
    for the row and the name of a field.
    """
    try:
        read = ReadRows(**{name: _column(values) for name, values in fields.items()})
        problem = read.first_problem()
    except OverflowError:
        # A number of more than 64 bits, or columns that have negative ones and ones from 2^63 on.
        count = len(fields["op"])
        if count > 1:
            return _in_halves(path, fields, first=first, line=line, column_of=column_of)
        problem = _too_long(fields)
    if problem is None:
        return read.operations(first=first, line=line)
    raise bad_trace(
        path,
        problem.found,
        problem.legal,
        problem.advice,
        line=int(line[problem.row]),
        column=column_of(problem.row, problem.field),
    )


def _in_halves(
    path: Path,
    fields: Mapping[str, Sequence[int]],
    *,
    first: int,
    line: NDArray[np.int64],
    column_of: Callable[[int, str], int | None],
) -> HeapOperations:
    half = len(line) // 2
    before, after = (
        operations_of(
            path,
            {name: values[part] for name, values in fields.items()},
            first=first + part.start,
            line=line[part],
            column_of=partial(_shifted, column_of, part.start),
        )
        for part in (slice(0, half), slice(half, len(line)))
    )
    columns = {
        name: np.concatenate([getattr(before, name), getattr(after, name)])
        for name in (*FIELDS, "line")
    }
    return HeapOperations(first=first, **columns)


def _shifted(
    column_of: Callable[[int, str], int | None], start: int, row: int, field: str
) -> int | None:
    return column_of(start + row, field)


def _column(values: Sequence[int]) -> NDArray[np.integer]:
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return np.array(values, np.uint64)


def _too_long(fields: Mapping[str, Sequence[int]]) -> RowProblem:
    field, value = next(
        (name, values[0])
        for name, values in fields.items()
        if not _INT64_MIN <= values[0] < _UINT64_END
    )
    return RowProblem(0, field, f"{field} is {value}", LEGAL_NUMBER)
