"""Reading events.jsonl again, line by line, and in the order of time.

Refuses a log of another schema or of an unknown major version. Lines that are no events are noted
in a `Damage` and passed over; who has none for them is told by an error. A last line without an
end, as a killed run or a running one leaves it, is not read until it has its end.
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
from attrs import define, field, has

from mmactors import events
from mmactors.errors import Place, Problem, UserError, must_be_few
from mmactors.events import ENVELOPE, ON_BEHALF, SCHEMA, SCHEMA_VERSION, event_fields
from mmactors.given_file import open_given
from mmactors.limits import LOG_LINE_BYTES_MAX

EventRecord = dict[str, Any]
"""One line of the log."""

FOLLOW_INTERVAL_S: Final = 0.2

_PIECE_BYTES: Final = 1 << 16
_T_END: Final = 1 << 62
"""No run comes so far, ns."""

_INT_END: Final = 1 << 64
"""What a field holds fits 64 bits, with or without a sign."""

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


@define(eq=False)
class Damage:
    """What of a log could not be read."""

    problems: list[Problem] = field(factory=list)
    nr_torn_bytes: int = 0
    """Of a last line without an end."""

    def raise_if_any(self) -> None:
        """Raise UserError if there are lines that are no events."""
        if self.problems:
            raise UserError(self.problems)


def read_log(
    path: Path,
    *,
    is_running: Callable[[], bool] | None = None,
    damage: Damage | None = None,
) -> Iterator[tuple[bytes, EventRecord]]:
    """Yield each line of a log, with its end, and its record, streaming.

    With `is_running`, wait for more at the end of the file as long as it says so. With `damage`,
    lines that are no events are noted there. Raises UserError.
    """
    for _, line, record in read_with_offsets(path, is_running=is_running, damage=damage):
        yield line, record


def read_with_offsets(
    path: Path,
    *,
    is_running: Callable[[], bool] | None = None,
    damage: Damage | None = None,
) -> Iterator[tuple[int, bytes, EventRecord]]:
    """Yield as `read_log` does, each line after its place in the file."""
    try:
        with open_given(path, may_grow=is_running is not None) as file:
            number = offset = 0
            for number, line in enumerate(_lines(file, is_running, damage), start=1):
                try:
                    record = _parse(path, number, line)
                except UserError as error:
                    if damage is None or number == 1:
                        raise
                    damage.problems += error.problems
                    must_be_few(damage.problems)
                else:
                    if number > 1:
                        yield offset, line, record
                offset += len(line)
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
    path: Path, wants: Callable[[EventRecord], bool], *, damage: Damage | None = None
) -> Iterator[tuple[bytes, EventRecord]]:
    """Yield the lines that are wanted by their times, those of one time by their numbers.

    A CPU may run ahead of the others in the order of numbers, so the whole log is looked at before
    the first line; of each line that is wanted only its time and its place are kept.
    """
    times, offsets = array("q"), array("q")
    for offset, _, record in read_with_offsets(path, damage=damage):
        if wants(record):
            times.append(record["t"])
            offsets.append(offset)
    import numpy as np  # noqa: PLC0415 - --follow and --by seq do without, and start sooner

    order = np.argsort(np.array(times, np.int64), kind="stable")
    with open_given(path) as file:
        for index in order:
            yield line_at(file, offsets[index])


def line_at(file: Any, offset: int) -> tuple[bytes, EventRecord]:
    """Return the line of an open log at an offset that reading it has given."""
    file.seek(offset)
    line = file.readline()
    return line, orjson.loads(line)


def torn_bytes(path: Path) -> int:
    """Return the length of a last line that has no end: of one that was not written whole."""
    with contextlib.suppress(OSError), open_given(path) as file:
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


def _lines(
    file: Any, is_running: Callable[[], bool] | None, damage: Damage | None
) -> Iterator[bytes]:
    """Yield whole lines; of one that is too long only pieces without an end, which are none."""
    partial = b""
    while True:
        was_running = is_running is not None and is_running()
        while piece := file.readline(LOG_LINE_BYTES_MAX):
            partial += piece
            if partial.endswith(b"\n") or len(partial) >= LOG_LINE_BYTES_MAX:
                yield partial
                partial = b""
        if not was_running:
            if damage is not None:
                damage.nr_torn_bytes = len(partial)
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
        if type(value) not in kinds:  # True is no number here.
            return name
        if type(value) is list and not all(type(each) is int for each in value):
            return name
        if type(value) is int and not -_INT_END <= value < _INT_END:
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
