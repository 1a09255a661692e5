"""Programs that are promised memory, or are not, on the three settings of overcommit_memory."""

import errno

import pytest
from attrs import evolve
from machines import run, run_to_nothing, scenario_of

from mmactors.mm.area.overcommit import OvercommitPolicy
from mmactors.mm.fault.siginfo import SIGBUS
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.schema import KernelConfig
from mmactors.units import MIB

STACK_KB = 132


def results(ran):
    return {event["call"]: event["ret"] for event in ran.events("sys_exit")}


def promises(*program, **policy):
    """Run a program on a machine with counters that are checked; return what was run."""
    kernel = KernelConfig(overcommit=OvercommitPolicy(**policy))
    scenario = scenario_of(list(program), cpus=2, size=64 * MIB, kernel=kernel)
    sanitize = SanitizeConfig(counters=True, leaks=True)
    ran = run(evolve(scenario, sanitize=sanitize))
    assert () == ran.machine.findings()
    return ran


def committed_kb(ran):
    """Return Committed_AS of each /proc/meminfo that was read, less one stack."""
    rows = [line.split() for read in ran.machine.texts() for line in read.text.splitlines()]
    return [int(row[1]) - STACK_KB for row in rows if row[0] == "Committed_AS:"]


READ = "get /proc/meminfo"


@pytest.mark.parametrize(("mode", "is_made"), [(0, False), (1, True), (2, False)])
def test_one_promise_beyond_memory_is_made_in_mode_1_only(mode, is_made):
    """Mode 0 refuses what can never be there, mode 2 what exceeds the limit."""
    ran = promises("mmap A 1G", memory=mode)

    assert is_made == (results(ran)["mmap A 1G"] > 0)


def test_many_promises_beyond_memory_are_made_in_mode_0_and_refused_in_mode_2():
    """Mode 0 looks at each by itself, mode 2 at the sum."""
    program = [f"mmap A{number} 16M" for number in range(8)]

    made = [
        sum(result > 0 for result in results(promises(*program, memory=mode, ratio=100)).values())
        for mode in (0, 2)
    ]

    assert [8, 3] == made


def test_mode_2_ignores_that_nothing_is_to_be_reserved():
    """MAP_NORESERVE keeps promises from being made in modes 0 and 1."""
    program = ["mmap A 40M flags=private,anon,noreserve", READ]

    assert [0] == committed_kb(promises(*program, memory=0))
    assert -errno.ENOMEM == results(promises(*program, memory=2))[program[0]]


def test_a_child_needs_all_its_parents_promises_again():
    """Where they are refused there is no child, and what was promised halfway is given back."""
    program = ["mmap A 1M", READ, "fork C", READ]

    assert [1024, 2048 + STACK_KB] == committed_kb(promises(*program, memory=2))
    refused = promises(*program, memory=2, kbytes=2048)
    assert [1024, 1024] == committed_kb(refused)
    assert -errno.ENOMEM == results(refused)["fork C"]


def test_the_heap_is_promised():
    """A heap that may not grow stays, and shrinking gives promises back."""
    ran = promises("brk +1M", READ, "brk +4M", READ, "brk -512K", READ, memory=2, kbytes=2048)

    assert [1024, 1024, 512] == committed_kb(ran)


def test_shared_memory_is_promised_as_a_whole_until_nobody_maps_it():
    """Copies of its area promise nothing more; without a reserve it is promised page by page."""
    ran = promises(
        "mmap S 1M flags=shared,anon",
        "mmap N 1M flags=shared,anon,noreserve",
        READ,
        "touch N 0..3 write",
        "touch S write",
        READ,
        "munmap N",
        "fork C",
        READ,
        "munmap S",
        READ,
        "C: munmap S",
        READ,
    )

    child = STACK_KB
    assert [1024, 1036, 1024 + child, 1024 + child, child] == committed_kb(ran)


def test_a_file_in_memory_is_promised_page_by_page():
    """Reading a hole makes no page; truncating and unlinking give back what was written."""
    ran = promises(
        "open F /tmp/f create",
        "ftruncate F 1M",
        "read F 0 1M bs=64K",
        READ,
        "write F 0 64K bs=4K",
        READ,
        "mmap M 64K flags=shared file=F off=64K",
        "touch M 0..4 write",
        READ,
        "ftruncate F 32K",
        READ,
        "munmap M",
        "unlink /tmp/f",
        READ,
        "close F",
        READ,
    )

    assert [0, 64, 80, 32, 32, 0] == committed_kb(ran)


def test_a_page_of_a_file_in_memory_that_may_not_be_promised_is_no_space():
    """write() ends with ENOSPC after what it could write; a store to such a page is SIGBUS."""
    ran = promises(
        "open F /tmp/f create",
        "write F 0 4M bs=4K",
        "ftruncate F 8M",
        "mmap M 8M flags=shared file=F",
        "touch M 1500..1501 write",
        memory=2,
        kbytes=2048,
    )

    written = results(ran)["write F 0 4M bs=4K"]
    assert 0 < written < 2 * MIB
    assert [SIGBUS] == [event["sig"] for event in ran.events("signal_generate")]


def test_setting_mode_2_brings_the_parts_of_all_cpus_together():
    """What lagged behind in mode 0 is seen by the first check of mode 2."""
    program = ["mmap A 20M", "put /proc/sys/vm/overcommit_kbytes 24576"]
    program += ["put /proc/sys/vm/overcommit_memory 2", "mmap B 8M", "mmap C 3M"]

    made = results(promises(*program))

    assert (-errno.ENOMEM, True) == (made["mmap B 8M"], made["mmap C 3M"] > 0)


def test_a_stack_that_reserves_nothing_is_promised_as_it_grows_and_never_given_back():
    """As in 6.1: growth asks always, unmapping looks at VM_ACCOUNT."""
    ran = promises(
        "mmap G 4K flags=private,anon,growsdown,noreserve",
        "touch @G-16K:4K write",
        "munmap @G-16K:20K",
        READ,
    )

    assert [16] == committed_kb(ran)


def test_nothing_is_left_of_processes_that_ended():
    """All promises but those of files are given back."""
    ran = run_to_nothing(
        scenario_of(["mmap A 1M", "mmap S 1M flags=shared,anon", "brk +64K", "fork C", "fork D"])
    )

    assert "Committed_AS:          0 kB" in ran.machine.proc()["meminfo"]
