"""Four toy bugs, each found, shrunk and replayed, and each fix explored to the end."""

import pytest
from toys import TOYS, fixed, lost_update, stale_tlb

from mmactors.explore import Kind, Options, Outcome, replay, search
from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy.dfs import DepthFirst

every_toy = pytest.mark.parametrize("build", TOYS.values(), ids=TOYS)

NEEDED = {
    "lost_update": (1, 4, "both_are_counted"),
    "order": (1, 3, "consumer: AssertionError"),
    "aba": (1, 16, "no_page_in_use_is_on_the_list"),
    "stale_tlb": (2, 6, "nobody_reads_a_page_of_others"),
}
"""Preemptions and steps of the simplest schedule that shows the bug, and what it breaks."""


def nr_schedules(build, **how):
    """Return how many schedules a depth-first search takes."""
    execution = Execution(build)
    search = DepthFirst(**how)
    number = 0
    while not search.is_done:
        search.run(execution)
        number += 1
    execution.close()
    return number


@every_toy
def test_the_bug_is_found_and_shrunk_to_what_it_needs(build):
    """To the fewest preemptions, and that is known."""
    failure = search(build).failure
    nr_preemptions, nr_steps, law = NEEDED[build.__name__]

    assert failure is not None
    assert nr_preemptions == failure.nr_preemptions
    assert failure.is_least
    assert nr_steps == len(failure.script)
    assert law == failure.broken.law


@every_toy
def test_the_schedule_replays_a_hundred_times(build):
    """And breaks the same each time."""
    failure = search(build).failure

    for _ in range(100):
        again = replay(build, failure.replay).failure
        assert failure.broken.is_like(again.broken)
        assert failure.script == again.script


@every_toy
def test_the_fix_is_explored_to_the_end(build):
    """A proof within the scope, not a sample."""
    verdict = search(fixed(build))

    assert Outcome.EXHAUSTED is verdict.outcome
    assert verdict.is_good
    assert verdict.scope


@every_toy
@pytest.mark.parametrize("seed", range(3))
def test_the_bug_is_found_from_samples_too(build, seed):
    """When the depth-first search gets no share of the budget."""
    verdict = search(build, options=Options(bound=0, seed=seed))

    assert Outcome.FAILED is verdict.outcome
    assert NEEDED[build.__name__][0] == verdict.failure.nr_preemptions


@pytest.mark.parametrize("build", [stale_tlb, fixed(stale_tlb)])
def test_all_orders_of_three_two_and_one_steps_are_sixty(build):
    """6! / (3! 2! 1!), whatever the steps do."""
    assert 60 == nr_schedules(build, has_sleep_sets=False, has_states=False)


def test_all_orders_of_two_and_two_steps_are_six():
    """4! / (2! 2!)."""
    assert 6 == nr_schedules(lost_update, has_sleep_sets=False, has_states=False)


def test_sleep_sets_leave_out_orders_of_independent_steps():
    """Of two reads one order is enough; writes and reads of one cell keep both."""
    assert 4 == nr_schedules(lost_update, has_states=False)
    assert 30 == nr_schedules(stale_tlb, has_states=False)
    assert 29 == nr_schedules(stale_tlb)


def test_without_preemptions_each_order_of_actors_is_one_schedule():
    """3! of them: an actor that began goes on until it ends."""
    assert 6 == nr_schedules(stale_tlb, bound=0, has_states=False)


@every_toy
def test_the_verdict_is_repeatable(build):
    """A search by number of schedules is a function of world, options and seed."""
    first, second = search(build), search(build)

    assert str(first) == str(second)
    assert first.failure.replay == second.failure.replay
    assert first.failure.report == second.failure.report


def test_the_report_shows_one_column_an_actor():
    """With what each step saw and changed, and a star where an actor was preempted."""
    failure = search(stale_tlb).failure

    assert Kind.LAW is failure.broken.kind
    assert REPORT == failure.report


REPORT = """\
a law is broken: nobody_reads_a_page_of_others
user read the page of other

   # | user | munmap           | alloc              | what is seen and changed
-----+------+------------------+--------------------+---------------------------
   1 | walk |                  |                    | pte is 'P'
     |      |                  |                    | tlb1: None → 'P'
*  2 |      | write pte        |                    | pte: 'P' → None
   3 |      | write owner of P |                    | owner of P: 'mm' → None
*  4 |      |                  | cmpxchg owner of P | owner of P: None → 'other'
   5 | load |                  |                    | tlb1 is 'P'
     |      |                  |                    | owner of P is 'other'
   6 |      | write tlb1       |                    | tlb1: 'P' → None

6 steps, 2 preemptions (*), no schedule with fewer breaks it"""
