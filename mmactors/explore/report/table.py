"""The steps of a schedule as a table: a column an actor, and beside it what each step saw.

It is as wide as it is told to be. Long texts are folded inside their cells; with more actors than
there is room for, one column says who. Services and the surroundings share a column.
"""

from collections.abc import Sequence
from io import StringIO
from itertools import groupby
from typing import Final

from attrs import evolve
from rich.box import Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmactors.explore.report.rows import Lane, Row, Seen
from mmactors.plain_text import plain_lines

SEEN: Final = "what is seen and changed"
_SERVICES: Final = "others"
_ACTOR: Final = "actor"
_STEP: Final = "step"
_MOST_PARTS: Final = 6
"""So many parts of one object are told in a line."""
_LEAST_SEEN: Final = 26
_WIDEST_LABEL: Final = 32
_BOX: Final = Box("    \n  | \n -+ \n  | \n  | \n -+ \n  | \n    \n", ascii=True)
"""Bars between columns, a line below the heads; no frame."""


def table(
    rows: Sequence[Row], lanes: Sequence[Lane], *, width: int, is_verbose: bool
) -> tuple[str, int]:
    """Return the steps in columns, and how many lines were hidden.

    A star marks where an actor was preempted. Unless verbose, what does not matter is hidden.
    """
    shown = shown_rows(rows, is_verbose=is_verbose)
    cells = [seen_lines(row, is_verbose=is_verbose) for row in shown]
    nr_hidden = len(rows) - sum(row.nr_times for row in shown)
    nr_hidden += sum(nr_hidden_of(row, is_verbose=is_verbose) for row in shown)
    has_time = any(row.t_ns for row in rows)
    columns = _columns(shown, lanes)
    nr_digits = max(3, *(len(str(row.number)) for row in rows)) if rows else 3
    fixed = 1 + nr_digits + 3 + (9 if has_time else 0)
    labels = [_label(row, lanes) for row in shown]
    needed = {name: _longest_word(name, shown, lanes) for name in columns}
    if fixed + sum(each + 3 for each in needed.values()) + _LEAST_SEEN > width:
        columns = []
    grid = Table(box=_BOX, show_edge=False, pad_edge=False, padding=(0, 1), header_style="")
    grid.add_column(f"{'#':>{1 + nr_digits}}", no_wrap=True)
    if has_time:
        grid.add_column("t ns", justify="right", no_wrap=True)
    for name in columns:
        share = (width - fixed - _LEAST_SEEN) // len(columns) - 3
        widest = max(needed[name], min(_WIDEST_LABEL, share))
        grid.add_column(name, overflow="fold", min_width=needed[name], max_width=widest)
    if not columns:
        grid.add_column(_ACTOR, overflow="fold", max_width=max(8, width // 5))
        grid.add_column(_STEP, overflow="fold", max_width=max(12, width // 3))
    grid.add_column(SEEN, overflow="fold")
    for row, label, lines in zip(shown, labels, cells, strict=True):
        first = [f"{'*' if row.is_preemption else ' '}{row.number:{nr_digits}}"]
        if has_time:
            first.append(str(row.t_ns))
        column = _column_of(row.actor, lanes)
        middle = [label if each == column else "" for each in columns] or [row.actor, label]
        grid.add_row(*[Text(cell) for cell in (*first, *middle, "\n".join(lines))])
    return _printed(grid, width), nr_hidden


def shown_rows(rows: Sequence[Row], *, is_verbose: bool) -> list[Row]:
    """Return the rows that are shown; what an actor begins is said in its first one."""
    shown: list[Row] = []
    begun: dict[str, str] = {}
    for row in rows:
        doing = row.doing or begun.pop(row.actor, "")
        if shown and _is_again(shown[-1], row):
            shown[-1] = evolve(shown[-1], nr_times=shown[-1].nr_times + 1)
        elif is_verbose or row.matters:
            shown.append(evolve(row, doing=doing))
        elif doing:
            begun[row.actor] = doing
    return shown


def _is_again(before: Row, row: Row) -> bool:
    """Return whether a row says what the one before said, and that nothing happened."""
    says = (row.actor, row.label, row.seen)
    is_same = says == (before.actor, before.label, before.seen) and not row.doing
    return is_same and not row.is_preemption and all(each.after is None for each in row.seen)


def seen_lines(row: Row, *, is_verbose: bool) -> list[str]:
    """Return what is shown of what a step saw; parts of one object stand in one line."""
    shown = [each for each in row.seen if is_verbose or each.matters]
    lines = []
    for (whose, _), group in groupby(shown, key=_whose):
        parts = list(group)
        if len(parts) == 1:
            lines.append(str(parts[0]))
            continue
        texts = [
            f"{_split(each.thing)[0]} {each.before}"
            + ("" if each.after is None else f" → {each.after}")
            for each in parts[:_MOST_PARTS]
        ]
        more = f" and {len(parts) - _MOST_PARTS} more" if len(parts) > _MOST_PARTS else ""
        lines.append(f"{whose}: {', '.join(texts)}{more}")
    return lines


def nr_hidden_of(row: Row, *, is_verbose: bool) -> int:
    """Return how much of what a step saw is not shown."""
    return 0 if is_verbose else sum(not each.matters for each in row.seen)


def _whose(seen: Seen) -> tuple[str, bool]:
    return _split(seen.thing)[1], seen.after is None


def _split(thing: str) -> tuple[str, str]:
    """Return which part it is, and of what: `WHAT, PART`, or `PART of WHAT`."""
    whole, comma, part = thing.partition(", ")
    if not comma:
        part, _, whole = thing.partition(" of ")
    return part, whole or part


def _label(row: Row, lanes: Sequence[Lane]) -> str:
    times = f" ({row.nr_times} times)" if row.nr_times > 1 else ""
    doing = f"[{row.doing}]\n" if row.doing else ""
    who = f"{row.actor}: " if _column_of(row.actor, lanes) == _SERVICES else ""
    return f"{doing}{who}{row.label}{times}"


def _longest_word(column: str, rows: Sequence[Row], lanes: Sequence[Lane]) -> int:
    """Return how wide a column has to be so that no word of a step is cut."""
    own = [row for row in rows if _column_of(row.actor, lanes) == column]
    words = [word for row in own for word in row.label.split()]
    return max(len(column), *map(len, words))


def _columns(rows: Sequence[Row], lanes: Sequence[Lane]) -> list[str]:
    """Return the heads of the columns: actors with a step that is shown, services together."""
    used = {_column_of(row.actor, lanes) for row in rows}
    heads = [_column_of(lane.name, lanes) for lane in sorted(lanes, key=_is_service)]
    return [name for name in dict.fromkeys(heads) if name in used]


def _column_of(actor: str, lanes: Sequence[Lane]) -> str:
    services = [lane.name for lane in lanes if lane.is_service]
    return _SERVICES if len(services) > 1 and actor in services else actor


def _is_service(lane: Lane) -> bool:
    return lane.is_service


def _printed(grid: Table, width: int) -> str:
    out = StringIO()
    console = Console(
        file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False,
        highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    console.print(grid)
    return "\n".join(line.rstrip() for line in plain_lines(out.getvalue()).splitlines())
