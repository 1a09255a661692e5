"""Taking pages away from a file (mm/truncate.c and mm/memory.c, unmap_mapping_pages, Linux 6.1).

All areas that map the range lose their entries first, then the pages leave the page cache. Where
the file ends now, private copies of its pages go, too (even_cows); a hole leaves them. The caller
holds the inode's i_rwsem for writing where the length changes or a hole is punched. Left out:
zeroing a part of a page; shadow entries; the first pass of truncate_inode_pages_range, which
passes over pages that are locked: here each page is waited for in turn.
"""

from mmactors.actors.alloc.lru_add_drain import free_released, lru_add_drain
from mmactors.actors.alloc.page_alloc import put_and_free_page
from mmactors.actors.entries.unmap import ZapDetails, zap_page_range
from mmactors.actors.file.dcache import free_inode
from mmactors.actors.file.filemap import (
    count_cached,
    find_lock_page,
    find_or_create_page,
    touch_nodes,
)
from mmactors.actors.rmap.rmap import areas_of, place_of
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.inode import Inode
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.pte import PRESENT, SPECIAL, pte_pfn
from mmactors.engine.cpu import Cpu
from mmactors.label import (
    PAGE_CACHE,
    PAGE_TABLES,
    PAGES,
    Label,
    Mode,
    i_count,
    page,
    page_cache,
)
from mmactors.mm.area.mapped_file import MappedFile, Mapping, file_free
from mmactors.mm.fault.dirty import folio_cancel_dirty
from mmactors.mm.page_cache.page_cache import filemap_remove_folio, indices_from, is_evictable
from mmactors.mm.page_cache.shmem import shmem_recalc_inode, shmem_unacct_size
from mmactors.mm.rmap.rmap import is_anon
from mmactors.units import PAGE_SHIFT, PAGE_SIZE


async def truncate_setsize(kernel: Kernel, cpu: Cpu, inode: Inode, size_bytes: int) -> None:
    """Set a file's length and drop what lies behind (truncate_setsize, truncate_pagecache).

    A file on disk does so also where it grows (ext4_setattr): areas that map anything behind its
    new end have nothing there, but each is zapped, and that works off the CPU's batches first.
    Shared memory does not, nor where only a part of its last page goes (shmem_setattr).
    """
    engine = kernel.engine
    mapping = inode.mapping
    if engine.wants_step():
        await engine.step(inode.size_label("set i_size", Mode.WRITE))
    old_bytes, mapping.size_bytes = mapping.size_bytes, size_bytes
    if mapping.is_shmem and size_bytes > old_bytes:
        return
    first = -(-size_bytes >> PAGE_SHIFT)
    is_unmapped = not mapping.is_shmem or old_bytes > first << PAGE_SHIFT
    if is_unmapped:
        await unmap_mapping_pages(kernel, cpu, inode, first, None, even_cows=True)
    await truncate_inode_pages(kernel, cpu, inode, first, None)
    if is_unmapped:
        # Private copies may have been made of pages that were on their way out: they go, too.
        await unmap_mapping_pages(kernel, cpu, inode, first, None, even_cows=True)
    if not mapping.is_shmem and size_bytes <= old_bytes and size_bytes % PAGE_SIZE:
        await _block_truncate_page(kernel, cpu, inode, size_bytes >> PAGE_SHIFT)


async def _block_truncate_page(kernel: Kernel, cpu: Cpu, inode: Inode, index: int) -> None:
    """Have the last page of a file in the cache, whose end is zeroed (ext4_block_truncate_page).

    It comes there even if it is a hole; that there is no memory for it is ignored.
    """
    pfn = await find_or_create_page(kernel, cpu, inode, index)
    if pfn >= 0:
        await kernel.page_locks.unlock(pfn)
        await put_and_free_page(kernel, cpu, pfn)


async def punch_hole(kernel: Kernel, cpu: Cpu, inode: Inode, first: int, end: int) -> None:
    """Free pages `[first, end)` of a file (fallocate, FALLOC_FL_PUNCH_HOLE).

    What processes copied of them is theirs and stays (truncate_pagecache_range, shmem_fallocate).
    """
    async with inode.i_rwsem.write():
        await unmap_mapping_pages(kernel, cpu, inode, first, end, even_cows=False)
        await truncate_inode_pages(kernel, cpu, inode, first, end)


