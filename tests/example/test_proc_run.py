"""psutil on the proc/ of a run: what it reads are the model's numbers."""

import psutil
import pytest
from machines import run, scenario_of

from mmactors.units import MIB, PAGE_SIZE

PROGRAM = [
    "mmap A 4M",
    "touch A 0..300 write",
    "mmap B 1M prot=r",
    "touch B read",
    "brk +128K",
    "heap H 128K",
    "touch H write",
]


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A machine in the middle of a run, its /proc where psutil reads it."""
    ran = run(
        scenario_of([*PROGRAM, "compute 10000us"], [*PROGRAM, "munmap A 0..100"], cpus=2),
        until_ns=5_000_000,
        is_logged=False,
    )
    for name, text in ran.machine.proc().items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    return ran.machine


def test_virtual_memory_is_that_of_the_machine(stopped):
    """Total is what the zones manage, free what their counters say, which lag as the kernel's."""
    memory = psutil.virtual_memory()
    zones = stopped.inspect().zones

    assert sum(zone.managed_pages for zone in zones) * PAGE_SIZE == memory.total
    assert memory.free == PAGE_SIZE * sum(zone.counters["nr_free_pages"].value for zone in zones)
    assert 0 < memory.available <= memory.free


def test_memory_info_is_that_of_each_process(stopped):
    """One runs still, one has ended: rss and size of both.

    The one that runs has not told of its last faults yet.
    """
    running, ended = psutil.Process(1), psutil.Process(2)

    assert 0 < (300 + 32) * PAGE_SIZE - running.memory_info().rss <= 65 * PAGE_SIZE
    assert (200 + 32) * PAGE_SIZE == ended.memory_info().rss
    assert 5 * MIB + (128 + 132) * 1024 == running.memory_info().vms
    assert stopped.inspect().process(1).memory.rss_pages * PAGE_SIZE == running.memory_info().rss
    assert ["p0", "p1"] == [running.name(), ended.name()]


def test_memory_maps_are_the_areas_of_each_process(stopped):
    """Each area with its addresses and what of it is resident."""
    maps = psutil.Process(1).memory_maps(grouped=False)

    assert [f"{area.start:x}-{area.end:x}" for area in stopped.inspect().process(1).areas] == [
        "-".join(f"{int(part, 16):x}" for part in one.addr.split("-")) for one in maps
    ]
    assert (300 + 32) * PAGE_SIZE == sum(one.rss for one in maps)
    assert (200 + 32) * PAGE_SIZE == sum(
        one.rss for one in psutil.Process(2).memory_maps(grouped=False)
    )


def test_pids_are_those_of_the_machine(stopped):
    """psutil sees the processes of the run and nobody else."""
    assert [1, 2] == sorted(psutil.pids())
