"""`mmactors top RUN_DIR faults|waits|calls`: the slowest, each with what it waited for."""

from pathlib import Path
from typing import Annotated, Literal

import orjson
from attrs import asdict
from cyclopts import Parameter

from mmactors.cli.logs import log_of, tell_damage
from mmactors.cli.terminal.screen import row_count, say_json, show
from mmactors.observe.history.chain import LogQuery, Slow, Wait, open_query
from mmactors.observe.history.recorded import (
    ANSWERS,
    CALLS,
    FAULTS,
    LOCKS,
    SWITCHES,
    notes,
    require,
)
from mmactors.observe.history.tables import slow_table, waits_table
from mmactors.observe.history.track import Kind
from mmactors.observe.log_read import Damage
from mmactors.units import format_ns

What = Literal["faults", "waits", "calls"]
_KINDS = {"faults": Kind.FAULT, "calls": Kind.CALL}
_NEEDED = {"faults": (FAULTS,), "calls": (CALLS,), "waits": (LOCKS, ANSWERS)}


def top(
    run_dir: Annotated[Path, Parameter(help="Run directory, or an events.jsonl.")],
    what: Annotated[What, Parameter(help="What to look for.")] = "faults",
    *,
    n: Annotated[int, Parameter(name=["-n", "--number"], help="How many.")] = 10,
    json: Annotated[bool, Parameter(help="Print JSON.", negative="")] = False,
) -> int:
    """Show the slowest page faults, waits or calls, each with what it waited for, and for whom."""
    count = row_count(n)
    path = log_of(run_dir)
    damage = Damage()
    with open_query(path, damage) as query:
        require(path, query.history, *_NEEDED[what])
        lacks = list(notes(query.history, FAULTS, CALLS, LOCKS, ANSWERS, SWITCHES))
        found: list[Slow] | list[Wait]
        if what == "waits":
            found = query.longest_waits(count)
        else:
            found = query.slowest(count, _KINDS[what])
        if json:
            answer = {what: [asdict(each) for each in found], "notes": lacks}
            say_json(orjson.dumps(answer).decode() + "\n")
        else:
            _show(query, what, found, lacks)
    tell_damage(path, damage)
    return 0


def _show(query: LogQuery, what: What, found: list[Slow] | list[Wait], lacks: list[str]) -> None:
    slow = [each for each in found if isinstance(each, Slow)]
    single = [each for each in found if isinstance(each, Wait)]
    if what == "waits":
        show(f"the longest {len(single)} waits" if single else "no waits")
    else:
        nr_ended, total_ns = query.count(_KINDS[what])
        all_of_them = f"{nr_ended} {what}, which took {format_ns(total_ns)} in all"
        show(f"the slowest {len(slow)} of {all_of_them}" if slow else f"no {what}")
    if found:
        show("", slow_table(slow) if slow else waits_table(single))
    show(*(f"note: {note}" for note in lacks))
