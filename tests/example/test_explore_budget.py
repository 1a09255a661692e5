"""Budgets bind search and shrinking together, by schedules and by a clock that the tests turn."""

import gc
import itertools
from functools import partial

import pytest
from toys import aba, fixed, stale_tlb

from mmactors.errors import UserError
from mmactors.explore import Budget, Options, Outcome, replay, search
from mmactors.explore.search.budget import Meter, OutOfTime


class Clock:
    """Shows the seconds that worlds say went by."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def counted(build, clock, seconds=0.0):
    """Return the world, and a list of the times at which it was built; that takes seconds."""
    began = []

    def built(world):
        clock.now += seconds
        began.append(clock.now)
        build(world)

    return built, began


def endless(world, *, clock, step_s):
    """Two actors that never end, and need so long for a step."""
    cells = [world.cell(name, 0) for name in "xy"]

    async def works(cell):
        while True:
            await cell.add_return(1)
            clock.now += step_s

    for index, cell in enumerate(cells):
        world.actor(f"a{index}", works, cell)


def test_a_given_schedule_is_played_to_its_end_whatever_the_clock_says():
    """Also where this host stood still for longer than a search may take."""
    failure = search(aba).failure

    again = replay(aba, failure.replay, options=Options(clock=itertools.count(0, 60).__next__))

    assert again.failure is not None


def test_seconds_end_a_schedule_that_is_still_going_on():
    """It is not counted as tried, and nothing is said that was not found out."""
    clock = Clock()
    build = partial(endless, clock=clock, step_s=0.001)
    options = Options(budget=Budget(seconds=1), max_steps=1_000_000, clock=clock)

    verdict = search(build, options=options)

    assert 1.0 <= verdict.seconds < 1.1
    assert (Outcome.SAMPLED, 0, None) == (verdict.outcome, verdict.nr_schedules, verdict.failure)


def test_seconds_end_turns_in_which_somebody_spins():
    """Long schedules end in turns; these are no longer than the budget either."""
    clock = Clock()
    build = partial(endless, clock=clock, step_s=0.001)
    options = Options(budget=Budget(seconds=1), max_steps=900, clock=clock)

    verdict = search(build, options=options)

    assert 1.0 <= verdict.seconds < 1.1
    assert verdict.failure is None


def test_the_limit_that_is_reached_first_ends_the_search():
    """Be it schedules or seconds."""
    clock = Clock()
    build, _ = counted(fixed(stale_tlb), clock, 0.01)
    by_schedules = search(
        build, options=Options(budget=Budget(schedules=50, seconds=10), clock=clock)
    )
    by_seconds = search(
        build, options=Options(budget=Budget(schedules=5000, seconds=0.5), clock=clock)
    )

    assert 50 == by_schedules.nr_schedules
    assert 0.5 <= by_seconds.seconds < 0.55
    assert Outcome.EXHAUSTED is not by_seconds.outcome


def test_seconds_bind_a_schedule_of_few_steps_that_are_slow():
    """The first schedule is looked at after each step; to run it again is counted, too."""
    clock = Clock()
    build = partial(endless, clock=clock, step_s=0.8)
    options = Options(budget=Budget(seconds=3), max_steps=20, clock=clock)

    assert search(build, options=options).nr_schedules == 0
    assert clock.now < 3 + 2 * 0.8


def test_the_order_of_strategies_depends_on_the_clock_only_where_schedules_are_slow():
    """A world that is fast enough is searched alike on every host."""

    def strategies(schedule_s):
        clock = Clock()
        build, _ = counted(fixed(aba), clock, schedule_s)
        options = Options(budget=Budget(schedules=400, seconds=10), clock=clock)
        return search(build, options=options).nr_by_strategy

    slow = strategies(0.9)
    assert strategies(0.0) == strategies(0.02)
    assert sum(slow.values()) <= 10
    assert len(slow) > 1, "a slow world does not spend all its seconds on one strategy"


@pytest.mark.parametrize("schedules", [60, 100, 400])
def test_schedules_bind_search_and_shrinking_together(schedules):
    """Every time the world is built counts, the report's own playing included."""
    build, began = counted(aba, Clock())

    verdict = search(build, options=Options(budget=Budget(schedules=schedules), twice_first=0))

    assert verdict.failure is not None
    nr_told = 6  # What the report tells is played: the schedule, and whose turn may come first.
    assert len(began) <= schedules + verdict.nr_schedules // 100 + nr_told, "some are run twice"
    assert len(began) - verdict.nr_schedules <= schedules // 2 + 5


