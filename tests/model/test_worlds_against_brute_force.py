"""What the search finds is what there is: random worlds, against all their interleavings."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from brute_force import explored
from brute_force.machine import Machine, TooMany
from brute_force.program import Choose, Const, Event, Move, Program, Read, Step, Write
from brute_force.strategies import programs
from brute_force.world import Builder
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmactors.explore import Budget, Options, Outcome, search
from mmactors.explore.engine import step
from mmactors.explore.engine.store_buffer import Store, StoreBuffer
from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.explore.strategy.pct import Pct
from mmactors.explore.strategy.pos import PartialOrderSampling
from mmactors.explore.strategy.random_walk import RandomWalk
from mmactors.explore.world.late import LateCell

NR_WORLDS = 100
NR_PARTS = 10
NR_WORLDS_A_PART = 1000
MAX_STATES = 700
"""Of a world that is tried; the ordinary suite has a few seconds for this."""
MAX_STATES_SEARCHED = 250
"""Of one that whole searches are of, with all that they look at besides."""


def all_ends(program, bound=None, *, max_states=MAX_STATES):
    """Return all ways to end, by brute force."""
    try:
        return Machine(program, max_states=max_states).finals(bound)
    except TooMany:
        assume(False)


@settings(max_examples=NR_WORLDS, derandomize=True)
@given(programs())
def test_a_search_finds_every_way_to_end_and_no_other(program):
    """With all that it leaves out, in one process."""
    assert all_ends(program) == explored.finals(program, lambda: [DepthFirst()])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(NR_PARTS))
@settings(max_examples=NR_WORLDS_A_PART)
@given(program=programs(max_steps=9))
def test_a_search_finds_every_way_to_end_of_many_worlds(program, part):
    """Of new ones each time: ten thousand in all, some minutes a part."""
    assert all_ends(program, max_states=20_000) == explored.finals(program, lambda: [DepthFirst()])


@settings(max_examples=25, derandomize=True)
@given(programs(), st.integers(2, 3), st.integers(1, 5))
def test_the_parts_of_a_split_search_find_together_what_there_is(program, nr_parts, depth):
    """As several processes would."""
    assert all_ends(program) == explored.finals(program, partial(explored.parts, nr_parts, depth))


@pytest.mark.parametrize("bound", [0, 1, 2])
@settings(max_examples=30, derandomize=True)
@given(program=programs())
def test_a_bounded_search_finds_what_so_many_preemptions_reach(program, bound):
    """A preemption leaves an actor that could go on."""
    assert all_ends(program, bound) == explored.finals(program, lambda: [DepthFirst(bound=bound)])


@settings(max_examples=25, derandomize=True)
@given(programs(), st.integers(0, 1000))
def test_samples_are_ways_to_end(program, seed):
    """Whatever draws them."""

    def samplers():
        pct = [Pct(seed, depth=depth) for depth in (1, 2, 3)]
        return [PartialOrderSampling(seed), RandomWalk(seed), *pct]

    assert explored.finals(program, samplers, times=10) <= all_ends(program)


@pytest.mark.parametrize("jobs", [1, 2])
@settings(max_examples=6, derandomize=True)
@given(program=programs(max_steps=5), draw=st.data())
def test_a_law_against_one_end_is_broken_and_a_law_that_knows_all_is_not(program, jobs, draw):
    """By search(), in one process or two; what failed once is tried first, and proves nothing."""
    ends = all_ends(program, max_states=MAX_STATES_SEARCHED)
    assume(not any(end.unfinished for end in ends))
    found = draw.draw(st.sampled_from(sorted(ends)))
    build = Builder(program)

    def is_another():
        assert build.final() != found

    def is_known():
        assert build.final() in ends

    with TemporaryDirectory() as directory:
        options = Options(jobs=jobs, budget=Budget(schedules=100_000), store=Path(directory))
        build.on_end = is_another

        assert Outcome.FAILED is search(build, name="world", options=options).outcome
        again = search(build, name="world", options=options)
        assert ("kept from an earlier search", 1) == (again.failure.found_by, again.nr_schedules)

        build.on_end = is_known

        assert Outcome.EXHAUSTED is search(build, name="world", options=options).outcome


# -- worlds that were once judged wrongly ----------------------------------------------------------

ZERO = (("x", Const(0)), ("y", Const(0)))
EVENT = Event("event x", Step(writes=("x",), moves=(Move("x", None, 1),), is_event=True), 1)
CHOICE = Choose((Const(0), Const(1)))


@pytest.mark.parametrize(
    "program",
    [
        Program(cells=ZERO, actors=((Read("y"), CHOICE),), events=(EVENT,)),
        Program(cells=ZERO, actors=((Read("x"), Read("x")), ()), events=(EVENT,)),
        Program(cells=ZERO, actors=((Read("x"), Write("y", Const(1))),), events=(EVENT,)),
        Program(
            cells=ZERO,
            actors=(
                (Write("x", Const(1)), Read("x")),
                (Write("x", Const(2)), Write("x", Const(0))),
            ),
            is_late=True,
        ),
        Program(
            cells=ZERO,
            actors=((Write("y", Const(1)),), (Read("x"),)),
            events=(EVENT,),
            is_late=True,
        ),
    ],
    ids=[
        "an option ends it all",
        "an actor has nothing to do",
        "a step ends it all",
        "who reads its own store sees another value than memory holds",
        "the last store ends it all",
    ],
)
def test_what_was_once_missed_is_found(program):
    """What may happen at any time comes before the end or not at all; own stores are seen."""
    assert all_ends(program) == explored.finals(program, lambda: [DepthFirst()])


# -- a search with a bug is found out --------------------------------------------------------------


def _push_in_front(self, name, apply, value=None):
    """Store before what waits: last in, first out."""
    if not self._stores:
        self._engine.hold(1)
    self._stores.appendleft(Store(name, apply, value))


PLANTED = {
    "all steps commute": (step.Step, "depends_on", lambda _self, _other: False),
    "each state was seen": (DepthFirst, "_was_seen", lambda self, *_: self.nr_schedules > 1),
    "the last store drains first": (StoreBuffer, "push", _push_in_front),
    "nothing waits for a buffer": (StoreBuffer, "is_empty", lambda _self: True),
    "own stores are not seen": (LateCell, "_seen_by", lambda self, _buffer: self._value),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_search_with_a_bug_is_found_out(bug, monkeypatch):
    """These tests can fail: by a hundred worlds at most."""
    where, name, replacement = PLANTED[bug]
    monkeypatch.setattr(where, name, replacement)
    differ = []

    @settings(max_examples=NR_WORLDS, derandomize=True)
    @given(programs(is_late=where in (StoreBuffer, LateCell)))
    def compares(program):
        if not differ:
            found = explored.finals(program, lambda: [DepthFirst()])
            differ.extend([program] * (found != all_ends(program)))

    compares()

    assert differ
