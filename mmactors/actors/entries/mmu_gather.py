"""Flushing what was cleared, and then giving it back (mm/mmu_gather.c, Linux 6.1).

    gather = await tlb_gather_mmu(kernel, mm, start=start, end=end)
    ...                       # clear entries, each noted in the gather
    await tlb_finish_mmu(kernel, cpu, gather)

From the first to the last the address space has `tlb_flush_pending` raised: who finds others at it
when it finishes flushes everything, since they may have cleared, and not yet flushed, what it found
clear. Simplified: who frees tables by RCU waits for the grace period itself, instead of leaving
them to a callback.
"""

from functools import partial
from typing import assert_never

import numpy as np

from mmactors.actors.alloc.lru_add_drain import lru_add_drain
from mmactors.actors.alloc.page_alloc import alloc_pages, free_page_list, free_pages
from mmactors.actors.alloc.page_table import page_table_dtor
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.actors.tlb.tlb import flush_tlb_mm_range
from mmactors.engine.cpu import Cpu
from mmactors.engine.ipi import call_on
from mmactors.label import Label, Mode, page, tlb_flush_pending
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.entries.mmu_gather import AllocBatch, MmuGather, Words
from mmactors.mm.entries.zap import release_pages
from mmactors.mm.page_alloc.alloc_site import TLB_NEXT_BATCH, TLB_REMOVE_TABLE
from mmactors.mm.page_alloc.gfp import GFP_NOWAIT
from mmactors.mm.page_table.page_table import FreedTable


async def tlb_gather_mmu(
    kernel: Kernel, mm: MmStruct, *, start: int, end: int, full_mm: bool = False
) -> MmuGather:
    """Begin to clear entries of `[start, end)`; `full_mm`: nobody uses the address space."""
    await _change_pending(kernel, mm, 1)
    return MmuGather(mm, (start, end), full_mm=full_mm, tables_by_rcu=kernel.tables_by_rcu)


async def tlb_finish_mmu(kernel: Kernel, cpu: Cpu, gather: MmuGather) -> None:
    """Flush, and give back what the gather holds; the gather is used up."""
    mm = gather.mm
    if kernel.engine.wants_step():
        label = Label("read tlb_flush_pending", ((_pending(mm), Mode.READ),))
        await kernel.engine.step(label)
    if mm.tlb_flush_pending > 1 and kernel.rules.tlb_finish_flushes_when_nested:
        if kernel.rules.nested_flush_frees_tables:
            gather.flush_everything()
        else:
            gather.forget_levels()
    await tlb_flush_mmu(kernel, cpu, gather)
    for pfn in gather.take_batches():
        await free_pages(kernel, cpu, pfn, 0)
    await _change_pending(kernel, mm, -1)


async def tlb_flush_mmu(kernel: Kernel, cpu: Cpu, gather: MmuGather) -> None:
    """Flush, and give back the pages and tables so far."""
    await tlb_flush_mmu_tlbonly(kernel, cpu, gather)
    await _flush_tables(kernel, cpu, gather)
    for pfn in gather.take_noted_tables():
        kernel.memory.release_table(pfn)
    for pfns in gather.take_pages():
        await lru_add_drain(kernel, cpu)  # free_pages_and_swap_cache
        await _release_pages(kernel, cpu, pfns)


async def tlb_flush_mmu_tlbonly(kernel: Kernel, cpu: Cpu, gather: MmuGather) -> None:
    """Make all CPUs forget what was cleared so far."""
    flush = gather.take_flush()
    if flush is not None:
        await flush_tlb_mm_range(
            kernel,
            cpu,
            gather.mm,
            start=flush.start,
            end=flush.end,
            stride_shift=flush.stride_shift,
            freed_tables=flush.freed_tables,
        )


async def tlb_remove_pages(kernel: Kernel, cpu: Cpu, gather: MmuGather, pfns: Words) -> bool:
    """Let pages wait for the flush; return whether it has to come before more can wait."""
    return await perform(gather.add_pages(pfns), partial(_answer, kernel, cpu))


