"""Threads: what they share, what they are told, when they end, and where they run."""

import pytest
from machines import PROMISES_ALWAYS, final_status, run_to_nothing, scenario_of

from mmactors.mm.fault.siginfo import SIGKILL
from mmactors.units import MIB


def test_threads_share_the_address_space():
    """What one has written, another reads without a fault; rss is counted once."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "touch A write",
                "thread T cpu=1",
                "T: touch A read",
                "T: touch A write",
            ],
            cpus=2,
        )
    )

    assert 16 == ran.counters["pgfault"]
    assert "64 kB" == final_status(ran)["VmRSS"]


def test_operations_told_at_once_are_all_done_in_order():
    """A thread that is busy keeps what it is told for later."""
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 1M", "thread T cpu=1"]
            + [f"T& touch A {first}..{first + 32} write" for first in range(0, 256, 32)]
            + ["T& munmap A 0..128", "wait"],
            cpus=2,
        )
    )

    assert 256 == ran.counters["pgfault"]
    assert "512 kB" == final_status(ran)["VmRSS"]


def test_a_program_that_ends_ends_its_threads():
    """Nobody waits for them: idle, busy or spinning, they end with the process."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 1M",
                "thread T1 cpu=1",
                "thread T2 cpu=2",
                "thread T3 cpu=3",
                "T2& spin",
                "T3& touch A write passes=1000000",
                "compute 200us",
            ],
            cpus=4,
        )
    )

    assert ran.machine.is_complete
    assert ran.machine.now_ns < 1_000_000


def test_exit_ends_the_program():
    """What stands behind it is not done."""
    ran = run_to_nothing(scenario_of(["mmap A 4K", "exit", "touch A write"]))

    assert 0 == ran.counters["pgfault"]


def test_a_thread_that_exits_ends_alone():
    """The process goes on; who tells the thread something is told that it is gone."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 4K",
                "thread T cpu=1",
                "T: exit",
                "T: touch A write",
                "T& touch A write",
                "wait",
                "touch A write",
            ],
            cpus=2,
        )
    )

    assert 1 == ran.counters["pgfault"]
    assert -3 == ran.results()["T: touch A write"]


def test_stop_ends_spinning_and_nothing_else():
    """The thread does what it is told afterwards, spinning again included."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 4K",
                "thread T cpu=1",
                "T& spin",
                "compute 100us",
                "stop T",
                "T: touch A write",
                "T& spin",
                "stop T",
                "stop T",
                "T: touch A read",
            ],
            cpus=2,
        )
    )

    assert 1 == ran.counters["pgfault"]


@pytest.mark.parametrize("quantum_ns", [0, 10_000])
def test_a_killed_process_ends_on_all_cpus(quantum_ns):
    """Whoever is out of memory, all threads of the process end; one signal is enough."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 1G",
                "thread T1 cpu=1",
                "thread T2 cpu=2",
                "thread T3 cpu=3",
                "T1& touch A 0..60000 write",
                "T2& touch A 60000..120000 write",
                "T3& barrier never 2",
                "sleep 1000",
                "wait",
            ],
            cpus=4,
            size=40 * MIB,
            kernel=PROMISES_ALWAYS,
            quantum_ns=quantum_ns,
        )
    )

    assert {SIGKILL} == {event["sig"] for event in ran.events("signal_generate")}
    assert 1 == ran.counters["processes_killed"]


def test_a_thread_takes_its_address_space_along():
    """On each CPU it comes to, its translations are filled anew and its pages are there."""
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 64K", "touch A write"]
            + [line for cpu in (1, 2, 3, 0) for line in (f"cpu {cpu}", "touch A read")],
            cpus=4,
        )
    )

    assert 16 == ran.counters["pgfault"]
    switches = [(event["cpu"], event["next_comm"]) for event in ran.events("sched_switch")]
    assert [0, 1, 2, 3, 0] == [cpu for cpu, comm in switches if not comm.startswith("swapper/")]
    assert [0, 1, 2, 3, 0] == [cpu for cpu, comm in switches if comm.startswith("swapper/")]


def test_threads_on_one_cpu_take_turns():
    """Two processes on a CPU: both get on, and the CPU's TLB keeps them apart."""
    program = ["mmap A 64K", "touch A write passes=2000", "munmap A", "touch A read"]
    ran = run_to_nothing(scenario_of(program, ["cpu 0", *program], cpus=2))

    assert 32 == ran.counters["pgfault"]
    assert ran.counters["context_switches"] >= 1
    assert 2 == len(ran.events("signal_generate"))


def test_user_time_is_that_of_the_batches():
    """A process's time in user mode is what the hardware says its accesses took."""
    ran = run_to_nothing(scenario_of(["mmap A 64K", "touch A write passes=100", "compute 5us"]))
    seen = ran.machine.inspect()

    assert seen.cpus[0].hardware.ns + 5000 == seen.process(1).user_ns


def test_all_lines_from_memory_reach_the_memory_actor():
    """What the caches count as read and written is what occupied the channels."""
    ran = run_to_nothing(
        scenario_of(
            *[["mmap A 1M", "touch A write", "generate uniform A count=20000 write_percent=50"]]
            * 2,
            cpus=2,
        )
    )
    counters = ran.counters

    assert counters["memory_reads"] + counters["memory_writes"] == counters["memory_lines"]
    assert counters["memory_reads"] > 10_000
