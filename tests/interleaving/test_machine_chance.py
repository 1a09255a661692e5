"""What happens by itself in an explored machine, if its race says that it may."""

from explored import explore, scenario_of

from mmactors.engine.chance import ALLOCATION_FAILS
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.search.verdict import Outcome
from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.races.machine import ExploredMachine


def schedules_of(program, *, may):
    """Return the steps of all schedules, as text."""
    scenario = scenario_of(program, scope=("page_tables", "tlb"), race=f", may: [{may}]")
    execution = Execution(ExploredMachine(scenario))
    while True:
        try:
            strategy = DepthFirst()
            found = []
            while not strategy.is_done:
                strategy.run(execution)
                assert execution.broken is None, execution.broken
                found.append(list(execution.steps))
        except BecameVisible:
            continue
        execution.close()
        return found


def test_an_object_may_fail():
    """As a page may: of a module's objects one or none, in one or the other operation."""
    program = ["race", "kmalloc A size=100", "kmalloc B size=8"]
    schedules = schedules_of(program, may=ALLOCATION_FAILS)
    failed = [
        tuple(nth for nth, step in enumerate(steps) if step.text == f"{ALLOCATION_FAILS}: yes")
        for steps in schedules
    ]

    assert 3 <= len(set(failed))
    assert {0, 1} == set(map(len, failed))


def test_an_object_of_the_kernels_may_fail():
    """An area, when a process maps, or cuts one twice: each fails once."""
    for operation, nr_objects in (("mmap A 4K prot=r", 1), ("munmap B 1..2", 2)):
        program = ["mmap B 16K", "race", operation]
        schedules = schedules_of(program, may=ALLOCATION_FAILS)
        failed = [any("yes" in step.text for step in steps) for steps in schedules]

        assert [False] + [True] * nr_objects == sorted(failed)


def test_a_fork_that_fails_is_the_same_when_it_is_run_again():
    """Its address space has come and gone, and only one of both runs has looked it up."""
    scenario = scenario_of(["mmap A 4K", "race", "fork c"], race=f", may: [{ALLOCATION_FAILS}]")
    _, verdict = explore(scenario, twice_every=1)

    assert verdict.outcome is Outcome.EXHAUSTED
    assert verdict.nr_schedules > 10


def test_an_allocation_may_fail_in_a_fault():
    """Out of memory with memory left: the path behind it is taken."""
    program = ["mmap A 4K", "race", "touch A write"]
    schedules = schedules_of(program, may=ALLOCATION_FAILS)
    failed = [any(step.text == f"{ALLOCATION_FAILS}: yes" for step in steps) for steps in schedules]

    assert len(set(failed)) == 2
