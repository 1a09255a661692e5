"""What happens by itself in an explored machine, if its race says that it may."""

from explored import scenario_of

from mmactors.engine.chance import ALLOCATION_FAILS
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
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


def test_an_allocation_may_fail_in_a_fault():
    """Out of memory with memory left: the path behind it is taken."""
    program = ["mmap A 4K", "race", "touch A write"]
    schedules = schedules_of(program, may=ALLOCATION_FAILS)
    failed = [any(step.text == f"{ALLOCATION_FAILS}: yes" for step in steps) for steps in schedules]

    assert len(set(failed)) == 2
