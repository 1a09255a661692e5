"""Runs on several libraries as tables and a chart for terminals, as Markdown, as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
from attrs import frozen

from mmactors.cli.heap.figures import FIGURES, Run, shown
from mmactors.cli.heap.rss_chart import Over, chart_lines, curve
from mmactors.cli.terminal.screen import say, say_json, show
from mmactors.observe.history.tables import table_of

_OK: Final = "ok"


@frozen(kw_only=True)
class SideBySide:
    """One trace or scenario on several libraries."""

    name: str
    runs: tuple[Run, ...]


def show_all(done: Sequence[SideBySide], over: Over) -> None:
    """Print a table and a chart of one trace; of several one table, with a line for each run."""
    if len(done) > 1:
        titles, rows = _lines_of(done)
        show(table_of([(title, "left" if nth < 2 else "right") for nth, title in titles], rows))
        show("", *_remarks([run for each in done for run in each.runs]))
        return
    (one,) = done
    show(
        table_of(
            [(one.name, "left"), *((run.choice.label, "right") for run in one.runs), ("", "left")],
            ([*row, ""] for row in _rows(one.runs)),
        ),
        "",
        *_remarks(one.runs),
    )
    curves = [drawn for run in one.runs if (drawn := curve(run, over)) is not None]
    if curves:
        show("", *chart_lines(curves, over))


def say_as_markdown(done: Sequence[SideBySide]) -> None:
    """Print the same table as Markdown, without what is only of this host."""
    if len(done) > 1:
        numbered, rows = _lines_of(done)
        titles = [title for _, title in numbered]
        nr_left = 2
    else:
        (one,) = done
        titles = [one.name, *(run.choice.label for run in one.runs)]
        rows, nr_left = list(_rows(one.runs)), 1
    rule = ["---" if nth < nr_left else "--:" for nth in range(len(titles))]
    for row in (titles, rule, *rows):
        say(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n")


def say_as_json(done: Sequence[SideBySide]) -> None:
    """Print all figures, and samples of RSS."""
    value = [
        {"name": each.name, "libraries": [_as_json(run) for run in each.runs]} for each in done
    ]
    say_json(orjson.dumps({"compared": value}, option=orjson.OPT_INDENT_2).decode() + "\n")


def _as_json(run: Run) -> dict[str, Any]:
    drawn, series = curve(run, "calls"), run.report.outcome.series
    samples: list[list[int]] = []
    if drawn is not None and series is not None:
        columns = (series.times_ns, drawn.at.tolist(), drawn.rss.tolist())
        samples = [list(row) for row in zip(*columns, strict=True)]
    return {
        "library": run.choice.library,
        "environment": dict(run.choice.environment),
        "run_dir": str(run.report.run_dir.path),
        "came_to": run.came_to,
        **{figure.name: figure.value(run) for figure in FIGURES},
        "lock_classes": {
            each.name: {
                "of_programs": each.is_of_programs,
                "contentions": each.read.contentions + each.write.contentions,
                "waittime_ns": each.read.waittime_total_ns + each.write.waittime_total_ns,
                "acquisitions": each.read.acquisitions + each.write.acquisitions,
            }
            for each in run.report.outcome.locks
            if each.read.acquisitions + each.write.acquisitions
        },
        "sample_columns": ["t_ns", "calls", "rss_bytes"],
        "samples": samples,
    }


def _rows(runs: Sequence[Run]) -> Iterator[list[str]]:
    """Yield the rows of the table of one trace: a figure, its value on each library."""
    for figure in shown(runs):
        yield [figure.title, *map(figure.cell, runs)]


def _lines_of(done: Sequence[SideBySide]) -> tuple[list[tuple[int, str]], list[list[str]]]:
    """Return titles, numbered, and rows of the table of several traces: a row for each run."""
    figures = [figure for figure in FIGURES if figure.short is not None]
    titles = ["", "library", *(figure.short or "" for figure in figures)]
    rows = [
        [
            each.name if not nth else "",
            run.choice.label,
            *(figure.cell(run) for figure in figures),
        ]
        for each in done
        for nth, run in enumerate(each.runs)
    ]
    return list(enumerate(titles)), rows


def _remarks(runs: Sequence[Run]) -> Iterator[str]:
    """Yield what the table has no room for: environments, what went wrong, where runs are."""
    told = set()
    for run in runs:
        label = run.choice.label
        for variable, value in run.choice.environment.items():
            text = f"{label}: {variable}={value}"
            if text not in told:
                told.add(text)
                yield text
    for run in runs:
        series = run.report.outcome.series
        if run.came_to != _OK:
            yield f"{run.choice.label}: {run.came_to}"
        if series is not None and not series.is_whole:
            yield f"{run.choice.label}: no more room for samples; raise --set record.sample"
    for run in runs:
        yield f"run     {run.report.run_dir.path}"
