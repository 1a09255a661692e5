"""`mmactors replay RUN_DIR`: run it again under its schedule; is it the same log?

A run that was ended before its end has a log and a schedule that go as far as it came: the log must
be the beginning of ours.
"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mmactors.cli.execute import SIGNALS, execute
from mmactors.cli.logs import log_of, parse_time, tell_torn
from mmactors.cli.terminal.screen import complain, say
from mmactors.engine.schedule import Schedule, ScheduleMismatch
from mmactors.errors import Place, Problem, UserError
from mmactors.observe.log import EventLog
from mmactors.observe.log_compare import LogComparison
from mmactors.observe.log_read import read_log, torn_bytes
from mmactors.observe.run_dir import SCENARIO, SCHEDULE
from mmactors.observe.run_meta import read_meta, standing_of
from mmactors.scenario.load import load_scenario, read_text
from mmactors.scenario.run.interrupt import interruptible
from mmactors.scenario.run.outcome import Outcome
from mmactors.scenario.schema import Scenario
from mmactors.units import format_ns


def replay(
    run_dir: Annotated[Path, Parameter(help="Run directory.")],
    *,
    until: Annotated[
        str | None, Parameter(help="Stop at this virtual time, such as 1200us.")
    ] = None,
) -> int:
    """Run a recorded run again under its schedule and compare the logs."""
    until_ns = None if until is None else parse_time("--until", until)
    standing = standing_of(read_meta(run_dir))
    if standing.status == "running":
        raise UserError(_still_running(run_dir))
    path = log_of(run_dir)
    scenario = load_scenario(run_dir / SCENARIO)
    schedule = _schedule(run_dir / SCHEDULE)
    tell_torn(path, torn_bytes(path))
    has_log = bool(scenario.record.events)
    recorded = (line for line, _ in read_log(path)) if has_log else iter(())
    is_cut = standing.status == "interrupted" or not schedule.is_closed
    comparison = LogComparison(recorded, is_cut=is_cut)
    outcome = _execute(scenario, schedule, comparison, until_ns)
    if outcome is None:
        return 1
    if until_ns is None and outcome.status != "interrupted":
        comparison.finish()
    say("".join(f"{line}\n" for line in _lines(run_dir, outcome, comparison, has_log=has_log)))
    if outcome.status == "interrupted":
        return 130
    return 0 if comparison.difference is None else 1


def _still_running(run_dir: Path) -> Problem:
    return Problem(
        place=Place(str(run_dir)),
        found="the run still goes on",
        legal="expected a run that has ended, in whatever way",
        advice="wait for its end, or stop it with Ctrl-C",
    )


def _execute(
    scenario: Scenario, schedule: Schedule, comparison: LogComparison, until_ns: int | None
) -> Outcome | None:
    log = EventLog(comparison, scenario.record.events) if scenario.record.events else None
    try:
        with interruptible(SIGNALS) as interrupt:
            return execute(
                scenario, sink=log, interrupt=interrupt, schedule=schedule, until_ns=until_ns
            )
    except ScheduleMismatch as error:
        complain(f"the schedule does not fit: {error}\n")
        return None


def _schedule(path: Path) -> Schedule:
    try:
        return Schedule.parse(read_text(path))
    except (ValueError, EOFError) as error:
        raise UserError(
            Problem(
                place=Place(str(path)),
                found=str(error),
                legal="expected a schedule that `mmactors run` wrote",
                advice="run the scenario again",
            )
        ) from None


def _lines(
    run_dir: Path, outcome: Outcome, comparison: LogComparison, *, has_log: bool
) -> list[str]:
    came = f"{outcome.verdict} at {format_ns(outcome.summary.now_ns)}"
    if not has_log:
        lines = [f"no log to compare: {came}"]
    elif comparison.difference is None and comparison.is_cut:
        nr_equal = comparison.nr_equal
        nr_recorded = nr_equal + sum(1 for _ in comparison.recorded)
        now = format_ns(outcome.summary.now_ns)
        lines = [
            f"same log, as far as it goes: {nr_equal:,} of {nr_recorded:,} events, until {now}"
        ]
    elif comparison.difference is None:
        lines = [f"same log: {comparison.nr_equal} events, {came}"]
    else:
        lines = [
            f"another log after {comparison.nr_equal} equal events, {came}",
            *comparison.report(),
        ]
    lines += [f"  {death}" for death in outcome.summary.deaths]
    if outcome.failure is not None:
        lines += [str(outcome.failure)]
    return [*lines, f"run     {run_dir}"]
