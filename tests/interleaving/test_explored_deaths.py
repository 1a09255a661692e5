"""Deaths in explored machines: they break a schedule, unless somebody expects them."""

import pytest
from explored import explore, scenario_of

from mmactors.engine.chance import ALLOCATION_FAILS
from mmactors.errors import UserError
from mmactors.explore.execution.execution import Execution
from mmactors.explore.search.verdict import Outcome
from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.label import Mode
from mmactors.races.machine import ExploredMachine

PROGRAM = [
    "thread T1 cpu=1",
    "mmap A 4K",
    "T1: touch A write",
    "race",
    '"T1& touch A read"',
    "munmap A",
    "wait",
]
SCOPE = ("page_tables", "tlb")


def test_a_death_that_nobody_expects_breaks_the_schedule():
    """The load comes before the munmap, or after it and is SIGSEGV; the report says who died."""
    _, verdict = explore(scenario_of(PROGRAM, on_signal="die", scope=SCOPE), is_exhaustive=True)

    assert Outcome.FAILED is verdict.outcome
    found = str(verdict.failure.broken)
    assert found.startswith("a law is broken: app dies of SEGV_MAPERR\napp (pid 1, thread app/T1) ")
    assert "in `touch A read` (race.yaml:" in found


@pytest.mark.parametrize(
    "expected", ["app dies", "app may die of SIGSEGV", "a* may die of SEGV_MAPERR"]
)
def test_an_expected_death_breaks_nothing(expected):
    """Neither does its absence: the other order has none."""
    scenario = scenario_of(PROGRAM, on_signal="die", scope=SCOPE, more=f"expect: [{expected}]\n")
    _, verdict = explore(scenario, is_exhaustive=True)

    assert Outcome.EXHAUSTED is verdict.outcome


def test_a_death_in_the_set_up_is_the_users_error():
    """Nothing could be explored then."""
    program = ["mmap A 4K prot=r", "touch A write", "race", "touch A read"]
    with pytest.raises(UserError, match=r"the set-up before the race fails: .* app dies of SEGV_"):
        explore(scenario_of(program, on_signal="die", scope=SCOPE))


def test_who_gets_no_memory_where_allocations_may_fail_is_no_finding():
    """That is what the race allows; the fault is tried again, and the machine stays in order."""
    program = ["mmap A 4K", "race", "touch A write"]
    race = f", may: [{ALLOCATION_FAILS}]"
    _, verdict = explore(scenario_of(program, on_signal="die", race=race), is_exhaustive=True)

    assert Outcome.EXHAUSTED is verdict.outcome


DIES_BESIDE_CALLS = [
    "thread T1 cpu=1",
    "race",
    '"T1& touch @0x100000:4K read"',
    "mmap A 4K",
    "munmap A",
    "wait",
]


def outcomes(**reductions):
    """Return all steps that any schedule takes, and by schedule what its steps wrote."""
    scenario = scenario_of(
        DIES_BESIDE_CALLS,
        cpus=3,
        on_signal="die",
        scope=["mmap_lock"],
        more="expect: [app may die of SIGSEGV]\n",
    )
    execution = Execution(ExploredMachine(scenario))
    search = DepthFirst(**reductions)
    found, written = set(), []
    while not search.is_done:
        search.run(execution)
        assert execution.broken is None
        if execution.is_over:
            found.update(step.text for step in execution.steps)
            written.append({name for step in execution.steps for name, mode in step.touches
                            if mode is Mode.WRITE})  # fmt: skip
    return found, written


def test_orders_that_are_left_out_change_nothing_of_a_death():
    """Others look for the signal at any step; with reductions, too, all is found."""
    found, _ = outcomes()

    assert len(found) > 2
    assert outcomes(has_sleep_sets=False, has_states=False)[0] == found


def test_a_death_concerns_every_cpu():
    """Who looks for a fatal signal reads the CPU it is on, even one that nobody was woken on."""
    _, written = outcomes()

    assert written
    assert all({"cpu0", "cpu1", "cpu2"} <= names for names in written)
