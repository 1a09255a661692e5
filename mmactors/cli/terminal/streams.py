"""The standard streams of a process, whatever they were when it began.

A closed one takes everything and gives nothing, and no file that is opened later gets its number. A
text that an encoding does not have is written with escapes. Who reads COLUMNS reads a width that
something fits into.
"""

import os
import sys
from contextlib import suppress
from typing import Final, TextIO

_THREADS: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""numpy's linear algebra, which nothing here uses, would start a thread a processor."""
_LEAST_COLUMNS: Final = 20
_MOST_COLUMNS: Final = 1000


def prepare() -> None:
    """Let stdin, stdout and stderr be there, and take any text."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # The lowest number that is free: this one.
    sys.stdin = sys.stdin or _nothing("r")
    sys.stdout = sys.stdout or _nothing("w")
    sys.stderr = sys.stderr or _nothing("w")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    _mend_columns()
    for name in _THREADS:
        os.environ.setdefault(name, "1")


def _mend_columns() -> None:
    """Leave a width in the environment that is one, or none: tables and --help are made with it."""
    text = os.environ.get("COLUMNS")
    if text is None:
        return
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0:
        os.environ["COLUMNS"] = str(min(max(int(text), _LEAST_COLUMNS), _MOST_COLUMNS))
    else:
        del os.environ["COLUMNS"]


def discard(*closing: TextIO) -> None:
    """Send what these still hold, and all that follows, nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in closing:
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def close() -> None:
    """Write what is left; a stream that does not take it says nothing at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard(stream)


def _nothing(mode: str) -> TextIO:
    # It stays open until the process ends.
    return open(os.devnull, mode, encoding="utf-8")  # type: ignore[return-value]  # noqa: PTH123
