"""Taking pages away: entries, translations, pages, tables, in this order (mm/memory.c, Linux 6.1).

As mmu_gather does it (mm/mmu_gather.c): entries are cleared under the page-table lock, then all
CPUs forget them, then the pages are given back, in batches; the tables that no area needs any
more go the same way.
"""

from mmactors.actors.address_space import (
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
from mmactors.mm.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.munmap import UnmapRegion
from mmactors.mm.vmstat import NR_ANON_MAPPED


async def unmap_region(kernel: Kernel, cpu: Cpu, space: AddressSpace, region: UnmapRegion) -> None:
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
