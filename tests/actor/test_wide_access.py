"""Accesses over three and more pages: all of them are mapped, fault, and are looked at."""

from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from explored import scenario_of as race_of
from machines import drive, run_to_nothing, scenario_of

from mmactors.arch.trace import SIZE_MASK
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.hw.config import HardwareConfig, TlbConfig
from mmactors.races.machine import ExploredMachine
from mmactors.sanitize.config import SanitizeConfig
from mmactors.units import PAGE_SIZE

PAGE = 0x7FF000000
KINDS = "ILSM"


def lackey(path: Path, kind: str, address: int, size: int) -> None:
    """Write a trace of one access as lackey does."""
    line = f"I  {address:x},{size}" if kind == "I" else f" {kind} {address:x},{size}"
    path.write_text(line + "\n")


def npz(path: Path, kind: str, address: int, size: int) -> None:
    """Write a trace of one access as an archive."""
    is_fetch = kind == "I"
    np.savez(
        path.with_suffix(".npz"),
        kind=np.array([KINDS.index(kind)], np.uint8),
        size=np.array([size], np.uint16),
        di=np.array([address] * is_fetch, np.int64),
        dd=np.array([address] * (not is_fetch), np.int64),
    )
    path.with_suffix(".npz").rename(path)


@pytest.mark.parametrize("write", [lackey, npz])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("offset", "size", "nr_pages"),
    [(0x5C8, 9000, 3), (0, 2 * PAGE_SIZE, 2), (PAGE_SIZE - 1, SIZE_MASK, 17)],
)
def test_a_recorded_access_has_every_page_it_reaches(tmp_path, write, kind, offset, size, nr_pages):
    """Each page is mapped and faults once, in rising order; the access is done; no signal."""
    trace = tmp_path / "wide"
    write(trace, kind, PAGE + offset, size)

    ran = run_to_nothing(scenario_of([f"trace {trace}"]))

    faults = [event["address"] for event in ran.events("page_fault_user")]
    later = [PAGE + page * PAGE_SIZE for page in range(1, nr_pages)]
    assert [PAGE + offset, *later] == faults
    assert 1 == ran.machine.progress().accesses
    assert [] == ran.events("signal_generate")


def test_a_hole_in_the_middle_of_an_access_stops_it_there():
    """The pages before it have faulted; the signal names the first address that nothing maps."""
    ran = run_to_nothing(
        scenario_of(["mmap A 16K", "munmap A 1..2", "generate sequential A size_bytes=12K"])
    )

    (signal,) = ran.events("signal_generate")
    base = ran.results()["mmap A 16K"]
    assert base + PAGE_SIZE == signal["address"]
    assert 1 == ran.counters["pgfault"]
    assert 0 == ran.machine.progress().accesses


@pytest.mark.parametrize("entries", [64, 1])
def test_a_sanitizer_sees_every_page_of_a_store(entries):
    """Also behind a TLB that has forgotten the first page when it comes to the last."""
    tlb = TlbConfig(entries=entries, ways=1)
    hardware = HardwareConfig(dtlb=tlb, stlb=tlb)
    scenario = scenario_of(
        ["mmap A 64K", "generate sequential A size_bytes=32K write_percent=100", "spin"],
        hardware=hardware,
    )
    scenario = evolve(scenario, sanitize=SanitizeConfig.everything())

    sanitizer = drive(scenario, until_ns=100_000).wired.sanitizer

    assert sanitizer is not None
    assert sanitizer._contents is not None
    assert 16 == len(sanitizer._contents.content)
    assert [] == list(sanitizer.findings)


@pytest.mark.parametrize(("stored", "is_reached"), [(0, True), (1, True), (2, True), (3, False)])
def test_an_explored_access_touches_all_its_pages_and_no_other(stored, is_reached):
    """So the search tries both orders of it and of a store to any of them."""
    program = [
        "thread T1 cpu=1",
        "mmap A 16K",
        "touch A write",
        "T1: touch A read",
        "race",
        "T1& generate sequential A size_bytes=12K",
        f"touch A {stored}..{stored + 1} write",
    ]
    execution = Execution(ExploredMachine(race_of(program, scope=("data",))))
    is_done = False
    while not is_done:
        try:
            execution.begin()
            while not execution.has_ended():
                execution.advance(execution.candidates()[0])
            is_done = True
        except BecameVisible:
            continue  # What was taken for local is a step from now on.
    by_kind = {step.text.split()[0]: step for step in execution.steps}
    execution.close()

    loaded, written = (
        {name for name in by_kind[kind].looks if name.startswith("data[")}
        for kind in ("load", "store")
    )
    assert 3 == len(loaded)
    assert 1 == len(written)
    assert is_reached is (written <= loaded)
