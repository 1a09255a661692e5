"""`mmactors logs RUN_DIR`: the event log, filtered, as a table, JSON lines or ftrace-like text."""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mmactors.errors import Place, Problem, UserError
from mmactors.events import ENVELOPE, ON_BEHALF, event_fields
from mmactors.observe.log_filter import EventRecord, LogFilter, Where, read_log
from mmactors.observe.log_text import FTRACE_HEAD, TABLE_HEAD, ftrace_line, table_line
from mmactors.observe.run_dir import EVENTS, is_running
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
        tuple[int, ...], Parameter(help="CPU numbers.", negative="", show_default=False)
    ] = (),
    pid: Annotated[
        tuple[int, ...], Parameter(help="Process ids.", negative="", show_default=False)
    ] = (),
    from_: Annotated[
        str | None, Parameter(name="--from", help="Virtual time, such as 1200us.")
    ] = None,
    to: Annotated[str | None, Parameter(help="Virtual time, such as 3ms.")] = None,
    where: Annotated[
        tuple[str, ...],
        Parameter(
            help="Comparisons of fields, such as 'pfn>100'; all must hold.",
            negative="",
            show_default=False,
        ),
    ] = (),
    follow: Annotated[
        bool, Parameter(help="Wait for more while it runs.", negative="", show_default=False)
    ] = False,
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
        from_ns=None if from_ is None else parse_time("--from", from_),
        to_ns=None if to is None else parse_time("--to", to),
        where=tuple(map(Where.parse, where)),
    )
    problems = [*_unknown_events(wanted.events), *_unknown_fields(wanted.where)]
    if problems:
        raise UserError(problems)
    path = run_dir / EVENTS if run_dir.is_dir() else run_dir
    head, line_of = _FORMATS[format]
    records = read_log(path, is_running=(lambda: is_running(path.parent)) if follow else None)
    is_first = True
    for line, record in records:
        if wanted.wants(record):
            if is_first and head:
                sys.stdout.write(f"{head}\n")
            is_first = False
            sys.stdout.write(line.decode() if line_of is None else f"{line_of(record)}\n")
            if follow:
                sys.stdout.flush()
    return 0


_FORMATS: dict[str, tuple[str, Callable[[EventRecord], str] | None]] = {
    "table": (TABLE_HEAD, table_line),
    "json": ("", None),
    "ftrace": (FTRACE_HEAD, ftrace_line),
}


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
