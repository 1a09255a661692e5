"""`mmactors explain SCENARIO`: what will run, in words."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mmactors.cli.terminal.screen import say
from mmactors.scenario.explain import explain_boot, explain_scenario
from mmactors.scenario.load import load_scenario


def explain(
    scenario: Annotated[Path, Parameter(help="Scenario file.")],
    *,
    overrides: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="KEY=VALUE, such as machine.cpus=8.", show_default=False),
    ] = (),
    boot: Annotated[
        bool,
        Parameter(
            help="How the machine boots instead: each call of memblock, zones, the hand-over.",
            negative="",
        ),
    ] = False,
) -> int:
    """Say in words what a scenario will do."""
    loaded = load_scenario(scenario, overrides)
    say(explain_boot(loaded) if boot else explain_scenario(loaded))
    return 0
