"""Processes through a whole run: fork, copy-on-write, exit, kill, reap."""

import errno

import pytest
from machines import final_status, run_to_nothing, scenario_of

from mmactors.actors.program.life import fork
from mmactors.mm.fault.siginfo import SIGKILL


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


def test_fork_returns_the_childs_pid():
    """Each child has the next one, whoever forks it."""
    ran = run_to_nothing(
        scenario_of(
            ["fork C", "fork D", "C: fork E", "kill D", "fork F", "C: exit", "E: exit", "reap"]
        )
    )
    forks = [
        (event["pid"], event["call"], event["ret"])
        for event in ran.events("sys_exit")
        if event["call"].startswith("fork")
    ]

    assert [(1, "fork C", 2), (1, "fork D", 3), (2, "fork E", 4), (1, "fork F", 5)] == forks


def test_a_child_has_the_files_of_its_parent_and_closes_its_own():
    """Also by the name that the parent gave up, and when the file has lost its own."""
    ran = run_to_nothing(
        scenario_of(
            [
                "open F /shm/f create",
                "write F 0 8K bs=4K",
                "fork C",
                "close F",
                "unlink /shm/f",
                "C: write F 8K 4K bs=4K",
                "C: fork D",
                "C: close F",
                "D: mmap M 12K file=F flags=shared",
                "D: touch M read",
                "D: read F 0 64K bs=64K",
                "D: exit",
                "reap",
                "open F /shm/f",
                "nop",
            ]
        )
    )

    assert 12288 == ran.results()["read F 0 64K bs=64K"]
    assert -errno.ENOENT == ran.results()["open F /shm/f"]
    assert 0 == ran.counters["nr_shmem"], "the last to close it took its pages along"


def test_a_file_whose_name_was_given_to_another_stays_open_until_the_end():
    """And goes then: it has neither a name nor users."""
    ran = run_to_nothing(
        scenario_of(
            ["open F /shm/f create", "write F 0 8K bs=4K", "unlink /shm/f", "open F /shm/g create"]
        )
    )

    assert 0 == ran.counters["nr_shmem"]


def test_a_fork_that_fails_gives_the_files_back(monkeypatch):
    """A file without a name goes when its only process closes it."""

    async def no_memory(*_):
        return -errno.ENOMEM

    monkeypatch.setattr(fork, "_dup_mm", no_memory)
    ran = run_to_nothing(
        scenario_of(
            ["open F /shm/f create", "write F 0 8K bs=4K", "fork C", "unlink /shm/f", "close F"]
        )
    )

    assert -errno.ENOMEM == ran.results()["fork C"]
    assert 0 == ran.counters["nr_shmem"]


def test_stat_tells_the_cpu_a_process_ran_on_last_and_what_its_children_used():
    """Field 39 is the leader's CPU; 11 counts faults of children that were waited for.

    Number 3 is the thread's: threads and processes are numbered together.
    """
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 16K",
                "cpu 2",
                "fork C",
                "C: cpu 1",
                "C: touch A write",
                "C: exit",
                "reap",
                "thread T cpu=3",
                "T: touch A 0..1 write",
                "fork D",
                "kill D",
            ],
            cpus=4,
        )
    )
    parent, child, killed = (
        ran.machine.proc()[f"{pid}/stat"].rpartition(")")[2].split() for pid in (1, 2, 4)
    )

    assert ["2", "1", "2"] == [fields[39 - 3] for fields in (parent, child, killed)]
    assert ["1", "4", "4"] == [parent[10 - 3], child[10 - 3], parent[11 - 3]]
    assert ["0", "0", str(SIGKILL)] == [fields[52 - 3] for fields in (parent, child, killed)]
    assert ["0", "64", "64"] == [
        str(int(fields[9 - 3]) & 0x40) for fields in (parent, child, killed)
    ]


def test_a_promise_too_many_is_refused_and_the_parent_goes_on():
    """fork of an address space whose pages have no tables left in memory is ENOMEM."""
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 20M", "touch A write", "rlimit AS 1M", "fork C", "touch A 0..1 write"],
            size=64 * 2**20,
        )
    )

    assert ran.results()["fork C"] in (2, -errno.ENOMEM)


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
