"""Taking pages away: in batches, with and without memory to note them in, beside others."""

import pytest
from attrs import evolve
from machines import run_to_nothing, scenario_of

from mmactors.actors.state.config import KernelConfig
from mmactors.actors.tlb.switch_mm import TLB_LOCAL_MM_SHOOTDOWN
from mmactors.mm.entries.mmu_gather import MAX_GATHER_BATCH, MMU_GATHER_BUNDLE
from mmactors.mm.page_alloc.gfp import GFP_NOWAIT


def ran_with(program, *, cpus=1, **kernel):
    scenario = scenario_of(program, cpus=cpus)
    return run_to_nothing(evolve(scenario, kernel=KernelConfig(**kernel)))


def local_flushes(ran):
    return [
        event["pages"]
        for event in ran.events("tlb_flush")
        if event["reason"] == TLB_LOCAL_MM_SHOOTDOWN
    ]


def test_pages_are_freed_by_batch_last_one_first():
    """8 pages, then 510, then the rest and the table that nobody needs any more.

    The page for the next batch is taken when one is full.
    """
    ran = ran_with(["mmap K 4K", "mmap A 2400K", "touch A write", "munmap A"])
    mapped = [
        event["pfn"]
        for event in ran.events("mm_page_alloc")
        if event["pfn"] is not None and event["gfp_flags"] & 2
    ]
    freed = [event["pfn"] for event in ran.events("mm_page_free_batched")]
    nowait = [e for e in ran.events("mm_page_alloc") if e["gfp_flags"] == GFP_NOWAIT]
    bundle, batch = MMU_GATHER_BUNDLE, MAX_GATHER_BATCH

    assert 600 == len(mapped)
    assert mapped[:bundle] == freed[:bundle][::-1]
    assert mapped[bundle : bundle + batch] == freed[bundle : bundle + batch][::-1]
    assert mapped[bundle + batch :] == freed[bundle + batch + 1 : 601][::-1]
    assert freed[bundle + batch] not in mapped
    assert len(nowait) >= 2


def test_without_memory_for_batches_every_eight_pages_are_flushed():
    """Each flush is of what was cleared since the one before."""
    program = ["mmap K 4K", "mmap A 128K", "touch A write", "munmap A"]
    ran = ran_with(program, fail_page_alloc=True)

    assert [8, 8, 8, 8] == local_flushes(ran)[:4]


def test_with_memory_one_flush_is_enough():
    """The same with batches."""
    ran = ran_with(["mmap K 4K", "mmap A 128K", "touch A write", "munmap A"])

    assert [32] == local_flushes(ran)[:1]


@pytest.mark.parametrize("fail_page_alloc", [False, True])
def test_tables_freed_by_rcu_come_back(fail_page_alloc):
    """In a batch after a grace period, or alone after an interrupt of every CPU."""
    program = [
        "thread T cpu=1",
        "T& spin",
        "compute 50us",
        *("mmap A 4M", "touch A write", "munmap A") * 3,
        "stop T",
    ]
    ran = ran_with(program, cpus=2, tables_by_rcu=True, fail_page_alloc=fail_page_alloc)

    calls = ran.messages.get("interrupt CAL", 0)
    assert (calls > 1) is fail_page_alloc, "leaving the last address space needs one"


def test_a_table_freed_alone_is_flushed_first():
    """Without memory for the batch, each table goes after a flush of its own."""
    ran = ran_with(
        ["mmap K 4K", "mmap A 4M", "touch A write step=512", "munmap A"],
        tables_by_rcu=True,
        fail_page_alloc=True,
    )
    frees = [event["seq"] for event in ran.events("mm_page_free")]
    flushes = [
        event["seq"]
        for event in ran.events("tlb_flush")
        if event["reason"] == TLB_LOCAL_MM_SHOOTDOWN
    ]

    assert any(seq < frees[0] for seq in flushes)
    assert any(frees[0] < seq < frees[1] for seq in flushes)


def test_a_call_that_changes_several_areas_flushes_once():
    """mprotect over three areas, two of which it changes: from the first page to the last."""
    ran = ran_with(
        ["mmap A 64K", "touch A write", "mprotect A 4..8 prot=r", "mprotect A 2..12 prot=r"]
    )

    assert [4, 10] == local_flushes(ran)[:2]
