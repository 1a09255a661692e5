"""MADV_COLLAPSE where no huge page can result, and where one would (mm/khugepaged.c, 6.1)."""

import errno

import pytest
from machines import run, scenario_of

from mmactors.engine.report import NotSimulated

A = "mmap A 4M addr=0x7a00000000"
EINVAL, EAGAIN, ENOMEM = -errno.EINVAL, -errno.EAGAIN, -errno.ENOMEM


def collapsed(*operations):
    ran = run(scenario_of([A, *operations], size=64 << 20))
    calls = ran.events("sys_exit")
    return [event["ret"] for event in calls if event["call"].endswith("COLLAPSE")]


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        (["madvise A COLLAPSE"], [EINVAL]),
        (["touch A 0..1 write", "madvise @0x7a00001000:4K COLLAPSE"], [EINVAL]),
        (["madvise @0x7a00000000:0 COLLAPSE"], [0]),
        (["madvise @0x7b00000000:4K COLLAPSE"], [ENOMEM]),
        (["touch A write", "madvise A NOHUGEPAGE", "madvise A COLLAPSE"], [EINVAL]),
        (["touch A 0..1 write", "madvise A 512..1024 COLLAPSE"], [EINVAL]),
        (["touch A 0..1 write", "mprotect A prot=r", "madvise A COLLAPSE"], [EINVAL]),
        (["touch A 0..1 write", "madvise A 1..512 COLLAPSE"], [0]),
        (["touch A 0..1 write", "pin A 0..1 as=d", "madvise A 0..512 COLLAPSE"], [EAGAIN]),
        (["mmap B 64K", "touch B write", "madvise B COLLAPSE"], [EINVAL]),
    ],
)
def test_what_cannot_be_a_huge_page_is_refused(operations, expected):
    """By the area, the range, the tables and the pages, in this order."""
    assert expected == collapsed(*operations)


def test_what_would_be_a_huge_page_ends_the_run_with_the_reason():
    """It is a limit of the simulator, said at the call."""
    with pytest.raises(NotSimulated, match="2 MiB at 0x7a00000000 would become a huge page"):
        collapsed("touch A 0..1 write", "madvise A COLLAPSE")
