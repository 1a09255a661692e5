"""Finding, adding and reading pages of a file (mm/filemap.c and mm/shmem.c, Linux 6.1).

Who finds a page takes a reference before it looks again whether the page is still there, and locks
it before it relies on that. Left out: partial pages.
"""

import errno

from mmactors.actors.alloc.lru_add_drain import free_released
from mmactors.actors.alloc.page_alloc import (
    alloc_pages,
    free_pages,
    put_and_free_page,
)
from mmactors.actors.state.inode import Inode
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.arch.page import PG_READAHEAD
from mmactors.engine.cpu import Cpu
from mmactors.label import Label, Mode, page, page_nodes
from mmactors.mm.page_alloc.alloc_site import FILEMAP_ALLOC_FOLIO, SHMEM_ALLOC_FOLIO
from mmactors.mm.page_alloc.gfp import GFP_HIGHUSER_MOVABLE, GFP_READAHEAD
from mmactors.mm.page_cache.page_cache import (
    filemap_add_folio,
    get_page,
    xas_create,
    xas_nomem,
)
from mmactors.mm.page_cache.shmem import (
    shmem_inode_acct_block,
    shmem_inode_unacct_block,
    shmem_recalc_inode,
)
from mmactors.mm.vmstat import NR_FILE_PAGES, NR_SHMEM, PGPGIN, SECTORS_PER_PAGE
from mmactors.mm.xarray import NO_NODE
from mmactors.units import PAGE_SIZE


async def find_get_page(kernel: Kernel, cpu: Cpu, inode: Inode, index: int) -> int | None:
    """Return a cached page with one more reference; None: it is not cached (mapping_get_entry)."""
    engine = kernel.engine
    cached = inode.mapping.pages
    while True:
        if engine.wants_step():
            await engine.step(_look(inode, index))
        pfn = cached.get(index)
        if pfn is None:
            return None
        if engine.wants_step():
            await engine.step(Label(f"get page {pfn:#x}", ((page(pfn), Mode.WRITE),)))
        if not kernel.shared_pages.refcount_view[pfn]:
            continue
        get_page(kernel.shared_pages, pfn)
        if engine.wants_step():
            await engine.step(_look(inode, index))
        if cached.get(index) == pfn:
            return pfn
        await put_and_free_page(kernel, cpu, pfn)


async def find_lock_page(kernel: Kernel, cpu: Cpu, inode: Inode, index: int) -> int | None:
    """Return a cached page, referenced and locked; None: it is not cached (FGP_LOCK)."""
    while True:
        pfn = await find_get_page(kernel, cpu, inode, index)
        if pfn is None:
            return None
        await kernel.page_locks.lock(pfn)
        if await is_cached(kernel, inode, index, pfn):
            return pfn
        await kernel.page_locks.unlock(pfn)
        await put_and_free_page(kernel, cpu, pfn)


async def is_cached(kernel: Kernel, inode: Inode, index: int, pfn: int) -> bool:
    """Say whether a page, which the caller has locked, is still in its place."""
    if kernel.engine.wants_step():
        await kernel.engine.step(_look(inode, index))
    return inode.mapping.pages.get(index) == pfn


async def find_or_create_page(kernel: Kernel, cpu: Cpu, inode: Inode, index: int) -> int:
    """Return a page of a file, referenced and locked, filled if it is new; minus the errno: none.

    The errors are those of `add_new_page`.
    """
    while True:
        pfn = await find_lock_page(kernel, cpu, inode, index)
        if pfn is not None:
            return pfn
        error = await add_new_page(kernel, cpu, inode, index)
        if error:
            return error


async def add_new_page(kernel: Kernel, cpu: Cpu, inode: Inode, index: int) -> int:
    """Bring a page into the cache, unless somebody was faster; return 0 or minus the errno.

    It comes from disk, or is zeroed. ENOSPC: no more shared memory may be promised; ENOMEM: there
    is no page, or no node for it.
    """
    gfp = GFP_HIGHUSER_MOVABLE
    if not inode.mapping.is_shmem:
        return min(0, await _add_page(kernel, cpu, inode, index, gfp))
    mm, mapping = kernel.fault_context(cpu).task.mm, inode.mapping
    assert mm is not None, "who reads or writes files has an address space"
    if not shmem_inode_acct_block(mm, mapping):
        return -errno.ENOSPC
    nr_added = await _add_page(kernel, cpu, inode, index, gfp)
    if nr_added > 0:
        mapping.alloced += 1
        shmem_recalc_inode(kernel.overcommit, mapping)
    else:
        shmem_inode_unacct_block(kernel.overcommit, mapping)
    return min(0, nr_added)


