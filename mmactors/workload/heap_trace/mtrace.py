"""The log that glibc's mtrace() writes: one operation a line (glibc 2.36, malloc/mtrace-impl.c).

    = Start
    @ ./prog:[0x12b4] + 0x55c468dc5500 0x64     an allocation: address, bytes
    @ ./prog:[0x12e4] < 0x55c468dc5500          realloc: the address before it,
    @ ./prog:[0x12e4] > 0x55c468dc5640 0x1388   and in the next line the one after it, and bytes
    @ ./prog:[0x1307] - 0x55c468dc5640          free
    @ ./prog:[0x136a] ! 0x55c468dc69d0 0x9c     realloc that failed: the object stays
    = End

The log does not say which function allocated: malloc, calloc and memalign are all malloc here, so
bytes are right, but calloc's zeroing and alignments are lost. It knows no threads: all rows are of
thread 0. An allocation that failed has the address (nil) and is left out; who called is passed
over.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mmactors.arch.heap_trace import MALLOC, REALLOC, HeapOperations
from mmactors.errors import UserError
from mmactors.workload.heap_trace.addresses import ADDRESS, FAILED, RecordedRows
from mmactors.workload.trace.input import bad_trace, quoted, read_whole_lines

_LINE: Final = re.compile(
    rb"^(?:(?:@ .* )?(?:([-<]) (" + ADDRESS + rb")|"
    rb"([+>!]) (" + ADDRESS + rb"|(?<=\+ )\(nil\)) (0x[0-9a-f]{1,16}|0))|= .*)\r?$",
    re.MULTILINE,
)
_SIGN: Final = re.compile(rb"(?:@ .* )?([-+<>!=] )")
_LEGAL: Final = (
    "expected '+ ADDRESS SIZE', '- ADDRESS', '< ADDRESS', '> ADDRESS SIZE' or '! ADDRESS SIZE', "
    "perhaps with '@ CALLER ' before it, addresses and sizes in hex"
)
_ADVICE: Final = "check that the file is what MALLOC_TRACE named, and that nobody else wrote to it"


def is_mtrace(head: bytes) -> bool:
    """Return whether a file begins as mtrace's log does."""
    line = head.partition(b"\n")[0]
    return line.strip() == b"= Start" or (_LINE.fullmatch(line) is not None and line[:1] != b"=")


def read_mtrace(path: Path, notes: Counter[str]) -> Iterator[HeapOperations]:
    """Yield the trace in pieces.

    Raises UserError with line and column for a text that is not of this form.
    """
    rows = RecordedRows(notes)
    line = 1
    moved: int | None = None
    for block in read_whole_lines(path, legal=_LEGAL, advice=_ADVICE):
        found = _LINE.findall(block)
        nr_lines = block.count(b"\n")
        if len(found) != nr_lines:
            raise _unknown_line(path, block, line)
        for number, (sign, address, more, target, size) in enumerate(found, line):
            if (moved is not None) != (more == b">"):
                raise _torn(path, block, line, number)
            if more == b"+":
                if target == b"(nil)":
                    notes[FAILED] += 1
                else:
                    rows.allocate(MALLOC, number, int(target, 16), size=int(size, 16))
            elif sign == b"-":
                rows.free(number, int(address, 16))
            elif sign:
                moved = int(address, 16)
            elif more == b">":
                assert moved is not None, "a line with < came before"
                _move(rows, number, moved, int(target, 16), int(size, 16))
                moved = None
            elif more:
                notes[FAILED] += 1
        line += nr_lines
        yield rows.take()
    if moved is not None:
        raise bad_trace(
            path,
            "the last line, with '<', is half of a realloc",
            "expected a line with '>' after it",
            "the file is truncated: record again, or remove the last line",
            line=line - 1,
        )


def _move(rows: RecordedRows, line: int, before: int, after: int, size: int) -> None:
    number = rows.take_object(before)
    if number is None:
        # It was allocated before mtrace(), or freed: what realloc gave is an object from now on.
        rows.free(line, before)
        rows.allocate(REALLOC, line, after, size=size)
    else:
        rows.reallocate(line, number, after, size=size)


def _unknown_line(path: Path, block: bytes, line: int) -> UserError:
    number, text = next(
        (number, text)
        for number, text in enumerate(block.split(b"\n"), line)
        if _LINE.fullmatch(text) is None
    )
    sign = _SIGN.match(text)
    column = 1 if sign is None else sign.end() + 1
    found = f"the line is {quoted(text)}"
    return bad_trace(path, found, _LEGAL, _ADVICE, line=number, column=column)


def _torn(path: Path, block: bytes, line: int, number: int) -> UserError:
    text = block.split(b"\n")[number - line]
    sign = _SIGN.match(text)
    assert sign is not None, f"{text!r} is a line"
    return bad_trace(
        path,
        f"the line is {quoted(text)}",
        "expected lines with '<' and '>' to be pairs, which are one realloc",
        _ADVICE,
        line=number,
        column=sign.start(1) + 1,
    )
