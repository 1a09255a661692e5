"""The end of a process by a signal: what its threads still do, and in what order."""

import errno

import pytest
from machines import final_status, run_to_nothing, scenario_of

from mmactors.mm.fault.siginfo import SEGV_ACCERR, SIGBUS, SIGKILL, SIGSEGV
from mmactors.units import MIB

PREPARE = ["mmap A 64K", "mmap R 4K prot=r"]


def of_process(ran, *names):
    """Return the events of these names in order: name, actor, time."""
    seen = [event for name in names for event in ran.events(name)]
    return [
        (event["event"], event["actor"], event["t"])
        for event in sorted(seen, key=lambda event: event["seq"])
    ]


def test_what_follows_the_signal_is_not_done():
    """The process ends at the operation; its exit comes after the signal."""
    ran = run_to_nothing(scenario_of([*PREPARE, "touch R write", "touch A write"]))

    assert 0 == ran.counters["pgfault"]
    names = [name for name, *_ in of_process(ran, "signal_generate", "sched_process_exit")]
    assert ["signal_generate", "sched_process_exit"] == names


@pytest.mark.parametrize("seed", range(4))
def test_all_threads_end_wherever_they_are(seed):
    """Asleep for a second, at a barrier, idle, spinning, in calls: nobody makes the end wait."""
    ran = run_to_nothing(
        scenario_of(
            [
                *PREPARE,
                *(f"thread T{number} cpu={number % 3}" for number in range(6)),
                "T0& sleep 1000",
                "T1& barrier never 2",
                "T2& spin",
                "T3& churn 100000 64K touch",
                "T4& faultloop A 100000",
                "compute 30us",
                "touch R write",
            ],
            cpus=3,
            policy="seeded",
            quantum_ns=0,
            seed=seed,
        )
    )

    assert [SIGSEGV] == [event["sig"] for event in ran.events("signal_generate")]
    assert ran.machine.now_ns < 1_000_000
    assert 7 == len(ran.events("sched_process_exit"))


@pytest.mark.parametrize("seed", range(4))
def test_who_dumps_core_lets_go_of_its_memory_when_all_have_come_to_their_end(seed):
    """The others wait for it (coredump_wait), so the first to leave is who got the signal."""
    ran = run_to_nothing(
        scenario_of(
            [
                *PREPARE,
                "thread T cpu=1",
                "thread U cpu=2",
                "U& touch A write passes=100000",
                "T& touch R write",
                "wait",
            ],
            cpus=3,
            policy="seeded",
            quantum_ns=0,
            seed=seed,
        )
    )

    (signal,) = ran.events("signal_generate")
    assert "p0/T" == signal["actor"]
    idle = [
        event["prev_comm"]
        for event in ran.events("sched_switch")
        if event["t"] > signal["t"] and event["next_comm"].startswith("swapper/")
    ]
    assert "p0/T" in idle
    (death,) = ran.machine.deaths()
    assert ("p0/T", "p0", 1) == (death.thread, death.process, death.pid)


def test_the_first_of_two_signals_is_the_cause():
    """Both come; a process that ends already takes no more (prepare_signal)."""
    ran = run_to_nothing(
        scenario_of(
            [
                *PREPARE,
                "open f /tmp/f create",
                "mmap F 4K flags=shared file=f",
                "thread T cpu=1",
                "thread U cpu=2",
                "T& touch R write",
                "U& touch F write",
                "unlink /tmp/f",
                "wait",
            ],
            cpus=3,
            quantum_ns=0,
        )
    )

    signals = ran.events("signal_generate")
    assert {SIGSEGV, SIGBUS} == {event["sig"] for event in signals}
    # A process that is ending takes no more (prepare_signal): TRACE_SIGNAL_IGNORED.
    assert [0, 1] == [event["result"] for event in signals]
    (death,) = ran.machine.deaths()
    assert signals[0]["actor"] == death.thread
    assert str(signals[0]["sig"]) == ran.machine.proc()["1/stat"].split()[51]


def test_a_signal_to_a_process_that_exits_is_no_death():
    """It came too late: the leader has ended the process, whose other thread was in a fault."""
    for delay_ns in range(0, 2000, 100):
        program = [*PREPARE, "thread T cpu=1", "T& touch R write", f"compute {delay_ns}ns", "exit"]
        ran = run_to_nothing(scenario_of(program, cpus=2, quantum_ns=0))
        is_dead = ran.machine.deaths() != ()
        has_signal = ran.events("signal_generate") != []
        if has_signal and not is_dead:
            break
    else:
        pytest.fail("no delay lets the signal come between exit and the thread's end")

    assert "0" == ran.machine.proc()["1/stat"].split()[51]


