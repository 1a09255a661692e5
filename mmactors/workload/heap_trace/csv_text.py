"""Heap traces as CSV: a line that names the columns, then one operation a line.

    op,tid,id,size,arg
    malloc,0,1,100,0
    calloc,0,2,240,10
    free,0,1,,

Columns may stand in any order, others than these are passed over, and `tid` and `arg` may be
missing. An operation is a name or a number; other fields are numbers, decimal or hexadecimal (0x);
what an operation has no use for may be empty. Blank lines and lines that begin with # are passed
over. Nothing is quoted. A byte order mark, as spreadsheets write it, may stand before all.

A text of plain lines is read many lines at once, any other line by line, by the same rules.
"""

import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.heap_trace import HEAP_OPERATIONS, HeapOperations
from mmactors.errors import UserError
from mmactors.workload.heap_trace.rows import NEEDED_FIELDS, legal_operations
from mmactors.workload.heap_trace.written import (
    FIELDS,
    LEGAL_NUMBER,
    OPERATION_NUMBERS,
    operations_of,
)
from mmactors.workload.trace.input import bad_trace, quoted, read_whole_lines

_HEADER: Final = "expected a first line that names the columns: op,tid,id,size,arg"
_ADVICE: Final = "see docs/heap-traces.md for the format"
_NUMBER: Final = re.compile(rb"-?(?:[0-9]{1,20}|(0[xX][0-9a-fA-F]{1,16}))")
_PLAIN: Final = b"abcdefghijklmnopqrstuvwxyz0123456789-,\n"
"""Bytes of which Python's `int` reads nothing else than `_NUMBER` does."""
_BLANKS: Final = b" \t\r"
_NAMES: Final = {name.encode(): number for name, number in OPERATION_NUMBERS.items()}
_NEEDS: Final = {
    name: np.array([name in needed for needed in NEEDED_FIELDS]) for name in ("id", "size", "arg")
}
_MANDATORY: Final = ("op", "id", "size")


def is_csv(head: bytes) -> bool:
    """Return whether a file begins with a line that names the columns of operations."""
    for line in head.removeprefix(BOM_UTF8).split(b"\n"):
        if not _is_passed_over(line):
            return b"op" in _fields_of(line)
    return False


def _is_passed_over(line: bytes) -> bool:
    text = line.strip(_BLANKS)
    return not text or text.startswith(b"#")


def _fields_of(line: bytes) -> list[bytes]:
    return [each.strip(_BLANKS) for each in line.split(b",")]


def _column_of(line: bytes, index: int) -> int:
    """Return where a field begins in a line, from 1; behind the last one, where the line ends."""
    fields = line.rstrip(_BLANKS).split(b",")
    before = sum(len(each) + 1 for each in fields[:index])
    if index >= len(fields):
        return before
    return before + len(fields[index]) - len(fields[index].lstrip(_BLANKS)) + 1


