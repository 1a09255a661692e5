"""Futexes and low-level locks: threads in any order, and steps that declare enough."""

import pytest
from attrs import evolve
from explored import explore
from explored import scenario_of as explored_scenario
from machines import EXACT, run, scenario_of

from mmactors.actors.program.futex import futex_calls
from mmactors.actors.program.futex.futex import Futexes
from mmactors.actors.program.futex.lowlevellock import LowLevelLock
from mmactors.explore.search.verdict import Outcome

SCOPE = ("data", "hb_waiters", "futex_queues", "hb->lock", "futex_wake")
BEGIN = ("mmap A 4K", "atomic_store A 0", "thread T cpu=1", '"T: touch A read"')
TWO_SLEEPERS = (*BEGIN, "thread U cpu=1", '"U: touch A read"')
LATE = ", may: [a store is late]"
CHANGE = ("atomic_store A 1", "futex_wake A 1")


def searched(program, *, scope=SCOPE, **options):
    return explore(explored_scenario([*program, "wait"], scope=scope, **options))[1]


def broken(rule):
    return f"kernel: {{rules: {{{rule}: false}}}}\n"


@pytest.mark.parametrize("race", ["", LATE], ids=["", "late stores"])
@pytest.mark.parametrize("how", ["", " shared"], ids=["private", "shared"])
def test_no_wake_up_is_lost_in_any_order(race, how):
    """Who waits sees the change, or is woken."""
    program = [*BEGIN, "race", f"T& futex_wait A 0{how}", CHANGE[0], CHANGE[1] + how]

    assert Outcome.EXHAUSTED is searched(program, race=race).outcome


@pytest.mark.parametrize(
    ("rule", "race"),
    [("futex_wait_checks_under_hb_lock", ""), ("futex_wake_orders_waiters", LATE)],
)
def test_a_wake_up_is_lost_where_a_rule_is_broken(rule, race):
    """Between the look and the queueing; before the store that the sleeper should have seen."""
    program = [*BEGIN, "race", "T& futex_wait A 0", *CHANGE]
    verdict = searched(program, race=race, more=broken(rule))

    assert Outcome.FAILED is verdict.outcome
    assert "waits for futex_wake[" in str(verdict.failure.broken)


def test_a_store_that_no_barrier_is_missing_for_is_not_late():
    """A locked instruction in place of the store: the rule of futex_wake is not needed then."""
    program = [*BEGIN, "race", "T& futex_wait A 0", "atomic_exchange A 1", CHANGE[1]]

    assert (
        Outcome.EXHAUSTED
        is searched(program, race=LATE, more=broken("futex_wake_orders_waiters")).outcome
    )


def test_a_time_out_comes_before_or_after_the_wake_up():
    """The thread is in the queue or is not, whatever ends its sleep: it always goes on."""
    program = [*BEGIN, "race", "T& futex_wait A 0 timeout=1us", "futex_wake A 1"]

    assert Outcome.EXHAUSTED is searched(program).outcome


def test_one_wake_up_for_each_of_two_sleepers_is_enough():
    program = [*TWO_SLEEPERS, "race", "T& futex_wait A 0", "U& futex_wait A 0"]

    assert Outcome.EXHAUSTED is searched([*program, CHANGE[0], "futex_wake A 2"]).outcome
    assert "nobody can go on" in str(searched([*program, *CHANGE]).failure.broken)


def test_a_spurious_wake_up_begins_the_wait_anew():
    """The word is looked at again: a change is seen, and without one the thread sleeps on."""
    program = [*BEGIN, "race", "T& futex_wait A 0", *CHANGE]

    assert Outcome.EXHAUSTED is searched(program, race=", may: [a wake-up is spurious]").outcome


def dying():
    """Return the verdict of a thread that goes to sleep while another ends its process."""
    program = [*BEGIN, "mmap X 4K prot=none", "race", "T& futex_wait A 0", "touch X read"]
    more = "expect: [app dies of SIGSEGV]\n"
    return searched(program, more=more, on_signal="die", scope=(*SCOPE, "tlb"))


