"""`mmactors explore SCENARIO...`: try every order of what races, and say how sure that is.

How far it is stands on stderr: in a line that changes, if that is a terminal; else in a line every
ten seconds. Ctrl-C and SIGTERM end it with the verdict reached; the exit codes are the shell's.
"""

import json as json_text
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

from attrs import evolve
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mmactors.cli.terminal.screen import Plain, complain, say, say_json
from mmactors.engine.schedule import ScheduleMismatch
from mmactors.errors import Place, Problem, UserError
from mmactors.explore.report.lanes import write_page
from mmactors.explore.search.budget import Budget
from mmactors.explore.search.options import Options
from mmactors.explore.search.progress import LOG_SECONDS, Progress, Teller
from mmactors.explore.search.search import replay
from mmactors.explore.search.store import DIRECTORY
from mmactors.explore.search.verdict import Failure, Verdict
from mmactors.races.machine import ExploredMachine
from mmactors.races.pair import PairResult, explore_pair, with_rules
from mmactors.races.table import COLUMNS, as_json, line, markdown, outside_scope, row
from mmactors.scenario.load import load_scenario
from mmactors.scenario.schema import Scenario


def explore(
    *scenarios: Annotated[Path, Parameter(help="Scenario files with a race.", required=True)],
    overrides: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="KEY=VALUE, such as machine.cpus=8.", show_default=False),
    ] = (),
    budget: Annotated[
        str | None,
        Parameter(
            help="Schedules, a time such as 10s, or both, for each kernel; else the entry's own."
        ),
    ] = None,
    seed: Annotated[int, Parameter(help="Seed of strategies that draw their choices.")] = 0,
    jobs: Annotated[
        int, Parameter(help="Host processes that search.", validator=Number(gte=1))
    ] = 1,
    replayed: Annotated[
        str | None, Parameter(name="--replay", help="Run only the schedule a failure printed.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print JSON.", negative="")] = False,
    as_markdown: Annotated[
        bool, Parameter(name="--markdown", help="Print docs/gallery.md.", negative="")
    ] = False,
    html: Annotated[
        Path | None, Parameter(help="Draw the schedules that fail into this file, as lanes.")
    ] = None,
    verbose: Annotated[
        bool,
        Parameter(name=("--verbose", "-v"), help="Show every line of a schedule.", negative=""),
    ] = False,
) -> int:
    """Explore races; exit 1 if one is found that should not be, or not found that should."""
    limits = None if budget is None else Budget.parse(budget)
    options = Options(seed=seed, jobs=jobs, store=Path(DIRECTORY), on_interrupt=_end)
    loaded = [(path, _load(path, overrides)) for path in scenarios]
    if replayed is not None:
        return _replay(loaded, replayed, options, html=html, verbose=verbose)
    ExploredMachine(loaded[0][1]).warm_up()  # Whoever is timed should not have to compile.
    results: list[tuple[str, PairResult]] = []
    ended: _Ended | None = None
    for path, scenario in loaded:
        try:
            with _progress(path) as on_progress:
                told = evolve(options, on_progress=on_progress)
                result = explore_pair(scenario, name=str(path), options=told, budget=limits)
        except _Ended as end:
            ended = end
            break
        results.append((str(path), result))
        if not (json or as_markdown):
            say(f"{line(str(path), result)}\n")
            sys.stdout.flush()
    if json:
        found: dict[str, object] = {"races": [as_json(path, result) for path, result in results]}
        if ended is not None:
            found["interrupted"] = ended.verdict.as_json()
        say_json(json_text.dumps(found, indent=1) + "\n")
    elif as_markdown:
        say(markdown(results))
    elif len(loaded) == 1:
        for each in results:
            _write_report(*each, verbose=verbose)
    elif results:
        _write_table(results)
    _write_page(html, [(path, half.verdict) for path, result in results for half in result.halves])
    if ended is not None:
        return _write_interrupted(ended, quiet=json or as_markdown, verbose=verbose)
    return 1 if any(result.problems() for _, result in results) else 0


