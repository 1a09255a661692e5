"""A search that forgets states explores some once more, and finds the same."""

import pytest
from toys import TOYS

from mmactors.explore.execution import history
from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy import dfs
from mmactors.explore.strategy.dfs import DepthFirst


def explored(build, bound=None):
    """Return how the schedules of a whole search end, and how many there are."""
    execution = Execution(build)
    strategy = DepthFirst(bound=bound)
    ends = set()
    nr_schedules = 0
    while not strategy.is_done:
        strategy.run(execution)
        nr_schedules += 1
        if execution.has_ended():
            broken = execution.broken
            law = None if broken is None else broken.law
            values = tuple(thing.key() for thing in execution.engine.objects.values())
            ends.add((law, values))
    execution.close()
    assert len(strategy._explored) <= dfs.GENERATION
    return ends, nr_schedules


@pytest.mark.parametrize("bound", [None, 2])
@pytest.mark.parametrize("build", TOYS.values(), ids=TOYS)
def test_a_search_whose_tables_are_full_all_the_time_ends_with_the_same_states(
    build, bound, monkeypatch
):
    """Two generations of one entry instead of 2^18."""
    all_ends, nr_schedules = explored(build, bound)
    monkeypatch.setattr(history, "GENERATION", 1)
    monkeypatch.setattr(dfs, "GENERATION", 1)
    ends, nr_with_less = explored(build, bound)
    assert ends == all_ends
    assert nr_with_less >= nr_schedules
