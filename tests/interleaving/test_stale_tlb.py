"""Translations that outlive their pages are found, in batches and one by one."""

from typing import Any

import pytest
from attrs import evolve
from machines import Ran, run, scenario_of

from mmactors.actors.entries import mmu_gather
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.tlb.tlb import flush_tlb_mm_range
from mmactors.engine.cpu import Cpu
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.law import Law
from mmactors.scenario.schema import Scenario

PROGRAM = [
    "thread T1 cpu=1",
    "mmap A 16K",
    "touch A write",
    "T1: touch A read",
    "munmap A",
    "mmap B 16K",
    "touch B write",
    "T1: touch B read",
]
"""B lies where A lay."""


def checked(program: list[str], **options: Any) -> Scenario:
    """Return a scenario with every sanitizer on."""
    return evolve(scenario_of(program, cpus=2, **options), sanitize=SanitizeConfig.everything())


def run_without_flush(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Ran:
    """Run the program on a kernel that frees without flushing."""

    async def forget_to_flush(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr(mmu_gather, "flush_tlb_mm_range", forget_to_flush)
    return run(checked(PROGRAM, **options))


def test_a_page_that_is_freed_before_the_flush_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each CPU whose TLB still knows a freed page is stopped when it goes there."""
    ran = run_without_flush(monkeypatch)

    heads = [finding.head for finding in ran.machine.findings()]
    assert any(head.startswith("stale translation: cpu0") for head in heads)
    assert any(head.startswith("stale translation: cpu1") for head in heads)
    assert "stale translation" == ran.machine.summary().verdict


def test_an_access_after_the_call_returned_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a page that somebody else still holds may not be reached after munmap returned."""

    async def forget(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr(mmu_gather, "flush_tlb_mm_range", forget)
    monkeypatch.setattr(mmu_gather, "_release_pages", forget)
    ran = run(checked(PROGRAM))

    finding = ran.machine.findings()[0]
    assert Law.STALE_AFTER_REVOKE == finding.law
    assert any("the entry in memory was changed by cpu0/p0" in fact for fact in finding.facts)


def test_nobody_is_blamed_while_the_call_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until munmap returns, other CPUs may still use what it takes away."""

    async def flush_late(kernel: Kernel, cpu: Cpu, mm: MmStruct, **span: int) -> None:
        await kernel.engine.spend(20_000)
        await flush_tlb_mm_range(kernel, cpu, mm, **span)

    monkeypatch.setattr(mmu_gather, "flush_tlb_mm_range", flush_late)
    program = [
        "thread T1 cpu=1",
        "mmap A 16K",
        "touch A write",
        "T1: touch A read",
        "T1& touch A read passes=40",
        "munmap A",
    ]
    ran = run(checked(program, quantum_ns=0))

    assert () == ran.machine.findings()


def test_each_finding_is_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has a line for each finding, where it happened."""
    ran = run_without_flush(monkeypatch)

    events = ran.events("error_report_end")
    assert [finding.head.partition(": ")[2] for finding in ran.machine.findings()] == [
        event["finding"] for event in events
    ]


def test_a_kernel_that_flushes_is_not_blamed() -> None:
    """The same program on the right kernel gives no finding."""
    ran = run(checked(PROGRAM))

    assert () == ran.machine.findings()
    assert "ok" == ran.machine.summary().verdict


def test_checks_change_no_count() -> None:
    """A run with all sanitizers has the counters, the schedule and the log of one without."""
    plain = run(scenario_of(PROGRAM, cpus=2))
    watched = run(checked(PROGRAM))

    assert plain.counters == watched.counters
    assert plain.log == watched.log
    assert str(plain.schedule) == str(watched.schedule)
