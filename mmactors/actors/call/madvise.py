"""Advice that makes pages old, frees them lazily, or reads a file ahead (mm/madvise.c, Linux 6.1).

Left out: swap.
"""

from functools import partial

from mmactors.actors.alloc.lru_add_drain import free_released, lru_add_drain
from mmactors.actors.entries.change_ptes import finish_changes, gather_changes
from mmactors.actors.entries.mmu_gather import tlb_gather_mmu
from mmactors.actors.fault.page_work import perform_page_work
from mmactors.actors.file.fadvise import vfs_fadvise
from mmactors.actors.file.truncate import fput
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.entries.change_protection import Changed
from mmactors.mm.entries.mmu_gather import MmuGather
from mmactors.mm.lru.folio_batch import FolioBatches
from mmactors.mm.page_table.leaf_entries import LeafRange
from mmactors.mm.reclaim.vmscan import Isolated, reclaim_pages
from mmactors.mm.syscall import madvise
from mmactors.mm.syscall.madvise_pages import madvise_cold_pte_range, madvise_free_pte_range


async def age_pages(
    kernel: Kernel,
    cpu: Cpu,
    space: AddressSpace,
    request: madvise.LazyFree | madvise.Deactivate,
) -> None:
    """Do MADV_FREE, MADV_COLD or MADV_PAGEOUT; the caller holds mmap_lock."""
    mm = space.mm
    lru = kernel.lru[cpu.index]
    await lru_add_drain(kernel, cpu)
    start, end = request.start, request.end
    gather = await tlb_gather_mmu(kernel, mm, start=start, end=end)
    if isinstance(request, madvise.Deactivate) and request.pageout:
        await _pageout(kernel, cpu, space, gather, request)
    else:
        if isinstance(request, madvise.LazyFree):
            text, change = "free lazily", partial(_free_lazily, kernel, mm, lru)
        else:
            text = "make old"
            change = partial(madvise_cold_pte_range, mm, kernel.shared_pages, lru=lru)
        await gather_changes(
            kernel, cpu, space, gather, start=start, end=end, text=text, change=change
        )
    await finish_changes(kernel, cpu, gather)
    if lru.released:
        await free_released(kernel, cpu, lru)


async def _pageout(
    kernel: Kernel,
    cpu: Cpu,
    space: AddressSpace,
    gather: MmuGather,
    request: madvise.Deactivate,
) -> None:
    """Make the entries of one table after another old and reclaim their pages at once.

    What was made old is flushed when all is done (madvise_cold_or_pageout_pte_range).
    """
    mm = space.mm
    table = mm.page_table
    if kernel.engine.wants_step():
        for step in table.find_tables_step(request.start, request.end):
            await kernel.engine.step(step)
    for leaves in list(table.leaf_ranges(request.start, request.end)):
        isolated: list[Isolated] = []
        change = partial(
            madvise_cold_pte_range,
            mm,
            kernel.shared_pages,
            lru=kernel.lru[cpu.index],
            isolated=isolated,
        )
        await gather_changes(
            kernel,
            cpu,
            space,
            gather,
            start=leaves.address,
            end=leaves.end,
            text="isolate pages",
            change=change,
        )
        if isolated:
            steps = reclaim_pages(kernel.fault_context(cpu), mm, request.vma, isolated)
            await perform_page_work(kernel, cpu, space, steps)


def _free_lazily(kernel: Kernel, mm: MmStruct, lru: FolioBatches, leaves: LeafRange) -> Changed:
    changed = madvise_free_pte_range(mm, kernel.shared_pages, leaves, lru)
    if kernel.checks is not None:
        kernel.checks.pages_may_drop(mm, leaves.address, leaves.end)
    return changed


async def read_ahead(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, request: madvise.ReadAhead
) -> None:
    """Read a part of a file into the page cache, without mmap_lock (madvise_willneed)."""
    request.file.get()  # The area may go meanwhile.
    await space.mmap_lock.release_read()
    await vfs_fadvise(kernel, cpu, request.file, request.offset, request.length, "WILLNEED")
    await fput(kernel, cpu, request.file)
    await space.mmap_lock.acquire_read()
