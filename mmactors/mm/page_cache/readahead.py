"""Which pages of a file are read when one is missing or will be needed (mm/filemap.c, 6.1).

Left out: files that are read in order, marks that start the next read early, huge pages.
"""

from typing import Final

from mmactors.mm.area.vm_flags import VM_RAND_READ

RA_PAGES: Final = 32
"""Pages that are read at once: 128 KiB (VM_READAHEAD_PAGES)."""

IO_PAGES: Final = 320
"""Pages that advice reads at most: what a disk takes at once (bdi->io_pages, 1280 KiB)."""


def forced_window(first: int, end: int, nr_pages: int) -> range:
    """Return which of the pages `[first, end)` are read, in a file of `nr_pages`.

    (force_page_cache_ra, mm/readahead.c.)
    """
    return range(first, min(end, first + max(IO_PAGES, RA_PAGES), nr_pages))


def sync_mmap_window(index: int, nr_pages: int, vm_flags: int = 0) -> range:
    """Return the pages read around one that a fault misses, in a file of `nr_pages`.

    (do_sync_mmap_readahead.) Where reads were said to be at random it is this page only.
    """
    if vm_flags & VM_RAND_READ:
        return range(index, index + 1)
    start = max(0, index - RA_PAGES // 2)
    return range(start, min(start + RA_PAGES, nr_pages))
