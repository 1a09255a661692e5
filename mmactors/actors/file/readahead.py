"""Reading pages of a file before they are asked for (mm/readahead.c, mm/filemap.c, Linux 6.1).

Which pages is mm/page_cache/readahead.py. They come into the page cache one after the other, as far
as there is memory. Left out: waiting for the disk, which answers at once, and the lock of pages
that are still being read.
"""

from mmactors.actors.file.filemap import add_new_page, read_page_ahead
from mmactors.actors.file.truncate import fput
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.inode import Inode
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.page import PG_READAHEAD
from mmactors.engine.cpu import Cpu
from mmactors.label import FILE_RA, Label, Mode, page
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.fault.fault import READ_UNLOCKED, ReadPages
from mmactors.mm.page_cache.readahead import (
    Window,
    Windows,
    forced_windows,
    page_cache_async_ra,
    page_cache_sync_ra,
    test_clear_readahead,
)


async def read_pages(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, request: ReadPages
) -> int | None:
    """Read what a fault asks for, without mmap_lock if it says so; return its answer.

    The area may go with the lock, so the file gets one more user (maybe_unlock_mmap_for_io).
    """
    file = request.file
    inode = kernel.file_system.inode_of(file.mapping)
    if request.drops_lock:
        file.get()
        await space.mmap_lock.release_read()
    await _read_windows(kernel, cpu, inode, request.windows, request.size_bytes)
    is_there = await _is_there(kernel, inode, request.index) or not await add_new_page(
        kernel, cpu, inode, request.index
    )
    if request.drops_lock:
        await fput(kernel, cpu, file)
        await space.mmap_lock.acquire_read()
        return READ_UNLOCKED
    return 1 if is_there else None


async def read_ahead_of(
    kernel: Kernel, cpu: Cpu, file: MappedFile, index: int, req_size: int, size_bytes: int
) -> None:
    """Read what is missing from page `index` on, and ahead, for a read of `req_size` pages.

    The caller has seen that the file has `size_bytes`. (page_cache_sync_readahead)
    """
    inode = kernel.file_system.inode_of(file.mapping)
    if kernel.engine.wants_step():
        await kernel.engine.step(_decision(inode, index))
    windows = page_cache_sync_ra(file.f_ra, file.mapping.pages, index, req_size)
    await _read_windows(kernel, cpu, inode, windows, size_bytes)


async def use_mark(
    kernel: Kernel,
    cpu: Cpu,
    file: MappedFile,
    index: int,
    pfn: int,
    req_size: int,
    size_bytes: int,
) -> None:
    """Read the next window if page `index`, of which the caller has a reference, has the mark.

    The caller has seen that the file has `size_bytes`. (filemap_readahead)
    """
    kernel.engine.touch(page(pfn), Mode.READ)
    if not kernel.pages.flags_view[pfn] & PG_READAHEAD:
        return
    inode = kernel.file_system.inode_of(file.mapping)
    if kernel.engine.wants_step():
        decision = _decision(inode, index)
        label = Label(decision.text, (*decision.touches, (page(pfn), Mode.WRITE)))
        await kernel.engine.step(label)
    if test_clear_readahead(kernel.shared_pages, pfn):
        windows = page_cache_async_ra(file.f_ra, file.mapping.pages, index, req_size)
        await _read_windows(kernel, cpu, inode, windows, size_bytes)


async def force_page_cache_readahead(
    kernel: Kernel, cpu: Cpu, file: MappedFile, first: int, nr_pages: int
) -> None:
    """Read what is missing of some pages of a file because a program said so.

    Shared memory has nothing that could be read.
    """
    if not file.mapping.is_shmem:
        inode = kernel.file_system.inode_of(file.mapping)
        if kernel.engine.wants_step():
            await kernel.engine.step(inode.size_label("read i_size", Mode.READ))
        windows = forced_windows(file.f_ra, first, nr_pages)
        await _read_windows(kernel, cpu, inode, windows, file.mapping.size_bytes)


async def _read_windows(
    kernel: Kernel, cpu: Cpu, inode: Inode, windows: Windows, size_bytes: int
) -> None:
    for window in windows:
        await _read_window(kernel, cpu, inode, window, size_bytes)


async def _read_window(
    kernel: Kernel, cpu: Cpu, inode: Inode, window: Window, size_bytes: int
) -> None:
    """Read pages that are missing, up to the end of the file or of memory (do_page_cache_ra).

    The kernel looks at the length once more here.
    """
    inside = window.within(size_bytes)
    if inside is None:
        return
    mark = inside.mark()
    for index in range(inside.start, inside.start + inside.size):
        if await _is_there(kernel, inode, index):
            continue
        if not await read_page_ahead(kernel, cpu, inode, index, is_marked=index == mark):
            return


async def _is_there(kernel: Kernel, inode: Inode, index: int) -> bool:
    if kernel.engine.wants_step():
        look = Label(f"look for page {index}", (inode.cache_touch(index, Mode.READ),))
        await kernel.engine.step(look)
    return index in inode.mapping.pages


def _decision(inode: Inode, index: int) -> Label:
    touches = (inode.cache_touch(index, Mode.READ), (FILE_RA, Mode.WRITE))
    return Label(f"read ahead of page {index}", touches)
