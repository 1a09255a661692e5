"""Locks of C libraries that spin: tcmalloc's SpinLock and jemalloc's malloc_mutex, in time."""

import errno

import pytest
from attrs import evolve
from machines import EXACT, drive, run, scenario_of

import mmactors
from mmactors.actors.program.futex import futex_calls
from mmactors.actors.program.futex.malloc_mutex import (
    MAX_N_THDS,
    MAX_WAIT_TIME,
    N_SPIN_ACQUIRED,
    N_WAIT_TIMES,
    TOT_WAIT_TIME,
    MallocMutex,
)
from mmactors.actors.program.futex.spinlock import SpinDelays, SpinLock
from mmactors.actors.program.futex.spinning import FOR_EVER
from mmactors.malloc.user_words import UserWords
from mmactors.sanitize.config import SanitizeConfig

PAUSE_NS = 45


class Results:
    """Takes the result of each operation."""

    def __init__(self):
        self.seen = []

    def before(self, nth, operation):
        return operation

    def after(self, nth, result):
        self.seen.append(result)


BEGIN = ["mmap A 4K", "touch A write", "thread T cpu=1", "T: touch A read"]
HELD = [*BEGIN, "lll_lock A+64", "T& lll_lock A+64", "T& lll_unlock A+64"]


@pytest.fixture(params=["in memory", "a field"])
def in_memory(request):
    return request.param == "in memory"


def spin_locks(monkeypatch, in_memory, spins=1000):
    """Let programs lock with SpinLocks; return how they draw their delays."""
    delays = SpinDelays()

    def make(futexes, name, word):
        word = evolve(word, in_memory=in_memory)
        return SpinLock(futexes, name, word, spins=spins, delays=delays)

    monkeypatch.setattr(futex_calls, "LowLevelLock", make)
    return delays


def mutexes(monkeypatch, in_memory, spins=601):
    """Let programs lock with malloc_mutexes; return the words in which they count."""
    words = UserWords()

    def make(futexes, name, word):
        word = evolve(word, in_memory=in_memory)
        return MallocMutex(futexes, name, word, spins=spins, words=words)

    monkeypatch.setattr(futex_calls, "LowLevelLock", make)
    return words


KINDS = {"SpinLock": spin_locks, "malloc_mutex": mutexes}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def ran(*program, **options):
    return run(scenario_of(list(program), **{**EXACT, "cpus": 2, **options}))


def futex_calls_of(machine):
    return [event for event in machine.events("sys_exit") if event["nr"] == 202]


def side(machine, name="p0.A+64"):
    return machine.machine.inspect().locks[name].write


def counted(words):
    """Return the counters of the one mutex that has counted anything."""
    (page,) = words.pages()
    places = (N_SPIN_ACQUIRED, N_WAIT_TIMES, TOT_WAIT_TIME, MAX_WAIT_TIME, MAX_N_THDS)
    return [words.peek((page << 12) + place) for place in places]


# Both.


def test_a_free_lock_is_taken_at_once(kind, in_memory, monkeypatch):
    kind(monkeypatch, in_memory)
    machine = ran(*BEGIN, *["lll_lock A+64", "lll_unlock A+64"] * 3)

    assert [] == futex_calls_of(machine)
    assert (3, 0) == (side(machine).acquisitions, side(machine).contentions)


def test_who_spins_gets_the_lock_at_its_turn_after_the_release_without_the_kernel(
    kind, in_memory, monkeypatch
):
    """Held for 10 us; turns come every 45 ns. A SpinLock's spinner leaves a 2 behind."""
    kind(monkeypatch, in_memory)
    machine = ran(*HELD, "compute 10us", "lll_unlock A+64", "wait")
    calls = [(event["actor"], event["ret"]) for event in futex_calls_of(machine)]

    assert ([("p0/T", 0)] if kind is spin_locks else []) == calls
    assert (1, 1, 2) == (
        side(machine).contentions,
        side(machine).con_bounces,
        side(machine).acquisitions,
    )
    assert 9_000 <= side(machine).waittime_max_ns <= 10_000 + 2 * PAUSE_NS + 500


def test_who_has_spun_in_vain_sleeps_until_the_lock_is_given_back(kind, in_memory, monkeypatch):
    """Held for 1 ms, far longer than anybody spins."""
    kind(monkeypatch, in_memory)
    if kind is spin_locks:
        monkeypatch.setattr(SpinDelays, "next_ns", lambda *_: 10_000_000)
    machine = ran(*HELD, "sleep 1", "lll_unlock A+64", "wait")
    calls = [(event["actor"], event["ret"]) for event in futex_calls_of(machine)]

    assert [("p0", 1), ("p0/T", 0), ("p0/T", 0)] == calls
    assert 1_000_000 <= side(machine).waittime_max_ns <= 1_100_000


