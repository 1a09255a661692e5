"""What is not done twice makes no difference: the same schedules, counts and failures without."""

import os
from functools import partial
from pathlib import Path

import pytest
from contents import contents
from hypothesis import example, given
from hypothesis import strategies as st

from mmactors.explore.engine.virtual_time import TIME
from mmactors.explore.execution.course import Course
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.execution.nondeterminism import Nondeterminism
from mmactors.explore.execution.script import entries
from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.races.machine import ExploredMachine
from mmactors.races.pair import with_rules
from mmactors.scenario.load import load_scenario

RACES = Path(__file__).parents[2] / "configs" / "races"


def machine_of(name, *, is_broken):
    scenario = load_scenario(RACES / f"{name}.yaml", ())
    return ExploredMachine(with_rules(scenario, broken=scenario.race.broken if is_broken else ()))


def found_in(execution, bound):
    """Return how many schedules a search takes, and what it finds at the last, if anything."""
    while True:
        strategy = DepthFirst(bound=bound)
        try:
            while not strategy.is_done and execution.broken is None:
                strategy.run(execution)
        except BecameVisible:
            continue
        broken = execution.broken
        failure = None if broken is None else (str(broken), entries(execution))
        return strategy.nr_schedules, failure


@pytest.mark.parametrize("is_broken", [True, False])
@pytest.mark.parametrize("race", ["a12-cpumask-store", "c16-punch-hole-write", "c7-dirty-cow"])
def test_searches_find_the_same_with_and_without_what_was_found_out_before(race, is_broken):
    found = []
    for repeats in (True, False):
        execution = Execution(machine_of(race, is_broken=is_broken), repeats=repeats)
        found.append([found_in(execution, bound) for bound in (1, None)])
        execution.close()
    assert found[0] == found[1]


def ends_of(build, contents_of, *, bound, repeats, nr_schedules=1 << 30):
    """Return how the first schedules end, by their choices, and all that there is then.

    Of a schedule that led to a state that was explored before there is no end.
    """
    execution = Execution(build, repeats=repeats)
    while True:
        strategy = DepthFirst(bound=bound)
        ends = {}
        try:
            while not strategy.is_done and strategy.nr_schedules < nr_schedules:
                execution.is_over = False  # Where it is known how all goes on nothing is run.
                strategy.run(execution)
                if execution.has_ended():
                    steps = [(step.text, step.touches) for step in execution.steps]
                    clocks = [actor.clock.now for actor in execution.engine.party]
                    there = contents_of(execution), clocks, str(execution.broken), steps
                    ends[tuple(execution.choices)] = there
        except BecameVisible:
            continue
        execution.close()
        return ends


def of_machine(execution):
    return contents(execution._build.wired)


def of_world(execution):
    return contents((execution.world, list(execution.engine.objects.items())))


def assert_ends_are_equal(build, contents_of, **how):
    """Compare all that there is at the ends with what there is if nothing is taken again."""
    again = ends_of(build, contents_of, repeats=True, **how)
    anew = ends_of(build, contents_of, repeats=False, **how)
    assert again.keys() <= anew.keys()
    for choices, end in again.items():
        assert end == anew[choices]
    assert len(again) > 1 or len(anew) == len(again)


@pytest.mark.parametrize("bound", [1, None])
@pytest.mark.parametrize(
    "race", ["a1-mremap-clean", "a19-offline-pcp", "a2-mremap-dirty", "c13-anon-vma-root"]
)
def test_all_that_there_is_at_the_end_is_the_same_when_steps_are_taken_again(race, bound):
    build = machine_of(race, is_broken=False)
    assert_ends_are_equal(build, of_machine, bound=bound, nr_schedules=30)


@pytest.mark.skipif("MMACTORS_GUARD" in os.environ, reason="guarded steps are not taken again so")
@pytest.mark.parametrize("race", ["a1-mremap-clean", "c7-dirty-cow"])
def test_a_course_that_forgets_time_is_found_out(race, monkeypatch):
    take = Course.take

    def late(self, engine, let_run):
        other = take(self, engine, let_run)
        engine.clock.at += 40
        return other

    monkeypatch.setattr(Course, "take", late)
    build = machine_of(race, is_broken=False)
    with pytest.raises(AssertionError):
        assert_ends_are_equal(build, of_machine, bound=1, nr_schedules=30)


operation = st.one_of(
    st.tuples(st.just("read"), st.sampled_from("xyz")),
    st.tuples(st.just("add"), st.sampled_from("xyz")),
    st.tuples(st.just("spend"), st.sampled_from((7, 40))),
    st.tuples(st.just("sleep"), st.sampled_from("xyz")),
    st.just(("wake", "")),
    st.just(("now", "")),
)
programs = st.lists(st.lists(operation, min_size=1, max_size=4), min_size=2, max_size=3)


def world_of(programs, scope, world):
    """Actors of which some sleep until something is not 0 any more, and all spend time."""
    cells = {name: world.cell(name, 0) for name in "xyz"}
    queue = world.wait_queue("queue")
    world.scope(*scope)

    async def act(program):
        for word, value in program:
            if word == "read":
                await cells[value].read()
            elif word == "add":
                await cells[value].add(1)
            elif word == "spend":
                await world.engine.spend(value)
            elif word == "sleep":
                cell = cells[value]
                await queue.sleep(
                    unless=lambda cell=cell: cell.value > 0, reads=(value,), timeout=5
                )
            elif word == "wake":
                await queue.wake_all()
            else:
                await cells["z"].write(await world.now())

    for index, program in enumerate(programs):
        world.actor(f"a{index}", partial(act, program))


@given(programs, st.sets(st.sampled_from(("x", "y", "z", "queue", TIME)), min_size=1))
@example(
    [[("wake", "")], [("now", ""), ("sleep", "x")], [("read", "x")]], {TIME, "queue", "x", "y", "z"}
)
def test_random_worlds_that_sleep_end_the_same_when_steps_are_taken_again(programs, scope):
    build = partial(world_of, programs, sorted(scope))
    assert_ends_are_equal(build, of_world, bound=None, nr_schedules=60)


@pytest.mark.parametrize("race", ["a1-mremap-clean", "c6-gup-fast-fork", "c7-dirty-cow"])
def test_states_of_machines_with_files_and_pins_have_names(race):
    execution = Execution(machine_of(race, is_broken=False))
    found_in(execution, 0)
    assert execution.is_keyed
    execution.close()


def scoped(nr_steps):
    """Return a world in which one actor takes so many steps that nobody looks at."""

    def build(world):
        inside, outside = world.cell("inside", 0), world.cell("outside", 0)
        world.scope("inside")

        async def writes():
            await inside.write(1)
            for _ in range(nr_steps()):
                await outside.write(1)
            await inside.write(2)

        async def reads():
            await inside.read()
            await inside.read()

        world.actor("writer", writes)
        world.actor("reader", reads)

    return build


@pytest.mark.skipif("MMACTORS_GUARD" in os.environ, reason="guarded steps are not taken again so")
def test_who_passes_more_steps_than_before_is_found_out():
    numbers = iter([3, 4])
    execution = Execution(scoped(lambda: next(numbers)))
    strategy = DepthFirst()
    strategy.run(execution)
    with pytest.raises(Nondeterminism):
        strategy.run(execution)
    execution.close()


def test_who_passes_as_many_steps_as_before_is_not():
    execution = Execution(scoped(lambda: 3))
    strategy = DepthFirst()
    while not strategy.is_done:
        strategy.run(execution)
    assert strategy.nr_schedules > 1
    execution.close()
