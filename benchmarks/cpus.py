"""What an access costs the host on machines of 1 to 64 CPUs, at the default quantum.

    python benchmarks/cpus.py

prints JSON: host nanoseconds an access, hardware, kernel and engine; the time in which the patterns
of addresses are made, measured by itself, is taken out. Every CPU does the same in its own memory.
`local` reads 128 KiB again and again, which behaves alike however many do it; `random` draws from
1 MiB, which is the worst case: 64 CPUs together do not fit the simulated last-level cache, so there
nearly all accesses miss it, and with 1 CPU nearly none. (What the hardware alone costs, on recorded
traces, is in access_path.py.)
"""

import json
import time

from attrs import frozen
from measure import median_of, run_machine, scenario_of

from mmactors.workload.operation.generator import Pattern, Sequential, Uniform, generate

NR_CPUS = (1, 4, 16, 64)
SCENARIO = """
machine: {{cpus: {cpus}, memory: {{size: 4G}}}}
processes:
  - name: worker
    copies: {cpus}
    program: [{program}]
"""


@frozen(kw_only=True)
class Accesses:
    """What each CPU does: a pattern in a range, and the same as a program."""

    program: str
    pattern: Pattern
    length: int


PROGRAMS = {
    "local": Accesses(
        program="mmap A 128K, generate sequential A count=1000000",
        pattern=Sequential(count=1_000_000),
        length=128 << 10,
    ),
    "random": Accesses(
        program="mmap A 1M, generate uniform A count=60000 write_percent=30",
        pattern=Uniform(count=60_000, write_percent=30),
        length=1 << 20,
    ),
}


def pattern_seconds(accesses: Accesses) -> float:
    """Return how long it takes to make the addresses of one CPU."""
    began = time.process_time()
    for _ in generate(accesses.pattern, start=0, length=accesses.length):
        pass
    return time.process_time() - began


def ns_per_access(accesses: Accesses, nr_cpus: int) -> float:
    made_s = nr_cpus * pattern_seconds(accesses)
    run = run_machine(scenario_of(SCENARIO.format(cpus=nr_cpus, program=accesses.program)))
    return (run.seconds - made_s) / run.summary.accesses * 1e9


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
