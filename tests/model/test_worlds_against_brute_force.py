"""What the search finds is what there is: random worlds, against all their interleavings."""

from functools import partial

import pytest
from brute_force import explored
from brute_force.machine import Machine, TooMany
from brute_force.strategies import programs
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.explore.strategy.pct import Pct
from mmactors.explore.strategy.pos import PartialOrderSampling
from mmactors.explore.strategy.random_walk import RandomWalk


def all_ends(program, bound=None):
    """Return all ways to end, by brute force."""
    try:
        return Machine(program).finals(bound)
    except TooMany:
        assume(False)


@settings(max_examples=100, derandomize=True)
@given(programs())
def test_a_search_finds_every_way_to_end_and_no_other(program):
    """With all that it leaves out, in one process."""
    assert all_ends(program) == explored.finals(program, lambda: [DepthFirst()])


@settings(max_examples=20, derandomize=True)
@given(programs(), st.integers(2, 3), st.integers(1, 5))
def test_the_parts_of_a_split_search_find_together_what_there_is(program, nr_parts, depth):
    """As several processes would."""
    assert all_ends(program) == explored.finals(program, partial(explored.parts, nr_parts, depth))


@pytest.mark.parametrize("bound", [0, 1, 2])
@settings(max_examples=20, derandomize=True)
@given(program=programs())
def test_a_bounded_search_finds_what_so_many_preemptions_reach(program, bound):
    """A preemption leaves an actor that could go on."""
    assert all_ends(program, bound) == explored.finals(program, lambda: [DepthFirst(bound=bound)])


@settings(max_examples=20, derandomize=True)
@given(programs(), st.integers(0, 1000))
def test_samples_are_ways_to_end(program, seed):
    """Whatever draws them."""

    def samplers():
        pct = [Pct(seed, depth=depth) for depth in (1, 2, 3)]
        return [PartialOrderSampling(seed), RandomWalk(seed), *pct]

    assert explored.finals(program, samplers, times=10) <= all_ends(program)
