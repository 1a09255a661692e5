"""`mmactors validate PATH...`: recordings of the real thing against the model."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mmactors.cli.terminal.screen import say, say_json
from mmactors.errors import UserError
from mmactors.plain_text import plain
from mmactors.validate.registry import (
    TopicTotals,
    find_recordings,
    report_json,
    validate_recordings,
)
from mmactors.validate.result import CaseResult


def validate(
    *paths: Annotated[Path, Parameter(help="Recordings, or folders of them.", required=True)],
    json: Annotated[bool, Parameter(help="Print JSON.", negative="")] = False,
) -> int:
    """Run recordings against the model; exit 1 if a value they call exact differs."""
    recordings, problems = find_recordings(paths)
    results = []
    totals: dict[str, TopicTotals] = {}
    for result in validate_recordings(recordings):
        if isinstance(result, UserError):
            problems += result.problems
            continue
        results.append(result)
        totals.setdefault(result.topic, TopicTotals(topic=result.topic)).add(result)
        if not json:
            say(f"{plain(_line(result))}\n")
            sys.stdout.flush()
    if json:
        say_json(report_json(results, list(totals.values())) + "\n")
    elif totals:
        say("\n" + "".join(f"{_total_line(total)}\n" for total in totals.values()))
    if problems:
        raise UserError(problems)
    return 1 if any(total.failed for total in totals.values()) else 0


def _line(result: CaseResult) -> str:
    name = f"{result.topic}/{result.case}"
    if result.not_validated is not None:
        return f"not validated  {name}: {result.not_validated}"
    verdict = "ok" if result.passed else "DIFFERS"
    figures = f"{result.equal} of {result.compared} equal"
    if result.listed:
        figures += f", {result.listed} listed"
    difference = "" if result.first_difference is None else f"; first: {result.first_difference}"
    if not result.compared:
        difference = "; nothing was compared"
    return f"{verdict:<14} {name}: {figures}{difference}"


def _total_line(total: TopicTotals) -> str:
    if total.not_validated == total.cases:
        return f"{total.topic}: {total.cases} not validated"
    text = (
        f"{total.topic}: {total.passed} of {total.cases} cases equal, "
        f"{total.equal} of {total.compared} values"
    )
    if total.listed:
        text += f", {total.listed} listed"
    if total.not_validated:
        text += f", {total.not_validated} cases not validated"
    return text
