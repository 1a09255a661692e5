"""The page cache: pages of files, found by index (mm/filemap.c and mm/truncate.c, Linux 6.1).

The cache holds one reference of each of its pages. Who found a page takes another one before it
waits for anything, and looks again afterwards: the page may have left the file meanwhile. Left out:
large folios, shadow entries of evicted pages.

The nodes in which pages lie are objects. They are made of what the CPU has at hand, with the lock
of the tree held; when there is nothing, one is asked for without it, and who asked looks again.

Invariant: a page is in `mapping.pages` at its `index`, and has at least the cache's reference.
"""

from collections.abc import Generator, Sequence
from typing import Final

from mmactors.arch.page import PG_DIRTY, PG_SWAPBACKED, PG_UPTODATE, PG_WRITEBACK, PageColumns
from mmactors.mm.area.mapped_file import Mapping
from mmactors.mm.page_alloc.gfp import GFP_ACCOUNT, GFP_NOWAIT, GFP_NOWARN, GFP_RECLAIM_MASK
from mmactors.mm.slab.alloc_site import XAS_ALLOC, XAS_NOMEM
from mmactors.mm.slab.kernel_caches import RADIX_TREE_NODE
from mmactors.mm.slab.object_cache import (
    AllocObject,
    ObjectCaches,
    ObjectRequest,
    kmem_cache_alloc,
    kmem_cache_free,
)
from mmactors.mm.xarray import NO_NODE

PAGE_MAPPING_STORE: Final = 1 << 2
"""The mapping of a page of a file on disk while the cache has it: it can be written back.

Those of pages in memory only have none, those of anonymous pages are anon_vmas (mm/rmap/rmap.py).
"""

_GFP_LOCKED: Final = GFP_NOWAIT | GFP_NOWARN | GFP_ACCOUNT
"""For nodes while the lock of the tree is held: nothing is waited for."""


def xas_create(caches: ObjectCaches, mapping: Mapping, index: int) -> bool:
    """Make the nodes that page `index` lacks of what this CPU has at hand; say whether all are."""
    i_pages = mapping.i_pages
    while i_pages.missing(index) != NO_NODE:
        thing = caches.alloc_local(RADIX_TREE_NODE, XAS_ALLOC, _GFP_LOCKED)
        if not thing:
            return False
        i_pages.add_node(index, thing)
    return True


def xas_nomem(
    caches: ObjectCaches, mapping: Mapping, index: int, gfp: int
) -> Generator[ObjectRequest, int | None, bool]:
    """Make one node more for page `index`; end with False: there is no memory.

    Nothing is waited for at first, then as `gfp` says, that of the page. The nodes above are there
    already and stay if there is no memory: as in 6.1, nobody takes empty ones away (clear_inode,
    fs/inode.c).
    """
    thing = yield AllocObject(cache=RADIX_TREE_NODE, site=XAS_ALLOC, gfp=_GFP_LOCKED)
    if not thing:
        gfp = gfp & GFP_RECLAIM_MASK | GFP_ACCOUNT
        thing = yield from kmem_cache_alloc(caches, RADIX_TREE_NODE, XAS_NOMEM, gfp)
        if not thing:
            return False
    if mapping.i_pages.missing(index) == NO_NODE:
        # Others have made it meanwhile (xas_destroy).
        yield from kmem_cache_free(caches, RADIX_TREE_NODE, thing, "xas_destroy")
    else:
        mapping.i_pages.add_node(index, thing)
    return True


def filemap_add_folio(pages: PageColumns, mapping: Mapping, index: int, pfn: int) -> None:
    """Put a new, filled page into the cache; the caller's reference becomes the cache's.

    Pages of shared memory are those that can be swapped out. No node is missing (`xas_create`).
    """
    assert index not in mapping.pages, f"page {index} of {mapping.inode} is cached already"
    pages.flags_view[pfn] |= PG_UPTODATE | (PG_SWAPBACKED if mapping.is_shmem else 0)
    pages.mapping_view[pfn] = 0 if mapping.is_shmem else PAGE_MAPPING_STORE
    pages.index_view[pfn] = index
    mapping.pages[index] = pfn
    mapping.i_pages.store(index)


def filemap_remove_folio(
    caches: ObjectCaches, pages: PageColumns, mapping: Mapping, index: int
) -> int:
    """Take a page, which the caller has locked, out of the cache; its reference is the caller's.

    It is clean: what was dirty has been written, or is given up (`folio_cancel_dirty`). Who looks
    for pages may still be in the nodes that go with it.
    """
    pfn = mapping.pages.pop(index)
    for thing in filter(None, mapping.i_pages.erase(index)):
        caches.free_by_rcu(RADIX_TREE_NODE, thing, "radix_tree_node_rcu_free")
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
