"""The text that `valgrind --tool=lackey --trace-mem=yes` writes: one access a line.

    I  0401ab70,3      fetch of 3 bytes; one blank will do, as in CS:APP's cache lab
     L 1fff000778,8    load
     S 1fff000770,8    store
     M 0404a0e0,4      modify: load and store of the same bytes by one instruction

Lines that begin with `==`, `--` or `**` are valgrind's messages and carry nothing. The text may be
plain or compressed with gzip, xz or zstd. A line is parsed by one compiled loop over its bytes;
what is left of a block after its last line end goes before the next block.

Invariant: the last line ends with a line end; otherwise its size may have been cut.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.arch.trace import FETCH, LOAD, MODIFY, SIZE_MASK, SIZE_SHIFT, STORE, Trace
from mmactors.errors import UserError
from mmactors.workload.trace.input import (
    CHUNK_ROWS,
    USER_END,
    bad_address,
    bad_trace,
    empty_trace,
    quoted,
    read_whole_lines,
)
from mmactors.workload.trace.lackey_line import unknown_line

_LEGAL: Final = "expected lines such as ' L 1fff000778,8'"
_ADVICE: Final = "check that the file is a trace of lackey"

_POSITION, _ROWS, _LINES, _FAULT, _ADDRESS, _SIZE = range(6)
"""Words of the scanner's state: where it stands, rows and lines done, and what stopped it."""
_UNKNOWN_LINE, _BAD_ADDRESS, _BAD_SIZE = 1, 2, 3


def _hex_digits() -> NDArray[np.int64]:
    table = np.full(256, -1, np.int64)
    for value, digit in enumerate("0123456789abcdef"):
        table[ord(digit)] = table[ord(digit.upper())] = value
    return table


_HEX: Final = _hex_digits()


@compiled
def scan_lines(
    text: NDArray[np.uint8],
    end: int,
    digits: NDArray[np.int64],
    address: NDArray[np.int64],
    meta: NDArray[np.int64],
    state: NDArray[np.int64],
) -> None:
    """Parse whole lines of text[state[_POSITION]:end] until they end, a fault, or no room for rows.

    text[end - 1] is a line end, which no test below lets pass: so no index passes `end`.
    """
    position = state[_POSITION]
    row = state[_ROWS]
    line = state[_LINES]
    nr_rows = len(address)
    while position < end and row < nr_rows:
        at = position
        first = text[at]
        kind = -1
        if first == 73:  # I
            if text[at + 1] == 32:
                kind = FETCH
                if text[at + 2] != 32:
                    at -= 1
        elif first == 32:  # blank
            letter = text[at + 1]
            if letter == 76:  # L
                kind = LOAD
            elif letter == 83:  # S
                kind = STORE
            elif letter == 77:  # M
                kind = MODIFY
            if kind >= 0 and text[at + 2] != 32:
                kind = -1
        elif first in (61, 45, 42) and text[at + 1] == first:  # == -- **
            while text[at] != 10:
                at += 1
            position = at + 1
            line += 1
            continue
        if kind < 0:
            state[_FAULT] = _UNKNOWN_LINE
            break
        at += 3
        start = at
        where = 0
        digit = digits[text[at]]
        while digit >= 0 and at - start < 16:
            where = (where << 4) | digit
            at += 1
            digit = digits[text[at]]
        if at == start or text[at] != 44:  # comma
            state[_FAULT] = _UNKNOWN_LINE
            break
        at += 1
        start = at
        size = 0
        digit = digits[text[at]]
        while 0 <= digit < 10 and at - start < 9:
            size = size * 10 + digit
            at += 1
            digit = digits[text[at]]
        if text[at] == 13:  # \r
            at += 1
        if at == start or text[at] != 10:
            state[_FAULT] = _UNKNOWN_LINE
            break
        if size == 0 or size > SIZE_MASK:
            state[_FAULT] = _BAD_SIZE
        elif where < 0 or where > USER_END - size:
            state[_FAULT] = _BAD_ADDRESS
        if state[_FAULT] != 0:
            state[_ADDRESS] = where
            state[_SIZE] = size
            break
        address[row] = where
        meta[row] = kind | (size << SIZE_SHIFT)
        row += 1
        line += 1
        position = at + 1
    state[_POSITION] = position
    state[_ROWS] = row
    state[_LINES] = line


def read_lackey(path: Path, *, chunk_rows: int = CHUNK_ROWS) -> Iterator[Trace]:
    """Yield the trace in chunks of at most `chunk_rows` rows.

    Raises UserError, with the line, for a text that is not of this form.
    """
    assert chunk_rows > 0, f"chunk_rows is {chunk_rows}"
    state = np.zeros(6, np.int64)
    address, meta = np.empty(chunk_rows, np.int64), np.empty(chunk_rows, np.int64)
    is_empty = True
    for block in read_whole_lines(path, legal=_LEGAL, advice=_ADVICE):
        text = np.frombuffer(block, np.uint8)
        state[_POSITION] = 0
        while state[_POSITION] < len(text):
            scan_lines(text, len(text), _HEX, address, meta, state)
            if state[_FAULT]:
                raise _fault(path, block, state)
            if state[_ROWS] == chunk_rows:
                is_empty = False
                yield Trace(address=address, meta=meta)
                address, meta = np.empty(chunk_rows, np.int64), np.empty(chunk_rows, np.int64)
                state[_ROWS] = 0
    nr_rows = int(state[_ROWS])
    if nr_rows:
        yield Trace(address=address[:nr_rows], meta=meta[:nr_rows])
    elif is_empty:
        raise empty_trace(path)


def _fault(path: Path, block: bytes, state: NDArray[np.int64]) -> UserError:
    start = int(state[_POSITION])
    text = block[start : block.index(b"\n", start)]
    line = int(state[_LINES]) + 1
    if state[_FAULT] == _BAD_ADDRESS:
        access = f"the access {quoted(text)}"
        return bad_address(path, access, int(state[_ADDRESS]), int(state[_SIZE]), line=line)
    if state[_FAULT] == _BAD_SIZE:
        return bad_trace(
            path,
            f"the access {quoted(text)} has the size {state[_SIZE]}",
            f"expected 1 to {SIZE_MASK} bytes",
            "check how the trace was written",
            line=line,
        )
    return unknown_line(path, text, line)
