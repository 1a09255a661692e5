"""Which records of an event log are wanted: by event, actor, cpu, pid, tid, time, span and fields.

What was done on behalf of a CPU or a process is found with it.
"""

import operator
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Final, Self

from attrs import define, field, frozen

from mmactors.errors import Place, Problem, UserError
from mmactors.observe.field_text import field_text
from mmactors.observe.log_read import EventRecord

_WHERE = re.compile(r"\s*([A-Za-z_]\w*)\s*(==|=|!=|>=|<=|>|<|~)\s*([^=<>~].*?)\s*")
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONTAINS: Final = "~"
_OF_TEXTS: Final = ("==", "=", "!=", _CONTAINS)


@frozen
class Where:
    """A comparison of one field with a value.

    A text compares with what the table shows: `reason=remote ipi send`, `gfp_flags~__GFP_ZERO`. A
    list is compared element by element.
    """

    field: str
    operator: str
    value: int | str | bool | None
    text: str
    """The value as it was written."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `pfn>100`, `call~munmap`, `address>=0x7f0000000000` says; raise UserError."""
        match = _WHERE.fullmatch(text)
        if match is None:
            raise _where_problem(
                f"{text!r} is not a comparison",
                f"expected FIELD OPERATOR VALUE with one of {' '.join([*_OPERATORS, _CONTAINS])}",
            )
        written = match[3].strip("'\"")
        where = cls(match[1], match[2], _value(written), written)
        if where.operator not in _OF_TEXTS and type(where.value) is not int:
            raise _where_problem(
                f"{match[3]!r} in {text!r} is not a number",
                f"expected a number after {where.operator}; texts compare with ==, != and ~",
            )
        return where

    def matches(self, record: EventRecord) -> bool:
        """Return whether the record has the field and it compares so."""
        found = record.get(self.field, _ABSENT)
        if found is _ABSENT:
            return False
        if not isinstance(found, list):
            return self._holds(record["event"], found)
        if self.operator == "!=":
            return all(self._holds(record["event"], each) for each in found)
        return any(self._holds(record["event"], each) for each in found)

    def _holds(self, event: str, found: object) -> bool:
        if self.operator == _CONTAINS:
            return self.text in field_text(event, self.field, found)
        value = self.value
        if isinstance(value, str):
            found = field_text(event, self.field, found)
        elif isinstance(found, str):  # The value is a name that looks like a number.
            value = self.text
        if (found is None or isinstance(found, str)) and self.operator not in _OF_TEXTS:
            return False
        return _OPERATORS[self.operator](found, value)


_ABSENT: Final = object()


def _where_problem(found: str, legal: str) -> UserError:
    advice = "write it like --where 'pfn>100'"
    return UserError(Problem(place=Place("--where"), found=found, legal=legal, advice=advice))


def _value(text: str) -> int | str | bool | None:
    constants: dict[str, bool | None] = {"true": True, "false": False, "null": None, "none": None}
    if text.lower() in constants:
        return constants[text.lower()]
    try:
        return int(text, 0)
    except ValueError:
        return text


@frozen(kw_only=True)
class LogFilter:
    """Which records are wanted; what is None or empty does not restrict."""

    events: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()
    """Theirs, and what was done for them elsewhere; as `pids`."""
    pids: tuple[int, ...] = ()
    tids: tuple[int, ...] = ()
    from_ns: int | None = None
    to_ns: int | None = None
    where: tuple[Where, ...] = ()

    def wants(self, record: EventRecord) -> bool:
        """Return whether all restrictions hold; globs match case-sensitively."""
        t_ns = record["t"]
        if (self.from_ns is not None and t_ns < self.from_ns) or (
            self.to_ns is not None and t_ns > self.to_ns
        ):
            return False
        if self.events and not any(fnmatchcase(record["event"], glob) for glob in self.events):
            return False
        if self.actors and not any(fnmatchcase(record["actor"], glob) for glob in self.actors):
            return False
        if self.cpus and record["cpu"] not in self.cpus and record.get("for_cpu") not in self.cpus:
            return False
        if self.pids and record["pid"] not in self.pids and record.get("for_pid") not in self.pids:
            return False
        if self.tids and record["tid"] not in self.tids:
            return False
        return all(where.matches(record) for where in self.where)


@define(eq=False)
class SpanFilter:
    """Takes records in the order of their numbers and finds those of one call or fault.

    To it belong the events that have it as their span, calls and faults inside of it, and whatever
    any of these led to: what a zone did for it, what other CPUs did when it interrupted them.
    """

    span: int
    """`seq` of the event that opened it, or of any event: then what that one led to."""
    _found: set[int] = field(factory=set, init=False)

    @property
    def is_empty(self) -> bool:
        """Whether no record so far belongs to it."""
        return not self._found

    def wants(self, record: EventRecord) -> bool:
        """Return whether the record belongs to it."""
        found = self._found
        if (
            record["seq"] == self.span
            or record.get("span", 0) in (found or (self.span,))
            or record.get("cause", 0) in (found or (self.span,))
        ):
            found.add(record["seq"])
            return True
        return False
