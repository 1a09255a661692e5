"""`mmactors heap-compare FILE...`: heap traces or scenarios on several C libraries, side by side.

Each library has a machine of its own, made from one description; each run keeps its directory.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from mmactors.cli.heap.compared import Compared, TraceOptions, compared, is_scenario
from mmactors.cli.heap.figures import Run
from mmactors.cli.heap.library_choice import library_choices
from mmactors.cli.heap.rss_chart import Over
from mmactors.cli.heap.side_by_side import SideBySide, say_as_json, say_as_markdown, show_all
from mmactors.cli.run import exit_code, run_into
from mmactors.cli.terminal.progress import prepare_code
from mmactors.cli.terminal.screen import complain
from mmactors.errors import Place, Problem, UserError
from mmactors.malloc.config import LIBRARIES
from mmactors.observe.run_dir import create_run_dir

_INTERRUPTED: Final = 130


def heap_compare(
    *files: Annotated[Path, Parameter(help="Heap traces, or scenarios (.yaml).")],
    library: Annotated[
        tuple[str, ...],
        Parameter(
            help="NAME, or NAME:VARIABLE=VALUE, such as jemalloc:MALLOC_CONF=narenas:1; once for "
            f"each. Without: {', '.join(LIBRARIES)}.",
            show_default=False,
            negative="",
        ),
    ] = (),
    scenario: Annotated[
        Path | None,
        Parameter(help="Run traces on the machine, kernel and engine of this scenario."),
    ] = None,
    overrides: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="KEY=VALUE, such as machine.cpus=8.", show_default=False),
    ] = (),
    form: Annotated[
        str | None,
        Parameter(name="--format", help="Form of traces, if their beginning does not say it."),
    ] = None,
    limit: Annotated[int | None, Parameter(help="So many operations of a trace.")] = None,
    touch: Annotated[
        Literal["first", "all", "none"] | None,
        Parameter(help="What a trace's program writes of a block. Without: all."),
    ] = None,
    order: Annotated[
        Literal["trace", "free"] | None,
        Parameter(
            help="A trace's operations one at a time, or each thread as fast as it can. Without: "
            "free, if it has several threads."
        ),
    ] = None,
    over: Annotated[
        Over, Parameter(help="What the chart shows RSS over: virtual time, or calls.")
    ] = "time",
    out: Annotated[
        Path | None,
        Parameter(help="Folder for a run directory each; without it runs/NAME-LIBRARY-N."),
    ] = None,
    force: Annotated[
        bool, Parameter(help="Replace earlier runs in the folder of --out.", negative="")
    ] = False,
    json: Annotated[bool, Parameter(help="Print JSON, with samples of RSS.", negative="")] = False,
    markdown: Annotated[bool, Parameter(help="Print Markdown.", negative="")] = False,
    quiet: Annotated[
        bool, Parameter(name=("--quiet", "-q"), help="No progress.", negative="")
    ] = False,
) -> int:
    """Run heap traces or scenarios on several C libraries, and show what each one takes."""
    of_traces = {
        "--scenario": scenario,
        "--format": form,
        "--limit": limit,
        "--touch": touch,
        "--order": order,
    }
    _must_fit(files, [option for option, value in of_traces.items() if value is not None])
    if limit is not None and limit < 1:
        raise UserError(_no_limit(limit))
    choices = library_choices(library or LIBRARIES)
    options = TraceOptions(form=form, limit=limit, touch=touch, order=order)
    wanted = [
        compared(file, choices, overrides=overrides, machine=scenario, options=options)
        for file in files
    ]
    prepare_code(wanted=not quiet)
    done: list[SideBySide] = []
    code = 0
    for each in wanted:
        folder = out if out is None or len(wanted) == 1 else out / each.name
        runs = tuple(_runs(each, folder, force=force, shows_progress=not quiet))
        done.append(SideBySide(name=each.name, runs=runs))
        code = max(code, *(exit_code(run.report.outcome) for run in runs))
        if code == _INTERRUPTED:
            break
    if json:
        say_as_json(done)
    elif markdown:
        say_as_markdown(done)
    else:
        show_all(done, over)
    return code


def _runs(
    each: Compared, folder: Path | None, *, force: bool, shows_progress: bool
) -> Iterator[Run]:
    """Run what is compared, one library after another, and yield what came of it."""
    for choice, scenario in each.scenarios:
        out = None if folder is None else folder / choice.label
        run_dir = create_run_dir(out=out, name=f"{each.name}-{choice.label}", force=force)
        report = run_into(scenario, run_dir, shows_progress=shows_progress)
        if report.outcome.failure is not None:
            complain(f"{choice.label}: {report.outcome.failure}\n")
        yield Run(choice=choice, report=report)
        if exit_code(report.outcome) == _INTERRUPTED:
            return


def _no_limit(limit: int) -> Problem:
    return Problem(
        place=Place("--limit"),
        found=f"{limit} operations",
        legal="expected at least 1",
        advice="leave it away for all",
    )


def _must_fit(files: Sequence[Path], options_of_traces: Sequence[str]) -> None:
    """Raise UserError if there is nothing to run, or an option that says nothing about it."""
    scenarios = [file for file in files if is_scenario(file)]
    if not files:
        raise UserError(
            Problem(
                place=Place("mmactors heap-compare"),
                found="no file",
                legal="expected heap traces or scenarios",
                advice="name one; docs/heap-traces.md says how they are recorded",
            )
        )
    if scenarios and options_of_traces:
        raise UserError(
            Problem(
                place=Place(f"mmactors heap-compare {' '.join(options_of_traces)}"),
                found=f"{scenarios[0]} is a scenario",
                legal="expected heap traces with it",
                advice="leave it out; a scenario says itself what runs, --set changes it",
            )
        )
