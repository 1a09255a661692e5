"""Scenarios of explored machines, small enough to be searched."""

from pathlib import Path

from mmactors.explore.search.budget import Budget
from mmactors.explore.search.options import Options
from mmactors.explore.search.search import search
from mmactors.races.machine import ExploredMachine
from mmactors.scenario.load import parse_scenario

MACHINE = """
machine:
  cpus: {cpus}
  memory: {{size: 32M, kernel_image: 1M, initramfs: 0}}
  hardware:
    l1i: {{size_bytes: 4K, ways: 4}}
    l1d: {{size_bytes: 4K, ways: 4}}
    l2: {{size_bytes: 16K, ways: 4}}
    llc: {{size_bytes: 64K, ways: 4}}
"""


def scenario_of(program, *, scope=(), cpus=2, more="", race="", on_signal="continue"):
    """Return the scenario of one program whose race has this scope."""
    text = MACHINE.format(cpus=cpus)
    text += f"race: {{scope: [{', '.join(scope)}]{race}}}\n{more}"
    text += f"processes:\n  - name: app\n    on_signal: {on_signal}\n    program:\n"
    text += "".join(f"      - {operation}\n" for operation in program)
    return parse_scenario(text, file="race.yaml", folder=Path())


def explore(scenario, **options):
    """Return the machine of a scenario and the verdict of its search, the same on every host."""
    options.setdefault("budget", Budget(schedules=20_000))
    machine = ExploredMachine(scenario)
    return machine, search(machine, name="race", options=Options(**options))
