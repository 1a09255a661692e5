"""Reading events.jsonl again, line by line, and in the order of time.

Refuses a log of another schema or of an unknown major version, and lines that are no events. A last
line without an end, as a killed run or a running one leaves it, is not read until it has its end.
"""

import contextlib
import os
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

import orjson
from attrs import has

from mmactors import events
from mmactors.errors import Place, Problem, UserError
from mmactors.events import ENVELOPE, ON_BEHALF, SCHEMA, SCHEMA_VERSION, event_fields

EventRecord = dict[str, Any]
"""One line of the log."""

FOLLOW_INTERVAL_S: Final = 0.2

_PIECE_BYTES: Final = 1 << 16
_T_END: Final = 1 << 62
"""No run comes so far, ns."""

_Shape = tuple[tuple[str, tuple[type, ...]], ...]
_INT_OR_NULL: Final = (int, NoneType)
_ENVELOPE_SHAPE: Final[_Shape] = (
    ("seq", (int,)),
    ("t", (int,)),
    ("actor", (str,)),
    ("cpu", _INT_OR_NULL),
    ("pid", _INT_OR_NULL),
    ("tid", _INT_OR_NULL),
    ("event", (str,)),
)
_ON_BEHALF_SHAPE: Final[_Shape] = (
    ("span", (int,)),
    ("cause", (int,)),
    ("for_actor", (str,)),
    ("for_cpu", (int,)),
    ("for_pid", (int,)),
)


def read_log(
    path: Path, *, is_running: Callable[[], bool] | None = None
) -> Iterator[tuple[bytes, EventRecord]]:
    """Yield each line of a log, with its end, and its record, streaming.

    With `is_running`, wait for more at the end of the file as long as it says so. Raises UserError.
    """
    try:
        with path.open("rb") as file:
            number = 0
            for number, line in enumerate(_lines(file, is_running), start=1):
                record = _parse(path, number, line)
                if number > 1:
                    yield line, record
            if number == 0:
                raise UserError(
                    Problem(
                        place=Place(str(path)),
                        found="an empty file",
                        legal=_LEGAL_HEAD,
                        advice="a run writes its log in pieces: --follow waits for the first; "
                        "one that was ended before it has none",
                    )
                )
    except OSError as error:
        raise UserError(
            Problem(
                place=Place(str(path)),
                found=error.strerror or type(error).__name__,
                legal="expected the event log of a run",
                advice="name a run directory; a run with --no-log has no log",
            )
        ) from None


def read_in_time_order(
    path: Path, wants: Callable[[EventRecord], bool]
) -> Iterator[tuple[bytes, EventRecord]]:
    """Yield the lines that are wanted by their times, those of one time by their numbers.

    A CPU may run ahead of the others in the order of numbers, so the whole log is looked at before
    the first line; of each line that is wanted only its time and its place are kept.
    """
    times, offsets = array("q"), array("q")
    offset = head_bytes(path)
    for line, record in read_log(path):
        if wants(record):
            times.append(record["t"])
            offsets.append(offset)
        offset += len(line)
    import numpy as np  # noqa: PLC0415 - --follow and --by seq do without, and start sooner

    order = np.argsort(np.array(times, np.int64), kind="stable")
    with path.open("rb") as file:
        for index in order:
            yield line_at(file, offsets[index])


def line_at(file: Any, offset: int) -> tuple[bytes, EventRecord]:
    """Return the line of an open log at an offset that reading it has given."""
    file.seek(offset)
    line = file.readline()
    return line, orjson.loads(line)


def head_bytes(path: Path) -> int:
    """Return the length of the first line: where the first event is."""
    with contextlib.suppress(OSError), path.open("rb") as file:  # read_log tells the user.
        return len(file.readline())
    return 0


def torn_bytes(path: Path) -> int:
    """Return the length of a last line that has no end: of one that was not written whole."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        at = end
        while at > 0:
            begin = max(at - _PIECE_BYTES, 0)
            file.seek(begin)
            newline = file.read(at - begin).rfind(b"\n")
            if newline >= 0:
                return end - (begin + newline + 1)
            at = begin
        return end
    return 0


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


_LEGAL_HEAD: Final = f'expected {{"schema":"{SCHEMA}","version":"{SCHEMA_VERSION[0]}.x"}}'


def _parse(path: Path, number: int, line: bytes) -> EventRecord:
    record: EventRecord = {}
    with contextlib.suppress(orjson.JSONDecodeError):
        loaded = orjson.loads(line)
        if isinstance(loaded, dict):
            record = loaded
    if number == 1:
        is_ours = record.get("schema") == SCHEMA
        version = str(record.get("version")) if is_ours else ""
        if version.split(".")[0] == str(SCHEMA_VERSION[0]):
            return record
        found = f"version {version} of the log" if is_ours else "no head of an event log"
        legal = _LEGAL_HEAD
        advice = "name the run's events.jsonl"
        if is_ours:
            advice = "run its scenario.resolved.yaml again, or read it with the mmactors of the run"
    elif _misfit(record, _ENVELOPE_SHAPE) is None and 0 <= record["t"] < _T_END:
        wrong = _misfit(record, _shape_of(record["event"])) or _misfit(
            record, [pair for pair in _ON_BEHALF_SHAPE if pair[0] in record]
        )
        if wrong is None:
            return record
        found = f"{record['event']} has no {wrong} that is one"
        legal = f"expected its fields: {', '.join(name for name, _ in _shape_of(record['event']))}"
        advice = "the log was changed or damaged; run the scenario again"
    else:
        found = "no event"
        legal = f"expected a JSON object with {', '.join(ENVELOPE)}"
        advice = "the log was changed or damaged; run the scenario again"
    raise UserError(
        Problem(place=Place(str(path), number), found=found, legal=legal, advice=advice)
    )


def _misfit(record: EventRecord, shape: Iterable[tuple[str, tuple[type, ...]]]) -> str | None:
    """Return the first field that is missing or of another type; lists are of numbers."""
    for name, kinds in shape:
        value = record.get(name, ...)
        if not isinstance(value, kinds):
            return name
        if isinstance(value, list) and not all(isinstance(each, int) for each in value):
            return name
    return None


@cache
def _shape_of(event: str) -> _Shape:
    """Return the fields that an event of this name has, and their types in JSON."""
    event_class = next(
        (
            each
            for each in vars(events).values()
            if isinstance(each, type) and has(each) and each.__dict__.get("name") == event
        ),
        None,
    )
    if event_class is None:  # A newer minor version has more of them.
        return ()
    kinds = get_type_hints(event_class)
    return tuple(
        (name, _json_kinds(kinds[attribute]))
        for name, attribute in event_fields(event_class).items()
    )


def _json_kinds(kind: Any) -> tuple[type, ...]:
    if isinstance(kind, UnionType):
        return tuple(each for part in get_args(kind) for each in _json_kinds(part))
    return (list,) if get_origin(kind) is tuple else (kind,)


def fields_of(record: EventRecord) -> EventRecord:
    """Return the event's own fields of a record."""
    return {
        name: value
        for name, value in record.items()
        if name not in ENVELOPE and name not in ON_BEHALF
    }
