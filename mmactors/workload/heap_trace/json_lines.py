"""Heap traces as JSON lines: one object a line, with the fields op, tid, id, size and arg.

    {"op": "malloc", "id": 1, "size": 100}
    {"op": "free", "tid": 2, "id": 1}

`op` is a name or a number, the others are numbers. `tid` may be missing (0), and so may what an
operation has no use for. Other fields and blank lines are passed over.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from mmactors.arch.heap_trace import HEAP_OPERATIONS, HeapOperations
from mmactors.workload.heap_trace.rows import NEEDED_FIELDS, legal_operations
from mmactors.workload.heap_trace.written import (
    FIELDS,
    LEGAL_NUMBER,
    OPERATION_NUMBERS,
    operations_of,
)
from mmactors.workload.trace.input import bad_trace, quoted, read_whole_lines

_LEGAL: Final = 'expected one object a line, such as {"op": "malloc", "id": 17, "size": 100}'
_ADVICE: Final = "see docs/heap-traces.md for the format"
_NEEDED: Final = tuple(frozenset(fields) for fields in NEEDED_FIELDS)
_OPERATIONS: Final[dict[Any, int]] = {
    **OPERATION_NUMBERS,
    **{number: number for number in OPERATION_NUMBERS.values()},
}


def is_json_lines(head: bytes) -> bool:
    """Return whether a file begins as a JSON object does."""
    return head.lstrip().startswith(b"{")


def read_json_lines(path: Path, notes: Counter[str]) -> Iterator[HeapOperations]:
    """Yield the trace in pieces.

    Raises UserError with line and column for a text that is not of this form.
    """
    del notes  # Every line is an operation.
    line = 1
    first = 0
    for block in read_whole_lines(path, legal=_LEGAL, advice=_ADVICE):
        piece = _operations(path, block.split(b"\n"), first, line)
        first += len(piece)
        yield piece
        line += block.count(b"\n")


def _operations(path: Path, texts: list[bytes], first: int, line: int) -> HeapOperations:
    rows = []
    kept = []
    lines = []
    for number, text in enumerate(texts, start=line):
        if text and not text.isspace():
            rows.append(_row(path, text, number))
            kept.append(text)
            lines.append(number)
    columns = zip(*rows, strict=True) if rows else [()] * len(FIELDS)
    return operations_of(
        path,
        dict(zip(FIELDS, columns, strict=True)),
        first=first,
        line=np.array(lines, np.int64),
        column_of=lambda row, name: _column_of(kept[row], name),
    )


def _row(path: Path, text: bytes, line: int) -> tuple[int, ...]:
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        found = f"the line {quoted(text)} is no JSON: {error.msg}"
        raise bad_trace(path, found, _LEGAL, _ADVICE, line=line, column=error.colno) from None
    if type(said) is not dict:
        found = f"the line {quoted(text)} is no object"
        raise bad_trace(path, found, _LEGAL, _ADVICE, line=line, column=1)
    name = said.get("op")
    op = _OPERATIONS.get(name) if type(name) in (str, int) else None
    if op is None:
        found = f"op is {_text_of(name)}" if "op" in said else "op is missing"
        column = _column_of(text, "op")
        raise bad_trace(path, found, legal_operations(), _ADVICE, line=line, column=column)
    get = said.get
    row = (op, get("tid", 0), get("id", 0), get("size", 0), get("arg", 0))
    if said.keys() >= _NEEDED[op] and set(map(type, row)) == {int}:
        return row
    for field, value in zip(FIELDS, row, strict=True):
        found = f"{field} is {_text_of(value)}"
        if field in NEEDED_FIELDS[op] and field not in said:
            found = f"{field} of {HEAP_OPERATIONS[op]} is missing"
        elif type(value) is int:
            continue
        column = _column_of(text, field)
        raise bad_trace(path, found, LEGAL_NUMBER, _ADVICE, line=line, column=column)
    raise AssertionError(f"the row {row} is whole")


def _text_of(value: object) -> str:
    return quoted(orjson.dumps(value))


def _column_of(text: bytes, field: str) -> int:
    """Return where a field stands in a line, from 1; 1, if it is nowhere."""
    return max(text.find(f'"{field}"'.encode()), 0) + 1
