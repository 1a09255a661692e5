"""`mmactors run SCENARIO`: run it, keep everything in a run directory, end with a few lines."""

import json as json_text
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from attrs import frozen
from cyclopts import Parameter

from mmactors.cli.terminal.heap_lines import heap_lines
from mmactors.cli.terminal.progress import compact, prepare_code, progress_line
from mmactors.cli.terminal.screen import complain, say, say_json
from mmactors.observe.run_dir import EVENTS, FINDINGS, SERIES, TRACEBACK, RunDir, create_run_dir
from mmactors.scenario.counter_names import counter_names
from mmactors.scenario.death import DIED, Death
from mmactors.scenario.load import load_scenario
from mmactors.scenario.schema import Scenario
from mmactors.units import format_ns

if TYPE_CHECKING:
    from mmactors.scenario.run.interrupt import Interrupt
    from mmactors.scenario.run.outcome import Outcome
    from mmactors.scenario.run.recording import Recording

_FIGURES = (
    ("L1 misses", ".l1_misses"),
    ("L2 misses", ".l2_misses"),
    ("LLC misses", ".llc_misses"),
    ("page walks", "_tlb.walks"),
    ("shootdowns", "tlb_shootdowns"),
    ("free pages", "nr_free_pages"),
)
"""What each figure of the last lines adds up: the machine's counters whose names end so."""
_EXIT_CODES = {"complete": 0, "failed": 1, "interrupted": 130}


def run(
    scenario: Annotated[Path, Parameter(help="Scenario file.")],
    *,
    overrides: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="KEY=VALUE, such as machine.cpus=8.", show_default=False),
    ] = (),
    seed: Annotated[int | None, Parameter(help="The same as --set engine.seed=N.")] = None,
    out: Annotated[
        Path | None, Parameter(help="Run directory; without it runs/NAME-N and runs/latest.")
    ] = None,
    force: Annotated[
        bool, Parameter(help="Replace an earlier run in the directory of --out.", negative="")
    ] = False,
    json: Annotated[bool, Parameter(help="Print JSON.", negative="")] = False,
    quiet: Annotated[
        bool, Parameter(name=("--quiet", "-q"), help="No progress, no summary.", negative="")
    ] = False,
    no_log: Annotated[bool, Parameter(help="Record no events.", negative="")] = False,
) -> int:
    """Run a scenario and write its run directory."""
    if seed is not None:
        overrides += (f"engine.seed={seed}",)
    if no_log:
        overrides += ("record.events=[]",)
    loaded = load_scenario(scenario, overrides)
    name = re.sub(r"[^\w.-]", "-", scenario.name.partition(".")[0]) or "run"
    run_dir = create_run_dir(out=out, name=name, force=force)
    shows_progress = not quiet and not json
    prepare_code(wanted=shows_progress)
    report = run_into(loaded, run_dir, shows_progress=shows_progress)
    code = exit_code(report.outcome)
    if report.outcome.failure is not None:
        complain(f"{report.outcome.failure}\n")
    if json:
        say_json(json_text.dumps(_as_json(report, code), indent=1) + "\n")
    elif not quiet:
        say("".join(f"{line}\n" for line in final_lines(report)))
    return code


@frozen(kw_only=True)
class Report:
    """A run that has ended, for its last lines."""

    scenario: Scenario
    outcome: "Outcome"
    run_dir: RunDir
    nr_logged: int | None
    """None: nothing was to be recorded."""


def run_into(scenario: Scenario, run_dir: RunDir, *, shows_progress: bool) -> Report:
    """Run a scenario and write its run directory; a signal ends it early, and in order."""
    # What has compiled functions is imported when they are there, and the scenario is known good.
    from mmactors.cli.execute import SIGNALS  # noqa: PLC0415
    from mmactors.scenario.run.interrupt import interruptible  # noqa: PLC0415
    from mmactors.scenario.run.recording import Recording  # noqa: PLC0415

    # A signal ends the run in order from before it begins until all is written.
    with (
        interruptible(SIGNALS) as interrupt,
        Recording(scenario, run_dir, command=sys.argv[1:]) as recording,
    ):
        outcome = _execute(scenario, recording, interrupt, shows_progress=shows_progress)
        recording.finish(outcome)
    return Report(
        scenario=scenario, outcome=outcome, run_dir=run_dir, nr_logged=recording.nr_logged
    )