def test_a_call_that_sleeps_for_mmap_lock_is_given_up():
    """EINTR: what it would have changed stays (mmap_write_lock_killable).

    Who populates has the lock for reading, and looks for fatal signals, too. The reader behind the
    writer that gave up need not wait any more.
    """
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 4M",
                "fork C",
                "C: thread T cpu=1",
                "C: thread U cpu=2",
                "C: thread V cpu=3",
                "T& mmap B 8M flags=private,anon,populate",
                "compute 5us",
                "U& munmap A",
                "compute 5us",
                "V& touch A 0..1 write",
                "compute 5us",
                "kill C",
            ],
            cpus=4,
            quantum_ns=0,
        )
    )

    assert -errno.EINTR == ran.results()["munmap A"]
    start, end = ran.machine.proc()["2/maps"].split()[0].split("-")
    assert 12 * MIB == int(end, 16) - int(start, 16), "A and B are one area"
    assert 1 < ran.counters["pgfault"] < 2048


@pytest.mark.parametrize("seed", range(6))
def test_a_fork_under_way_makes_no_child(seed):
    """copy_process looks for fatal signals last; all that was copied is given back."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 1M",
                "touch A write",
                "mmap R 4K prot=r",
                "thread T cpu=1",
                "T& fork C",
                "compute 10us",
                "touch R write",
            ],
            cpus=2,
            quantum_ns=0,
            policy="seeded",
            seed=seed,
        )
    )

    assert -errno.EINTR == ran.results()["fork C"]
    assert 1 == len(ran.machine.inspect().processes)


def test_a_bad_address_of_a_call_is_an_error_and_no_death():
    """What the kernel cannot read for a program is EFAULT."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 8K",
                "munmap A",
                "open f /tmp/f create",
                "write f 0 4K bs=4K from=A",
                "unlink /tmp/f",
            ]
        )
    )

    assert () == ran.machine.deaths()
    assert -errno.EFAULT in ran.results().values()


def test_children_inherit_what_signals_do():
    """A fork copies handlers; a program without them has children without."""
    program = [*PREPARE, "fork C", "C: touch R write", "C: touch A write", "touch A write"]
    died, caught = (
        run_to_nothing(scenario_of(program, on_signal=what)) for what in ("die", "continue")
    )

    assert ["p0/C"] == [death.process for death in died.machine.deaths()]
    assert ("0 kB", "64 kB") == tuple(final_status(ran, 2)["RssAnon"] for ran in (died, caught))


def test_a_parent_goes_on_and_reaps_the_dead():
    """wait4 gives its faults to the parent, as of any child."""
    program = [*PREPARE, "fork C", "C: touch A write", "C: touch R write", "reap", "mmap B 4K"]
    ran = run_to_nothing(scenario_of(program))

    assert 0 == ran.results()["reap"]
    assert ran.results()["mmap B 4K"] > 0
    assert "16" == ran.machine.proc()["1/stat"].split()[10], "cminflt"
    assert str(SIGSEGV) == ran.machine.proc()["2/stat"].split()[51]
    assert SEGV_ACCERR == ran.events("signal_generate")[0]["code"]


def test_pages_of_the_dead_are_the_others():
    """Who is left alone with a page writes it without a copy."""
    children = ["fork C", "C: touch A 0..4 write", "C: touch R write"]
    program = [*PREPARE, "touch A write", *children, "touch A write", "reap"]
    ran = run_to_nothing(scenario_of(program))

    assert 4 == ran.counters["pgfault"] - 16 - ran.counters["pgreuse"]
    assert 16 == ran.counters["pgreuse"]


def test_nobody_is_killed_twice():
    """A second kill finds nobody; the first signal stays the cause."""
    ran = run_to_nothing(scenario_of([*PREPARE, "fork C", "C: touch R write", "kill C"]))

    assert -errno.ESRCH == ran.results()["kill C"]
    assert [SIGSEGV] == [event["sig"] for event in ran.events("signal_generate")]
    assert SIGKILL not in {event["sig"] for event in ran.events("signal_generate")}
