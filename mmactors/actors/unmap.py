"""Taking pages away: entries, translations, pages, tables, in this order (mm/memory.c, Linux 6.1).

As mmu_gather does it (mm/mmu_gather.c): entries are cleared under the page-table lock, then all
CPUs forget them, then the pages are given back, in batches; the tables that no area needs any
more go the same way.
"""

from typing import Final

import numpy as np

from mmactors.actors.address_space import (
    FREE_TABLES,
    PAGE_TABLES,
    RSS,
    SET_PTE,
    AddressSpace,
    free_table,
)
from mmactors.actors.kernel import Kernel
from mmactors.actors.page_alloc import PAGES, free_page_list
from mmactors.actors.rmap_locks import perform_rmap
from mmactors.actors.tlb import flush_tlb_mm_range
from mmactors.engine.cpu import Cpu
from mmactors.engine.guard import Guard, Label, Mode
from mmactors.mm.munmap import UnmapRegion
from mmactors.mm.page_table import LeafRange
from mmactors.mm.tlb_state import TLB_FLUSH_ALL
from mmactors.mm.vma_adjust import unlink_vma
from mmactors.mm.vmstat import NR_ANON_MAPPED, NR_FILE_MAPPED
from mmactors.mm.zap import Words, Zapped, release_pages, zap_pte_range

BEGIN_ZAP: Final = Label("begin zap", ((PAGE_TABLES, Mode.READ), (RSS, Mode.READ)))


async def unmap_region(kernel: Kernel, cpu: Cpu, space: AddressSpace, region: UnmapRegion) -> None:
    """Take away pages and tables (unmap_region: unmap_vmas, free_pgtables, tlb_finish_mmu)."""
    mm = space.mm
    held: list[Words] = []
    zapped = False
    for vma in region.areas:
        zapped |= await _zap(kernel, cpu, space, vma.vm_start, vma.vm_end, held)
    for vma in region.areas:
        await perform_rmap(kernel, space, unlink_vma(vma))
    await kernel.engine.step(FREE_TABLES)
    tables = mm.page_table.free_pgtables(region.areas, floor=region.floor, ceiling=region.ceiling)
    if zapped or tables:
        await flush_tlb_mm_range(
            kernel,
            cpu,
            mm,
            start=region.start,
            end=TLB_FLUSH_ALL if region.full_mm else region.end,
            freed_tables=bool(tables),
        )
    await _release(kernel, cpu, held)
    for table in tables:
        space.forget_table(table.level, table.pfn)
        mm.page_table.release(table)
        await free_table(kernel, cpu, table.pfn)
    if kernel.checks is not None:
        kernel.checks.revoke_completed(mm)


async def zap_page_range(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, start: int, end: int
) -> None:
    """Take away the pages of `[start, end)`, which areas go on mapping (MADV_DONTNEED).

    The caller holds mmap_lock, for reading at least. Return when no CPU can reach the pages.
    """
    held: list[Words] = []
    if await _zap(kernel, cpu, space, start, end, held):
        await flush_tlb_mm_range(kernel, cpu, space.mm, start=start, end=end, freed_tables=False)
    await _release(kernel, cpu, held)
    if kernel.checks is not None:
        kernel.checks.revoke_completed(space.mm)


async def _zap(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, start: int, end: int, held: list[Words]
) -> bool:
    """Clear the entries of `[start, end)`; return whether any was present."""
    engine = kernel.engine
    mm = space.mm
    await engine.step(BEGIN_ZAP)
    mm.update_hiwater_rss()
    zapped = False
    # Nobody frees tables here meanwhile: mmap_lock is held.
    for leaves in list(mm.page_table.leaf_ranges(start, end)):
        async with space.pte_lockptr(leaves.index):
            await engine.step(SET_PTE)
            kernel.fault_context(cpu).sync_mm_rss(mm)
            done = zap_pte_range(mm, kernel.pages, leaves)
            if kernel.checks is not None:
                kernel.checks.revoke(mm, leaves.address, leaves.end)
            if engine.guard.on:
                _check(engine.guard, leaves, done)
            kernel.count_node(cpu, NR_ANON_MAPPED, -done.anon_unmapped)
            kernel.count_node(cpu, NR_FILE_MAPPED, -done.file_unmapped)
            await engine.spend(kernel.costs.zap_page_ns * done.nr_cleared)
        zapped = zapped or done.nr_cleared > 0
        held.append(done.pfns)
    return zapped


def _check(guard: Guard, leaves: LeafRange, done: Zapped) -> None:
    """Hold what compiled code touched against the step's declaration."""
    for index in range(leaves.index, leaves.index + leaves.count):
        guard.check(PAGE_TABLES, index, Mode.WRITE)
    for pfn in done.pfns.tolist():
        guard.check(PAGES, pfn, Mode.WRITE)


async def _release(kernel: Kernel, cpu: Cpu, held: list[Words]) -> None:
    if not held:
        return
    unused = release_pages(kernel.pages, np.concatenate(held)).tolist()
    if unused:
        await free_page_list(kernel, cpu, unused)
