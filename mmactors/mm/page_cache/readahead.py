"""Which pages of a file are read when one is missing (mm/filemap.c, Linux 6.1).

Left out: files that are read in order, marks that start the next read early, huge pages.
"""

from typing import Final

RA_PAGES: Final = 32
"""Pages that are read at once: 128 KiB (VM_READAHEAD_PAGES)."""


def sync_mmap_window(index: int, nr_pages: int) -> range:
    """Return the pages read around one that a fault misses, in a file of `nr_pages`.

    (do_sync_mmap_readahead, of an area that nobody advised about.)
    """
    start = max(0, index - RA_PAGES // 2)
    return range(start, min(start + RA_PAGES, nr_pages))
