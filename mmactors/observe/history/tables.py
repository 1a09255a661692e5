"""The tables of `mmactors waits` and `mmactors top`, folded to the width of the terminal."""

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmactors.observe.history.chain import Slow, Wait
from mmactors.observe.history.totals import Total, Totals
from mmactors.observe.history.wording import (
    Line,
    doing_text,
    wait_lines,
    wait_text,
    who_text,
)
from mmactors.plain_text import plain
from mmactors.units import format_ns


def table_of(
    columns: Sequence[tuple[str, Literal["left", "right"]]],
    rows: Iterable[Sequence[RenderableType]],
) -> Table:
    """Return a table without lines; the last column folds first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for index, (name, justify) in enumerate(columns):
        is_last = index == len(columns) - 1
        table.add_column(Text(name), justify=justify, overflow="fold", ratio=1 if is_last else None)
    for row in rows:
        # As text, for brackets are no markup.
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def classes_table(totals: Totals) -> Table:
    """Return waits for locks by class, the longest sum first."""
    rows = sorted(totals.classes.items(), key=lambda item: (-item[1].total_ns, item[0]))
    return table_of(
        [*_FIGURES, ("class of lock", "left")],
        ([*_figures(total), plain(name)] for name, total in rows),
    )


def pairs_table(totals: Totals, count: int) -> Table:
    """Return who waited for whom, the longest sum first."""
    rows = sorted(totals.pairs.items(), key=lambda item: (-item[1].total_ns, item[0]))
    return table_of(
        [*_FIGURES, ("who", "left"), ("waited for", "left"), ("class of lock", "left")],
        (
            [*_figures(total), plain(waiter), who_text(holder or None), plain(name)]
            for (waiter, holder, name), total in rows[:count]
        ),
    )


def interruptions_table(totals: Totals, count: int) -> Table:
    """Return who interrupted which CPUs, in which call, the longest wait for answers first."""
    rows = sorted(totals.interruptions.items(), key=lambda item: (-item[1].total_ns, item[0]))
    return table_of(
        [*_FIGURES, ("who", "left"), ("in", "left"), ("interrupted", "left")],
        (
            [
                *_figures(entry),
                plain(sender),
                plain(call),
                ", ".join(f"CPU {cpu} {nr}x" for cpu, nr in sorted(entry.cpus.items())),
            ]
            for (sender, call), entry in rows[:count]
        ),
    )


def waits_table(waits: Sequence[Wait]) -> Table:
    """Return single waits, each with what was waited for and what that one waited for."""
    return table_of(
        [
            ("time", "right"),
            ("began (ns)", "right"),
            ("who", "left"),
            ("cpu", "right"),
            ("in, and what it waited for", "left"),
        ],
        (
            [
                format_ns(wait.ns),
                str(wait.began_ns),
                plain(wait.actor),
                "-" if wait.cpu is None else str(wait.cpu),
                _cell(_wait_lines(wait)),
            ]
            for wait in waits
        ),
    )


def _wait_lines(wait: Wait) -> Iterable[Line]:
    if wait.doing is None:
        yield Line(0, "no call or fault that is recorded")
    else:
        yield Line(0, f"{doing_text(wait.doing)} [span {wait.doing.seq}]")
    yield Line(1, wait_text(wait))
    yield from wait_lines(wait.inside, 2)


def _cell(lines: Iterable[Line]) -> Group:
    """Return lines that keep their depth when they are folded."""
    return Group(*(Padding(Text(line.text), (0, 0, 0, 2 * line.depth)) for line in lines))


def slow_table(slow: Sequence[Slow]) -> Table:
    """Return calls or faults, each with what it waited for."""
    return table_of(
        [
            ("time", "right"),
            ("waited", "right"),
            ("began (ns)", "right"),
            ("who", "left"),
            ("cpu", "right"),
            ("what, and what it waited for", "left"),
        ],
        (
            [
                format_ns(each.ns),
                format_ns(each.waited_ns),
                str(each.doing.began_ns),
                plain(each.doing.actor),
                "-" if each.doing.cpu is None else str(each.doing.cpu),
                _cell(
                    [
                        Line(0, f"{doing_text(each.doing)} [span {each.doing.seq}]"),
                        *wait_lines(each.waits),
                    ]
                ),
            ]
            for each in slow
        ),
    )


_FIGURES: list[tuple[str, Literal["left", "right"]]] = [
    ("times", "right"),
    ("total", "right"),
    ("longest", "right"),
]


def _figures(total: Total) -> list[str]:
    return [str(total.count), format_ns(total.total_ns), format_ns(total.longest_ns)]
