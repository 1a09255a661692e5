"""`mmactors waits RUN_DIR`: who waited for whom, how long, and doing what."""

from pathlib import Path
from typing import Annotated, Any

import orjson
from attrs import asdict
from cyclopts import Parameter

from mmactors.cli.logs import log_of, tell_damage
from mmactors.cli.terminal.screen import row_count, say_json, show
from mmactors.observe.history.chain import LogQuery, Wait, open_query
from mmactors.observe.history.recorded import ANSWERS, CALLS, FAULTS, LOCKS, notes, require
from mmactors.observe.history.tables import (
    classes_table,
    interruptions_table,
    pairs_table,
    waits_table,
)
from mmactors.observe.history.track import Kind
from mmactors.observe.log_read import Damage
from mmactors.units import format_ns


def waits(
    run_dir: Annotated[Path, Parameter(help="Run directory, or an events.jsonl.")],
    *,
    n: Annotated[int, Parameter(name=["-n", "--number"], help="Rows of a table.")] = 10,
    json: Annotated[bool, Parameter(help="Print JSON.", negative="")] = False,
) -> int:
    """Show who waited for whom, how long, and doing what."""
    count = row_count(n)
    path = log_of(run_dir)
    damage = Damage()
    with open_query(path, damage) as query:
        require(path, query.history, LOCKS, ANSWERS)
        lacks = list(notes(query.history, LOCKS, ANSWERS, CALLS, FAULTS))
        if json:
            say_json(orjson.dumps(_answer(query, count, lacks)).decode() + "\n")
        else:
            _show(query, count, lacks)
    tell_damage(path, damage)
    return 0


def _answer(query: LogQuery, count: int, lacks: list[str]) -> dict[str, Any]:
    totals = query.history.totals
    return {
        "classes": {name: asdict(total) for name, total in totals.classes.items()},
        "pairs": [
            {"actor": waiter, "of": holder or None, "class": name, **asdict(total)}
            for (waiter, holder, name), total in totals.pairs.items()
        ],
        "interruptions": [
            {
                "actor": sender,
                "call": call,
                "count": entry.count,
                "total_ns": entry.total_ns,
                "longest_ns": entry.longest_ns,
                "cpus": {str(cpu): nr for cpu, nr in sorted(entry.cpus.items())},
            }
            for (sender, call), entry in totals.interruptions.items()
        ],
        "locks": [asdict(wait) for wait in _longest(query, count, Kind.LOCK)],
        "answers": [asdict(wait) for wait in _longest(query, count, Kind.ANSWERS)],
        "notes": lacks,
    }


def _longest(query: LogQuery, count: int, kind: Kind) -> list[Wait]:
    return query.longest_waits(count, frozenset({kind}))


def _show(query: LogQuery, count: int, lacks: list[str]) -> None:
    totals = query.history.totals
    nr_locks = sum(total.count for total in totals.classes.values())
    locks_ns = sum(total.total_ns for total in totals.classes.values())
    show(f"waits for locks: {nr_locks}, {format_ns(locks_ns)} in all")
    if nr_locks:
        show("", classes_table(totals), "", "who waited for whom", pairs_table(totals, count))
        show("", "the longest", waits_table(_longest(query, count, Kind.LOCK)), "")
    nr_sent = sum(entry.count for entry in totals.interruptions.values())
    sent_ns = sum(entry.total_ns for entry in totals.interruptions.values())
    show(f"waits for CPUs that were interrupted: {nr_sent}, {format_ns(sent_ns)} in all")
    if nr_sent:
        show("", "who interrupted which CPUs", interruptions_table(totals, count))
        show("", "the longest", waits_table(_longest(query, count, Kind.ANSWERS)))
    show(*(f"note: {note}" for note in lacks))