def test_a_sleeper_dies_with_its_process_in_any_order():
    """The signal comes before it sleeps, or wakes it: it takes itself out of the queue."""
    verdict = dying()

    assert Outcome.EXHAUSTED is verdict.outcome
    assert 10 < verdict.nr_schedules


def test_a_sleeper_that_no_signal_wakes_is_found(monkeypatch):
    """Break that a fatal signal ends a sleep at a word."""
    monkeypatch.setattr(Futexes, "wake_killed", lambda *_: None)

    assert "waits for futex_wake[" in str(dying().failure.broken)


# Low-level locks.

LOCKED = ("lll_lock A", "lll_unlock A")
IN_MEMORY = (*SCOPE, "app.A")


@pytest.fixture(params=[True, False], ids=["in memory", "a field"])
def kind(request, monkeypatch):
    """Let the word lie in memory, as programs have it, or be a field, as an allocator may."""
    set_kind(monkeypatch, in_memory=request.param)


def set_kind(monkeypatch, *, in_memory):
    def make(futexes, name, word):
        return LowLevelLock(futexes, name, evolve(word, in_memory=in_memory))

    monkeypatch.setattr(futex_calls, "LowLevelLock", make)


def locking(*ways):
    """Return two threads that take a lock that was used before."""
    return [*BEGIN, *LOCKED, "race", *(f"T& {each}" for each in LOCKED), *ways]


def test_who_waits_for_a_lock_gets_it_in_any_order(kind):
    """And nobody has it when another takes it, as the lock itself asserts."""
    verdict = searched(locking(*LOCKED), scope=IN_MEMORY)

    assert Outcome.EXHAUSTED is verdict.outcome
    assert 20 < verdict.nr_schedules


@pytest.mark.slow
def test_three_threads_take_a_lock(monkeypatch):
    """Who was woken may find it taken again, and sleeps again; the word is a field: 20 s."""
    set_kind(monkeypatch, in_memory=False)
    program = [*TWO_SLEEPERS, *LOCKED, "race", *(f"T& {each}" for each in LOCKED)]
    program += [*(f"U& {each}" for each in LOCKED), *LOCKED]

    assert Outcome.EXHAUSTED is searched(program, scope=IN_MEMORY).outcome


def test_a_lock_that_wakes_nobody_is_found(kind, monkeypatch):
    """Break what unlock does with a 2."""

    async def nothing(_lock, _thread):
        pass

    monkeypatch.setattr(LowLevelLock, "_wake", nothing)

    assert "nobody can go on" in str(searched(locking(*LOCKED), scope=IN_MEMORY).failure.broken)


def test_a_waiter_that_makes_the_lock_1_again_loses_another_waiter(monkeypatch):
    """Break what a waiter leaves behind: who was woken has to assume that others sleep."""
    monkeypatch.setattr("mmactors.actors.program.futex.lowlevellock.CONTENDED", 1)

    assert "nobody can go on" in str(searched(locking(*LOCKED), scope=IN_MEMORY).failure.broken)


PROGRAM = [
    *("mmap A 8K", "mmap S 4K flags=shared,anon", "thread T cpu=1", "atomic_store A 0"),
    *("T& futex_wait A 0", "sleep 1", "atomic_exchange A 1", "futex_wake A 1", "wait"),
    *("futex_wait A 1 timeout=1us", "futex_wait S 0 timeout=1us shared", "futex_wake S 1 shared"),
    *("futex_wait A+4K 1", "lll_lock S", "T& lll_lock S", "sleep 1", "lll_unlock S", "wait"),
    *("T: lll_unlock S", "lll_trylock S", "fork C", "C: atomic_fetch_add A 1", "C: lll_unlock S"),
]


def test_what_is_declared_passes(kind):
    """All operations on words, guarded."""
    machine = run(scenario_of(PROGRAM, cpus=2, guard=True, **EXACT))

    assert machine.machine.is_complete
