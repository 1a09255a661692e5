"""`mmactors check SCENARIO...`: are they right? No machine is built; traces are read to the end.

A race may name laws in modules of Python. They are read, not run; their files are named, so that
who got the scenario from somebody else knows what `mmactors explore` would run.
"""

import json as json_text
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mmactors.cli.terminal.screen import say, say_json
from mmactors.errors import Problem, UserError
from mmactors.plain_text import plain
from mmactors.scenario.load import load_scenario


def check(
    *scenarios: Annotated[Path, Parameter(help="Scenario files.", required=True)],
    overrides: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="KEY=VALUE, such as machine.cpus=8.", show_default=False),
    ] = (),
    json: Annotated[bool, Parameter(help="Print JSON.", negative="")] = False,
) -> int:
    """Check scenarios without running them."""
    problems: list[Problem] = []
    files: list[dict[str, object]] = []
    for path in scenarios:
        try:
            scenario = load_scenario(path, overrides, reads_traces=True)
        except UserError as error:
            problems += error.problems
            files.append({"path": str(path), "ok": False})
        else:
            named = () if scenario.race is None else scenario.race.functions
            runs = list(dict.fromkeys(function.path for function in named))
            files.append({"path": str(path), "ok": True, "runs": runs})
            if not json:
                told = f"; exploring it runs {', '.join(runs)}" if runs else ""
                say(f"{plain(str(path))}: ok{plain(told)}\n")
    if json:
        found = [
            {
                "place": str(problem.place),
                "found": problem.found,
                "legal": problem.legal,
                "advice": problem.advice,
            }
            for problem in problems
        ]
        say_json(json_text.dumps({"files": files, "problems": found}, indent=1) + "\n")
    if problems:
        raise UserError(problems)
    return 0
