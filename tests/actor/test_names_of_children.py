"""Names of threads and children: forks that fail, names that are used again, ends of each other."""

import errno

from machines import run, scenario_of

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
