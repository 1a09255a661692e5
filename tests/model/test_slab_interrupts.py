"""Random programs whose objects come and go by threads that move and by interrupt handlers."""

import random

import pytest
from attrs import evolve
from machines import run, scenario_of

from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.schema import KernelConfig

NR_OPERATIONS = 100


def program_of(seed):
    """Return a program that frees each object once, whoever does it, and wherever."""
    rng = random.Random(seed)
    program, held = ["thread T cpu=1", "kmem_cache_create C size=8K"], []
    for number in range(NR_OPERATIONS):
        by = rng.choice(["", "T: "])
        where = rng.choice(["", " smp_call=0", " smp_call=1"])
        what = rng.random()
        if what < 0.05:
            program.append(f"sched_setaffinity T cpu={rng.randrange(2)}")
        elif what < 0.55 or not held:
            gfp = rng.choice(["ATOMIC", "NOWAIT"] if where else ["KERNEL", "ATOMIC"])
            of = rng.choice(["C", "C", "kmalloc"])
            held.append((f"N{number}", of))
            size = rng.choice([64, 5000, 70000])
            call = f"kmalloc N{number} size={size}"
            if of == "C":
                call = f"kmem_cache_alloc N{number} cache=C"
            program.append(f"{by}{call} gfp={gfp}{where}")
        else:
            name, of = held.pop(rng.randrange(len(held)))
            call = f"kmem_cache_free {name} cache=C" if of == "C" else f"kfree {name}"
            program.append(f"{rng.choice([by, 'T& '])}{call}{where}")
    return [*program, "wait"]


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_by_interrupts_and_moves(seed):
    """Every watcher is silent, about objects, lists, counters and locks."""
    scenario = scenario_of(
        program_of(seed), size=48 << 20, cpus=2, seed=seed, kernel=KernelConfig(preempt="full")
    )

    machine = run(evolve(scenario, sanitize=SanitizeConfig.everything(panic=False)))

    assert [] == machine.events("error_report_end")
    assert machine.events("ipi_send")
