"""`mmactors logs RUN_DIR`: the event log, filtered, as a table, JSON lines or ftrace's text."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from mmactors.cli.terminal.screen import complain, say, say_json
from mmactors.errors import Place, Problem, UserError
from mmactors.events import ENVELOPE, ON_BEHALF, event_fields
from mmactors.observe.log_filter import LogFilter, SpanFilter, Where
from mmactors.observe.log_read import Damage, EventRecord, read_in_time_order, read_log
from mmactors.observe.log_text import FTRACE_HEAD, TABLE_HEAD, FtraceText, table_line
from mmactors.observe.run_dir import EVENTS
from mmactors.observe.run_meta import is_running, read_meta, standing_of
from mmactors.scenario.event_names import event_classes, event_names
from mmactors.scenario.structure import did_you_mean
from mmactors.units import parse_ns


def logs(
    run_dir: Annotated[Path, Parameter(help="Run directory, or an events.jsonl.")],
    *,
    event: Annotated[
        tuple[str, ...],
        Parameter(help="Names of events; * and ? match any.", negative="", show_default=False),
    ] = (),
    actor: Annotated[
        tuple[str, ...],
        Parameter(help="Names of actors; * and ? match any.", negative="", show_default=False),
    ] = (),
    cpu: Annotated[
        tuple[int, ...],
        Parameter(
            help="CPU numbers: what happened on them, and for them.",
            negative="",
            show_default=False,
        ),
    ] = (),
    pid: Annotated[
        tuple[int, ...],
        Parameter(
            help="Process ids: what they did, and what was done for them.",
            negative="",
            show_default=False,
        ),
    ] = (),
    tid: Annotated[
        tuple[int, ...], Parameter(help="Thread ids.", negative="", show_default=False)
    ] = (),
    span: Annotated[
        int | None,
        Parameter(help="One call or fault, by its number: all of it, and what it led to."),
    ] = None,
    from_: Annotated[
        str | None, Parameter(name="--from", help="Virtual time, such as 1200us.")
    ] = None,
    to: Annotated[str | None, Parameter(help="Virtual time, such as 3ms.")] = None,
    where: Annotated[
        tuple[str, ...],
        Parameter(
            help="Comparisons of fields, such as 'pfn>100', 'call~munmap' (contains), "
            "'reason=remote ipi send'; all must hold.",
            negative="",
            show_default=False,
        ),
    ] = (),
    follow: Annotated[
        bool, Parameter(help="Wait for more while it runs.", negative="", show_default=False)
    ] = False,
    by: Annotated[
        Literal["time", "seq"] | None,
        Parameter(
            help="The order: of virtual time, or in which the simulator came to them; --follow "
            "is by seq. [default: time]",
            show_default=False,
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Literal["table", "json", "ftrace"], Parameter(help="How to show records.")
    ] = "table",
) -> int:
    """Show the event log of a run, filtered."""
    wanted = LogFilter(
        events=event,
        actors=actor,
        cpus=cpu,
        pids=pid,
        tids=tid,
        from_ns=None if from_ is None else parse_time("--from", from_),
        to_ns=None if to is None else parse_time("--to", to),
        where=tuple(map(Where.parse, where)),
    )
    problems = [*_unknown_events(wanted.events), *_unknown_fields(wanted.where)]
    if follow and by == "time":
        problems.append(_FOLLOWED_BY_TIME)
    if problems:
        raise UserError(problems)
    path = log_of(run_dir)
    lines: Iterator[tuple[bytes, EventRecord]]
    head, show, see = _format(format)
    of_span = None if span is None else SpanFilter(span)
    wants = _wants(wanted, of_span, see)
    damage = Damage()
    if follow or by == "seq":
        running = (lambda: is_running(path.parent)) if follow else None
        lines = (
            each for each in read_log(path, is_running=running, damage=damage) if wants(each[1])
        )
    else:
        lines = read_in_time_order(path, wants, damage=damage)
    for line, record in lines:
        if head:
            say(f"{head}\n")
            head = ""
        if show is None:
            say_json(line.decode())
        else:
            say(f"{show(record)}\n")
        if follow:
            sys.stdout.flush()
    tell_damage(path, damage)
    if of_span is not None and of_span.is_empty:
        raise UserError(_no_span(of_span.span))
    return 0


_FOLLOWED_BY_TIME: Final = Problem(
    place=Place("--by"),
    found="time with --follow",
    legal="expected seq: what is yet to come may be earlier",
    advice="leave --by away, or --follow",
)


def _no_span(span: int) -> Problem:
    return Problem(
        place=Place("--span"),
        found=f"no event belongs to {span}",
        legal="expected the number of an event, such as one that begins a call or a fault",
        advice="the column span of the table has them",
    )


def tell_damage(path: Path, damage: Damage) -> None:
    """Say what of a log was passed over, after the rest was shown; raise UserError for damage."""
    if not is_running(path.parent):
        tell_torn(path, damage.nr_torn_bytes)
    damage.raise_if_any()


def tell_torn(path: Path, nr_bytes: int) -> None:
    """Say that a log ends within a line, which is left out, if it has so many bytes."""
    if nr_bytes:
        _note(path, f"the last line has no end; its {nr_bytes} bytes are left out")


def log_of(run_dir: Path) -> Path:
    """Return the event log that an argument names: a run directory, or the file.

    If the run was killed, stderr is told.
    """
    if not run_dir.is_dir():
        return run_dir
    with suppress(UserError):
        standing = standing_of(read_meta(run_dir))
        if standing.killed:
            _note(run_dir, f"the run was killed ({standing.killed}); this is what it had written")
    return run_dir / EVENTS


def _note(path: Path, text: str) -> None:
    complain(f"note: {path}: {text}\n")


def _wants(
    wanted: LogFilter, of_span: SpanFilter | None, see: Callable[[EventRecord], None] | None
) -> Callable[[EventRecord], bool]:
    """Return what decides on each record, in the order of numbers."""

    def wants(record: EventRecord) -> bool:
        if see is not None:
            see(record)
        return (of_span is None or of_span.wants(record)) and wanted.wants(record)

    return wants


_Show = Callable[[EventRecord], str]


def _format(name: str) -> tuple[str, _Show | None, Callable[[EventRecord], None] | None]:
    """Return a format's head, what shows a record (None: its line), and what sees all of them."""
    if name == "ftrace":
        text = FtraceText()
        return FTRACE_HEAD, text.line, text.see
    return (TABLE_HEAD, table_line, None) if name == "table" else ("", None, None)


