"""Machines under stress: many processes that do everything at once, where memory is short.

    python tests/stress.py 0 100     # seeds 0 to 99: what each found, and how long it took
    python tests/stress.py 17        # the scenario of a seed, as a file for `mmactors run`

A seed decides a scenario. `fault_of` holds its run to this: it comes to its end, no sanitizer has
anything to say, and every page is accounted for. What a program's calls answer is not its matter.
"""

import json
import random
import sys
import time

from attrs import evolve
from machines import nr_free, nr_slab, nr_waiting, run

import mmactors
from mmactors.sanitize.config import SanitizeConfig
from mmactors.workload.operation.all import parse_operation
from mmactors.workload.program import check_program

NR_CPUS = 8
NAMES = "ABCDE"
FILES = {"F": "/data/f", "G": "/shm/g", "H": "/data/h"}
ADVICES = [
    "DONTNEED",
    "FREE",
    "WILLNEED",
    "SEQUENTIAL",
    "RANDOM",
    "NORMAL",
    "COLD",
    "PAGEOUT",
    "COLLAPSE",
    "POPULATE_READ",
    "POPULATE_WRITE",
    "REMOVE",
    "DONTFORK",
    "DOFORK",
    "WIPEONFORK",
    "KEEPONFORK",
    "DONTDUMP",
]
STEP_BUDGET = 3_000_000


def scenario_of(seed):
    """Return the scenario of a seed as a dict: 8 CPUs, 8 to 16 processes, 1 to 3 nodes."""
    draw = random.Random(seed)
    nr_nodes = draw.choice([1, 1, 2, 3])
    nr_programs = draw.randrange(8, 17)
    # Odd: no multiple of a pageblock, nor of what nodes are cut into. Half of them are short.
    size_kib = 1024 * draw.choice([26, 40, 48, 64, 90]) + 4 * draw.randrange(0, 2048)
    hotplug = draw.choice(["0", "0", "4M", "8M"])
    return {
        "machine": {
            "cpus": NR_CPUS,
            "pku": draw.random() < 0.3,
            "memory": {
                "size": f"{size_kib + 8192 * (nr_nodes - 1)}K",
                "nr_nodes": nr_nodes,
                "kernel_image": "4M",
                "initramfs": "1M",
                "hotplug": hotplug,
                "percpu_pagelist_high_fraction": draw.choice([0, 0, 8, 50]),
            },
            "hardware": {"pcid": draw.random() < 0.7},
        },
        "kernel": {
            "overcommit": {"memory": draw.choice([0, 1, 1, 2])},
            "tables_by_rcu": draw.random() < 0.3,
            "slab": random.Random(f"slab {seed}").choice(["slub", "slub", "slab", "slob"]),
        },
        "engine": {
            "policy": "seeded",
            "seed": seed,
            "quantum_ns": draw.choice([0, 0, 1000, 10_000]),
            "jitter_percent": draw.choice([0, 0, 30]),
            "step_budget": STEP_BUDGET,
            "driver": draw.choice(["trio", "inline"]),
        },
        "sanitize": dict.fromkeys(SANITIZERS, True),
        "processes": [
            {
                "name": f"p{nth}",
                "cpu": draw.randrange(NR_CPUS),
                "on_signal": draw.choice(["die", "continue"]),
                "program": (
                    module_program(draw, nr_programs)
                    if nth == 0
                    else user_program(draw, nr_programs)
                ),
            }
            for nth in range(nr_programs)
        ],
    }


SANITIZERS = (
    "stale_tlb", "revoked", "contents", "page_state", "reserves", "leaks", "counters", "lockdep"
)  # fmt: skip


class Text:
    """A program that grows by operations which `check` accepts at this place."""

    def __init__(self):
        self.texts = []
        self.operations = []

    def add(self, *texts):
        """Add each operation that fits; say of the last whether it did."""
        fits = False
        for text in texts:
            operations = [*self.operations, parse_operation(text)]
            if fits := not check_program(operations):
                self.operations = operations
                self.texts.append(text)
        return fits


