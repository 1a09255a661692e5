"""`mmactors objects RUN_DIR...`: what the kernel's objects took in runs, side by side."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
from attrs import frozen
from cyclopts import Parameter

from mmactors.cli.logs import log_of, tell_damage
from mmactors.cli.terminal.screen import say_json, show
from mmactors.errors import Place, Problem, UserError
from mmactors.observe.history.tables import table_of
from mmactors.observe.log_read import Damage, read_log
from mmactors.observe.object_usage import (
    ALLOC_EVENTS,
    FREE_EVENTS,
    PAGE_EVENTS,
    SAMPLE,
    SUMMARY,
    UsageOfLog,
)
from mmactors.observe.run_dir import SCENARIO
from mmactors.scenario.load import load_scenario

_SAMPLED: Final = 100
"""Every so many requests there is a sample in JSON."""
_MEANINGS: Final = {
    "peak_pages": "pages of slabs, at most",
    "pages_at_end": "at the end",
    "mean_pages": "on average",
    "peak_pages_in_use": "pages of slabs in use, at most",
    "mean_pages_in_use": "on average",
    "peak_requested_bytes": "bytes asked for, at most",
    "internal_mean": "wasted inside objects",
    "external_mean": "wasted outside of them",
}


def objects(
    *run_dirs: Annotated[Path, Parameter(help="Run directories, or files events.jsonl.")],
    json: Annotated[bool, Parameter(help="Print JSON, with samples.", negative="")] = False,
) -> int:
    """Show what the kernel's objects took in runs, side by side: bytes, pages, waste."""
    if not run_dirs:
        raise UserError(
            Problem(
                place=Place("mmactors objects"),
                found="no run",
                legal="expected run directories",
                advice="name one like runs/latest, or several to compare them",
            )
        )
    damages = {log_of(run_dir): Damage() for run_dir in run_dirs}
    runs = [_run(run_dir, damages[log_of(run_dir)]) for run_dir in run_dirs]
    if json:
        say_json(orjson.dumps({"runs": [_as_json(run) for run in runs]}).decode() + "\n")
    else:
        _show(runs)
    for path, damage in damages.items():
        tell_damage(path, damage)
    return 0


@frozen
class _Run:
    path: Path
    allocator: str
    """Empty: the scenario is not beside the log."""
    seen: UsageOfLog


def _run(run_dir: Path, damage: Damage) -> _Run:
    path = log_of(run_dir)
    seen = UsageOfLog()
    missing = {*ALLOC_EVENTS, *FREE_EVENTS, *PAGE_EVENTS}
    for _, record in read_log(path, damage=damage):
        missing.discard(record["event"])
        seen.see(record)
    seen.finish()
    if not len(seen.usage):
        raise UserError(
            Problem(
                place=Place(str(path)),
                found="no event of an object",
                legal="expected a log of objects and their pages",
                advice="run it again with record: {events: ["
                + ", ".join((*ALLOC_EVENTS, *FREE_EVENTS, *PAGE_EVENTS))
                + "]}, or with all events",
            )
        )
    return _Run(run_dir, _allocator_of(path.parent), seen)


def _allocator_of(folder: Path) -> str:
    with suppress(UserError):
        return load_scenario(folder / SCENARIO).kernel.slab
    return ""


def _figures(run: _Run) -> dict[str, float]:
    seen = run.seen
    return {
        "requests": len(seen.usage),
        "failed": seen.nr_failed,
        "left": seen.nr_left,
        **seen.usage.summary(),
    }


def _as_json(run: _Run) -> dict[str, Any]:
    usage = run.seen.usage
    return {
        "run": str(run.path),
        "allocator": run.allocator or None,
        **_figures(run),
        "sample_columns": ["request", "requested_bytes", *SAMPLE],
        "samples": [
            [at, usage.requested[at], *usage.sample(at)]
            for at in range(_SAMPLED - 1, len(usage), _SAMPLED)
        ],
    }


def _show(runs: list[_Run]) -> None:
    rows: list[list[str]] = []
    figures = [_figures(run) for run in runs]
    names = {
        "requests": "objects handed out and taken back",
        "failed": "requests without memory",
        "left": "objects left at the end",
        **{name: _MEANINGS[name] for name in SUMMARY},
    }
    for name, meaning in names.items():
        rows.append([*(_text(name, each[name]) for each in figures), meaning])
    titles = [run.allocator or str(run.path) for run in runs]
    show(table_of([*((title, "right") for title in titles), ("", "left")], rows))


def _text(name: str, value: float) -> str:
    if name.startswith(("internal", "external")):
        return f"{100 * value:.1f} %"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
