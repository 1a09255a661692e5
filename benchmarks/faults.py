"""How many page faults a second: a machine of one CPU, from trap to return, with and without log.

    python benchmarks/faults.py

prints JSON. One program maps memory, stores to each page once, and exits; giving all back at its
end is in the time. `logged` writes every event to a file through the event log.
"""

import json
import tempfile
from pathlib import Path

from measure import median_of, run_machine, scenario_of

from mmactors.observe.log import EventLog, LineFile

SCENARIO = """
machine: {{cpus: 1, memory: {{size: 1G}}}}
engine: {{driver: {driver}}}
processes:
  - name: toucher
    program: [mmap A {length}, touch A write]
"""


def faults_per_s(length: str, *, driver: str = "trio") -> float:
    run = run_machine(scenario_of(SCENARIO.format(length=length, driver=driver)))
    return run.summary.faults / run.seconds


def faults_per_s_logged(length: str, folder: Path) -> float:
    with EventLog(LineFile(folder / "events.jsonl")) as log:
        run = run_machine(scenario_of(SCENARIO.format(length=length, driver="trio")), log)
    return run.summary.faults / run.seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "faults_per_s": median_of(lambda: faults_per_s("256M")),
            "faults_per_s_inline": median_of(lambda: faults_per_s("256M", driver="inline"), 3),
            "faults_per_s_logged": median_of(lambda: faults_per_s_logged("128M", Path(folder))),
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