def module_program(draw, nr_programs):
    """Return what a kernel module does: blocks, isolation, memory that goes and comes."""
    text = Text()
    text.add(f"thread T cpu={draw.randrange(NR_CPUS)}", f"thread U cpu={draw.randrange(NR_CPUS)}")
    text.add(f"barrier start {nr_programs}")
    held = []
    for nth in range(draw.randrange(10, 30)):
        who = draw.choice(["", "", "T: ", "U: ", "T& "])
        match draw.randrange(8):
            case 0 | 1 | 2:
                gfp = draw.choice(["KERNEL", "ATOMIC", "NOWAIT", "USER", "HIGHUSER", "RECLAIMABLE"])
                order = draw.choice([0, 0, 0, 1, 2, 3, 5, 9, 10])
                comp = draw.choice(["", " comp"])
                held.append(f"M{nth}")
                text.add(f"{who}alloc_pages M{nth} order={order} gfp={gfp}{comp}")
            case 3 | 4 if held:
                text.add("wait", f"{who}free_pages {held.pop(draw.randrange(len(held)))}")
            case 5:
                text.add(f"{who}drain_all_pages", f"put /proc/sys/vm/drop_caches {nth % 4}")
            case 6:
                # A whole pageblock goes offline when its owner gives it back.
                text.add(f"alloc_pages W{nth} order=9 gfp=RECLAIMABLE movable")
                text.add(f"T& offline_pages W{nth}", "compute 20us", f"free_pages W{nth}", "wait")
            case _:
                text.add(f"{who}online_pages")
    text.add("wait", *(f"free_pages {name}" for name in held), "drain_all_pages", "reap")
    return text.texts


def user_program(draw, nr_programs):
    """Return a program of threads and children that share memory and files with others."""
    text = Text()
    own = draw.randrange(3)
    for file, path in FILES.items():
        text.add(f"open {file} {path}{draw.choice(['', own])} create")
    text.add("mmap A 256K", f"ftruncate F {4 * draw.randrange(40)}K")
    text.add(f"barrier start {nr_programs}")
    for _ in range(draw.randrange(20, 60)):
        who = draw.choice(["", "", "T0: ", "T1& ", "T2& ", "C0& ", "C1& ", "C0: ", "V& "])
        text.add(f"{who}{user_operation(draw)}")
    text.add("wait", "reap")
    return text.texts


def place(draw):
    """Return a range: pages of a name, which may lie outside what it is bound to."""
    name = draw.choice(NAMES)
    if draw.random() < 0.1:
        return name
    first = draw.randrange(0, 70)
    return f"{name} {first}..{first + draw.choice([1, 1, 2, 5, 16, 40])}"


def size(draw):
    """Return a length: mostly some pages, now and then one that a page table does not hold."""
    return f"{4 * draw.choice([1, 2, 8, 16, 64, 64, 300, 700])}K"


