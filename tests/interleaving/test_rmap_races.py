"""A race of rmap walks that takes two broken rules: either of them is enough to be safe."""

from pathlib import Path

import pytest

from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.races.machine import ExploredMachine
from mmactors.races.pair import with_rules
from mmactors.scenario.load import load_scenario

C12 = Path(__file__).parents[2] / "configs" / "races" / "c12-anon-vma-prepare.yaml"
LOCKS_NEW = "anon_vma_prepare_locks_new"
RECHECKS = "page_lock_anon_vma_rechecks_mapped"


@pytest.mark.parametrize(
    ("broken", "finds"),
    [
        ((LOCKS_NEW, RECHECKS), "is changed while an rmap walk is in it"),
        ((LOCKS_NEW,), None),
        ((RECHECKS,), None),
    ],
)
@pytest.mark.slow
def test_a_new_anon_vma_needs_one_of_two_rules(broken, finds):
    """Its lock keeps the walk out, or the walk finds out that the page is not mapped any more.

    All schedules with up to two preemptions, which is what the bug of v2.6.27 takes. That it is
    found with both rules broken is in test_gallery.py, in every session.
    """
    found, nr_schedules = explored(ExploredMachine(with_rules(load_scenario(C12), broken=broken)))

    if finds is None:
        assert found is None
        assert nr_schedules > 100
    else:
        assert finds in str(found)


def explored(machine):
    """Return what broke, and the number of schedules up to that."""
    execution = Execution(machine)
    while True:
        search = DepthFirst(bound=2)
        nr_schedules = 0
        try:
            while not search.is_done and execution.broken is None:
                search.run(execution)
                nr_schedules += 1
        except BecameVisible:
            continue  # Explore again, now that it is known.
        execution.close()
        return execution.broken, nr_schedules
