"""What an access costs the host on machines of 1 to 64 CPUs, at the default quantum.

    python benchmarks/cpus.py

prints JSON: host nanoseconds an access; engine, kernel and making the accesses are included. Every
CPU does the same in its own memory. `local` reads 128 KiB again and again, which behaves alike
however many do it; `random` draws from 1 MiB, which is the worst case: 64 CPUs together do not fit
the simulated last-level cache, so there nearly all accesses miss it, and with 1 CPU nearly none.
(What the hardware alone costs, on recorded traces, is in access_path.py.)
"""

import json

from measure import median_of, run_machine, scenario_of

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


def ns_per_access(program: str, nr_cpus: int) -> float:
    run = run_machine(scenario_of(SCENARIO.format(cpus=nr_cpus, program=program)))
    return run.seconds / run.summary.accesses * 1e9


def main() -> None:
    figures = {}
    for name, program in PROGRAMS.items():
        costs = {}
        for nr_cpus in NR_CPUS:
            times = 5 if nr_cpus < 16 else 3
            costs[nr_cpus] = median_of(lambda n=nr_cpus, p=program: ns_per_access(p, n), times)
        figures[name] = {
            **{f"{nr_cpus}_cpus_ns": cost for nr_cpus, cost in costs.items()},
            "ratio_64_to_1": costs[64] / costs[1],
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
