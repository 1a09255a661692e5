"""Advice that makes pages old, frees them lazily, or reads a file ahead (mm/madvise.c, Linux 6.1).

Left out: swap, and reclaiming pages of files.
"""

from functools import partial

from mmactors.actors.alloc.lru_add_drain import free_released, lru_add_drain
from mmactors.actors.entries.change_ptes import change_ptes
from mmactors.actors.fault.page_work import perform_page_work
from mmactors.actors.file.fadvise import vfs_fadvise
from mmactors.actors.file.truncate import fput
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.entries.change_protection import Changed
from mmactors.mm.lru.folio_batch import FolioBatches
from mmactors.mm.page_table.leaf_entries import LeafRange
from mmactors.mm.reclaim.lazyfree import reclaim_pages
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
    match request:
        case madvise.LazyFree():
            text = "free lazily"
            change = partial(_free_lazily, kernel, mm, lru)
        case madvise.Deactivate(pageout=pageout):
            text = "make old"
            change = partial(_make_old, kernel, mm, lru, pageout=pageout)
    await change_ptes(
        kernel, cpu, space, start=request.start, end=request.end, text=text, change=change
    )
    if lru.released:
        await free_released(kernel, cpu, lru)
    if isinstance(request, madvise.Deactivate) and request.pageout:
        context = kernel.fault_context(cpu)
        steps = reclaim_pages(context, mm, start=request.start, end=request.end)
        await perform_page_work(kernel, cpu, space, steps)


def _free_lazily(kernel: Kernel, mm: MmStruct, lru: FolioBatches, leaves: LeafRange) -> Changed:
    changed = madvise_free_pte_range(mm, kernel.shared_pages, leaves, lru)
    if kernel.checks is not None:
        kernel.checks.pages_may_drop(mm, leaves.address, leaves.end)
    return changed


def _make_old(
    kernel: Kernel, mm: MmStruct, lru: FolioBatches, leaves: LeafRange, *, pageout: bool
) -> Changed:
    return madvise_cold_pte_range(mm, kernel.shared_pages, leaves, lru, pageout=pageout)


async def read_ahead(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, request: madvise.ReadAhead
) -> None:
    """Read a part of a file into the page cache, without mmap_lock (madvise_willneed)."""
    mapping = request.file.mapping
    mapping.nr_users += 1  # The area may go meanwhile.
    await space.mmap_lock.release_read()
    await vfs_fadvise(kernel, cpu, request.file, request.offset, request.length, "WILLNEED")
    await fput(kernel, cpu, request.file)
    await space.mmap_lock.acquire_read()
