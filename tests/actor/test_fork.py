"""Processes through a whole run: fork, copy-on-write, exit, kill, reap."""

import errno

import pytest
from machines import final_status, run_to_nothing, scenario_of

from mmactors.mm.fault.handle_mm_fault import SIGKILL


def rss_of(ran, pid):
    return int(final_status(ran, pid)["VmRSS"].split()[0])


def test_a_child_shares_pages_until_one_of_both_writes():
    """The child copies what it writes; the parent, alone again with those pages, reuses them."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "touch A write",
                "fork C",
                "C: touch A read",
                "C: touch A 0..8 write",
                "touch A write",
                "C: touch A 8..16 write",
                "C: exit",
                "reap",
            ]
        )
    )
    parent, child = ran.machine.inspect().processes

    assert (16 + 16, 16) == (parent.min_flt, child.min_flt)
    assert 16 == ran.counters["pgreuse"]
    assert (64, 64) == (rss_of(ran, 1), rss_of(ran, 2))


def test_fork_write_protects_the_parent_on_all_its_cpus():
    """A thread that runs elsewhere loses its translations, or it wrote to the child's page."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 16K",
                "thread T cpu=1",
                "T: touch A write",
                "T& spin",
                "compute 50us",
                "fork C",
                "stop T",
                "T: touch A write",
                "C: touch A write",
                "C: exit",
                "reap",
            ],
            cpus=2,
        )
    )

    assert 4 + 4 + 4 == ran.counters["pgfault"]
    assert 4 == ran.counters["pgreuse"]


def test_what_a_child_maps_is_its_own():
    """The parent's areas stay as they were; a name stands for the same address in both."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "touch A write",
                "fork C",
                "C: munmap A",
                "C: touch A write",
                "touch A write",
                "C: exit",
                "reap",
            ]
        )
    )

    assert [11] == [event["sig"] for event in ran.events("signal_generate")]
    assert 64 == rss_of(ran, 1)


def test_children_have_children():
    """Pages of the grandparent are shared by all until they are written."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 16K",
                "touch A write",
                "fork C",
                "C: fork D",
                "D: touch A write",
                "C: touch A write",
                "touch A write",
                "D: exit",
                "C: exit",
                "reap",
            ]
        )
    )

    assert [1, 2, 3] == [process.pid for process in ran.machine.inspect().processes]
    assert 4 == ran.counters["pgreuse"]


def test_a_killed_child_gives_everything_back():
    """kill waits for the end; a second one finds nobody, and an operation is answered ESRCH."""
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 64K", "touch A write", "fork C", "C: touch A write", "kill C", "touch A write"]
        )
    )

    assert 0 == ran.results()["kill C"]
    assert [SIGKILL] == [event["sig"] for event in ran.events("signal_generate")]


def test_children_that_are_left_end_with_their_program():
    """Nobody is there to tell them anything any more."""
    ran = run_to_nothing(scenario_of(["mmap A 64K", "touch A write", "fork C", "C: touch A write"]))

    assert ran.machine.is_complete


def test_a_promise_too_many_is_refused_and_the_parent_goes_on():
    """fork of an address space whose pages have no tables left in memory is ENOMEM."""
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 20M", "touch A write", "rlimit AS 1M", "fork C", "touch A 0..1 write"],
            size=64 * 2**20,
        )
    )

    assert ran.results()["fork C"] in (0, -errno.ENOMEM)


@pytest.mark.parametrize("seed", range(4))
def test_parent_and_child_that_write_at_once_end_with_a_page_each(seed):
    """Whoever comes first copies; the other is alone with the old page, or copies too."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "touch A write",
                "fork C",
                "C: cpu 1",
                "C& touch A write",
                "touch A write",
                "wait",
                "C: exit",
                "reap",
            ],
            cpus=2,
            quantum_ns=0,
            policy="seeded",
            seed=seed,
        )
    )

    assert (64, 64) == (rss_of(ran, 1), rss_of(ran, 2))
