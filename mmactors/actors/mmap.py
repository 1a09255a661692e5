"""System calls on the address space: mmap, munmap, brk, and exit (mm/mmap.c, Linux 6.1).

mmap_lock is held for writing. Taking pages away follows mmu_gather (mm/mmu_gather.c): entries are
cleared under the page-table lock, then all CPUs forget them, then the pages are given back, in
batches; the tables that no area needs any more go the same way.
"""

from collections.abc import Callable

from mmactors.actors.address_space import (
    CHANGE_AREAS,
    FREE_TABLES,
    READ_PTE,
    SET_PTE,
    AddressSpace,
    free_table,
)
from mmactors.actors.kernel import Kernel
from mmactors.actors.page_alloc import free_page_list
from mmactors.actors.tlb import flush_tlb_mm_range
from mmactors.arch.pte import SPECIAL
from mmactors.engine.cpu import Cpu
from mmactors.events import VmUnmappedArea
from mmactors.mm.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.mmap import MmapSteps
from mmactors.mm.munmap import UnmapRegion, exit_mmap
from mmactors.mm.unmapped_area import AreaSearched
from mmactors.mm.vmstat import NR_ANON_MAPPED


async def change_mappings(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, steps: Callable[[MmStruct], MmapSteps]
) -> int:
    """Do what `steps` says with mmap_lock held for writing; return its result."""
    async with space.mmap_lock.write():
        await kernel.engine.spend(kernel.costs.mmap_ns)
        return await _perform(kernel, cpu, space, steps(space.mm))


async def exit_mm(kernel: Kernel, cpu: Cpu, space: AddressSpace) -> None:
    """Give everything back when the last thread has ended (exit_mmap, mmdrop)."""
    mm = space.mm
    await change_mappings(kernel, cpu, space, exit_mmap)
    for state in kernel.tlb_states:
        state.leave_mm(mm)
    pgd = mm.page_table.free_pgd()
    mm.page_table.release(pgd)
    await free_table(kernel, cpu, pgd.pfn)


async def _perform(kernel: Kernel, cpu: Cpu, space: AddressSpace, steps: MmapSteps) -> int:
    while True:
        await kernel.engine.step(CHANGE_AREAS)
        try:
            request = next(steps)
        except StopIteration as done:
            result: int = done.value
            return result
        match request:
            case AreaSearched(address=address, length=length, flags=flags):
                if kernel.probe.on:
                    kernel.probe.emit(VmUnmappedArea(address=address, length=length, flags=flags))
            case UnmapRegion():
                await _unmap_region(kernel, cpu, space, request)


async def _unmap_region(kernel: Kernel, cpu: Cpu, space: AddressSpace, region: UnmapRegion) -> None:
    """Take away pages and tables (unmap_region: unmap_vmas, free_pgtables, tlb_finish_mmu)."""
    engine = kernel.engine
    mm = space.mm
    pfns: list[int] = []
    zapped = False
    for vma in region.areas:
        await engine.step(READ_PTE)
        # Nobody adds or frees tables here meanwhile: mmap_lock is held for writing.
        for leaves in list(mm.page_table.leaf_ranges(vma.vm_start, vma.vm_end)):
            async with space.pte_lockptr(leaves.index):
                await engine.step(SET_PTE)
                entries = mm.page_table.clear(leaves)
                owned = entries.pfns[(entries.entries & SPECIAL) == 0].tolist()
                _drop_rmap(kernel, cpu, mm, owned)
                await engine.spend(kernel.costs.zap_page_ns * len(entries))
            zapped = zapped or len(entries) > 0
            pfns += owned
    await engine.step(FREE_TABLES)
    tables = mm.page_table.free_pgtables(region.areas, floor=region.floor, ceiling=region.ceiling)
    if zapped or tables:
        await flush_tlb_mm_range(kernel, cpu, mm, start=region.start, end=region.end)
    if pfns:
        await free_page_list(kernel, cpu, pfns)
    for table in tables:
        space.forget_table(table.level, table.pfn)
        mm.page_table.release(table)
        await free_table(kernel, cpu, table.pfn)


def _drop_rmap(kernel: Kernel, cpu: Cpu, mm: MmStruct, pfns: list[int]) -> None:
    for pfn in pfns:
        kernel.page_mapcount[pfn] = 0
    mm.update_hiwater_rss()
    mm.add_mm_counter(MM_ANONPAGES, -len(pfns))
    kernel.count_node(cpu, NR_ANON_MAPPED, -len(pfns))
