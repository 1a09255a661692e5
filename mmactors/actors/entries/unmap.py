"""Taking pages away: entries, translations, pages, tables, in this order (mm/memory.c, Linux 6.1).

Entries are cleared under the page-table lock, and what they mapped waits in a gather until all CPUs
have forgotten it (actors/entries/mmu_gather.py). If a page of a file could be written, the flush
comes before the lock is let go of: nobody may find the page clean while a CPU can still make it
dirty.
"""

from typing import Final

from attrs import frozen

from mmactors.actors.alloc.lru_add_drain import free_released, lru_add_drain
from mmactors.actors.entries.mmu_gather import (
    free_table_tlb,
    tlb_finish_mmu,
    tlb_flush_mmu,
    tlb_flush_mmu_tlbonly,
    tlb_gather_mmu,
    tlb_remove_pages,
)
from mmactors.actors.rmap.rmap_locks import perform_rmap
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.tlb.tlb import flush_tlb_batched_pending
from mmactors.arch.pte import SPECIAL, pte_pfn
from mmactors.engine.cpu import Cpu
from mmactors.engine.guard import Guard
from mmactors.label import PAGE_TABLES, PAGES, RSS, Label, Mode, page, pte, rss
from mmactors.mm.area.vma import Vma
from mmactors.mm.area.vma_adjust import unlink_vma
from mmactors.mm.entries.mmu_gather import MmuGather
from mmactors.mm.entries.zap import Zapped, zap_pte_range
from mmactors.mm.page_table.leaf_entries import LeafRange
from mmactors.mm.syscall.munmap import UnmapRegion
from mmactors.mm.vmstat import NR_ANON_MAPPED, NR_FILE_MAPPED
from mmactors.units import PAGE_SIZE

FREE_TABLES: Final = Label("free tables", ((PAGE_TABLES, Mode.WRITE),))
BEGIN_ZAP: Final = Label("begin zap", ((PAGE_TABLES, Mode.READ), (RSS, Mode.READ)))
ZAP: Final = Label("zap", ((PAGE_TABLES, Mode.WRITE), (PAGES, Mode.WRITE), (RSS, Mode.ADD)))

_NAMED_ENTRIES: Final = 16
"""Steps that touch more entries name the columns as a whole."""


@frozen(kw_only=True)
class ZapDetails:
    """What is to go when a part of a file is unmapped (struct zap_details)."""

    even_cows: bool
    """Copies that processes wrote to go, too, as where the file ends before them."""


async def unmap_region(kernel: Kernel, cpu: Cpu, space: AddressSpace, region: UnmapRegion) -> None:
    """Take away pages and tables (unmap_region: unmap_vmas, free_pgtables, tlb_finish_mmu).

    The caller holds mmap_lock; the areas are nobody else's any more. For the end of an address
    space it is held for reading, and taken for writing before tables go.
    """
    mm = space.mm
    await lru_add_drain(kernel, cpu)
    gather = await tlb_gather_mmu(
        kernel, mm, start=region.start, end=region.end, full_mm=region.full_mm
    )
    for vma in region.areas:
        await _unmap_page_range(kernel, cpu, space, gather, vma, vma.vm_start, vma.vm_end)
    if region.full_mm:
        await space.mmap_lock.release_read()
        await space.mmap_lock.acquire_write()
    for vma in region.areas:
        await perform_rmap(kernel, space, unlink_vma(vma))
    await kernel.engine.step(FREE_TABLES)
    for table in mm.page_table.free_pgtables(
        region.areas, floor=region.floor, ceiling=region.ceiling
    ):
        space.forget_table(table.level, table.pfn)
        await free_table_tlb(kernel, cpu, gather, table)
    await tlb_finish_mmu(kernel, cpu, gather)
    if kernel.checks is not None:
        kernel.checks.revoke_completed(mm)


async def zap_page_range(
    kernel: Kernel,
    cpu: Cpu,
    space: AddressSpace,
    vma: Vma,
    start: int,
    end: int,
    details: ZapDetails | None = None,
) -> None:
    """Take away the pages of `[start, end)`, which `vma` goes on mapping.

    All of them, as the process itself wants (MADV_DONTNEED), or those of a file that `details`
    names. The caller holds mmap_lock, for reading at least, or the file's i_mmap_rwsem. Return when
    no CPU can reach the pages.
    """
    await lru_add_drain(kernel, cpu)
    gather = await tlb_gather_mmu(kernel, space.mm, start=start, end=end)
    await _unmap_page_range(kernel, cpu, space, gather, vma, start, end, details)
    await tlb_finish_mmu(kernel, cpu, gather)
    if kernel.checks is not None:
        kernel.checks.revoke_completed(space.mm)