class _Ended(Exception):  # noqa: N818 - it says what happened
    """A signal has ended a search."""

    def __init__(self, verdict: Verdict, number: int) -> None:
        super().__init__(number)
        self.verdict: Final = verdict
        self.exit_code: Final = 128 + number


def _end(verdict: Verdict, number: int) -> NoReturn:
    raise _Ended(verdict, number)


def _write_interrupted(ended: _Ended, *, quiet: bool, verbose: bool) -> int:
    """Say what the search found out that did not come to its end; return the exit code."""
    verdict = ended.verdict
    complain(f"{verdict.name}: {verdict}\n")
    if not quiet and verdict.failure is not None:
        _write_failure(verdict.name, verdict.failure, verbose=verbose)
    return ended.exit_code


@contextmanager
def _progress(path: Path) -> Iterator[Callable[[Progress], None]]:
    """Show on stderr how far the search is while the block runs."""
    if not sys.stderr.isatty():

        def write(text: str) -> None:
            complain(f"{path}: {text}\n")
            sys.stderr.flush()

        yield Teller(write, every_s=LOG_SECONDS)
        return
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:

        def tell(progress: Progress) -> None:
            live.update(Plain(Text(f"{path}: {progress}")), refresh=True)

        yield tell


def _load(path: Path, overrides: tuple[str, ...]) -> Scenario:
    scenario = load_scenario(path, overrides)
    if scenario.race is None:
        raise UserError(
            Problem(
                place=Place(str(path)),
                found="the scenario has no race",
                legal="expected a section `race:`, and the operation `race` in its programs",
                advice="write `race: {}` to let every step be a choice; configs/races has examples",
            )
        )
    return scenario


def _replay(
    loaded: list[tuple[Path, Scenario]],
    text: str,
    options: Options,
    *,
    html: Path | None,
    verbose: bool,
) -> int:
    if len(loaded) != 1:
        raise UserError(
            Problem(
                place=Place("--replay"),
                found=f"{len(loaded)} scenarios are named",
                legal="expected the one whose schedule it is",
                advice="name the file that the failure named",
            )
        )
    path, scenario = loaded[0]
    assert scenario.race is not None, f"{path} was loaded without a race"
    machine = ExploredMachine(with_rules(scenario, broken=scenario.race.broken))
    try:
        verdict = replay(machine, text, name=str(path), options=options)
    except ScheduleMismatch as mismatch:
        raise UserError(
            Problem(
                place=Place(str(path)),
                found=str(mismatch),
                legal="expected the scenario, the rules and the version that it was found with",
                advice="explore the scenario anew",
            )
        ) from None
    say(f"{verdict}\n")
    if verdict.failure is not None:
        say(f"\n{_told(verdict.failure, verbose=verbose)}\n")
    _write_page(html, [(str(path), verdict)])
    return 0 if verdict.is_good else 1


def _write_report(path: str, result: PairResult, *, verbose: bool) -> None:
    outside = outside_scope(result)
    if outside:
        say(f"{outside}\n")
    for half in result.halves:
        if half.verdict.failure is not None:
            _write_failure(path, half.verdict.failure, verbose=verbose)


def _write_failure(path: str, failure: Failure, *, verbose: bool) -> None:
    say(
        f"\n{_told(failure, verbose=verbose)}\n{failure.origin}\n\n"
        f"to run this schedule again:\n  mmactors explore {path} --replay {failure.replay}\n"
    )


def _told(failure: Failure, *, verbose: bool) -> str:
    return failure.story.told(width=Console().width, is_verbose=verbose)


def _write_page(file: Path | None, verdicts: Sequence[tuple[str, Verdict]]) -> None:
    """Draw what failed."""
    if file is None:
        return
    failures = [(path, verdict.failure) for path, verdict in verdicts]
    stories = [(path, failure.story) for path, failure in failures if failure is not None]
    if not stories:
        complain(f"mmactors: no schedule fails, so {file} was not written\n")
        return
    write_page(file, stories, option="--html")


def _write_table(results: list[tuple[str, PairResult]]) -> None:
    table = Table(*COLUMNS)
    for _, result in results:
        table.add_row(*row(result))
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "160"))
    Console(width=width).print(Plain(table))
