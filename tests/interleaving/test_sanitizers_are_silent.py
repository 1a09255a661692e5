"""The scenarios that come with the program break no law."""

from pathlib import Path

import pytest
from attrs import evolve
from machines import run

from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.load import load_scenario

CONFIGS = Path(__file__).parent.parent.parent / "configs"
LARGE = {"large.yaml"}
"""Takes seconds by itself."""
MANY_ACCESSES = {"quickstart.yaml", "exhaust.yaml", "generators.yaml"}
"""Contents are followed access by access."""
WARNS = {"lockdep.yaml"}
"""Shows a lock order that could deadlock."""


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_scenario_breaks_no_law(path: Path) -> None:
    """All sanitizers are on, as far as a test has the time."""
    if path.name in LARGE:
        pytest.skip("takes seconds by itself")
    config = SanitizeConfig.everything()
    config = evolve(config, contents=path.name not in MANY_ACCESSES, lockdep=path.name not in WARNS)
    ran = run(evolve(load_scenario(path, ()), sanitize=config), is_logged=False)

    assert () == ran.machine.findings()
