"""What a line of ltrace's text is: a call of a heap's function, its end, or something else.

    prog->malloc(100)                                = 0x55c468dc5500
    [pid 18361] libc.so.6->calloc(10, 20 <unfinished ...>
    18361 21:00:53.884477 <... calloc resumed> )     = 0x7fe7cc000b70 <0.001015>
    [0x555fe53532a1] free@libc.so.6(0x55c468dc5500)  = <void>
    18360 +++ exited (status 0) +++

A line may begin with the process (-f), a time (-t, -tt, -ttt, -r) and an instruction pointer (-i),
and blanks (-n). A call may name the library that makes it (`prog->`) or has it (`@libc.so.6`); what
it took may stand at its end (-T). A function that ltrace has no prototype of is shown with more
arguments than it takes; those are passed over. `unexpected breakpoint` is a message of its own.
"""

import re
from typing import Final

from mmactors.workload.heap_trace.addresses import ADDRESS
from mmactors.workload.heap_trace.rows import ADDRESS_END

NR_ARGUMENTS: Final = {
    "malloc": 1,
    "calloc": 2,
    "realloc": 2,
    "reallocarray": 3,
    "free": 1,
    "memalign": 2,
    "aligned_alloc": 2,
    "posix_memalign": 3,
    "valloc": 1,
    "pvalloc": 1,
    "malloc_trim": 1,
    "mallopt": 2,
}
"""The functions that are read, and how many arguments each takes."""

_PREFIX: Final = (
    rb"^(?:\[pid +([0-9]+)\] |([0-9]+) )?(?: *[0-9:]*[0-9](?:\.[0-9]+)? )?(?:\[0x[0-9a-f]+\] )? *"
)
_NAMES: Final = "|".join(NR_ARGUMENTS).encode()
_CALL: Final = rb"(?:[^\s(]+->)?(?:" + _NAMES + rb")(?:@[^\s(]*)?\("
_NAMED_CALL: Final = rb"(libc[.-][^\s(]*->)?(?:[^\s(]+->)?(" + _NAMES + rb")(?:@[^\s(]*)?\("
_END: Final = rb"\) += (0x[0-9a-f]{1,16}|-?[0-9]{1,20}|nil|\(nil\)|NULL|<void>)(?: <[0-9.]+>)?"
_OTHER: Final = (
    rb"unexpected breakpoint at [^\n]*|"
    rb"<\.\.\. (?!(?:" + _NAMES + rb") resumed)[^\n]*|(?!" + _CALL + rb")[^\s<(][^\n(]*\([^\n]*"
)
LINE: Final = re.compile(
    _PREFIX
    + (rb"(?:" + _NAMED_CALL + rb"(.*?)(?:" + _END + rb"| <(unfinished|no return) \.\.\.>)")
    + (rb"|<\.\.\. (" + _NAMES + rb") resumed> (.*?)" + _END)
    + (rb"|(\+\+\+|---) (.*?)|(?:" + _OTHER + rb"))\r?$"),
    re.MULTILINE,
)
"""Groups: pid, pid, the C library as caller, function, arguments, result, unfinished; function,
rest, result; mark, text. A line of another function has none but the pid."""
PLAIN_ADDRESS: Final = re.compile(ADDRESS)
"""What free is given most often."""
_START: Final = re.compile(_PREFIX)
_BEGINNING: Final = re.compile(
    _PREFIX + rb"(?:" + _CALL + rb"|[^\s(]+->[^\s(]+\(|\+\+\+ |--- )", re.MULTILINE
)
_NUMBER: Final = re.compile(rb"0x([0-9a-f]{1,16})|(-?[0-9]{1,20})|nil|\(nil\)|NULL")
_POINTED_TO: Final = re.compile(rb"\[ *([^\s\]]+) *\]")
_INT_BITS: Final = 32


def is_ltrace(head: bytes) -> bool:
    """Return whether a file's beginning has a call as ltrace writes it."""
    return _BEGINNING.search(head) is not None


def number_of(text: bytes) -> int | None:
    """Return what an argument or a result is, without a sign; None for what has no 64 bits.

    Without a prototype ltrace shows arguments with a sign.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    value = int(match[1], 16) if match[1] else int(match[2] or 0)
    return value % (1 << 64) if -(1 << 63) <= value < 1 << 64 else None


class BadCall(Exception):  # noqa: N818 - it never leaves the reader
    """An argument or result that is none: what stands there, and what may."""

    def __init__(self, text: bytes, legal: str) -> None:
        super().__init__(text, legal)
        self.text = text
        self.legal = legal


def arguments_of(name: str, text: bytes) -> list[int]:
    """Return the arguments of a function. Raises BadCall."""
    parts = text.split(b", ")
    count = NR_ARGUMENTS[name]
    if len(parts) < count:
        raise BadCall(text, f"expected {count} arguments of {name}")
    numbers = []
    for part in parts[:count]:
        number = number_of(part)
        if number is None:
            raise BadCall(part, "expected a number of 64 bits")
        numbers.append(number)
    return numbers


def pointed_to(text: bytes) -> bytes | None:
    """Return what the first argument points to, if ltrace shows it, as in `[ 0x55c468dc5500 ]`."""
    match = _POINTED_TO.match(text)
    return None if match is None else match[1]


def address_of(text: bytes) -> int:
    """Return an address that a function was given first, or gave. Raises BadCall."""
    text = text.partition(b",")[0]
    number = number_of(text)
    if number is None or number >= ADDRESS_END:
        raise BadCall(text, f"expected an address of user space, below {ADDRESS_END:#x}, or nil")
    return number


def int_of(value: int) -> int:
    """Return what 32 bits, or more that were filled with its sign, are as an int of C."""
    value %= 1 << _INT_BITS
    return value - (1 << _INT_BITS) if value >> (_INT_BITS - 1) else value


def column_of_call(line: bytes) -> int:
    """Return where a line says something, from 1: behind process, time and blanks."""
    match = _START.match(line)
    return 1 if match is None else match.end() + 1
