"""Locks of C libraries that spin, in any order: no wake-up is lost, nobody has one twice."""

import pytest
from attrs import evolve
from explored import explore
from explored import scenario_of as explored_scenario
from machines import EXACT, run, scenario_of

from mmactors.actors.program.futex import futex_calls
from mmactors.actors.program.futex.malloc_mutex import MallocMutex
from mmactors.actors.program.futex.spinlock import SpinDelays, SpinLock
from mmactors.actors.program.futex.user_lock import UserLock
from mmactors.explore.search.verdict import Outcome
from mmactors.malloc.user_words import UserWords

SCOPE = ("data", "hb_waiters", "futex_queues", "hb->lock", "futex_wake", "app.A+64")
BEGIN = ("mmap A 4K", "atomic_store A 0", "thread T cpu=1", '"T: touch A read"')
TWO_SLEEPERS = (*BEGIN, "thread U cpu=1", '"U: touch A read"')
LOCKED = ("lll_lock A+64", "lll_unlock A+64")
LATE = ", may: [a store is late]"


def spin_lock(futexes, name, word):
    return SpinLock(futexes, name, word, spins=1000, delays=SpinDelays())


def malloc_mutex(futexes, name, word):
    return MallocMutex(futexes, name, word, spins=601, words=UserWords())


@pytest.fixture(params=[spin_lock, malloc_mutex], ids=["SpinLock", "malloc_mutex"])
def kind(request):
    return request.param


@pytest.fixture(
    params=[
        pytest.param((spin_lock, True), id="SpinLock in memory"),
        pytest.param((spin_lock, False), id="SpinLock, a field"),
        # 6 s: its flag is in the same page as its word.
        pytest.param((malloc_mutex, True), id="malloc_mutex in memory", marks=pytest.mark.slow),
        pytest.param((malloc_mutex, False), id="malloc_mutex, a field"),
    ]
)
def place(request, monkeypatch):
    set_kind(monkeypatch, request.param[0], in_memory=request.param[1])


def set_kind(monkeypatch, kind, *, in_memory):
    def make(futexes, name, word):
        return kind(futexes, name, evolve(word, in_memory=in_memory))

    monkeypatch.setattr(futex_calls, "LowLevelLock", make)


def searched(program, *, scope=SCOPE, **options):
    return explore(explored_scenario([*program, "wait"], scope=scope, **options))[1]


def locking(*ways, begin=BEGIN):
    """Return two threads that take a lock that was used before."""
    return [*begin, *LOCKED, "race", *(f"T& {each}" for each in LOCKED), *ways]


def without_time_outs(monkeypatch):
    """Let nobody's sleep at a lock end by itself."""
    sleep = UserLock._sleep

    async def sleep_on(lock, thread, value, timeout_ns=None):
        await sleep(lock, thread, value)

    monkeypatch.setattr(UserLock, "_sleep", sleep_on)


def test_who_waits_for_a_lock_gets_it_in_any_order(place):
    """And nobody has it when another takes it, as the lock itself asserts."""
    verdict = searched(locking(*LOCKED))

    assert Outcome.EXHAUSTED is verdict.outcome
    assert 20 < verdict.nr_schedules


def test_a_spin_lock_needs_no_time_outs_in_any_order(monkeypatch):
    """Whoever must be woken is, so that a search need not let every sleep end."""
    set_kind(monkeypatch, spin_lock, in_memory=False)
    without_time_outs(monkeypatch)

    assert Outcome.EXHAUSTED is searched(locking(*LOCKED)).outcome


def test_a_late_store_of_the_flag_loses_nobody(monkeypatch):
    """The flag is a plain store: others may see it after the word is free or taken again."""
    set_kind(monkeypatch, malloc_mutex, in_memory=True)
    program = [*BEGIN, LOCKED[0], "race", f"T& {LOCKED[0]}", LOCKED[1]]
    verdict = searched(program, race=LATE)

    assert Outcome.EXHAUSTED is verdict.outcome
    assert 20 < verdict.nr_schedules


def test_a_lock_that_wakes_nobody_is_found(kind, monkeypatch):
    """Break what unlock does with a 2."""

    async def nothing(_lock, _thread):
        pass

    set_kind(monkeypatch, kind, in_memory=False)
    without_time_outs(monkeypatch)
    monkeypatch.setattr(UserLock, "_wake", nothing)

    assert "nobody can go on" in str(searched(locking(*LOCKED)).failure.broken)


def test_a_spinner_that_makes_the_lock_1_loses_another_sleeper(monkeypatch):
    """Break what a waiter leaves behind: who was woken has to assume that others sleep."""
    monkeypatch.setattr("mmactors.actors.program.futex.spinlock.SLEEPER", 1)
    set_kind(monkeypatch, spin_lock, in_memory=False)
    without_time_outs(monkeypatch)

    assert "nobody can go on" in str(searched(locking(*LOCKED)).failure.broken)


@pytest.mark.slow
def test_three_threads_take_a_lock(kind, monkeypatch):
    """Who was woken may find it taken again, and sleeps again; the word is a field."""
    set_kind(monkeypatch, kind, in_memory=False)
    without_time_outs(monkeypatch)
    program = locking(*(f"U& {each}" for each in LOCKED), *LOCKED, begin=TWO_SLEEPERS)

    assert Outcome.EXHAUSTED is searched(program).outcome


PROGRAM = [
    *("mmap A 4K", "thread T cpu=1", "T: touch A read", "lll_lock A+64", "T& lll_lock A+64"),
    *("sleep 1", "lll_unlock A+64", "wait", "T: lll_unlock A+64", "lll_trylock A+64"),
    *("T: lll_trylock A+64", "T& lll_lock A+64", "compute 5us", "lll_unlock A+64", "wait"),
]


def test_what_is_declared_passes(place):
    """All that one does with a lock, guarded."""
    machine = run(scenario_of(PROGRAM, cpus=2, guard=True, **EXACT))

    assert machine.machine.is_complete