def _execute(
    scenario: Scenario, recording: "Recording", interrupt: "Interrupt", *, shows_progress: bool
) -> "Outcome":
    from mmactors.cli.execute import execute  # noqa: PLC0415 - as above

    with progress_line(wanted=shows_progress) as line:
        on_tick = None if line is None else line.update
        return execute(
            scenario,
            sink=recording.log,
            interrupt=interrupt,
            on_tick=on_tick,
            recording=recording,
        )


def exit_code(outcome: "Outcome") -> int:
    """Return what a verb ends with whose run came to this."""
    if outcome.status == "complete" and outcome.verdict != "ok":
        return 1
    return _EXIT_CODES[outcome.status]


def final_lines(report: Report) -> list[str]:
    """Return what a run ends with: verdict, seed, key figures, paths; at most 14 lines."""
    outcome, summary = report.outcome, report.outcome.summary
    rate = compact(summary.accesses / max(outcome.wall_s, 1e-9))
    came = (
        f"seed {summary.seed}, {summary.nr_cpus} CPUs, "
        f"{format_ns(summary.now_ns)} of virtual time in {outcome.wall_s:.2f} s"
    )
    work = f"{summary.switches} switches, {summary.messages} messages"
    lines = [
        *_first_lines(outcome, came),
        f"  {summary.accesses} accesses ({rate}/s), {summary.faults} faults, {work}",
    ]
    lines.append("  " + ", ".join(key_figures(summary.counters)))
    processes = [each.name for each in report.scenario.instances()]
    lines += heap_lines(processes, summary.counters, outcome.series)
    nr_expected, nr_failed = len(report.scenario.expect), len(summary.failed_expectations)
    if nr_expected and outcome.status == "complete":
        lines.append(f"  {nr_expected - nr_failed} of {nr_expected} expectations hold")
        lines += [f"  does not hold: {text}" for text in summary.failed_expectations[:3]]
        if nr_failed > 3:
            lines.append(f"  and {nr_failed - 3} more do not hold, see summary.json")
    if summary.nr_findings:
        lines.append(f"  {summary.nr_findings} findings: {summary.findings[0]}")
    path = report.run_dir.path
    if (path / FINDINGS).exists():
        lines.append(f"found   {path / FINDINGS}")
    if report.nr_logged is not None:
        lines.append(f"log     {path / EVENTS} ({report.nr_logged} events)")
    series = outcome.series
    if series is not None:
        rest = "" if series.is_whole else ", then no more room: raise record.sample"
        lines.append(f"series  {path / SERIES} ({len(series)} samples{rest})")
    lines.append(f"run     {path}")
    if (path / TRACEBACK).exists():
        lines.append(f"crash   {path / TRACEBACK}")
    if outcome.status != "complete" or outcome.verdict != "ok":
        lines.append(f"replay  mmactors replay {path}")
    return lines


def _first_lines(outcome: "Outcome", came: str) -> list[str]:
    """Return the verdict, and if anybody died, who and why, before how far it came."""
    deaths = sorted(outcome.summary.deaths, key=lambda death: death.is_expected)
    told = [death for death in deaths if death.killer is None]
    if not told:
        return [f"{outcome.verdict}: {came}"]
    first = told[0]
    died = "" if outcome.verdict == DIED else "died "
    head = f"{outcome.verdict}: {first.who} {died}{first.how}{_expected(first)}"
    if len(told) > 1:
        head += f"; {len(told) - 1} more died"
    more = [f"  {death}{_expected(death)}" for death in told[1:3]]
    if len(told) > 3:
        more.append(f"  and {len(told) - 3} more, see summary.json")
    return [head, *more, f"  {came}"]


def _expected(death: Death) -> str:
    return ", as expected" if death.is_expected else ""


def key_figures(counters: Mapping[str, int]) -> list[str]:
    """Return the figures of a run that are shown on the terminal, each as a text."""
    return [
        f"{label} {sum(counters[name] for name in counter_names() if name.endswith(suffix))}"
        for label, suffix in _FIGURES
    ]


def _as_json(report: Report, code: int) -> dict[str, Any]:
    path = report.run_dir.path
    return {
        **attrs.asdict(report.outcome.summary),
        "verdict": report.outcome.verdict,
        "status": report.outcome.status,
        "exit_code": code,
        "wall_s": report.outcome.wall_s,
        "error": None if report.outcome.failure is None else str(report.outcome.failure),
        "run_dir": str(path),
        "series": None if report.outcome.series is None else str(path / SERIES),
        "log": None if report.nr_logged is None else str(path / EVENTS),
    }