async def _unmap_page_range(
    kernel: Kernel,
    cpu: Cpu,
    space: AddressSpace,
    gather: MmuGather,
    vma: Vma,
    start: int,
    end: int,
    details: ZapDetails | None = None,
) -> None:
    """Clear the entries of `[start, end)` in `vma`."""
    engine = kernel.engine
    if engine.is_exploring:
        counters = (rss(space.mm.ctx_id), Mode.READ)
        for step in space.mm.page_table.find_tables_step(start, end, counters):
            await kernel.engine.step(step)
    else:
        await engine.step(BEGIN_ZAP)
    space.mm.update_hiwater_rss()
    # Nobody frees tables here meanwhile: mmap_lock is held.
    for leaves in list(space.mm.page_table.leaf_ranges(start, end)):
        await _zap_pte_range(kernel, cpu, space, gather, vma, leaves, details)


async def _zap_pte_range(
    kernel: Kernel,
    cpu: Cpu,
    space: AddressSpace,
    gather: MmuGather,
    vma: Vma,
    leaves: LeafRange,
    details: ZapDetails | None,
) -> None:
    """Clear the entries of one table; flush early if a batch is full or a page of a file dirty."""
    end = leaves.index + leaves.count
    index = leaves.index
    while index < end:
        must_flush = False
        async with space.pte_lockptr(index):
            await flush_tlb_batched_pending(kernel, cpu, space.mm)
            while index < end:
                rest = LeafRange(
                    leaves.level,
                    leaves.address + (index - leaves.index) * PAGE_SIZE,
                    index,
                    end - index,
                )
                done = await _zap_entries(kernel, cpu, space, gather, vma, rest, details)
                index = done.stopped
                must_flush |= done.was_dirty
                if len(done.pfns) and await tlb_remove_pages(kernel, cpu, gather, done.pfns):
                    must_flush = True
                    break
            if must_flush:
                await tlb_flush_mmu_tlbonly(kernel, cpu, gather)
        if must_flush:
            await tlb_flush_mmu(kernel, cpu, gather)


async def _zap_entries(
    kernel: Kernel,
    cpu: Cpu,
    space: AddressSpace,
    gather: MmuGather,
    vma: Vma,
    leaves: LeafRange,
    details: ZapDetails | None,
) -> Zapped:
    """Clear entries as far as there is room for their pages."""
    engine = kernel.engine
    if engine.wants_step():
        await engine.step(_zap_label(kernel, space, leaves))
    kernel.fault_context(cpu).sync_mm_rss(space.mm)
    even_cows = details is None or details.even_cows
    lru = kernel.lru[cpu.index]
    done = zap_pte_range(
        space.mm,
        kernel.pages,
        leaves,
        zone_node=lru.zone_node,
        room=gather.room,
        even_cows=even_cows,
        vm_flags=vma.vm_flags,
        lru=lru,
    )
    if kernel.checks is not None:
        stop = leaves.address + (done.stopped - leaves.index) * PAGE_SIZE
        kernel.checks.revoke(space.mm, leaves.address, stop)
        if details is None:
            kernel.checks.pages_dropped(space.mm, leaves.address, stop)
        else:
            kernel.checks.file_unmapped(space.mm, leaves.address, stop)
    if engine.guard.on:
        _check(engine.guard, leaves, done)
    for node, unmapped in enumerate(done.unmapped):
        for item, nr_pages in zip((NR_ANON_MAPPED, NR_FILE_MAPPED), unmapped, strict=True):
            if nr_pages:
                kernel.vmstat.mod_node_page_state_each(cpu.index, node, item, -1, nr_pages)
    if done.nr_cleared:
        gather.flush_pte_range(
            leaves.address + (done.first - leaves.index) * PAGE_SIZE,
            leaves.address + (done.last + 1 - leaves.index) * PAGE_SIZE,
        )
        await engine.spend(kernel.costs.zap_page_ns * done.nr_cleared)
    if lru.released:
        await free_released(kernel, cpu, lru)
    return done


def _zap_label(kernel: Kernel, space: AddressSpace, leaves: LeafRange) -> Label:
    """Name the entries and their pages one by one; nobody changes them: the lock is held."""
    if leaves.count > _NAMED_ENTRIES:
        return ZAP
    indices = range(leaves.index, leaves.index + leaves.count)
    entries = [int(kernel.memory.words[index]) for index in indices]
    touches = [(pte(index), Mode.WRITE) for index in indices]
    touches += [
        (page(pte_pfn(entry)), Mode.WRITE) for entry in entries if entry and not entry & SPECIAL
    ]
    touches.append((rss(space.mm.ctx_id), Mode.ADD))
    return Label("zap", tuple(touches))


def _check(guard: Guard, leaves: LeafRange, done: Zapped) -> None:
    """Hold what compiled code touched against the step's declaration."""
    for index in range(leaves.index, done.stopped):
        guard.check(PAGE_TABLES, index, Mode.WRITE)
    for pfn in done.pfns.tolist():
        guard.check(PAGES, pfn, Mode.WRITE)