@frozen
class _Lines:
    """Where fields stand in the lines of a file."""

    path: Path
    nr_columns: int
    place: Mapping[str, int]

    @classmethod
    def of_header(cls, path: Path, text: bytes, line: int) -> "_Lines":
        fields = _fields_of(text)
        for index, field in enumerate(fields):
            name = field.decode("latin1")
            if name in FIELDS and field in fields[:index]:
                raise bad_trace(
                    path,
                    f"the column {name} is named twice",
                    _HEADER,
                    _ADVICE,
                    line=line,
                    column=_column_of(text, index),
                )
        place = {name: fields.index(name.encode()) for name in FIELDS if name.encode() in fields}
        for name in _MANDATORY:
            if name not in place:
                raise bad_trace(
                    path,
                    f"the first line, {quoted(text)}, names no column {name}",
                    _HEADER,
                    _ADVICE,
                    line=line,
                    column=1,
                )
        return cls(path, len(fields), place)

    def plain(self, text: bytes, first: int, line: int) -> HeapOperations | None:
        """Return the operations of a text, many lines at once; None: it has other lines, too."""
        text = text.replace(b"\r\n", b"\n")
        if text.translate(None, _PLAIN):
            return None
        flat = text.replace(b"\n", b",\n,").split(b",")
        stride = self.nr_columns + 1
        count = len(flat) // stride
        if len(flat) != count * stride + 1 or flat[self.nr_columns :: stride] != [b"\n"] * count:
            return None
        columns = {name: flat[place:-1:stride] for name, place in self.place.items()}
        try:
            values = {"op": [_NAMES[each] for each in columns.pop("op")]}
            op = np.array(values["op"], np.int64)
            for name, column in columns.items():
                if b"" in column:
                    if name in _NEEDS and (_NEEDS[name][op] & _is_empty(column)).any():
                        return None
                    column = [each or b"0" for each in column]  # noqa: PLW2901 - as it is read
                values[name] = list(map(int, column))
        except (KeyError, ValueError):
            return None
        if "arg" not in columns and _NEEDS["arg"][op].any():
            return None
        return self._operations(values, text.split(b"\n"), first, line + np.arange(count))

    def by_line(self, text: bytes, first: int, line: int) -> HeapOperations:
        """Return the operations of a text, each line by itself.

        Raises UserError for a line that is no operation.
        """
        values: dict[str, list[int]] = {name: [] for name in FIELDS}
        texts = []
        numbers = []
        for number, each in enumerate(text.split(b"\n")[:-1], start=line):
            if not _is_passed_over(each):
                for name, value in self._values(each, number).items():
                    values[name].append(value)
                texts.append(each)
                numbers.append(number)
        return self._operations(values, texts, first, np.array(numbers, np.int64))

    def _values(self, text: bytes, line: int) -> dict[str, int]:
        fields = _fields_of(text)
        if len(fields) != self.nr_columns:
            raise self._error(
                text,
                line,
                min(len(fields), self.nr_columns),
                f"the line {quoted(text)} has {len(fields)} fields",
                f"expected {self.nr_columns}, as the first line says",
            )
        index = self.place["op"]
        op = _NAMES.get(fields[index])
        if op is None:
            found = f"op is {quoted(fields[index])}"
            raise self._error(text, line, index, found, legal_operations())
        found_values = {"op": op}
        for name in FIELDS[1:]:
            place = self.place.get(name, self.nr_columns)
            field = fields[place] if name in self.place else b""
            match = _NUMBER.fullmatch(field)
            if match is not None:
                found_values[name] = int(field, 16 if match[1] else 10)
            elif field:
                found = f"{name} is {quoted(field)}"
                raise self._error(text, line, place, found, LEGAL_NUMBER)
            elif name in NEEDED_FIELDS[op]:
                found = f"{name} of {HEAP_OPERATIONS[op]} is missing"
                raise self._error(text, line, place, found, LEGAL_NUMBER)
            else:
                found_values[name] = 0
        return found_values

    def _error(self, text: bytes, line: int, index: int, found: str, legal: str) -> UserError:
        column = _column_of(text, index)
        return bad_trace(self.path, found, legal, _ADVICE, line=line, column=column)

    def _operations(
        self, values: dict[str, list[int]], texts: list[bytes], first: int, line: NDArray[np.int64]
    ) -> HeapOperations:
        count = len(values["op"])
        return operations_of(
            self.path,
            {name: values.get(name) or [0] * count for name in FIELDS},
            first=first,
            line=line,
            column_of=lambda row, name: _column_of(
                texts[row], self.place.get(name, self.nr_columns)
            ),
        )


def read_csv(path: Path, notes: Counter[str]) -> Iterator[HeapOperations]:
    """Yield the trace in pieces.

    Raises UserError with line and column for a text that is not of this form.
    """
    del notes  # Every line is an operation.
    lines: _Lines | None = None
    line = 1
    first = 0
    for block in read_whole_lines(
        path, legal="expected lines such as 'malloc,0,17,100,0'", advice=_ADVICE
    ):
        text = block.removeprefix(BOM_UTF8) if line == 1 else block
        while lines is None and text:
            head, _, text = text.partition(b"\n")
            if not _is_passed_over(head):
                lines = _Lines.of_header(path, head, line)
            line += 1
        if lines is not None:
            piece = lines.plain(text, first, line)
            if piece is None:
                piece = lines.by_line(text, first, line)
            first += len(piece)
            yield piece
        line += text.count(b"\n")


def _is_empty(column: list[bytes]) -> NDArray[np.bool_]:
    return np.array([not each for each in column], bool)
