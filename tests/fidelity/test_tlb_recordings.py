"""Recorded shootdowns and races for mmap_lock: the wired machine gives the same numbers."""

import json
from pathlib import Path

import pytest

from mmactors.actors.entries import change_ptes
from mmactors.actors.tlb.tlb import TlbBatch
from mmactors.arch.pte import ACCESSED
from mmactors.mm.entries import change_protection
from mmactors.mm.entries.tlb_state import TlbState
from mmactors.validate.userland.tlb import validate_tlb

RECORDED = Path(__file__).parents[1] / "reference/linux-6.1/userland"
TLB = [
    "spin_2cpu",
    "spin_4cpu",
    "idle_4cpu",
    "never_ran_8cpu",
    "partial_mask_4cpu",
    "cow_fork_4cpu",
    "mprotect_keeps_young",
    "kill_locks",
    "pageout_flush",
]
MMAP_LOCK = ["fault_vs_churn_2cpu", "fault_vs_churn_4cpu"]


def validated(topic, case):
    (result,) = validate_tlb(RECORDED / topic / f"{case}.json")
    return result


@pytest.mark.parametrize("case", TLB)
def test_each_operation_interrupts_and_flushes_as_recorded(case):
    """Interrupts by CPU, flushes with reason and pages, faults, and uses of mmap_lock."""
    result = validated("tlb", case)

    assert result.passed, result.first_difference
    assert result.compared >= 90


@pytest.mark.parametrize("case", MMAP_LOCK)
def test_threads_that_race_for_mmap_lock_count_in_all_what_was_recorded(case):
    """Page faults, releases, downgrades; and each operation that nobody raced with."""
    result = validated("mmap_lock", case)

    assert result.passed, result.first_difference
    assert result.listed > 0


def test_huge_pages_are_listed_not_passed():
    """A case that needs them says so."""
    result = validated("tlb", "thp_4cpu")

    assert not result.passed
    assert "huge pages" in result.not_validated


def test_a_machine_that_interrupts_lazy_cpus_does_not_pass(monkeypatch):
    """Nor does one that differs by a single rule."""
    monkeypatch.setattr(TlbState, "should_flush", lambda *_: True)
    result = validated("tlb", "idle_4cpu")

    assert not result.passed
    assert "TLB of cpu1" in result.first_difference


def test_a_machine_whose_mprotect_makes_pages_young_does_not_pass(monkeypatch):
    """MADV_COLD then finds pages to make old, and flushes, where the kernel does not."""
    kept = change_protection._PAGE_CHG_MASK & ~ACCESSED
    monkeypatch.setattr(change_protection, "_PAGE_CHG_MASK", kept)
    result = validated("tlb", "mprotect_keeps_young")

    assert not result.passed


def test_a_machine_that_flushes_dirty_pages_together_does_not_pass(monkeypatch):
    """Each dirty page of shared memory is flushed before it would be written."""
    flush = TlbBatch.flush

    async def flush_at_the_end(self, kernel, cpu):
        if not self.writable:
            await flush(self, kernel, cpu)

    monkeypatch.setattr(TlbBatch, "flush", flush_at_the_end)
    result = validated("tlb", "pageout_flush")

    assert not result.passed
    assert "madvise S PAGEOUT" in result.first_difference


def test_a_machine_that_forgets_what_reclaim_deferred_does_not_pass(monkeypatch):
    """The next one who works on entries flushes all once more."""

    async def flush_nothing(kernel, cpu, mm):
        pass

    monkeypatch.setattr(change_ptes, "flush_tlb_batched_pending", flush_nothing)
    result = validated("tlb", "pageout_flush")

    assert not result.passed
    assert "madvise A 0..8 FREE" in result.first_difference


def test_a_number_that_was_not_recorded_is_found(tmp_path):
    """One flush more in the file is one difference."""
    case = json.loads((RECORDED / "tlb/spin_2cpu.json").read_text())
    changed = next(recorded for recorded in case["ops"] if "tlb:tlb_flush" in recorded["tp"])
    changed["tp"]["tlb:tlb_flush"] += 1
    path = tmp_path / "spin_2cpu.json"
    path.write_text(json.dumps(case))
    (result,) = validate_tlb(path)

    assert result.compared - 1 == result.equal
