"""What is not done twice makes no difference: the same schedules, counts and failures without."""

import os
from pathlib import Path

import pytest

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
