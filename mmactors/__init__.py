"""mmactors: how a multi-processor machine manages memory, as Linux 6.1 does it.

    result = mmactors.run("configs/threads.yaml", seed=7)
    result.verdict, result.counters["pgfault"], result.proc["buddyinfo"]

    with mmactors.machine({"processes": [...]}) as machine:
        machine.run(until_ns=50_000)
        machine.inspect().process(1).areas

`run`, `machine` and `load` take the path of a scenario, a dict that says the same, or a Scenario;
they are plain functions, also inside an event loop that runs (scenario/run/facade.py). `Machine` is
the same machine for trio programs. `explore` and `play` search for races (docs/races.md).
`open_heap_trace` and `write_heap_trace`: what a program allocated, recorded (docs/heap-traces.md).
`UserError` is what is raised for bad input, with all its problems.
"""

from mmactors.import_path import leave_out_current_folder

leave_out_current_folder()  # Before any other import.

# ruff: noqa: E402 - for that reason

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mmactors.errors import UserError as UserError
    from mmactors.explore.search.decorator import RaceFound as RaceFound
    from mmactors.explore.search.decorator import explore as explore
    from mmactors.explore.search.decorator import play as play
    from mmactors.explore.world.world import World as World
    from mmactors.observe.inspection import Inspection as Inspection
    from mmactors.scenario.death import Death as Death
    from mmactors.scenario.machine import Machine as Machine
    from mmactors.scenario.run.facade import machine as machine
    from mmactors.scenario.run.facade import run as run
    from mmactors.scenario.run.source import load as load
    from mmactors.scenario.run.stepped import Result as Result
    from mmactors.scenario.run.stepped import SteppedMachine as SteppedMachine
    from mmactors.scenario.schema import Scenario as Scenario
    from mmactors.version import __version__ as __version__
    from mmactors.workload.heap_trace.file import open_heap_trace as open_heap_trace
    from mmactors.workload.heap_trace.write import write_heap_trace as write_heap_trace

__all__ = [
    "Death",
    "Inspection",
    "Machine",
    "RaceFound",
    "Result",
    "Scenario",
    "SteppedMachine",
    "UserError",
    "World",
    "__version__",
    "explore",
    "load",
    "machine",
    "open_heap_trace",
    "play",
    "run",
    "write_heap_trace",
]

_HOMES: Final = {
    "Death": "mmactors.scenario.death",
    "Inspection": "mmactors.observe.inspection",
    "Machine": "mmactors.scenario.machine",
    "RaceFound": "mmactors.explore",
    "Result": "mmactors.scenario.run.stepped",
    "Scenario": "mmactors.scenario.schema",
    "SteppedMachine": "mmactors.scenario.run.stepped",
    "UserError": "mmactors.errors",
    "World": "mmactors.explore",
    "__version__": "mmactors.version",
    "load": "mmactors.scenario.run.source",
    "machine": "mmactors.scenario.run.facade",
    "open_heap_trace": "mmactors.workload.heap_trace.file",
    "play": "mmactors.explore",
    "run": "mmactors.scenario.run.facade",
    "write_heap_trace": "mmactors.workload.heap_trace.write",
}
"""Where each name lives; it is imported when it is used, so that `mmactors --help` starts fast."""


def __getattr__(name: str) -> Any:
    if name == "explore":  # The package itself is callable.
        return import_module("mmactors.explore")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
