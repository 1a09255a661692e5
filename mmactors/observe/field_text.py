"""The fields of a record as people read them: flags by their names, addresses in hexadecimal."""

import errno
from collections.abc import Callable, Iterator
from typing import Any, Final

from mmactors.observe.ftrace.names import (
    CONTENTION_FLAGS,
    TLB_FLUSH_REASONS,
    flag_names,
    gfp_names,
    symbol_name,
    task_state,
)
from mmactors.observe.log_read import EventRecord, fields_of
from mmactors.plain_text import plain

ADDRESSES_FROM: Final = 1 << 32
"""A result from here on is an address."""


def _hexadecimal(value: int) -> str:
    return f"0x{value:x}" if value >= 0 else str(value)


def error_text(value: int) -> str | None:
    """Return a result that is an error by its name, as -ENOMEM; None: it is none."""
    name = errno.errorcode.get(-value)
    return None if name is None else f"-{name}"


def _result(value: int) -> str:
    error = error_text(value)
    if error is not None:
        return error
    return _hexadecimal(value) if value >= ADDRESSES_FROM else str(value)


_HEXADECIMAL: Final = dict.fromkeys(
    (
        "addr",
        "address",
        "align_mask",
        "align_offset",
        "args",
        "error_code",
        "high_limit",
        "ip",
        "low_limit",
        "pfn",
    ),
    _hexadecimal,
)
_NAMED: Final[dict[str, Callable[[Any], str]]] = {
    **_HEXADECIMAL,
    "flags": lambda flags: flag_names(flags, CONTENTION_FLAGS),
    "gfp_flags": gfp_names,
    "prev_state": task_state,
    "reason": lambda reason: symbol_name(reason, TLB_FLUSH_REASONS),
    "ret": _result,
}
_OF_EVENTS: Final[dict[tuple[str, str], Callable[[Any], str]]] = {
    ("page_fault_end", "ret"): _hexadecimal,
    ("vm_unmapped_area", "flags"): _hexadecimal,
}
"""Where a field is something else in one event."""


def field_text(event: str, name: str, value: object) -> str:
    """Return the text of one field of an event; it has no control characters."""
    match value:
        case None:
            return "-"
        case bool():
            return str(int(value))
        case int():
            show = _OF_EVENTS.get((event, name)) or _NAMED.get(name)
            return str(value) if show is None else show(value)
        case list():
            return ",".join(field_text(event, name, each) for each in value)
        case _:
            return plain(str(value))


def field_texts(record: EventRecord) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the event's own fields."""
    event = record["event"]
    for name, value in fields_of(record).items():
        yield name, field_text(event, name, value)
