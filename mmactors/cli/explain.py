"""`mmactors explain SCENARIO`: what will run, in words."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mmactors.cli.screen import say
from mmactors.scenario.explain import explain_scenario
from mmactors.scenario.load import load_scenario


def explain(
    scenario: Annotated[Path, Parameter(help="Scenario file.")],
    *,
    overrides: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="KEY=VALUE, such as machine.cpus=8.", show_default=False),
    ] = (),
) -> int:
    """Say in words what a scenario will do."""
    say(explain_scenario(load_scenario(scenario, overrides)))
    return 0