async def fput(kernel: Kernel, cpu: Cpu, file: MappedFile) -> None:
    """Let go of an open file (struct file); the last one gives it back."""
    inode = kernel.file_system.inode_of(file.mapping)
    if kernel.engine.is_exploring:
        label = Label(f"close {file.path}", ((i_count(inode.number), Mode.WRITE),))
        await kernel.engine.step(label)
    is_last = file.put()
    await iput(kernel, cpu, inode)
    if is_last:
        file_free(kernel.objects, file)


async def iput(kernel: Kernel, cpu: Cpu, inode: Inode) -> None:
    """Free a file that has neither a name nor users any more (iput_final, evict)."""
    if not inode.mapping.nr_users:
        shmem_unacct_size(kernel.overcommit, inode.mapping)
        await truncate_setsize(kernel, cpu, inode, 0)
        kernel.file_system.forget(inode.mapping)
        await free_inode(kernel, inode.mapping)


async def evict_unmapped(kernel: Kernel, cpu: Cpu, mapping: Mapping) -> None:
    """Free what the last area let go of: nothing maps it any more."""
    shmem_unacct_size(kernel.overcommit, mapping)
    await truncate_inode_pages(kernel, cpu, kernel.file_system.inode_of(mapping), 0, None)
    kernel.file_system.forget(mapping)
    await free_inode(kernel, mapping)


async def unmap_mapping_pages(
    kernel: Kernel, cpu: Cpu, inode: Inode, first: int, end: int | None, *, even_cows: bool
) -> None:
    """Take pages `[first, end)` of a file out of all areas that map them; None: to the end.

    `even_cows`: private copies of them, too.
    """
    details = ZapDetails(even_cows=even_cows)
    async with inode.i_mmap_rwsem.read():
        for vma in await areas_of(kernel, inode):
            place = await place_of(kernel, vma, first, end)
            if place is not None:
                if kernel.checks is not None:
                    await _check_place(kernel, *place, first, end, details)
                space, start, stop = place
                await zap_page_range(kernel, cpu, space, vma, start, stop, details)


async def _check_place(
    kernel: Kernel,
    space: AddressSpace,
    start: int,
    stop: int,
    first: int,
    end: int | None,
    details: ZapDetails,
) -> None:
    """Assert that only pages `[first, end)` of the file, or private copies of them, go."""
    if kernel.engine.wants_step():
        touches = ((PAGE_TABLES, Mode.READ), (PAGES, Mode.READ))
        await kernel.engine.step(Label("look at what will go", touches))
    table = space.mm.page_table
    for address in range(start, stop, PAGE_SIZE):
        index = table.pte_offset(address)
        entry = 0 if index is None else table.memory.view[index]
        if entry & PRESENT and not entry & SPECIAL:
            pfn = pte_pfn(entry)
            if is_anon(kernel.pages, pfn) and not details.even_cows:
                continue
            page = kernel.pages.index_view[pfn]
            is_meant = first <= page and (end is None or page < end)
            assert is_meant, (
                f"taking away the pages of a file from {first} on, {address:#x} goes, which has "
                f"page {page}: what was written there is lost"
            )


async def truncate_inode_pages(
    kernel: Kernel, cpu: Cpu, inode: Inode, first: int, end: int | None
) -> None:
    """Take pages `[first, end)` out of the page cache; what is dirty in them is lost."""
    engine = kernel.engine
    is_drained = False
    if engine.wants_step():
        await engine.step(Label("find pages", ((page_cache(inode.number), Mode.READ),)))
    for index in indices_from(inode.mapping, first, end):
        pfn = await find_lock_page(kernel, cpu, inode, index)
        if pfn is None:
            continue
        if engine.wants_step():
            await engine.step(Label(f"is {pfn:#x} mapped", ((page(pfn), Mode.READ),)))
        if kernel.shared_pages.mapcount_view[pfn]:
            await unmap_mapping_pages(kernel, cpu, inode, index, index + 1, even_cows=False)
        if engine.wants_step():
            await engine.step(_removal(inode, index, pfn))
        _forget_page(kernel, cpu, inode, index)
        if kernel.checks is not None:
            kernel.checks.file_dropped(inode.mapping, index, index + 1)
        if not is_drained:
            await lru_add_drain(kernel, cpu)  # __pagevec_release
            is_drained = True
        await put_and_free_page(kernel, cpu, pfn)
        await kernel.page_locks.unlock(pfn)
        await put_and_free_page(kernel, cpu, pfn)
    for index in [stored for stored in inode.stored if stored >= first]:
        if end is None or index < end:
            inode.stored.discard(index)
            kernel.frame_words.drop_page(inode.mapping, index)
            if kernel.checks is not None and index not in inode.mapping.pages:
                kernel.checks.file_dropped(inode.mapping, index, index + 1)
    shmem_recalc_inode(kernel.overcommit, inode.mapping)


