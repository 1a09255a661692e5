"""A storm of forks: how many a second, from fork to the end of the child, and what they leave.

    python benchmarks/fork.py

prints JSON. A parent with areas of its own and pages in each forks children one after the other;
each writes to some pages and exits. With `kept` all children live at once: what the machine's caches
of objects take then, in pages, and of how many children.
"""

import json

from measure import median_of, run_machine, scenario_of

SCENARIO = """
machine: {cpus: 1, memory: {size: 1G}}
processes:
  - name: parent
    program:
"""
NR_AREAS = 16
NR_FORKS = 100
NR_PAGES = 4


def storm(nr_forks: int = NR_FORKS, *, kept: bool = False) -> str:
    """Return the scenario of a storm; `kept`: no child exits before all have been forked."""
    lines = []
    for area in range(NR_AREAS):
        # Areas of one protection side by side would be one area.
        prot = "rw" if area % 2 else "rwx"
        lines += [f"mmap A{area} {4 * NR_PAGES}K prot={prot}", f"touch A{area} write"]
    for nth in range(nr_forks):
        lines += [f"fork C{nth}", f"C{nth}: touch A0 write"]
        if not kept:
            lines += [f"C{nth}: exit", "reap"]
    return SCENARIO + "".join(f"      - {json.dumps(line)}\n" for line in lines)


def forks_per_s() -> float:
    """Return forks a second of processor time, the child's end included."""
    run = run_machine(scenario_of(storm()))
    return NR_FORKS / run.seconds


def main() -> None:
    figures = {"forks_per_s": median_of(forks_per_s)}
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
