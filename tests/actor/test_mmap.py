"""mmap, munmap, brk and exit: results, what is given back, and when tables go."""

import errno

import pytest
from machines import final_status, run_to_nothing, scenario_of

from mmactors.hw.config import HardwareConfig
from mmactors.mm.page_alloc.gfp import GFP_NORETRY
from mmactors.units import MIB


def test_everything_comes_back_at_exit():
    """Pages, tables, counters: nothing is left of a process that unmapped nothing."""
    run_to_nothing(scenario_of(["mmap A 8M", "touch A write", "mmap B 1M", "touch B read"]))


def test_everything_comes_back_at_munmap():
    """Before the process ends, its rss is 0, and of its tables those are left that the stack needs.

    The highest rss is taken before munmap learns of the last faults: each 66th tells of 66.
    """
    ran = run_to_nothing(scenario_of(["mmap A 8M", "touch A write", "munmap A"]))
    status = final_status(ran)

    assert "0 kB" == status["VmRSS"]
    assert "8 kB" == status["VmPTE"]
    assert f"{4 * (65 + 30 * 66)} kB" == status["VmHWM"]
    assert 2048 <= len(ran.events("mm_page_free_batched"))


def test_part_of_a_mapping_can_be_unmapped():
    """The rest stays resident; the table that both share stays too."""
    ran = run_to_nothing(scenario_of(["mmap A 1M", "touch A write", "munmap A 64..128"]))

    assert "768 kB" == final_status(ran)["VmRSS"]


@pytest.mark.parametrize("levels", [4, 5])
def test_a_page_needs_a_table_of_each_level(levels):
    """One page: the top table, one of each level below it, and the page."""
    hardware = HardwareConfig(levels=levels)
    ran = run_to_nothing(scenario_of(["mmap A 4K", "touch A write"], hardware=hardware))

    of_slabs = [each for each in ran.events("mm_page_alloc") if each["gfp_flags"] & GFP_NORETRY]

    assert levels + 1 == len(ran.events("mm_page_alloc")) - len(of_slabs)
    assert 1 == ran.counters["pgfault"]


@pytest.mark.parametrize("levels", [4, 5])
def test_faults_do_not_depend_on_the_number_of_levels(levels):
    """The same pages are mapped with 4 and with 5 levels."""
    hardware = HardwareConfig(levels=levels)
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 4M", "touch A write", "munmap A 3..900", "touch A read"], hardware=hardware
        )
    )

    assert 1024 == ran.counters["pgfault"]
    assert [11] == [event["sig"] for event in ran.events("signal_generate")]


def test_refused_calls_say_why_and_do_not_stop_the_program():
    """The result is minus the errno, as the kernel's."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "munmap @A+123:4096",
                "mmap B 4K addr=A flags=private,anon,noreplace",
                "munmap Q",
                "mmap C 300T",
                "mmap D 4K",
                "touch D write",
            ]
        )
    )
    results = list(ran.results().values())

    assert results[0] > 0
    assert [-errno.EINVAL, -errno.EEXIST, -errno.EINVAL, -errno.ENOMEM] == results[1:5]
    assert "4 kB" == final_status(ran)["VmRSS"]


def test_a_mapping_over_another_takes_its_pages_away():
    """MAP_FIXED unmaps first: the new area is empty."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "touch A write",
                "mmap B 32K addr=A flags=private,anon,fixed",
                "touch B write",
            ]
        )
    )

    assert 16 + 8 == ran.counters["pgfault"]
    assert "64 kB" == final_status(ran)["VmRSS"]


def test_the_heap_grows_and_shrinks():
    """brk moves the end; what lies beyond it is given back."""
    ran = run_to_nothing(
        scenario_of(["brk +1M", "heap H 1M", "touch H write", "brk -512K", "brk 0"])
    )
    results = ran.results()

    assert MIB == results["brk +1M"]
    assert -512 * 1024 == results["brk -512K"]
    assert "512 kB" == final_status(ran)["VmRSS"]


def test_churn_leaves_nothing_behind():
    """Mapping, touching and unmapping a hundred times needs as many pages as once.

    Each munmap makes the thread tell of its 16 pages and takes them at once: no high mark is left.
    """
    ran = run_to_nothing(scenario_of(["churn 100 64K touch"]))

    assert 1600 == ran.counters["pgfault"]
    assert "0 kB" == final_status(ran)["VmRSS"]
    assert "0 kB" == final_status(ran)["VmHWM"]