def test_seconds_bind_search_and_shrinking_together():
    """Shrinking gets half of them; what is found is reported all the same, and says so."""
    clock = Clock()
    build, began = counted(aba, clock, 0.1)
    options = Options(budget=Budget(seconds=10), clock=clock, twice_first=0)
    verdict = search(build, options=options)
    failure = verdict.failure

    assert clock.now <= 10 * 1.1
    assert len(began) * 0.1 - verdict.nr_schedules * 0.1 <= 5.5
    assert failure.is_cut
    assert failure.origin.endswith("; no time was left to make it as short as it can be")
    assert not search(aba).failure.is_cut


def test_what_is_found_in_the_last_schedule_is_reported():
    """There is no time to shrink it then."""
    nr_needed = search(stale_tlb).failure.at_schedule

    failure = search(stale_tlb, options=Options(budget=Budget(schedules=nr_needed))).failure

    assert failure.at_schedule <= nr_needed
    assert failure.is_cut
    assert "user read the page of other" in failure.report


def test_an_exhaustive_search_goes_beyond_its_budget_and_says_so():
    """Both kinds of limits."""
    clock = Clock()
    build, _ = counted(fixed(stale_tlb), clock, 0.1)
    budget = Budget(schedules=20, seconds=1)
    verdict = search(build, options=Options(budget=budget, is_exhaustive=True, clock=clock))

    assert Outcome.EXHAUSTED is verdict.outcome
    assert "; went beyond the budget of 20 schedules or 1 s, as exhaustive asks" in str(verdict)
    assert "went beyond" not in str(search(fixed(stale_tlb), options=Options(is_exhaustive=True)))


def test_bringing_a_machine_to_its_race_is_not_counted():
    """The clock begins when it has come there."""

    class Machine:
        def prepare(self, engine):
            clock.now += 100

        def __call__(self, world):
            clock.now += 0.01
            fixed(stale_tlb)(world)

    clock = Clock()
    options = Options(budget=Budget(seconds=1), clock=clock)
    verdict = search(Machine(), name="m", options=options)

    assert 1.0 <= verdict.seconds < 1.1
    assert verdict.nr_schedules > 40


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_budget_that_is_used_up_at_once_leaves_a_verdict(jobs):
    """However little there is."""
    options = Options(budget=Budget(schedules=1), jobs=jobs)

    assert "sampled 1 schedule within" in str(search(fixed(stale_tlb), options=options))


def test_finding_out_where_to_cut_the_tree_is_bound_too():
    """Several processes share what is left; the first does not use it up before they begin."""
    clock = Clock()
    build, began = counted(fixed(aba), clock, 0.1)
    options = Options(budget=Budget(seconds=10), jobs=2, clock=clock)

    verdict = search(build, options=options)

    assert clock.now < 10 * 1.1
    assert len(began) < 110
    assert verdict.nr_schedules > 50


def test_a_meter_counts_from_where_it_is_started():
    """And raises when its time is over."""
    clock = Clock()
    meter = Meter(Budget(seconds=2), clock=clock)
    clock.now = 5.0
    meter.start()
    meter.look_up()
    clock.now = 7.0

    assert 1.0 == meter.used()
    with pytest.raises(OutOfTime):
        meter.look_up()


@pytest.mark.parametrize(
    ("text", "budget", "said"),
    [
        ("20000,10s", Budget(schedules=20_000, seconds=10), "20,000 schedules or 10 s"),
        ("500 ms, 1", Budget(schedules=1, seconds=0.5), "1 schedule or 0.5 s"),
        ("2min", Budget(seconds=120), "120 s"),
    ],
)
def test_a_budget_says_what_it_is(text, budget, said):
    """As it is printed, and as people write it."""
    assert budget == Budget.parse(text)
    assert said == str(budget)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10s,20s", "the budget '10s,20s' says the same kind of limit twice"),
        ("1,2", "the budget '1,2' says the same kind of limit twice"),
        ("0", "the budget '0' leaves nothing to search with"),
        ("0s", "the budget '0s' leaves nothing to search with"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(text, found):
    """With what is legal, and what to try."""
    with pytest.raises(UserError) as refused:
        Budget.parse(text)

    assert str(refused.value).startswith(f"budget: {found}; expected a number of schedules, a time")
    assert str(refused.value).endswith("(try 20000 or 10s or 20000,10s)")


def test_what_was_there_before_is_no_business_of_the_garbage_collector():
    """To look at all modules takes long, in the middle of a schedule; afterwards all is as was."""
    gc.unfreeze()
    found = []

    def build(world):
        if not found:
            found.append(gc.get_freeze_count())
        aba(world)

    search(build)

    assert found[0] > 10_000
    assert 0 == gc.get_freeze_count()


def test_who_set_old_objects_aside_before_finds_them_so_afterwards():
    """A search puts nothing back that it did not take."""
    gc.freeze()
    try:
        search(aba)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
