"""A storm of forks: how many a second, from fork to the end of the child, and what they leave.

    python benchmarks/fork.py

prints JSON. A parent with areas of its own and pages in each forks children one after the other;
each writes to some pages and exits. What a child costs in pages of the kernel's objects is seen
where all live at once: the more there are, the nearer it comes to what the objects of one take.
"""

import json

import trio
from measure import median_of, run_machine, scenario_of

from mmactors.scenario.machine import Machine

SCENARIO = """
machine: {cpus: 1, memory: {size: 1G}}
processes:
  - name: parent
    program:
"""
NR_AREAS = 16
NR_FORKS = 100
NR_PAGES = 4


def storm(nr_forks: int = NR_FORKS, *, at_once: bool = False) -> str:
    """Return the scenario of a storm; `at_once`: no child exits before all have been forked."""
    lines = []
    for area in range(NR_AREAS):
        # Areas of one protection side by side would be one area.
        prot = "rw" if area % 2 else "rwx"
        lines += [f"mmap A{area} {4 * NR_PAGES}K prot={prot}", f"touch A{area} write"]
    for nth in range(nr_forks):
        lines += [f"fork C{nth}", f"C{nth}: touch A0 write"]
        if not at_once:
            lines += [f"C{nth}: exit", "reap"]
    if at_once:
        lines.append("sleep 1000")
    return SCENARIO + "".join(f"      - {json.dumps(line)}\n" for line in lines)


def forks_per_s() -> float:
    """Return forks a second of processor time, the child's end included."""
    run = run_machine(scenario_of(storm()))
    return NR_FORKS / run.seconds


def slab_pages(nr_forks: int) -> int:
    """Return the pages of objects when so many children live."""

    async def main() -> int:
        async with Machine(scenario_of(storm(nr_forks, at_once=True))) as machine:
            await machine.run(until_ns=500_000_000)
            vmstat = dict(line.split() for line in machine.proc()["vmstat"].splitlines())
            return sum(int(vmstat[f"nr_slab_{kind}"]) for kind in ("reclaimable", "unreclaimable"))

    return trio.run(main)


def main() -> None:
    figures = {
        "forks_per_s": median_of(forks_per_s),
        "slab_pages_per_child": (slab_pages(2 * NR_FORKS) - slab_pages(NR_FORKS)) / NR_FORKS,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
