"""Deadlocks of the gallery that lockdep sees in runs in which none happens."""

from pathlib import Path

import pytest

from mmactors.cli.main import run_command

ROOT = Path(__file__).parents[2]
C16 = ROOT / "configs/lockdep.yaml"


def run_watched(scenario, out, *overrides):
    """Run a scenario with lockdep; return the exit code and what findings.txt says."""
    chosen = [word for override in overrides for word in ("--set", override)]
    code = run_command(["run", str(scenario), "--out", str(out), "-q", *chosen])
    findings = out / "findings.txt"
    return code, findings.read_text() if findings.exists() else ""


@pytest.mark.parametrize("is_turned", [False, True])
def test_hole_punching_under_mmap_lock_and_a_write_that_faults(tmp_path, is_turned):
    """C16: one thread does both, so that nothing can hang; either one first is enough."""
    scenario = tmp_path / "c16.yaml"
    text = C16.read_text()
    if is_turned:
        remove = "      - madvise A 1..2 REMOVE\n"
        text = text.replace(remove, "") + remove
    scenario.write_text(text)
    code, report = run_watched(
        scenario, tmp_path / "out", "kernel.rules.madvise_remove_drops_mmap_lock=false"
    )

    assert 1 == code
    assert 1 == report.count("WARNING: possible circular locking dependency detected")
    assert "(&sb->s_type->i_mutex_key){+.+.}-{3:3}, wanted with (&mm->mmap_lock)" in report
    assert "(&mm->mmap_lock){++++}-{3:3}, wanted with (&sb->s_type->i_mutex_key)" in report
    assert "doing `madvise A 1..2 REMOVE`, interrupts on\n          punch_hole (actors/" in report
    assert (
        "doing `write F 0 4K bs=4K from=B`, interrupts on\n          handle_page_fault (actors/"
    ) in report
    assert "lock(&sb->s_type->i_mutex_key);" in report


def test_hole_punching_without_mmap_lock_is_in_order(tmp_path):
    """The right kernel drops mmap_lock first: nothing is reported."""
    assert (0, "") == run_watched(C16, tmp_path / "out")


A15 = """
machine: {cpus: 2, memory: {size: 128M}}
processes:
  - name: app
    cpu: 0
    program:
      - mmap A 2M addr=0x7d00000000
      - touch A 0..1 write
      - thread T1 cpu=1
      - "T1: touch A 0..1 read"
      - mremap A len=2M flags=maymove,fixed addr=0x7d40000000
      - "T1: vmalloc 4K"
"""


def test_a_flush_under_page_table_lock_and_pgd_lock_with_interrupts_off(tmp_path):
    """A15: the move of a page table is over when the other CPU turns its interrupts off."""
    scenario = tmp_path / "a15.yaml"
    scenario.write_text(A15)
    code, report = run_watched(
        scenario,
        tmp_path / "out",
        "sanitize.lockdep=true",
        "kernel.rules.pgd_lock_keeps_interrupts_on=false",
    )

    assert 1 == code
    assert 1 == report.count("WARNING: possible deadlock: an IPI is waited for")
    assert "IPI, waited for with (&mm->page_table_lock)" in report
    assert "(&mm->page_table_lock){+.+.}-{2:2}, wanted with interrupts off:" in report
    assert "doing `mremap A len=2M flags=maymove,fixed addr=0x7d40000000`" in report
    assert "doing `vmalloc 4K`" in report
    assert "sync_global_pgds (actors/vmalloc/mapping.py:" in report


def test_pgd_lock_with_interrupts_on_is_no_danger(tmp_path):
    """The right kernel answers the IPI while it waits: nothing is reported."""
    scenario = tmp_path / "a15.yaml"
    scenario.write_text(A15)

    assert (0, "") == run_watched(scenario, tmp_path / "out", "sanitize.lockdep=true")
