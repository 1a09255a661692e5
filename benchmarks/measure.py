"""What the benchmarks of whole machines share: scenarios from text, runs, and their time.

Times are processor time (user and system) of this process, which another load on the host disturbs
less than it does the clock on the wall; on an idle host the two are equal, for all here is one
thread.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import frozen

from mmactors.engine.probe import EventSink
from mmactors.scenario.load import parse_scenario
from mmactors.scenario.machine import Machine, Summary
from mmactors.scenario.schema import Scenario

REPOSITORY = Path(__file__).parent.parent


@frozen
class Run:
    """A machine that was moved to its end."""

    summary: Summary
    seconds: float
    """From the first step to the end, without building the machine."""


def scenario_of(text: str) -> Scenario:
    """Return the scenario of a YAML text."""
    return parse_scenario(text, file="benchmark", folder=REPOSITORY / "configs")


def run_machine(scenario: Scenario, sink: EventSink | None = None) -> Run:
    """Build the machine of a scenario and move it to its end."""

    async def main() -> Run:
        async with Machine(scenario, sink=sink) as machine:
            began = time.process_time()
            await machine.run()
            seconds = time.process_time() - began
            return Run(machine.summary(), seconds)

    return trio.run(main)


def median_of(measure: Callable[[], float], times: int = 5) -> float:
    """Return the median of several measurements, after one that warms up."""
    measure()
    return statistics.median(measure() for _ in range(times))
