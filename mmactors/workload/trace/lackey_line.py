"""What a line of lackey's text is, for a look at a file that does without the compiler.

`workload/trace/lackey.py` reads whole files by the same rule. The form in CS:APP's cache lab has
one blank after `I` where lackey itself writes two; both are taken.
"""

import re
from pathlib import Path
from typing import Final

from mmactors.errors import UserError
from mmactors.workload.trace.input import bad_trace, quoted

_LINE: Final = re.compile(rb"(?:==|--|\*\*).*|(?:I  ?| [LSM] )[0-9a-fA-F]{1,16},[0-9]{1,9}\r?")
_MESSAGE: Final = re.compile(rb"==|--|\*\*")
_MEANT: Final = re.compile(
    r"\s*([ILSMilsm])[\s:,]+(?:0[xX])?([0-9a-fA-F]{1,16})\s*,\s*([0-9]{1,9})\s*"
)
_ACCESS_BYTES_MAX: Final = len("I  0123456789abcdef,123456789\r")


def unknown_line(path: Path, text: bytes, line: int) -> UserError:
    """Return the error about a line, counted from 1, that is no access and no message."""
    meant = _MEANT.fullmatch(text.decode("latin1"))
    advice = "keep the program's own output out of the trace with valgrind --log-file=FILE"
    if meant is not None:
        kind, address, size = meant[1].upper(), meant[2], meant[3]
        access = f"I  {address},{size}" if kind == "I" else f" {kind} {address},{size}"
        advice = f"did you mean {access!r}?"
    return bad_trace(
        path,
        f"the line is {quoted(text)}",
        "expected 'I  ADDRESS,SIZE', ' L ADDRESS,SIZE', ' S ...' or ' M ...', addresses in hex",
        advice,
        line=line,
    )


def is_lackey(head: bytes) -> bool:
    """Return whether a file begins with an access or a message of valgrind's."""
    return _LINE.fullmatch(head.partition(b"\n")[0]) is not None


def is_text(head: bytes) -> bool:
    """Return whether the first bytes of a file are text, which no other form of a trace is."""
    if any(byte < ord(" ") and byte not in b"\t\n\r\f\x1b" for byte in head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.end == len(head)  # Cut inside of a letter.
    return True


def must_begin_as_lackey(path: Path, head: bytes, *, is_whole: bool) -> None:
    """Raise UserError if the first line that is no message of valgrind's is no access.

    `head` is the file's beginning, or all of it.
    """
    *lines, rest = head.split(b"\n")
    if rest and (is_whole or len(rest) > _ACCESS_BYTES_MAX):
        lines.append(rest)
    for number, line in enumerate(lines, start=1):
        if _LINE.fullmatch(line) is None:
            raise unknown_line(path, line, number)
        if _MESSAGE.match(line) is None:
            return
