"""Random programs that may die anywhere: whoever ends, and however, nothing is left and found."""

import os
import random

import pytest
from attrs import evolve
from machines import run_to_nothing, scenario_of

from mmactors.mm.fault.siginfo import SIGKILL
from mmactors.sanitize.config import SanitizeConfig
from mmactors.units import MIB

BEGIN = [
    "open F /tmp/f create",
    "ftruncate F 128K",
    "mmap A 256K",
    "mmap R 256K prot=r",
    "mmap S 128K flags=shared file=F",
    "unlink /tmp/f",
    "touch A 0..32 write",
    "thread T cpu=1",
    "thread U cpu=2",
    "fork C",
    "C: thread V cpu=1",
    "C: thread W cpu=2",
    "fork D",
]
WHO = ["", "T& ", "U& ", "C& ", "V& ", "W& ", "D& ", "T: ", "C: ", "V: "]
NR_OPERATIONS = 40


def operation(draw):
    """Return an operation that somebody does; one of ten ends in a signal."""
    first = draw.randrange(0, 56)
    name = draw.choice("AAARS")
    place = f"{name} {first}..{first + draw.randrange(1, 8)}"
    return draw.choice(
        [
            *[f"touch A {first}..{first + 8} {draw.choice(['read', 'write'])}"] * 4,
            f"touch R {first}..{first + 8} read",
            f"touch S 0..{1 + first // 2} {draw.choice(['read', 'write'])}",
            f"touch {place} write",
            f"munmap {place}",
            f"mprotect {place} prot={draw.choice(['r', 'rw', 'none'])}",
            f"madvise {place} {draw.choice(['DONTNEED', 'COLD', 'POPULATE_READ'])}",
            f"mlock {place}",
            f"mremap {place} len={4 * draw.randrange(1, 32)}K flags=maymove",
            f"ftruncate F {4 * draw.randrange(0, 40)}K",
            f"write F 0 {4 * draw.randrange(1, 16)}K bs=4K from=A",
            "mmap B 128K flags=private,anon,populate",
            "churn 5 32K touch",
            "faultloop A 5",
            "sleep 1",
        ]
    )


def program_of(seed):
    """Return a program; children and threads do most of it."""
    draw = random.Random(seed)
    done = list(BEGIN)
    for _ in range(NR_OPERATIONS):
        done.append(draw.choice(WHO) + operation(draw))
        if draw.random() < 0.06:
            done.append(draw.choice(["kill C", "kill D", "fork E", "reap", "E: touch A write"]))
    return [*done, "wait", "reap"]


@pytest.mark.parametrize("on_signal", ["die", "continue"])
@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_left_and_found_whoever_dies(seed, on_signal):
    """Three CPUs, one node or two. Who died is who got the first fatal signal, and no other."""
    scenario = scenario_of(
        program_of(seed),
        program_of(seed + 1000)[6:],
        cpus=3,
        nr_nodes=1 + seed % 2,
        size=128 * MIB,
        pku=seed % 3 == 0,
        on_signal=on_signal,
        policy="seeded",
        quantum_ns=[0, 1000][seed // 2 % 2],
        seed=seed,
    )
    ran = run_to_nothing(evolve(scenario, sanitize=SanitizeConfig.everything()))

    assert () == ran.machine.findings()
    deaths = ran.machine.deaths()
    assert len({death.pid for death in deaths}) == len(deaths) == ran.counters["processes_killed"]
    signals = ran.events("signal_generate")
    kills = [event for event in signals if event["sig"] == SIGKILL]
    faults = [event for event in signals if event["sig"] != SIGKILL]
    assert len(kills) == sum(death.killer is not None for death in deaths)
    by_fault = [death for death in deaths if death.killer is None]
    if on_signal == "continue":
        assert [] == by_fault
    first = {}
    for event in faults:
        first.setdefault(event["pid"], event)
    for death in by_fault:
        event = first[death.pid]
        assert (death.thread, death.t_ns) == (event["actor"], event["t"])


def test_the_programs_do_die():
    """Else the law above says nothing: of faults, of kills, in threads and in children."""
    names = set()
    for seed in range(20):
        scenario = scenario_of(program_of(seed), cpus=3, policy="seeded", seed=seed)
        for death in run_to_nothing(scenario).machine.deaths():
            names.add((death.signal, death.killer is not None, death.thread.partition("#")[0]))

    assert {"SIGSEGV", "SIGBUS", "SIGKILL"} == {signal for signal, *_ in names}
    assert {"p0", "p0/T", "p0/C", "p0/V"} <= {thread for *_, thread in names}, os.linesep.join(
        map(str, sorted(names))
    )
