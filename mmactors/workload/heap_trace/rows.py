"""Which rows of a heap trace are legal, whatever file they come from.

A row that is not legal is a mistake of the file. What a program did wrong, such as freeing twice,
is legal (`workload/heap_trace/faults.py` finds it).
"""

from typing import Final

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from mmactors.arch.heap_trace import (
    CALLOC,
    FREE,
    HEAP_OPERATIONS,
    MALLOC_TRIM,
    MALLOPT,
    MEMALIGN,
    REALLOC,
    HeapOperations,
)
from mmactors.limits import HEAP_TRACE_THREADS_MAX

ADDRESS_END: Final = 1 << 47
"""Above every address of user space on x86-64 with 4-level page tables."""

NEEDED_FIELDS: Final[tuple[tuple[str, ...], ...]] = (
    ("id", "size"),
    ("id", "size", "arg"),
    ("id", "size"),
    ("id",),
    ("id", "size", "arg"),
    ("size",),
    (),
    (),
    ("size", "arg"),
)
"""By operation what it has a use for, besides tid."""
assert len(NEEDED_FIELDS) == len(HEAP_OPERATIONS), "each operation says what it needs"

_INT_MAX: Final = (1 << 31) - 1
_NO_ID: Final = -(1 << 63)


def legal_operations() -> str:
    """Return what an operation may be, for people."""
    names = ", ".join(f"{number} {name}" for number, name in enumerate(HEAP_OPERATIONS))
    return f"expected an operation by name or number: {names}"


@frozen
class RowProblem:
    """What is wrong with a row: the field it stands in, and three parts of an error."""

    row: int
    field: str
    found: str
    legal: str
    advice: str = "check how the trace was written"


def _as_read(values: NDArray[np.integer]) -> NDArray[np.int64]:
    # A copy also of what has the type already: what is read from a file cannot be written to.
    return values.astype(np.int64)


def _as_ids(values: NDArray[np.integer]) -> NDArray[np.int64]:
    # From 2^63 on it is no number of an object; nor may it become a negative one that is legal.
    if values.dtype == np.uint64:
        return np.where(values >> np.uint64(63) != 0, _NO_ID, values.view(np.int64))
    return values.astype(np.int64)


@frozen(eq=False)
class ReadRows:
    """Rows as a file says them, each column of any type of integers.

    64 bits hold the numbers below 2^64 and the negative ones: a column without a sign says the
    former, one with a sign the latter.
    """

    op: NDArray[np.int64] = field(converter=_as_read)
    tid: NDArray[np.int64] = field(converter=_as_read)
    id: NDArray[np.int64] = field(converter=_as_ids)
    size: NDArray[np.integer]
    arg: NDArray[np.integer]

    def operations(self, *, first: int, line: NDArray[np.int64]) -> HeapOperations:
        """Return the rows, which are legal, as operations."""
        return HeapOperations(
            first=first,
            op=self.op.astype(np.uint8),
            tid=self.tid.astype(np.int32),
            id=self.id,
            size=_as_read(self.size),
            arg=_as_read(self.arg),
            line=line,
        )

    def first_problem(self) -> RowProblem | None:
        """Return what is wrong with the first row that is not legal."""
        op = self.op
        bad = (op < 0) | (op > MALLOPT)
        bad |= (self.tid < 0) | (self.tid >= HEAP_TRACE_THREADS_MAX)
        makes = (op <= REALLOC) | (op == MEMALIGN)
        bad |= self.id < np.where(makes, 0, np.where(op == FREE, 1 - ADDRESS_END, _NO_ID))
        if self.size.dtype.kind == "i":
            bad |= (makes | (op == MALLOC_TRIM)) & (self.size < 0)
        if self.arg.dtype.kind == "i":
            bad |= ((op == CALLOC) | (op == MEMALIGN)) & (self.arg < 0)
        calloc = np.flatnonzero(op == CALLOC)
        if len(calloc):
            size, members = (
                _as_read(each[calloc]).view(np.uint64) for each in (self.size, self.arg)
            )
            is_product = size % np.maximum(members, 1) == 0
            bad[calloc] |= ~is_product | ((members == 0) & (size != 0))
        mallopt = np.flatnonzero(op == MALLOPT)
        if len(mallopt):
            for values in (self.size, self.arg):
                value = _as_read(values[mallopt])
                bad[mallopt] |= (value > _INT_MAX) | (value < -_INT_MAX - 1)
        return self._problem_of(int(np.argmax(bad))) if bad.any() else None

    def _problem_of(self, row: int) -> RowProblem:
        op, tid, number, size, arg = (
            int(each[row]) for each in (self.op, self.tid, self.id, self.size, self.arg)
        )
        if not 0 <= op <= MALLOPT:
            return RowProblem(row, "op", f"op is {op}", legal_operations())
        if not 0 <= tid < HEAP_TRACE_THREADS_MAX:
            return RowProblem(
                row,
                "tid",
                f"tid is {tid}",
                f"expected the number of a thread, from 0 to {HEAP_TRACE_THREADS_MAX - 1}",
                "number the threads 0, 1, 2 as they appear, the main thread first",
            )
        name = HEAP_OPERATIONS[op]
        if op == MALLOPT:
            where, value = ("size", size) if _is_no_int(size) else ("arg", arg)
            return RowProblem(
                row,
                where,
                f"{where} of mallopt is {value}",
                "expected an int of C: arg is the parameter, size its value",
            )
        if number < 0 and (op != FREE or number <= -ADDRESS_END):
            return RowProblem(
                row,
                "id",
                f"id of {name} is {number}",
                f"expected above -{ADDRESS_END:#x}" if op == FREE else "expected at least 0",
                "number the objects; only free may name an address, with a minus before it",
            )
        if size < 0 or arg < 0:
            where, value = ("size", size) if size < 0 else ("arg", arg)
            return RowProblem(
                row, where, f"{where} of {name} is {value}", "expected from 0 to 2^64 - 1"
            )
        assert op == CALLOC, f"{name} of thread {tid} is legal: {number}, {size}, {arg}"
        return RowProblem(
            row,
            "size",
            f"size of calloc is {size}, arg is {arg}",
            "expected size to be a product, and arg, the number of members, to divide it",
        )


def _is_no_int(value: int) -> bool:
    return not -_INT_MAX - 1 <= value <= _INT_MAX