def user_operation(draw):
    """Return one operation as a text; what `check` refuses at its place is left out there."""
    at, nr_cpu, file = place(draw), draw.randrange(NR_CPUS), draw.choice([*FILES])
    name, offset = draw.choice(NAMES), f"{4 * draw.randrange(0, 64)}K"
    prot = draw.choice(["r", "rw", "rw", "none", "rx", "rwx", "x"])
    match draw.randrange(34):
        case 0 | 1 | 2 | 3:
            order = draw.choice(["", "", " order=rev", " order=rand:3"])
            return f"touch {at} {draw.choice(['read', 'write', 'write'])}{order}"
        case 4 | 5:
            return f"mmap {name} {size(draw)} prot={prot}"
        case 6:
            flags = draw.choice(["private,anon,populate", "shared,anon", "private,anon,noreserve"])
            return f"mmap {name} {size(draw)} flags={flags}"
        case 7:
            kind = draw.choice(["shared", "private", "shared,populate"])
            return f"mmap {name} {size(draw)} flags={kind} file={file} off={offset}"
        case 8:
            other = draw.choice(NAMES)
            return f"mmap {name} {size(draw)} addr={other} flags=private,anon,fixed"
        case 9:
            return f"munmap {at}"
        case 10:
            return f"mprotect {at} prot={prot}"
        case 11:
            flags = draw.choice(["maymove", "maymove", "maymove,dontunmap"])
            return f"mremap {at} len={size(draw)} flags={flags} as={name}"
        case 12 | 13 | 14:
            return f"madvise {at} {draw.choice(ADVICES)}"
        case 15:
            return f"{draw.choice(['mlock', 'mlock2', 'munlock'])} {at}"
        case 16:
            return draw.choice(["mlockall 1", "mlockall 3", "munlockall", "rlimit MEMLOCK 64K"])
        case 17:
            return f"msync {at} flags={draw.choice(['sync', 'async', 'invalidate'])}"
        case 18:
            return draw.choice(["brk +64K", "brk -16K", "heap E 16K", "brk +1M"])
        case 19:
            return f"ftruncate {file} {4 * draw.randrange(0, 80)}K"
        case 20:
            source = draw.choice(["", f" from={name}"])
            return f"write {file} {offset} {size(draw)} bs={draw.choice([4, 16])}K{source}"
        case 21:
            return f"read {file} {offset} {size(draw)} bs={draw.choice([4, 16])}K"
        case 22:
            return f"fsync {file}"
        case 23:
            advice = draw.choice(["WILLNEED", "DONTNEED", "RANDOM", "SEQUENTIAL"])
            return f"fadvise {file} {offset} {size(draw)} {advice}"
        case 24 | 25:
            return draw.choice(["fork C0", "fork C0", "fork C1", "reap"])
        case 26:
            return f"thread {draw.choice(['T0', 'T1', 'T2', 'V'])} cpu={nr_cpu}"
        case 27:
            return draw.choice(["kill C0", "exit", f"cpu {nr_cpu}", f"cpu {nr_cpu}"])
        case 28:
            return draw.choice([f"pin {at} as=D", f"pin {at} as=E", "unpin D", "unpin E"])
        case 29:
            device = draw.choice("DE")
            return f"dma {device} {draw.choice(['read', 'write'])}"
        case 30:
            return draw.choice([f"migrate {at}", f"idle {at}", f"memwrite {at}", f"mincore {at}"])
        case 31:
            return f"prefetch {at} cpu={nr_cpu}"
        case 32:
            return draw.choice(
                [f"faultloop {at} 3", f"fragment {at} 4", "churn 5 64K touch", "churn 3 512K"]
            )
        case _:
            return draw.choice(
                [
                    f"compute {draw.randrange(1, 50)}us",
                    "sleep 1",
                    f"generate uniform {name} count=200 write_percent=40",
                    "snap s",
                    "get /proc/self/smaps",
                    f"unlink {FILES[file]}",
                    "put /proc/sys/vm/overcommit_memory 1",
                ]
            )


def fault_of(seed, **engine):
    """Run a seed; return what is wrong with the machine or None, the run, and its scenario."""
    scenario = mmactors.load(scenario_of(seed))
    scenario = evolve(
        scenario,
        sanitize=SanitizeConfig.everything(),
        engine=evolve(scenario.engine, **engine),
    )
    before = []
    ran = run(scenario, before=lambda machine: before.append(pages(machine)))
    findings = ran.machine.findings()
    if findings:
        return "\n".join(map(str, findings)), ran
    if before[0] != (left := pages(ran.machine)):
        return f"{before[0]} pages before, {left} after", ran
    return None, ran


def pages(machine):
    """Return how many pages are neither free nor hold a file or objects: those that are lost."""
    seen = machine.inspect()
    cached = sum(
        node.counters["nr_file_pages"].value + sum(node.counters["nr_file_pages"].deltas)
        for node in seen.nodes
    )
    managed = sum(zone.managed_pages for zone in seen.zones)
    return managed - nr_free(machine) - nr_waiting(machine) - nr_slab(machine) - cached


def tell(text):
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(first, end=None):
    """Run seeds one after another, or print the scenario of one."""
    if end is None:
        tell(json.dumps(scenario_of(int(first)), indent=1))
        return 0
    nr_events = nr_faults = 0
    began = time.monotonic()
    for seed in range(int(first), int(end)):
        began_seed = time.monotonic()
        try:
            fault, ran = fault_of(seed)
        except Exception as error:  # noqa: BLE001 (each seed is to be told of)
            fault = f"{type(error).__name__}: {error}"
        else:
            nr_events += ran.log.count(b"\n")
        seconds = time.monotonic() - began_seed
        nr_faults += fault is not None
        told = "ok" if fault is None else fault
        tell(f"seed {seed}: {seconds:.1f} s, {told}")
    seconds = time.monotonic() - began
    nr_seeds = int(end) - int(first)
    tell(f"{nr_seeds} seeds, {nr_events} events, {seconds:.0f} s, {nr_faults} with a fault")
    return nr_faults > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
