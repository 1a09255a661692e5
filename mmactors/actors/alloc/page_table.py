"""Pages for page tables: allocated, counted, freed (include/linux/mm.h, Linux 6.1)."""

from mmactors.actors.alloc.page_alloc import alloc_pages, free_pages
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.page import PG_TABLE
from mmactors.engine.cpu import Cpu
from mmactors.mm.page_alloc.alloc_site import PGD_ALLOC, TABLE_SITES
from mmactors.mm.page_alloc.gfp import GFP_PGTABLE_USER
from mmactors.mm.page_table.page_table import PMD_LEVEL
from mmactors.mm.vmstat import NR_PAGETABLE


async def alloc_table(kernel: Kernel, cpu: Cpu, level: int) -> int | None:
    """Allocate and zero the frame of a page table."""
    is_top = level == kernel.hardware.config.levels
    site = PGD_ALLOC if is_top else TABLE_SITES[level - 1]
    pfn = await alloc_pages(kernel, cpu, 0, GFP_PGTABLE_USER, site=site)
    if pfn is not None:
        await kernel.engine.spend(kernel.costs.clear_page_ns)
        kernel.pages.flags_view[pfn] |= PG_TABLE
        if level <= PMD_LEVEL:
            kernel.count_page(cpu, pfn, NR_PAGETABLE, 1)
    return pfn


async def free_table(kernel: Kernel, cpu: Cpu, pfn: int, level: int) -> None:
    """Give the frame of a page table back that no walker can have seen."""
    page_table_dtor(kernel, cpu, pfn, level)
    await free_pages(kernel, cpu, pfn, 0)


def page_table_dtor(kernel: Kernel, cpu: Cpu, pfn: int, level: int) -> None:
    """Count a page table no more; its frame is given back later (pgtable_pte_page_dtor).

    Only PTE and PMD tables are counted: those above have no constructor.
    """
    kernel.pages.flags_view[pfn] &= ~PG_TABLE
    if level <= PMD_LEVEL:
        kernel.count_page(cpu, pfn, NR_PAGETABLE, -1)
