"""Reading events.jsonl again, line by line, by event, actor, cpu, pid, time and fields.

Refuses a log of another schema or of an unknown major version. A last line without an end, as a
killed run or a running one leaves it, is not read until it has its end.
"""

import contextlib
import operator
import re
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Self

import orjson
from attrs import frozen

from mmactors.errors import Place, Problem, UserError
from mmactors.events import ENVELOPE, ON_BEHALF, SCHEMA, SCHEMA_VERSION

EventRecord = dict[str, Any]
"""One line of the log."""

FOLLOW_INTERVAL_S: Final = 0.2

_WHERE = re.compile(r"\s*([A-Za-z_]\w*)\s*(==|=|!=|>=|<=|>|<)\s*([^=<>].*?)\s*")
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_EQUALITIES: Final = ("==", "=", "!=")


@frozen
class Where:
    """A comparison of one field with a value."""

    field: str
    operator: str
    value: int | str | bool | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `pfn>100`, `call=munmap`, `address>=0x7f0000000000` says; raise UserError."""
        match = _WHERE.fullmatch(text)
        if match is None:
            raise _where_problem(
                f"{text!r} is not a comparison",
                f"expected FIELD OPERATOR VALUE with one of {' '.join(_OPERATORS)}",
            )
        where = cls(match[1], match[2], _value(match[3]))
        if where.operator not in _EQUALITIES and type(where.value) is not int:
            raise _where_problem(
                f"{match[3]!r} in {text!r} is not a number",
                f"expected a number after {where.operator}; texts compare with == and !=",
            )
        return where

    def matches(self, record: EventRecord) -> bool:
        """Return whether the record has the field and it compares so."""
        found = record.get(self.field, _ABSENT)
        if found is _ABSENT:
            return False
        if isinstance(found, str) != isinstance(self.value, str):
            return self.operator == "!="
        if found is None and self.operator not in _EQUALITIES:
            return False
        return _OPERATORS[self.operator](found, self.value)


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
        return text.strip("'\"")


@frozen(kw_only=True)
class LogFilter:
    """Which records are wanted; what is None or empty does not restrict."""

    events: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()
    pids: tuple[int, ...] = ()
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
        if self.cpus and record["cpu"] not in self.cpus:
            return False
        if self.pids and record["pid"] not in self.pids:
            return False
        return all(where.matches(record) for where in self.where)


def read_log(
    path: Path, *, is_running: Callable[[], bool] | None = None
) -> Iterator[tuple[bytes, EventRecord]]:
    """Yield each line of a log, with its end, and its record, streaming.

    With `is_running`, wait for more at the end of the file as long as it says so. Raises UserError.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file, is_running), start=1):
                record = _parse(path, number, line)
                if number > 1:
                    yield line, record
    except OSError as error:
        raise UserError(
            Problem(
                place=Place(str(path)),
                found=error.strerror or type(error).__name__,
                legal="expected the event log of a run",
                advice="name a run directory; a run with --no-log has no log",
            )
        ) from None


def _lines(file: Any, is_running: Callable[[], bool] | None) -> Iterator[bytes]:
    partial = b""
    while True:
        was_running = is_running is not None and is_running()
        for piece in file:
            partial += piece
            if partial.endswith(b"\n"):
                yield partial
                partial = b""
        if not was_running:
            return
        time.sleep(FOLLOW_INTERVAL_S)


def _parse(path: Path, number: int, line: bytes) -> EventRecord:
    record: EventRecord = {}
    with contextlib.suppress(orjson.JSONDecodeError):
        loaded = orjson.loads(line)
        if isinstance(loaded, dict):
            record = loaded
    major = str(SCHEMA_VERSION[0])
    if number == 1:
        is_ours = record.get("schema") == SCHEMA
        version = str(record.get("version")) if is_ours else ""
        if version.split(".")[0] == major:
            return record
        found = f"version {version} of the log" if is_ours else "no head of an event log"
        legal = f'expected {{"schema":"{SCHEMA}","version":"{major}.x"}}'
        advice = "name the run's events.jsonl"
        if is_ours:
            advice = "run its scenario.resolved.yaml again, or read it with the mmactors of the run"
    elif ENVELOPE.keys() <= record.keys():
        return record
    else:
        found = "no event"
        legal = f"expected a JSON object with {', '.join(ENVELOPE)}"
        advice = "the log was changed or damaged; run the scenario again"
    raise UserError(
        Problem(place=Place(str(path), number), found=found, legal=legal, advice=advice)
    )


def fields_of(record: EventRecord) -> EventRecord:
    """Return the event's own fields of a record."""
    return {
        name: value
        for name, value in record.items()
        if name not in ENVELOPE and name not in ON_BEHALF
    }
