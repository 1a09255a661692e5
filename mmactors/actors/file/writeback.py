"""Writing dirty pages of a file to its store (mm/page-writeback.c and mm/rmap.c, Linux 6.1).

A page is locked, and made clean and read-only in all entries that map it, before its contents are
written: who writes to it afterwards faults and makes it dirty again. Left out: flusher threads,
throttling of writers, waiting for disks: a page is on disk when it has been written.
"""

from typing import Final

from mmactors.actors.alloc.lru_add_drain import lru_add_drain
from mmactors.actors.alloc.page_alloc import put_and_free_page
from mmactors.actors.file.filemap import find_lock_page
from mmactors.actors.rmap.rmap import areas_of, place_of
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.inode import Inode
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.tlb.tlb import flush_tlb_page
from mmactors.arch.page import PG_DIRTY
from mmactors.arch.pte import DIRTY, PRESENT, RW, pte_pfn
from mmactors.engine.cpu import Cpu
from mmactors.label import PAGE_TABLES, Label, Mode, data, i_size, page, page_cache, pte
from mmactors.mm.fault.dirty import folio_clear_dirty_for_io, folio_end_writeback
from mmactors.mm.page_cache.page_cache import indices_from
from mmactors.mm.vmstat import PGPGOUT, SECTORS_PER_PAGE
from mmactors.units import PAGE_SIZE

_READ_TABLES: Final = Label("walk tables", ((PAGE_TABLES, Mode.READ),))


async def vfs_fsync_range(
    kernel: Kernel, cpu: Cpu, inode: Inode, first: int = 0, end: int | None = None
) -> None:
    """Write the dirty pages `[first, end)` of a file, up to its end; None: all.

    Return when they are on disk (file_write_and_wait_range).
    """
    if inode.mapping.is_shmem:
        return  # noop_fsync: tmpfs has no store
    engine = kernel.engine
    if engine.wants_step():
        number = inode.number
        touches = ((page_cache(number), Mode.READ), (i_size(number), Mode.READ))
        await engine.step(Label("find pages", touches))
    is_written = False
    stop = inode.mapping.nr_pages if end is None else min(end, inode.mapping.nr_pages)
    for index in indices_from(inode.mapping, first, stop):
        pfn = await find_lock_page(kernel, cpu, inode, index)
        if pfn is None:
            continue
        if engine.wants_step():
            await engine.step(Label(f"is {pfn:#x} dirty", ((page(pfn), Mode.READ),)))
        if kernel.shared_pages.flags_view[pfn] & PG_DIRTY:
            await _write_page(kernel, cpu, inode, index, pfn)
            is_written = True
        await kernel.page_locks.unlock(pfn)
        await put_and_free_page(kernel, cpu, pfn)
    if is_written:
        await lru_add_drain(kernel, cpu)  # __pagevec_release


async def _write_page(kernel: Kernel, cpu: Cpu, inode: Inode, index: int, pfn: int) -> None:
    """Write a locked page, if it is still dirty."""
    engine = kernel.engine
    await page_mkclean(kernel, cpu, inode, index, pfn)
    if engine.wants_step():
        await engine.step(Label(f"clear dirty {pfn:#x}", ((page(pfn), Mode.WRITE),)))
    context = kernel.fault_context(cpu)
    if not folio_clear_dirty_for_io(context, pfn):
        return
    if engine.wants_step():
        touches = ((data(pfn), Mode.READ), inode.store_touch(index, Mode.WRITE))
        await engine.step(Label(f"write page {pfn:#x}", touches))
    kernel.frame_words.write_page(pfn, inode.mapping, index)
    if kernel.checks is not None:
        kernel.checks.page_written(pfn, inode.mapping, index)
    inode.stored.add(index)
    kernel.count_event(cpu, PGPGOUT, SECTORS_PER_PAGE)
    folio_end_writeback(context, pfn)


async def page_mkclean(kernel: Kernel, cpu: Cpu, inode: Inode, index: int, pfn: int) -> None:
    """Make all entries of a locked page clean and read-only, in all address spaces."""
    async with inode.i_mmap_rwsem.read():
        for vma in await areas_of(kernel, inode):
            place = await place_of(kernel, vma, index, index + 1)
            if place is not None:
                await _page_mkclean_one(kernel, cpu, *place[:2], pfn)


async def _page_mkclean_one(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, address: int, pfn: int
) -> None:
    engine = kernel.engine
    view = kernel.memory.view
    if engine.wants_step():
        await engine.step(_READ_TABLES)
    index = space.mm.page_table.pte_offset(address)
    if index is None:
        return
    lock = space.pte_lockptr(index)
    async with lock:
        set_pte = Label(f"mkclean {address:#x}", ((pte(index), Mode.WRITE),))
        if engine.wants_step():
            await engine.step(set_pte)
        entry = view[index]
        is_writable = entry & PRESENT and pte_pfn(entry) == pfn and entry & (DIRTY | RW)
        if is_writable:
            # It goes away until all CPUs have forgotten it, so that none sets its dirty bit.
            view[index] = 0
        if kernel.checks is not None:
            kernel.checks.revoke(space.mm, address, address + PAGE_SIZE)
        if is_writable:
            await flush_tlb_page(kernel, cpu, space.mm, address)
            if engine.wants_step():
                await engine.step(set_pte)
            view[index] = entry & ~(DIRTY | RW)
    if kernel.checks is not None:
        kernel.checks.revoke_completed(space.mm)
