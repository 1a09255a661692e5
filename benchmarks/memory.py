"""How much host memory a simulated machine takes: built, and while 64 CPUs use 64 GiB.

    python benchmarks/memory.py [--large configs/large.yaml]

prints JSON. Each machine is built in a process of its own. `mb_per_gib` is what one simulated GiB
adds (1 MB is 1,000,000 bytes), from 1 to 64 GiB; `large` is the highest resident set of a run of
configs/large.yaml from its first import to its end.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from measure import REPOSITORY, run_machine, scenario_of

from mmactors.scenario.load import load_scenario
from mmactors.scenario.machine import Machine

SIZES_GIB = (1, 8, 64)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def build(size_gib: int) -> dict[str, float]:
    scenario = scenario_of(
        f"machine: {{cpus: 4, memory: {{size: {size_gib}G}}}}\n"
        "processes: [{name: nobody, program: [nop]}]"
    )
    before = resident_bytes()
    began = time.process_time()
    machine = Machine(scenario)
    seconds = time.process_time() - began
    assert not machine.is_complete, "the machine has run already"
    return {"mb": (resident_bytes() - before) / 1e6, "build_s": seconds}


def run_large(path: Path) -> dict[str, float]:
    scenario = load_scenario(path)
    run = run_machine(scenario)
    assert run.summary.verdict == "ok", run.summary.failed_expectations
    return {
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "cpus": run.summary.nr_cpus,
        "faults": run.summary.faults,
        "accesses": run.summary.accesses,
        "run_s": run.seconds,
        "faults_per_s": run.summary.faults / run.seconds,
    }


def in_own_process(*arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Host memory of simulated machines.")
    parser.add_argument("--build", type=int, help="only build a machine of so many GiB")
    parser.add_argument("--run-only", type=Path, help="only run this scenario")
    parser.add_argument("--large", type=Path, default=REPOSITORY / "configs" / "large.yaml")
    options = parser.parse_args()
    if options.build:
        print(json.dumps(build(options.build)))
        return
    if options.run_only:
        print(json.dumps(run_large(options.run_only)))
        return
    in_own_process("--build", "1")  # compiles what is not in the cache yet
    built = {size: in_own_process("--build", str(size)) for size in SIZES_GIB}
    first, last = SIZES_GIB[0], SIZES_GIB[-1]
    figures = {
        "built": {f"{size}_gib": figures for size, figures in built.items()},
        "mb_per_gib": (built[last]["mb"] - built[first]["mb"]) / (last - first),
        "large": in_own_process("--run-only", str(options.large)),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