def _unknown_events(globs: Iterable[str]) -> Iterator[Problem]:
    known = event_names()
    for glob in globs:
        if not known.match(glob):
            yield Problem(
                place=Place("--event"),
                found=f"{glob!r} matches no event",
                legal=f"expected names or globs of {', '.join(known.names)}",
                advice=did_you_mean(glob, known.names, otherwise="docs/events.md lists them"),
            )


def _unknown_fields(comparisons: Iterable[Where]) -> Iterator[Problem]:
    known = dict.fromkeys((*ENVELOPE, *ON_BEHALF))
    for event_class in event_classes().values():
        known |= dict.fromkeys(event_fields(event_class))
    for comparison in comparisons:
        if comparison.field not in known:
            yield Problem(
                place=Place("--where"),
                found=f"no event has a field {comparison.field}",
                legal=f"expected one of {', '.join(known)}",
                advice=did_you_mean(comparison.field, known, otherwise="see docs/events.md"),
            )


def parse_time(name: str, text: str) -> int:
    """Return the ns of an option's text; raise UserError."""
    try:
        return parse_ns(text)
    except ValueError:
        raise UserError(
            Problem(
                place=Place(name),
                found=f"{text!r} is not a time",
                legal="expected a number with ns, us, ms or s",
                advice="write it like 1200us",
            )
        ) from None
