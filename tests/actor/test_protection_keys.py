"""Memory that can be executed only: protection keys through a run."""

import errno

import pytest
from machines import final_status, run_to_nothing, scenario_of

from mmactors.actors.fault.fault import PF_PK, PF_PROT, PF_USER, PF_WRITE
from mmactors.mm.fault.siginfo import SEGV_ACCERR, SEGV_PKUERR


def codes(ran):
    return [event["code"] for event in ran.events("signal_generate")]


def test_execute_only_memory_cannot_be_read_where_the_cpus_have_keys():
    """The signal has a code of its own; without keys such memory can be read, but not written."""
    program = ["mmap A 64K prot=x", "touch A 0..1 read", "touch A 0..1 write"]

    with_keys, without = (
        run_to_nothing(scenario_of(program, pku=pku, on_signal="continue")) for pku in (True, False)
    )

    assert ([SEGV_PKUERR] * 2, [SEGV_ACCERR]) == (codes(with_keys), codes(without))
    assert ("0 kB", 1) == (final_status(with_keys)["VmRSS"], without.counters["pgfault"])


@pytest.mark.parametrize("access", ["read", "write"])
def test_the_hardware_tells_why_a_page_that_is_there_is_refused(access):
    """What CPUs knew of written pages is flushed when the key changes; the page stays."""
    ran = run_to_nothing(
        scenario_of(
            [
                "thread T1 cpu=1",
                "mmap A 64K",
                "touch A write",
                "T1: touch A read",
                "mprotect A prot=x",
                f"T1: touch A 2..3 {access}",
            ],
            cpus=2,
            pku=True,
        )
    )
    expected = PF_USER | PF_PROT | PF_PK | (PF_WRITE if access == "write" else 0)

    assert expected == ran.events("page_fault_user")[-1]["error_code"]
    assert ([SEGV_PKUERR], "64 kB") == (codes(ran), final_status(ran)["VmRSS"])


def test_memory_that_is_more_than_executable_again_loses_its_key():
    """It can be read and written without a fault; parts with and without key do not merge."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "touch A write",
                "mprotect A prot=x",
                "mprotect A 0..4 prot=rx",
                "touch A 0..4 read",
                "mprotect A prot=rw",
                "touch A write",
            ],
            pku=True,
        )
    )

    assert ([], 16) == (codes(ran), ran.counters["pgfault"])


def test_the_kernel_makes_no_execute_only_page_present():
    """mlock says ENOMEM, MAP_POPULATE nothing; what was locked before the error stays locked."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K prot=x",
                "mlock A 0..2",
                "mmap B 64K prot=x flags=private,anon,populate",
                "madvise A POPULATE_READ",
            ],
            pku=True,
        )
    )

    assert -errno.ENOMEM == ran.results()["mlock A 0..2"]
    assert -errno.EINVAL == ran.results()["madvise A POPULATE_READ"]
    assert ("8 kB", "0 kB") == (final_status(ran)["VmLck"], final_status(ran)["VmRSS"])


def test_a_child_has_its_parents_keys():
    """What was execute-only is so for the child, and what it maps joins it."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "touch A write",
                "mprotect A prot=x",
                "fork C",
                "C: touch A 0..1 read",
                "C: mprotect A 4..8 prot=rw",
                "C: mprotect A 4..8 prot=x",
                "C: mprotect A prot=r",
                "C: touch A read",
                "C: exit",
                "reap",
            ],
            pku=True,
        )
    )

    assert [SEGV_PKUERR] == codes(ran)