async def free_table_tlb(kernel: Kernel, cpu: Cpu, gather: MmuGather, table: FreedTable) -> None:
    """Let a page table wait for the flush (pte_free_tlb, pmd_free_tlb, pud_free_tlb)."""
    gather.free_table(table)
    page_table_dtor(kernel, cpu, table.pfn, table.level)
    if gather.tables_by_rcu:
        await _remove_table(kernel, cpu, gather, table.pfn)
        return
    gather.note_table(table.pfn)
    if await tlb_remove_pages(kernel, cpu, gather, np.array([table.pfn], np.int64)):
        await tlb_flush_mmu(kernel, cpu, gather)


async def _remove_table(kernel: Kernel, cpu: Cpu, gather: MmuGather, pfn: int) -> None:
    """Let a table wait for RCU; free it at once if there is no memory (tlb_remove_table)."""
    if gather.table_batch is None:
        gather.table_batch = await _alloc_nowait(kernel, cpu, TLB_REMOVE_TABLE)
        if gather.table_batch is None:
            if kernel.rules.remove_table_flushes_first:
                await tlb_flush_mmu_tlbonly(kernel, cpu, gather)
            await _remove_table_sync_one(kernel, cpu)
            kernel.memory.release_table(pfn)
            await free_pages(kernel, cpu, pfn, 0)
            return
    if gather.add_table(pfn):
        await _flush_tables(kernel, cpu, gather)


async def _flush_tables(kernel: Kernel, cpu: Cpu, gather: MmuGather) -> None:
    """Free the tables that wait for RCU (tlb_table_flush)."""
    taken = gather.take_tables()
    if taken is None:
        return
    await tlb_flush_mmu_tlbonly(kernel, cpu, gather)
    await kernel.rcu.synchronize()
    batch, pfns = taken
    for pfn in pfns:
        kernel.memory.release_table(pfn)
        await free_pages(kernel, cpu, pfn, 0)
    await free_pages(kernel, cpu, batch, 0)


async def _remove_table_sync_one(kernel: Kernel, cpu: Cpu) -> None:
    """Wait until no CPU walks page tables with interrupts off (tlb_remove_table_sync_one)."""

    async def only_arrive(_target: Cpu) -> None:
        await kernel.engine.spend(0)

    others = [other for other in kernel.cpus if other is not cpu]
    await call_on(cpu, others, only_arrive, vector="CAL", latency_ns=kernel.costs.ipi_ns)


async def _release_pages(kernel: Kernel, cpu: Cpu, pfns: Words) -> None:
    """Let go of a batch's pages; free those that nobody else holds (release_pages).

    They are freed last one first, as mm/swap.c puts each at the head of its list.
    """
    if kernel.engine.wants_step():
        touches = tuple((page(pfn), Mode.WRITE) for pfn in pfns.tolist())
        await kernel.engine.step(Label("put pages", touches))
    unused = release_pages(kernel.pages, pfns)
    if len(unused):
        kernel.lru[cpu.index].forget_pages(unused)
        await free_page_list(kernel, cpu, unused[::-1].tolist())


async def _answer(kernel: Kernel, cpu: Cpu, request: AllocBatch) -> int | None:
    match request:
        case AllocBatch():
            return await _alloc_nowait(kernel, cpu, TLB_NEXT_BATCH)
        case _:
            assert_never(request)


async def _alloc_nowait(kernel: Kernel, cpu: Cpu, site: str) -> int | None:
    if kernel.fail_page_alloc:
        return None
    return await alloc_pages(kernel, cpu, 0, GFP_NOWAIT, site=site)


async def _change_pending(kernel: Kernel, mm: MmStruct, change: int) -> None:
    if kernel.engine.wants_step():
        label = Label("count tlb_flush_pending", ((_pending(mm), Mode.ADD),))
        await kernel.engine.step(label)
    mm.tlb_flush_pending += change


def _pending(mm: MmStruct) -> str:
    return tlb_flush_pending(mm.ctx_id)
