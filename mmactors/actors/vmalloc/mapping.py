"""Pages mapped in init_mm, and its tables (mm/vmalloc.c, arch/x86/mm/init_64.c, Linux 6.1).

A new entry of init_mm's top table goes to all address spaces under pgd_lock and the page_table_lock
of each (sync_global_pgds). Tables, once there, stay. Left out: that 6.1 has all of vmalloc's tables
below the top one from boot on (preallocate_vmalloc_pages), so that it never has to do so.
"""

from collections.abc import Sequence
from typing import Final, assert_never

from mmactors.actors.alloc.page_alloc import alloc_pages, free_pages
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.arch.pte import PRESENT, PTRS_PER_TABLE
from mmactors.engine.cpu import Cpu
from mmactors.label import PAGE_TABLES, Label, Mode
from mmactors.mm.page_alloc.alloc_site import PTE_ALLOC_ONE_KERNEL, TABLE_SITES
from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.page_table.page_table import (
    PTE_LEVEL,
    AllocTable,
    FreeTable,
)
from mmactors.mm.vmalloc.kernel_mapping import pgd_index, set_kernel_ptes, sync_pgd, vunmap_range
from mmactors.rules import held
from mmactors.units import PAGE_SHIFT

_READ_PGD: Final = Label("read kernel pgd", ((PAGE_TABLES, Mode.READ),))
_SYNC_PGD: Final = Label("sync pgd", ((PAGE_TABLES, Mode.WRITE),))


async def vmap_pages_range(kernel: Kernel, cpu: Cpu, start: int, pfns: Sequence[int]) -> bool:
    """Map pages of the kernel's own from an address on; False: there was no page for a table.

    Then what was mapped stays so: it is the caller's to take away.
    """
    engine, table = kernel.engine, kernel.init_mm.page_table
    is_done, nr_mapped = True, 0
    new_pgds: list[int] = []
    while nr_mapped < len(pfns):
        address = start + (nr_mapped << PAGE_SHIFT)
        await engine.step(_READ_PGD)
        is_new = not kernel.memory.view[pgd_index(table, address)] & PRESENT
        if is_new:
            new_pgds.append(address)
        index = await _alloc_kernel_tables(kernel, cpu, address)
        if index is None:
            is_done = False
            break
        count = min(len(pfns) - nr_mapped, PTRS_PER_TABLE - index % PTRS_PER_TABLE)
        of_table = pfns[nr_mapped : nr_mapped + count]
        await perform(set_kernel_ptes(table, index, of_table), engine.step)
        nr_mapped += count
    for address in new_pgds:
        await sync_global_pgds(kernel, cpu, address)
    return is_done


async def vunmap_range_noflush(kernel: Kernel, start: int, end: int) -> None:
    """Clear all entries of a range of kernel addresses; what TLBs know stays."""
    table = kernel.init_mm.page_table
    await perform(vunmap_range(table, start, end), kernel.engine.step)


async def sync_global_pgds(kernel: Kernel, cpu: Cpu, address: int) -> None:
    """Copy init_mm's top-level entry for `address` to all address spaces."""
    with held(cpu.irqs_off(), when=not kernel.rules.pgd_lock_keeps_interrupts_on):
        async with kernel.pgd_lock:
            for space in list(kernel.spaces.values()):
                async with space.page_table_lock:
                    await kernel.engine.step(_SYNC_PGD)
                    sync_pgd(space.mm.page_table, kernel.init_mm.page_table, address)


async def _alloc_kernel_tables(kernel: Kernel, cpu: Cpu, address: int) -> int | None:
    """Add the kernel tables missing above an address; return the index of its PTE."""
    lock = kernel.init_mm_lock

    async def answer(request: AllocTable | FreeTable | Label) -> int | None:
        if isinstance(request, Label):
            await kernel.engine.step(request)
            return None
        await lock.release()
        pfn: int | None = None
        match request:
            case AllocTable(level=level):  # The kernel's own tables are in no counter.
                site = PTE_ALLOC_ONE_KERNEL if level == PTE_LEVEL else TABLE_SITES[level - 1]
                pfn = await alloc_pages(kernel, cpu, 0, GFP_KERNEL | GFP_ZERO, site=site)
            case FreeTable(pfn=unused):
                await free_pages(kernel, cpu, unused, 0)
            case _:
                assert_never(request)
        await lock.acquire()
        return pfn

    async with lock:
        return await perform(kernel.init_mm.page_table.alloc(address), answer)
