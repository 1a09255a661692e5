"""How often an operation takes mmap_lock, and how often it downgrades it: Linux's counts."""

import json
from pathlib import Path

import pytest
from machines import EXACT, run, scenario_of

from mmactors.units import MIB

CASES = json.loads(
    (Path(__file__).parents[1] / "reference/linux-6.1/userland/mmap_lock/counts.json").read_text()
)


class Counting:
    """Takes what locks report, and counts mmap_lock as the kernel's tracepoints do."""

    def __init__(self, engine):
        self.engine = engine
        self.counts = {}
        """By operation, which is an object of its own each time it stands in the program."""

    def _count(self, lock, *which):
        if lock.lock_class.name == "&mm->mmap_lock":
            counts = self.counts.setdefault(id(self.engine.current.doing), [0, 0, 0])
            for at in which:
                counts[at] += 1

    def acquire(self, lock, hold, nesting):
        self._count(lock, 0)

    def acquired(self, lock):
        self._count(lock, 1)

    def tried(self, lock, hold, nesting):
        self._count(lock, 0, 1)

    def release(self, lock):
        self._count(lock, 2)

    def downgrade(self, lock):
        self._count(lock, 1)

    def might_sleep(self, what):
        pass

    def irqs_disabled(self, cpu):
        pass

    def irqs_enabled(self, cpu):
        pass

    def wait_for_ipi(self, vector, targets):
        pass


@pytest.mark.parametrize("case", CASES)
def test_each_operation_takes_mmap_lock_as_often_as_recorded(case):
    """Start of locking, acquired (downgrades too), released, of each operation of the case."""
    recorded = CASES[case]
    # vvar and vdso lay below the stack; munmap does not downgrade when the stack comes next.
    # What follows the last operation is the end of the process.
    operations = ["mmap VDSO 24K prot=r", *(row[0] for row in recorded), "nop"]
    scenario = scenario_of(operations, size=256 * MIB, on_signal="continue", **EXACT)
    watching = []

    def watch(machine):
        watching.append(Counting(machine._engine))
        machine._engine.lock_observer = watching[0]

    run(scenario, is_logged=False, before=watch)
    counts = watching[0].counts
    program = scenario.processes[0].program[1:-1]

    assert recorded == [
        [row[0], *counts.get(id(operation), (0, 0, 0))]
        for row, operation in zip(recorded, program, strict=True)
    ]
