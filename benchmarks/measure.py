"""What benchmarks share: scenarios from text and their runs, recorded sequences, rates.

Times are processor time (user and system) of this process, which another load on the host disturbs
less than it does the clock on the wall; on an idle host the two are equal, for all here is one
thread.
"""

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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


def per_s(step: Callable[[], int], seconds: float) -> float:
    """Repeat `step`, which returns how much it did; return the median of its rates."""
    step()
    rates = []
    until = time.process_time() + seconds
    while time.process_time() < until:
        began = time.process_time()
        nr_done = step()
        rates.append(nr_done / max(time.process_time() - began, 1e-9))
    return statistics.median(rates)


def rates(key: str, steps: Mapping[str, Callable[[], int]], seconds: float) -> dict[str, Any]:
    """Return the rate of each step by its name as `key`, and of all after one another."""
    return {
        key: {name: round(per_s(step, seconds)) for name, step in steps.items()},
        f"{key}_per_s": round(per_s(lambda: sum(step() for step in steps.values()), seconds)),
    }


def recorded(topic: str) -> dict[str, dict[str, Any]]:
    """Return by name the recorded sequences of a mechanism of Linux 6.1 (tests/reference)."""
    folder = REPOSITORY / "tests/reference/linux-6.1/kernel" / topic
    contents = {}
    for path in sorted(folder.glob("*.json*")):
        name = path.name.partition(".")[0]
        if "params" not in name:
            data = path.read_bytes()
            contents[name] = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    return contents


def asked_seconds(description: str) -> float:
    """Return for how long each figure is measured, as the command line says."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", default=0.5, type=float, help="for each figure")
    seconds: float = parser.parse_args().seconds
    return seconds


def print_figures(benchmark: str, figures: Mapping[str, Any]) -> None:
    """Print the figures of a benchmark as JSON."""
    print(json.dumps({"benchmark": benchmark, **figures}, indent=1))
