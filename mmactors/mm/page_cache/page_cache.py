"""The page cache: pages of files, found by index (mm/filemap.c and mm/truncate.c, Linux 6.1).

The cache holds one reference of each of its pages. Who found a page takes another one before it
waits for anything, and looks again afterwards: the page may have left the file meanwhile. Left out:
large folios, shadow entries of evicted pages.

Invariant: a page is in `mapping.pages` at its `index`, and has at least the cache's reference.
"""

from collections.abc import Sequence
from typing import Final

from mmactors.arch.page import PG_DIRTY, PG_SWAPBACKED, PG_UPTODATE, PG_WRITEBACK, PageColumns
from mmactors.mm.area.mapped_file import Mapping

PAGE_MAPPING_STORE: Final = 1 << 2
"""The mapping of a page of a file on disk while the cache has it: it can be written back.

Those of pages in memory only have none, those of anonymous pages are anon_vmas (mm/rmap/rmap.py).
"""


def filemap_add_folio(pages: PageColumns, mapping: Mapping, index: int, pfn: int) -> None:
    """Put a new, filled page into the cache; the caller's reference becomes the cache's.

    Pages of shared memory are those that can be swapped out.
    """
    assert index not in mapping.pages, f"page {index} of {mapping.inode} is cached already"
    pages.flags_view[pfn] |= PG_UPTODATE | (PG_SWAPBACKED if mapping.is_shmem else 0)
    pages.mapping_view[pfn] = 0 if mapping.is_shmem else PAGE_MAPPING_STORE
    pages.index_view[pfn] = index
    mapping.pages[index] = pfn


def filemap_remove_folio(pages: PageColumns, mapping: Mapping, index: int) -> int:
    """Take a page, which the caller has locked, out of the cache; its reference is the caller's.

    It is clean: what was dirty has been written, or is given up (`folio_cancel_dirty`).
    """
    pfn = mapping.pages.pop(index)
    pages.mapping_view[pfn] = 0
    return pfn


def is_of_store(pages: PageColumns, pfn: int) -> bool:
    """Say whether a page can be written back (mapping_can_writeback) and is still in its file."""
    return pages.mapping_view[pfn] == PAGE_MAPPING_STORE


def get_page(pages: PageColumns, pfn: int) -> None:
    """Take one more reference of a page that has some."""
    assert pages.refcount_view[pfn] > 0, f"page {pfn:#x} is free"
    pages.refcount_view[pfn] += 1


def indices_from(mapping: Mapping, first: int, end: int | None) -> Sequence[int]:
    """Return where pages are cached in `[first, end)`, lowest first; None: to the end."""
    return sorted(
        index for index in mapping.pages if first <= index and (end is None or index < end)
    )


def is_evictable(pages: PageColumns, pfn: int) -> bool:
    """Say whether a page may leave the cache and lose nothing (mapping_evict_folio).

    The caller has one reference and the cache another; an entry that maps it would be a third.
    """
    is_clean = not pages.flags_view[pfn] & (PG_DIRTY | PG_WRITEBACK)
    return is_clean and pages.refcount_view[pfn] == 2