@pytest.mark.parametrize("cpus", [1, 2])
def test_who_would_not_spin_sleeps_at_once(kind, in_memory, cpus, monkeypatch):
    """As with one CPU: the holder goes on only when the waiter has given the CPU away."""
    kind(monkeypatch, in_memory, spins=0)
    if kind is spin_locks:
        monkeypatch.setattr(SpinDelays, "next_ns", lambda *_: 10_000_000)
    program = [each.replace("cpu=1", f"cpu={cpus - 1}") for each in HELD]
    machine = ran(*program, "sleep 1", "lll_unlock A+64", "wait", cpus=cpus)
    waits = [event for event in futex_calls_of(machine) if event["actor"] == "p0/T"]

    assert [0, 0] == [event["ret"] for event in waits]
    assert (2, 1) == (side(machine).acquisitions, side(machine).contentions)


def test_a_lock_that_is_tried_is_taken_only_if_it_is_free(kind, in_memory, monkeypatch):
    kind(monkeypatch, in_memory)
    program = [*BEGIN, "lll_trylock A+64", "T: lll_trylock A+64", "lll_unlock A+64"]
    machine = ran(*program, "T: lll_trylock A+64", "T: lll_unlock A+64")

    assert 2 == side(machine).acquisitions


def test_who_dies_while_it_waits_does_not_get_the_lock(kind, in_memory, monkeypatch):
    kind(monkeypatch, in_memory)
    program = [*BEGIN, "lll_lock A+64", "T& lll_lock A+64", "sleep 1", "exit"]

    assert (-516 if kind is spin_locks else -512) in ran(*program).results().values()


@pytest.mark.parametrize("quantum_ns", [0, 100_000])
def test_sections_never_overlap_also_where_a_cpu_runs_ahead(
    kind, in_memory, quantum_ns, monkeypatch
):
    kind(monkeypatch, in_memory)
    work = [f"{who}lll_{what} A+64" for who in ("", "T& ") for what in ("lock", "unlock")]
    program = list(BEGIN)
    for _ in range(5):
        program += [work[2], "T& compute 2us", work[3], work[0], "compute 3us", work[1]]
    machine = ran(*program, "wait", quantum_ns=quantum_ns)

    assert 10 == side(machine).acquisitions
    assert 25_000 <= side(machine).holdtime_total_ns


def test_lockdep_sees_orders_of_them(kind, in_memory, monkeypatch):
    kind(monkeypatch, in_memory)
    program = ["mmap A 4K", "lll_lock A+64", "lll_lock A+1K", "lll_unlock A+1K"]
    program += ["lll_unlock A+64", "lll_lock A+1K", "lll_lock A+64"]
    scenario = evolve(scenario_of(program, **EXACT), sanitize=SanitizeConfig(lockdep=True))
    findings = run(scenario).machine.findings()

    assert ["circular" in str(each) for each in findings] == [True]


def test_interrupts_are_taken_by_who_spins(kind, in_memory, monkeypatch):
    """Another thread's unmapping needs the spinner's CPU to drop its translation."""
    kind(monkeypatch, in_memory)
    program = [*BEGIN, "mmap B 4K", "touch B write", "T: touch B read", *HELD[4:], "compute 5us"]
    unmapping, passive = (
        ran(*program, *more, "lll_unlock A+64", "wait").machine.inspect().cpus[1].interrupts["TLB"]
        for more in (["munmap B"], [])
    )

    assert 1 == unmapping - passive


# SpinLock.