async def invalidate_mapping_pages(
    kernel: Kernel, cpu: Cpu, inode: Inode, first: int, end: int | None
) -> int:
    """Drop those pages of `[first, end)` that are clean and not in use; return how many were kept.

    Those become the next ones to be reclaimed.
    """
    engine = kernel.engine
    lru = kernel.lru[cpu.index]
    nr_kept = 0
    is_drained = False
    if engine.wants_step():
        await engine.step(Label("find pages", ((page_cache(inode.number), Mode.READ),)))
    for index in indices_from(inode.mapping, first, end):
        pfn = await find_lock_page(kernel, cpu, inode, index)
        if pfn is None:
            continue
        # One step, as the kernel freezes the references: whoever finds the page now finds none.
        if engine.wants_step():
            await engine.step(_removal(inode, index, pfn))
        if is_evictable(kernel.shared_pages, pfn):
            _forget_page(kernel, cpu, inode, index)
            await put_and_free_page(kernel, cpu, pfn)
        else:
            nr_kept += 1
            lru.deactivate_file_page(pfn)
            if lru.released:
                await free_released(kernel, cpu, lru)
        await kernel.page_locks.unlock(pfn)
        if not is_drained:
            await lru_add_drain(kernel, cpu)  # __pagevec_release
            is_drained = True
        await put_and_free_page(kernel, cpu, pfn)
    return nr_kept


async def drop_pagecache(kernel: Kernel, cpu: Cpu) -> None:
    """Drop the clean pages of all files that nobody uses (drop_pagecache_sb, fs/drop_caches.c).

    File systems come in the order in which they were mounted, shared anonymous memory first, and
    the newest file of each first.
    """
    if kernel.engine.wants_step():
        await kernel.engine.step(Label("find files", ((PAGE_CACHE, Mode.READ),)))
    mappings = [mapping for mapping in kernel.file_system.mappings() if mapping.pages]
    mappings.reverse()
    mappings.sort(key=lambda mapping: (not mapping.is_shmem, bool(mapping.inode)))
    for mapping in mappings:
        inode = kernel.file_system.inode_of(mapping)
        mapping.nr_users += 1
        await invalidate_mapping_pages(kernel, cpu, inode, 0, None)
        mapping.nr_users -= 1
        await iput(kernel, cpu, inode)


async def remove_mapping(kernel: Kernel, cpu: Cpu, inode: Inode, index: int) -> bool:
    """Take a locked, isolated page out of the cache if it is clean and nobody else refers to it.

    One step, as the kernel freezes the references (__remove_mapping): whoever looks for the page
    now finds none. Its references are the cache's and the isolation's, and gone then.
    """
    pfn = inode.mapping.pages[index]
    if kernel.engine.wants_step():
        await kernel.engine.step(_removal(inode, index, pfn))
    if not is_evictable(kernel.shared_pages, pfn):
        return False
    _forget_page(kernel, cpu, inode, index)
    kernel.shared_pages.refcount_view[pfn] = 0
    return True


def _removal(inode: Inode, index: int, pfn: int) -> Label:
    touches = (inode.cache_touch(index, Mode.WRITE), (page(pfn), Mode.WRITE))
    return Label(f"remove page {pfn:#x}", touches)


def _forget_page(kernel: Kernel, cpu: Cpu, inode: Inode, index: int) -> None:
    """Take a page out of the cache; what is dirty in it is given up."""
    folio_cancel_dirty(kernel.fault_context(cpu), inode.mapping.pages[index])
    if kernel.engine.is_exploring:
        touch_nodes(kernel, inode, index, is_removed=True)
    pfn = filemap_remove_folio(kernel.objects, kernel.shared_pages, inode.mapping, index)
    count_cached(kernel, cpu, inode, pfn, -1)