async def read_page_ahead(
    kernel: Kernel, cpu: Cpu, inode: Inode, index: int, *, is_marked: bool
) -> bool:
    """Bring a page that nobody waits for from disk into the cache; False: there is no page.

    `is_marked`: its use lets the next pages be read. If there is no memory for a node, it stays
    away, and others may be read (page_cache_ra_unbounded).
    """
    pfn = await alloc_pages(kernel, cpu, 0, GFP_READAHEAD, site=FILEMAP_ALLOC_FOLIO)
    if pfn is None:
        return False
    await _add_folio(kernel, cpu, inode, index, pfn, GFP_READAHEAD, is_marked=is_marked)
    return True


async def _add_page(kernel: Kernel, cpu: Cpu, inode: Inode, index: int, gfp: int) -> int:
    """Add a page; return 1, 0 if somebody was faster, or -ENOMEM."""
    site = SHMEM_ALLOC_FOLIO if inode.mapping.is_shmem else FILEMAP_ALLOC_FOLIO
    pfn = await alloc_pages(kernel, cpu, 0, gfp, site=site)
    if pfn is None:
        return -errno.ENOMEM
    return await _add_folio(kernel, cpu, inode, index, pfn, gfp)


async def _add_folio(
    kernel: Kernel,
    cpu: Cpu,
    inode: Inode,
    index: int,
    pfn: int,
    gfp: int,
    *,
    is_marked: bool = False,
) -> int:
    """Add a page that was allocated as `gfp` says, or free it; return as `_add_page` does.

    ENOMEM: there is no memory for a node.
    """
    engine, mapping, caches = kernel.engine, inode.mapping, kernel.objects
    await engine.spend(kernel.costs.clear_page_ns)
    if engine.wants_step():
        touches = (inode.store_touch(index, Mode.READ), (page(pfn), Mode.WRITE))
        await engine.step(Label(f"fill page {pfn:#x}", touches))
    _fill(kernel, cpu, inode, index, pfn)
    while True:
        if engine.wants_step():
            touches = (inode.cache_touch(index, Mode.WRITE), (page(pfn), Mode.WRITE))
            await engine.step(Label(f"add page {pfn:#x}", touches))
        if index in mapping.pages:
            error = 0
            break
        if engine.is_exploring:
            touch_nodes(kernel, inode, index)
        if xas_create(caches, mapping, index):
            filemap_add_folio(kernel.shared_pages, mapping, index, pfn)
            if is_marked:
                kernel.shared_pages.flags_view[pfn] |= PG_READAHEAD
            count_cached(kernel, cpu, inode, pfn, 1)
            lru = kernel.lru[cpu.index]
            lru.add_page(pfn)
            if lru.released:
                await free_released(kernel, cpu, lru)
            return 1
        if not await perform(xas_nomem(caches, mapping, index, gfp), caches.answer):
            error = -errno.ENOMEM
            break
    await free_pages(kernel, cpu, pfn, 0)
    return error


def touch_nodes(kernel: Kernel, inode: Inode, index: int, *, is_removed: bool = False) -> None:
    """Tell a search which nodes the running step touches that adds or removes a page.

    Who comes first makes them, who goes last takes them away. What has no nodes touches none.
    """
    i_pages = inode.mapping.i_pages
    if i_pages.has_node(index):
        mode = Mode.WRITE if is_removed else Mode.READ
    elif not is_removed and i_pages.missing(index) != NO_NODE:
        mode = Mode.WRITE
    else:
        return
    kernel.engine.touch(page_nodes(inode.number), mode)


async def mark_page_accessed(kernel: Kernel, cpu: Cpu, pfn: int) -> None:
    """Note in the running step that a page of a file was used (folio_mark_accessed)."""
    lru = kernel.lru[cpu.index]
    lru.mark_accessed(pfn)
    if lru.released:
        await free_released(kernel, cpu, lru)


def count_cached(kernel: Kernel, cpu: Cpu, inode: Inode, pfn: int, delta: int) -> None:
    """Count a page that came into the page cache (1), or left it (-1)."""
    kernel.count_page(cpu, pfn, NR_FILE_PAGES, delta)
    if inode.mapping.is_shmem:
        kernel.count_page(cpu, pfn, NR_SHMEM, delta)


def _fill(kernel: Kernel, cpu: Cpu, inode: Inode, index: int, pfn: int) -> None:
    """Let a new page hold what the file has there: a hole is not read (submit_bio)."""
    if index in inode.stored:
        kernel.count_event(cpu, PGPGIN, SECTORS_PER_PAGE)
        kernel.fault_context(cpu).task.ioac.read_bytes += PAGE_SIZE
    kernel.frame_words.read_page(pfn, inode.mapping, index)
    if kernel.checks is not None:
        kernel.checks.page_read(pfn, inode.mapping, index)


def _look(inode: Inode, index: int) -> Label:
    return Label(f"find page {index}", (inode.cache_touch(index, Mode.READ),))