def test_delays_are_those_of_the_generator():
    """The first is 0; later ones double with every eighth sleep up to 24 bits, times 16."""
    delays = SpinDelays()

    assert [0, 1033 * 16] == [delays.next_ns(1), delays.next_ns(2)]
    for loop, bits in ((7, 20), (8, 21), (16, 22), (24, 23), (32, 24), (1000, 24)):
        drawn = [delays.next_ns(loop) // 16 for _ in range(200)]
        assert 1 << bits > max(drawn) > 1 << (bits - 1), loop


def test_a_child_draws_as_its_parent_would_have():
    delays = SpinDelays()
    delays.next_ns(1)

    assert [1033 * 16, 1033 * 16] == [delays.copy().next_ns(1), delays.next_ns(1)]


def test_a_sleep_ends_by_itself_and_is_followed_by_another(in_memory, monkeypatch):
    """The holder wakes nobody: who waits gets the lock when its time is over."""
    spin_locks(monkeypatch, in_memory)
    monkeypatch.setattr(SpinLock, "_has_sleepers", lambda *_: False)
    machine = ran(*HELD, "sleep 1", "lll_unlock A+64", "wait")
    waits = [event["ret"] for event in futex_calls_of(machine)]

    assert -errno.ETIMEDOUT == waits[0]
    assert {-errno.ETIMEDOUT} == set(waits)
    assert 2 == side(machine).acquisitions


def test_who_slept_leaves_a_word_behind_that_wakes_others(in_memory, monkeypatch):
    """Two sleep; each release wakes one of them, also that of the one who slept first."""
    spin_locks(monkeypatch, in_memory)
    monkeypatch.setattr(SpinDelays, "next_ns", lambda *_: 100_000_000)
    program = ["thread U cpu=2", "U: touch A read", *HELD[4:]]
    program += ["U& lll_lock A+64", "U& lll_unlock A+64", "sleep 1", "lll_unlock A+64", "wait"]
    machine = ran(*BEGIN, *program, cpus=3)
    woken = [event["ret"] for event in futex_calls_of(machine)]

    assert sorted([1, 0, 1, 0, 0]) == sorted(woken)
    assert 3 == side(machine).acquisitions


def test_a_lock_that_nobody_has_is_given_back_with_a_call(in_memory, monkeypatch):
    """As the word was not 1 (Unlock)."""
    spin_locks(monkeypatch, in_memory)

    assert [0] == [event["ret"] for event in futex_calls_of(ran("mmap A 4K", "lll_unlock A+64"))]


# malloc_mutex.


def test_spinning_and_sleeping_are_counted_in_the_words_before_the_lock(in_memory, monkeypatch):
    words = mutexes(monkeypatch, in_memory)
    machine = ran(*HELD, "compute 10us", "lll_unlock A+64", "wait", *HELD[4:], "sleep 1",
                  "lll_unlock A+64", "wait")  # fmt: skip
    spun, waited, total_ns, max_ns, most = counted(words)

    assert (1, 1, 1) == (spun, waited, most)
    assert 900_000 <= total_ns == max_ns <= 1_100_000
    assert 2 == side(machine).contentions


def test_who_never_gives_up_spins_until_the_lock_is_given_back(in_memory, monkeypatch):
    """opt.mutex_max_spin is -1."""
    words = mutexes(monkeypatch, in_memory, spins=FOR_EVER)
    machine = ran(*HELD, "sleep 20", "lll_unlock A+64", "wait")

    assert [] == futex_calls_of(machine)
    assert [1, 0, 0, 0, 0] == counted(words)
    assert 20_000_000 <= side(machine).waittime_max_ns


def test_who_spins_for_ever_beside_the_holder_gives_its_slices_away(in_memory, monkeypatch):
    mutexes(monkeypatch, in_memory, spins=FOR_EVER)
    program = [each.replace("cpu=1", "cpu=0") for each in HELD]
    machine = ran(*program, "sleep 1", "lll_unlock A+64", "wait", cpus=1)

    assert 2 == side(machine).acquisitions


def test_the_flag_stands_behind_the_pthread_mutex(monkeypatch):
    """On while the lock is held, but not after a trylock; and after one that was in vain."""
    mutexes(monkeypatch, in_memory=True)
    flag = "A+104"
    program = ["mmap A 4K", "lll_lock A+64", f"atomic_load {flag}", "lll_unlock A+64"]
    program += [f"atomic_load {flag}", "lll_trylock A+64", f"atomic_load {flag}"]
    program += ["lll_trylock A+64", f"atomic_load {flag}"]
    watcher = Results()
    drive(scenario_of(program), watch=lambda _kernel: watcher)

    assert [1, 0, 0, 1] == [watcher.seen[nth] for nth in (2, 4, 6, 8)]


@pytest.mark.parametrize("library", ["ptmalloc", "tcmalloc", "jemalloc"])
def test_a_fork_may_hold_all_locks_of_a_library_at_once(library):
    """Those of one class are taken in an order; lockdep is told that they nest."""
    program = ["malloc A 9M", "thread W cpu=1", "W: malloc B 10", "fork C", "C: free A", "wait"]
    process = {"name": "p", "malloc": library, "program": program}
    document = {"machine": {"cpus": 2, "memory": {"size": "128M"}}, "processes": [process]}

    assert "ok" == mmactors.run({**document, "sanitize": {"lockdep": True}}).verdict
