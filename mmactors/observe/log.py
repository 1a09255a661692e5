"""The event log: every event as one JSON line of events.jsonl, rendered by structlog.

The first line names the schema and its version. A line has the envelope (mmactors/events), then the
event's own fields. Neither paths nor host nor wall time get in, so that equal runs give equal
bytes. One fixed processor chain, one logger, no context, many events a call: an event costs about
a microsecond (benchmarks/ has the figure). Invariant: the file always consists of complete lines,
also after a failure, and after a full disk.
"""

from collections.abc import Callable, MutableMapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Final, Protocol, Self, get_type_hints

import orjson
import structlog
from attrs import define, field

from mmactors.engine.probe import Taken
from mmactors.engine.trace.span import Span, Who
from mmactors.events import SCHEMA, SCHEMA_VERSION, event_fields
from mmactors.own_files import GrowingFile, new_file

BUFFER_BYTES: Final = 1 << 18
WAIT_S: Final = 0.5
"""So long lines wait for more."""


class LineSink(Protocol):
    """Where the lines of a log go; structlog calls `flush` after every `write`."""

    def write(self, lines: bytes, /) -> object:
        """Take some lines with their ends."""

    def flush(self) -> None:
        """Keep what was taken from waiting too long."""

    def close(self) -> None:
        """Take no more; closing twice is allowed."""


class LineFile:
    """A file of complete lines behind a buffer of its own."""

    def __init__(self, place: Path | int) -> None:
        """Begin a new file, or go on with the descriptor of one."""
        self.before: Callable[[], None] = _nothing
        """Called before lines are written out: what must not be older than they."""
        self._file: Final = GrowingFile(place if isinstance(place, int) else new_file(place))
        self._lines: list[bytes] = []
        self._nr_bytes_waiting = 0
        self._due_s = monotonic() + WAIT_S

    def write(self, lines: bytes) -> None:
        """Take some lines with their ends."""
        self._lines.append(lines)
        self._nr_bytes_waiting += len(lines)
        if self._nr_bytes_waiting >= BUFFER_BYTES or monotonic() >= self._due_s:
            self.write_out()

    def flush(self) -> None:
        """Do nothing: `write` knows when much or long waits, and `close` writes out the rest."""

    def write_out(self) -> None:
        """Write out what waits. If that fails, the file ends there, with its complete lines."""
        data = b"".join(self._lines)
        self._lines.clear()
        self._nr_bytes_waiting = 0
        self._due_s = monotonic() + WAIT_S
        if data and self._file.error is None:
            try:
                self.before()
            except OSError as error:
                self._file.error = error
                raise
            self._file.append(data)

    def close(self) -> None:
        """Write out what waits and close."""
        try:
            self.write_out()
        finally:
            self._file.close()


def _nothing() -> None:
    """Stand where nobody wants to be told."""


class _EventLogger(structlog.BoundLoggerBase):
    """structlog's bound logger with the one method that the log needs."""

    def take(self, event_dict: Any) -> None:
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
    _logger: _EventLogger = field(init=False)
    _is_wanted: dict[type, bool] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._logger = structlog.wrap_logger(
            structlog.BytesLogger(self.file),  # type: ignore[arg-type]  # it writes and flushes
            processors=[render],
            wrapper_class=_EventLogger,
            context_class=dict,
        ).bind()
        version = ".".join(map(str, SCHEMA_VERSION))
        self.file.write(orjson.dumps({"schema": SCHEMA, "version": version}) + b"\n")

    def take(self, taken: Sequence[Taken]) -> None:
        """Write events, but those whose names match no glob."""
        if self.globs != ("*",):
            taken = [each for each in taken if self._wants(type(each[-1]))]
        if taken:
            self.nr_recorded += len(taken)
            self._logger.take({"taken": taken})

    def _wants(self, event_class: type[Any]) -> bool:
        is_wanted = self._is_wanted.get(event_class)
        if is_wanted is None:
            is_wanted = any(fnmatchcase(event_class.name, glob) for glob in self.globs)
            self._is_wanted[event_class] = is_wanted
        return is_wanted

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


def render(_logger: object, _method: str, event_dict: MutableMapping[str, Any]) -> bytes:
    """Return the lines of some events without the last one's end (structlog's last processor)."""
    writers = _writers
    lines = []
    for seq, t_ns, who, span, cause, event in event_dict["taken"]:
        write = writers.get(type(event)) or _new_writer(type(event))
        place = who.shown or _show_who(who)
        if cause:
            why = _show_span(span, cause)
        elif span is None:
            why = ""
        else:
            why = span.shown or _keep_span(span)
        lines.append(write(seq, t_ns, place, why, event))
    return "\n".join(lines).encode()


Writer = Callable[[int, int, str, str, Any], str]
"""Makes a line of number, time, the parts of the envelope that are kept, and an event."""
_writers: dict[type, Writer] = {}


def _new_writer(event_class: type[Any]) -> Writer:
    """Make the function that writes the events of one class.

    Its lines differ in values only: the names stand in the source of the function, as attrs makes
    methods. It costs a third of what a dict of everything and its rendering would.
    """
    kinds = get_type_hints(event_class)
    fields = "".join(
        f',"{name}":{_FORMS.get(kinds[attribute], _OTHER_FORM).format(attribute)}'
        for name, attribute in event_fields(event_class).items()
    )
    line = f'{{{{"seq":{{seq}},"t":{{t_ns}},{{who}},"event":"{event_class.name}"{{why}}{fields}}}}}'
    # The names in it are those of attributes, which the source of an event class has.
    source = f"lambda seq, t_ns, who, why, event: f{line!r}"
    writer: Writer = eval(source, {"text": _text, "number": _number, "json": _json})  # noqa: S307
    _writers[event_class] = writer
    return writer


_FORMS: Final[dict[Any, str]] = {
    int: "{{event.{}}}",
    int | None: "{{number(event.{})}}",
    str: "{{text(event.{})}}",
}
"""How the value of an attribute is written, by its type."""
_OTHER_FORM: Final = "{{json(event.{})}}"


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


@lru_cache(maxsize=4096)
def _text(value: str) -> str:
    return orjson.dumps(value).decode()


def _show_who(who: Who) -> str:
    """Write who an event happened to, and keep that."""
    names = {"actor": who.actor, "cpu": who.cpu, "pid": who.pid, "tid": who.tid}
    who.shown = _json(names)[1:-1]
    return who.shown


def _keep_span(span: Span) -> str:
    span.shown = _show_span(span, span.cause)
    return span.shown


def _show_span(span: Span | None, cause: int) -> str:
    """Write what an event belongs to, with a cause if it is not 0."""
    shown = ""
    if span is not None and span.opener:
        shown = f',"span":{span.opener}'
    if cause:
        shown += f',"cause":{cause}'
    if span is not None and span.on_behalf_of is not None:
        who = span.on_behalf_of
        names = {"for_actor": who.actor, "for_cpu": who.cpu, "for_pid": who.pid}
        shown += "," + _json({name: each for name, each in names.items() if each is not None})[1:-1]
    return shown
