"""Names of threads and children: forks that fail, names that are used again, ends of each other."""

import errno

from machines import run, scenario_of

from mmactors.workload.operation.all import parse_operation
from mmactors.workload.program import check_program

OVERCOMMITTED = [
    "put /proc/sys/vm/overcommit_memory 1",
    "mmap A 700M",
    "put /proc/sys/vm/overcommit_memory 2",
]


def results(operations):
    ran = run(scenario_of(operations, cpus=2))
    return [(event["call"], event["ret"]) for event in ran.events("sys_exit")]


def test_who_was_never_forked_is_asked_in_vain():
    """No such process, as the recordings' interpreter answers; the program goes on."""
    calls = ["C: mmap B 8K", "C& touch A 0..1 write", "kill C", "C: fork D", "D: nop"]

    found = results([*OVERCOMMITTED, "fork C", *calls, "reap"])

    assert ("fork C", -errno.ENOMEM) == found[3]
    assert [(call, -errno.ESRCH) for call in calls] == found[4:9]


def test_a_thread_that_was_never_started_cannot_be_stopped():
    """Its process was never forked."""
    found = results([*OVERCOMMITTED, "fork C", "C: thread T cpu=1", "T& spin", "stop T", "nop"])

    assert ("T& spin", -errno.ESRCH) == found[-1]


def test_a_name_means_the_last_who_got_it():
    """A child after a child, a thread after a thread."""
    found = results(
        ["fork D", "kill D", "fork D", "D: mmap A 8K", "D: exit", "reap", "fork D", "kill D"]
    )

    assert [2, 3, 4] == [ret for call, ret in found if call == "fork D"]
    assert [0, 0] == [ret for call, ret in found if call == "kill D"]
    threads = results(["thread T cpu=1", "T: exit", "thread T cpu=1", "T: mmap A 4K"])
    assert 1 == len(threads)


def test_who_is_killed_waits_for_nobody():
    """Not for itself, not for who kills it, not for one that spins."""
    assert ("kill C", 0) in results(["fork C", "C: kill C", "reap"])
    results(["fork C", "fork D", "C& kill D", "D& kill C", "wait", "reap"])
    found = results(["fork C", "thread T cpu=1", "T& spin", "C& wait", "kill C", "stop T"])
    assert ("kill C", 0) in found


def test_two_who_wait_for_all_others_do_not_wait_for_each_other():
    """But for who works, and the program waits for both."""
    program = ["fork C", "fork D", "fork E", "E& compute 5ms", "C& wait", "D& wait", "wait"]

    ran = run(scenario_of(program, cpus=2))

    assert ran.machine.now_ns > 5_000_000


def test_a_name_is_free_when_the_process_that_had_it_has_ended():
    """A thread ends with its process, also one that spins; nobody waits for it."""
    begin = ["fork C", "C: thread T cpu=1", "T& spin", "kill C", "wait"]
    program = [*begin, "thread T cpu=1", "T: mmap A 4K", "T: touch A write", "T& spin", "stop T"]

    assert [] == check_program([parse_operation(text) for text in program])
    assert ("kill C", 0) in results(program)


def test_kill_is_for_children_and_stop_for_threads():
    """As they were named last: a thread that has a child's name is not killed, nor its process."""
    program = ["fork T", "kill T", "thread T cpu=1", "kill T", "mmap A 4K"]

    (problem,) = check_program([parse_operation(text) for text in program])

    assert (3, "T is not the name of a child here") == (problem.index, problem.found)
    found = results(program)
    assert [("kill T", 0), ("kill T", -errno.ESRCH)] == [
        each for each in found if "kill" in each[0]
    ]
    assert found[-1][0] == "mmap A 4K"
