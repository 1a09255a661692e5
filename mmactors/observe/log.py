"""The event log: every event as one JSON line of events.jsonl, rendered by structlog.

The first line names the schema and its version. A line has seq, t (virtual ns), actor, cpu, pid,
event (the tracepoint's name), then the tracepoint's fields. Neither paths nor host nor wall time
get in, so that equal runs give equal bytes. One fixed processor chain, one logger, no context: an
event costs a few microseconds (benchmarks/ has the figure). Invariant: the file always consists of
complete lines, also after a failure, and after a full disk.
"""

import os
from collections.abc import Callable, MutableMapping
from fnmatch import fnmatchcase
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Protocol, Self

import orjson
import structlog
from attrs import define, field

from mmactors.events import SCHEMA, SCHEMA_VERSION, Event, event_fields

BUFFER_BYTES: Final = 1 << 18


class LineSink(Protocol):
    """Where the lines of a log go; structlog calls `flush` after every line."""

    def write(self, line: bytes, /) -> object:
        """Take one line with its end."""

    def flush(self) -> None:
        """Keep what was taken from waiting too long."""

    def close(self) -> None:
        """Take no more; closing twice is allowed."""


class LineFile:
    """A file of complete lines behind a buffer of its own."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb", buffering=0)
        self._lines: list[bytes] = []
        self._nr_bytes_waiting = 0
        self._nr_bytes_written = 0
        self._nr_bytes_buffered = BUFFER_BYTES

    def flush_soon(self) -> None:
        """Write out with the next line; the one method that another thread may call."""
        self._nr_bytes_buffered = 0

    def write(self, line: bytes) -> None:
        """Take one line with its end."""
        self._lines.append(line)
        self._nr_bytes_waiting += len(line)
        if self._nr_bytes_waiting >= self._nr_bytes_buffered:
            self._nr_bytes_buffered = BUFFER_BYTES
            self.write_out()

    def flush(self) -> None:
        """Do nothing: `write` knows when much waits, and `close` writes out the rest."""

    def write_out(self) -> None:
        """Write out what waits. If that fails, cut the file to its complete lines and raise."""
        data = memoryview(b"".join(self._lines))
        self._lines.clear()
        self._nr_bytes_waiting = 0
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError:
            os.ftruncate(self._file.fileno(), self._nr_bytes_written)
            self._file.seek(self._nr_bytes_written)
            raise
        self._nr_bytes_written = self._file.tell()

    def close(self) -> None:
        """Write out what waits and close."""
        if not self._file.closed:
            try:
                self.write_out()
            finally:
                self._file.close()


class _EventLogger(structlog.BoundLoggerBase):
    """structlog's bound logger with the one method that the log needs."""

    def record(self, event_dict: Any) -> None:
        # What _proxy_to_logger does, without a context to copy and keywords to pass on: half of it.
        logger = self._logger
        for processor in self._processors:
            event_dict = processor(logger, "msg", event_dict)
        logger.msg(event_dict)


@define(eq=False)
class EventLog:
    """Writes the events whose names match one of the globs; a context manager."""

    file: "LineSink"
    globs: tuple[str, ...] = ("*",)
    nr_recorded: int = field(default=0, init=False)
    _record: Callable[..., None] = field(init=False)
    _is_wanted: dict[type, bool] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        logger: _EventLogger = structlog.wrap_logger(
            structlog.BytesLogger(self.file),  # type: ignore[arg-type]  # it writes and flushes
            processors=[spread_fields, render],
            wrapper_class=_EventLogger,
            context_class=dict,
        ).bind()
        self._record = logger.record
        version = ".".join(map(str, SCHEMA_VERSION))
        self.file.write(orjson.dumps({"schema": SCHEMA, "version": version}) + b"\n")

    def record(
        self, event: Event, *, seq: int, t_ns: int, actor: str, cpu: int | None, pid: int | None
    ) -> None:
        """Write one event, unless its name matches no glob."""
        is_wanted = self._is_wanted.get(type(event))
        if is_wanted is None:
            is_wanted = any(fnmatchcase(event.name, glob) for glob in self.globs)
            self._is_wanted[type(event)] = is_wanted
        if is_wanted:
            self.nr_recorded += 1
            self._record(
                {"seq": seq, "t": t_ns, "actor": actor, "cpu": cpu, "pid": pid, "event": event}
            )

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


_field_getters: dict[type, tuple[tuple[str, ...], Callable[[Any], tuple[object, ...]]]] = {}


def spread_fields(
    _logger: object, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put the event's name and fields in the place of the event (a structlog processor)."""
    event = event_dict["event"]
    known = _field_getters.get(type(event))
    if known is None:
        names = ("event", *event_fields(type(event)))
        # attrgetter gives a tuple if it has more than one name, so the last one is there twice.
        known = _field_getters[type(event)] = (names, attrgetter("name", *names[1:], "name"))
    event_dict.update(zip(known[0], known[1](event), strict=False))
    return event_dict


def render(_logger: object, _method: str, event_dict: MutableMapping[str, Any]) -> bytes:
    """Return the line without its end (the last structlog processor)."""
    return orjson.dumps(event_dict)
