"""Advice about a range of a file (mm/fadvise.c, Linux 6.1).

Left out: that DONTNEED begins to write dirty pages, which it does not wait for.
"""

from typing import Final

from mmactors.actors.alloc.lru_add_drain import lru_add_drain, lru_add_drain_all
from mmactors.actors.file.readahead import force_page_cache_readahead
from mmactors.actors.file.truncate import invalidate_mapping_pages
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.label import FILE_RA, Label, Mode
from mmactors.mm.area.mapped_file import RA_PAGES, MappedFile
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_INDEX_END: Final = 1 << (64 - PAGE_SHIFT)
"""Behind all pages that a file can have."""


async def vfs_fadvise(
    kernel: Kernel, cpu: Cpu, file: MappedFile, offset: int, length: int, advice: str
) -> int:
    """Take POSIX_FADV_`advice` about bytes from `offset` on, all if `length` is 0; return 0.

    A file in memory takes any, and does nothing. (generic_fadvise)
    """
    mapping = file.mapping
    if mapping.is_shmem:
        return 0
    if advice in ("NORMAL", "RANDOM", "SEQUENTIAL"):
        if kernel.engine.wants_step():
            await kernel.engine.step(Label(f"advise {advice}", ((FILE_RA, Mode.WRITE),)))
        file.f_ra.is_random = advice == "RANDOM"
        if advice != "RANDOM":
            file.f_ra.ra_pages = RA_PAGES * (2 if advice == "SEQUENTIAL" else 1)
        return 0
    inode = kernel.file_system.inode_of(mapping)
    end = offset + length if length else None
    if advice == "WILLNEED":
        first = offset >> PAGE_SHIFT
        stop = _INDEX_END if end is None else -(-end >> PAGE_SHIFT)
        await force_page_cache_readahead(kernel, cpu, file, first, stop - first)
    elif advice == "DONTNEED":
        first = -(-offset >> PAGE_SHIFT)
        if end is not None and end % PAGE_SIZE:
            if kernel.engine.wants_step():
                await kernel.engine.step(inode.size_label("read i_size", Mode.READ))
            # A part of a page stays, unless it is the last that the file has.
            end += PAGE_SIZE - 1 if end == mapping.size_bytes else 0
        stop_page = None if end is None else end >> PAGE_SHIFT
        await lru_add_drain(kernel, cpu)
        if await invalidate_mapping_pages(kernel, cpu, inode, first, stop_page):
            # Batches of other CPUs may have held them.
            await lru_add_drain_all(kernel, cpu)
            await invalidate_mapping_pages(kernel, cpu, inode, first, stop_page)
    return 0
