"""The interpreter: what the verbs do that touch no memory, and how names are bound."""

import pytest
from machines import final_status, run, run_to_nothing, scenario_of

from mmactors.units import MS, US


def test_compute_takes_its_time_in_user_mode():
    """Nothing else happens meanwhile."""
    ran = run_to_nothing(scenario_of(["compute 300us"]))

    assert 300 * US == ran.machine.inspect().process(1).user_ns
    assert 300 * US <= ran.machine.now_ns < 310 * US


def test_sleep_gives_the_cpu_away():
    """Another process of the CPU runs in the meantime; the timer interrupts."""
    ran = run_to_nothing(
        scenario_of(
            ["cpu 0", "sleep 2", "mmap A 4K", "touch A write"],
            ["cpu 0", "compute 500us"],
            cpus=2,
        )
    )
    (fault,) = ran.events("page_fault_user")
    ended = {event["comm"]: event["t"] for event in ran.events("sched_process_exit")}

    assert fault["t"] >= 2 * MS
    assert ended["p1"] < 1 * MS
    assert 1 == ran.machine.inspect().cpus[0].interrupts["LOC"]


def test_names_stand_for_ranges():
    """alias binds any range, heap the end of the heap."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "alias X A+16K 8K",
                "touch X write",
                "brk +64K",
                "heap H 16K",
                "touch H write",
            ]
        )
    )

    assert 2 + 4 == ran.counters["pgfault"]
    assert "24 kB" == final_status(ran)["VmRSS"]


def test_an_operation_on_an_unknown_name_is_refused_without_a_call():
    """-EINVAL for a call, nothing at all for an access."""
    ran = run_to_nothing(scenario_of(["munmap Q", "touch Q write", "generate uniform Q"]))

    assert {"munmap Q": -22} == ran.results()
    assert 0 == ran.counters["pgfault"]


@pytest.mark.parametrize("quantum_ns", [0, 10_000])
def test_a_barrier_holds_until_all_have_come(quantum_ns):
    """Two processes: the fast one waits for the slow one; the barrier can be used again."""
    ran = run_to_nothing(
        scenario_of(
            ["compute 500us", "barrier b 2", "mmap A 4K", "touch A write", "barrier b 2"],
            ["barrier b 2", "mmap A 4K", "touch A write", "compute 300us", "barrier b 2"],
            cpus=2,
            quantum_ns=quantum_ns,
        )
    )
    faults = [event["t"] for event in ran.events("page_fault_user")]
    ends = [event["t"] for event in ran.events("sched_process_exit")]

    assert min(faults) >= 500 * US
    assert min(ends) >= 800 * US


def test_the_leader_can_be_named_and_is_nobody_else():
    """P0 is who reads the list; a thread may be called like the process."""
    ran = run_to_nothing(
        scenario_of(["P0: compute 1us", "thread p0 cpu=0", "p0: compute 1us", "P0& compute 1us"])
    )

    assert 3 * US == ran.machine.inspect().process(1).user_ns


def test_wait_waits_for_threads_that_start_meanwhile():
    """Whoever is waited for may start others; all are idle when the wait is over."""
    ran = run_to_nothing(
        scenario_of(
            [
                "thread T1 cpu=0",
                "T1& compute 1ms",
                "thread T2 cpu=0",
                "T2& thread T3 cpu=0",
                "wait",
                "T3: nop",
            ]
        )
    )

    assert ran.machine.now_ns >= 1 * MS
    assert ran.machine.is_complete


def test_wait_waits_for_what_was_not_waited_for():
    """The operations started with & are over when the leader goes on."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 4K",
                "thread T1 cpu=1",
                "thread T2 cpu=2",
                "T1& compute 300us",
                "T2& compute 700us",
                "wait",
                "touch A write",
            ],
            cpus=3,
        )
    )

    assert ran.events("page_fault_user")[0]["t"] >= 700 * US


def test_every_case_of_a_call_is_in_the_log():
    """sys_exit has the call as it was written, its result, and who called."""
    ran = run(scenario_of(["mmap A 4K", "munmap A", "brk +8K"]))

    assert ["mmap A 4K", "munmap A", "brk +8K"] == [
        event["call"] for event in ran.events("sys_exit")
    ]
    assert {("p0", 0, 1)} == {
        (event["actor"], event["cpu"], event["pid"]) for event in ran.events("sys_exit")
    }
