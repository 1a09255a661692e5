"""What an access costs the host on machines of 1 to 64 CPUs, at the default quantum.

    python benchmarks/cpus.py

prints JSON: host nanoseconds an access, hardware, kernel and engine; the time in which the patterns
of addresses are made is taken out. Every CPU does the same in its own memory. `local` reads 128 KiB
again and again, which behaves alike however many do it; `random` draws from 1 MiB, which is the
worst case: 64 CPUs together do not fit the simulated last-level cache, so there nearly all accesses
miss it, and with 1 CPU nearly none. (What the hardware alone costs, on recorded traces, is in
access_path.py.)
"""

import json
import time
from collections.abc import Iterator
from typing import Any

from measure import median_of, run_machine, scenario_of

from mmactors.actors import memory_calls
from mmactors.arch.trace import Trace
from mmactors.workload.generator import generate

NR_CPUS = (1, 4, 16, 64)
SCENARIO = """
machine: {{cpus: {cpus}, memory: {{size: 4G}}}}
processes:
  - name: worker
    copies: {cpus}
    program: [{program}]
"""
PROGRAMS = {
    "local": "mmap A 128K, generate sequential A count=1000000",
    "random": "mmap A 1M, generate uniform A count=60000 write_percent=30",
}


class TimedPatterns:
    """Makes the addresses of `generate`, and knows how long that took."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Iterator[Trace]:
        pieces = generate(*arguments, **options)
        while True:
            began = time.process_time()
            piece = next(pieces, None)
            self.seconds += time.process_time() - began
            if piece is None:
                return
            yield piece


def ns_per_access(program: str, nr_cpus: int) -> float:
    patterns = TimedPatterns()
    memory_calls.generate = patterns
    run = run_machine(scenario_of(SCENARIO.format(cpus=nr_cpus, program=program)))
    return (run.seconds - patterns.seconds) / run.summary.accesses * 1e9


def main() -> None:
    figures = {}
    for name, program in PROGRAMS.items():
        costs = {}
        for nr_cpus in NR_CPUS:
            times = 15 if nr_cpus < 16 else 3
            costs[nr_cpus] = median_of(lambda n=nr_cpus, p=program: ns_per_access(p, n), times)
        figures[name] = {
            **{f"{nr_cpus}_cpus_ns": cost for nr_cpus, cost in costs.items()},
            "ratio_64_to_1": costs[64] / costs[1],
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
