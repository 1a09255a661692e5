"""Who maps a page: counts and the anon-exclusive mark (mm/rmap.c, include/linux/rmap.h, Linux 6.1).

The mapping of a page of anonymous memory is the number of its anon_vma above two bits, of which
PAGE_MAPPING_ANON is set; its index is its place in that anon_vma's areas. Each entry that maps a
page holds one reference of it, the page cache another. Left out: huge pages; KSM.

Invariant: mapcount is the number of entries that map the page, and at most refcount.
"""

from typing import Final

from mmactors.arch.page import (
    PG_DIRTY,
    PG_IDLE,
    PG_READAHEAD,
    PG_SWAPBACKED,
    PG_UPTODATE,
    PG_YOUNG,
    PageColumns,
)
from mmactors.mm.area.mm_struct import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES
from mmactors.mm.area.vma import Vma
from mmactors.units import PAGE_SHIFT

PG_ANON_EXCLUSIVE: Final = 1 << 17
"""Only one process can reach the page, so that it is written without a copy (PG_mappedtodisk)."""
PAGE_MAPPING_ANON: Final = 1
_ANON_VMA_SHIFT: Final = 2
_NEW_ANON: Final = PG_SWAPBACKED | PG_ANON_EXCLUSIVE
GUP_PIN_COUNTING_BIAS: Final = 1 << 10
"""How many references one pin of a device is."""


def is_anon(pages: PageColumns, pfn: int) -> bool:
    """Say whether the page is anonymous memory (PageAnon)."""
    return pages.mapping_view[pfn] & PAGE_MAPPING_ANON != 0


def mm_counter(pages: PageColumns, pfn: int) -> int:
    """Return which rss counter the page belongs to."""
    if is_anon(pages, pfn):
        return MM_ANONPAGES
    return MM_SHMEMPAGES if pages.flags_view[pfn] & PG_SWAPBACKED else MM_FILEPAGES


def anon_mapping(vma: Vma) -> int:
    """Return the mapping of a page that belongs to the area's anon_vma."""
    assert vma.anon_vma is not None, f"{vma} has pages before it has an anon_vma"
    return vma.anon_vma.number << _ANON_VMA_SHIFT | PAGE_MAPPING_ANON


def anon_vma_number(mapping: int) -> int:
    """Return the number of the anon_vma in the mapping of an anonymous page."""
    return mapping >> _ANON_VMA_SHIFT


def vma_address(pages: PageColumns, pfn: int, vma: Vma) -> int | None:
    """Return where an area of the page's anon_vma or file maps it; None: it does not."""
    offset = pages.index_view[pfn] - vma.vm_pgoff
    if 0 <= offset < vma.nr_pages:
        return vma.vm_start + (offset << PAGE_SHIFT)
    return None


def page_add_new_anon_rmap(pages: PageColumns, pfn: int, vma: Vma, address: int) -> None:
    """Make a new page mapped anonymous memory; the caller's reference becomes the entry's."""
    anon_vma = vma.anon_vma
    assert anon_vma is not None, f"{vma} has pages before it has an anon_vma"
    # anon_mapping and linear_page_index, written out: nearly all faults come here.
    pages.mapping_view[pfn] = anon_vma.number << _ANON_VMA_SHIFT | PAGE_MAPPING_ANON
    pages.index_view[pfn] = vma.vm_pgoff + ((address - vma.vm_start) >> PAGE_SHIFT)
    pages.flags_view[pfn] |= _NEW_ANON
    pages.mapcount_view[pfn] = 1


def page_add_file_rmap(pages: PageColumns, pfn: int) -> bool:
    """Count one more entry that maps a page of a file; say whether it is the first one."""
    pages.refcount_view[pfn] += 1
    mapcount = pages.mapcount_view[pfn]
    pages.mapcount_view[pfn] = mapcount + 1
    return mapcount == 0


def page_dup_file_rmap(pages: PageColumns, pfn: int) -> None:
    """Count the entry of a forked child."""
    pages.refcount_view[pfn] += 1
    pages.mapcount_view[pfn] += 1


def page_try_dup_anon_rmap(pages: PageColumns, pfn: int, *, has_pinned: bool) -> bool:
    """Count the entry of a forked child, to whom the page then belongs, too; False: it must not.

    What a device may have pinned stays the parent's own. `has_pinned`: the parent ever pinned.
    """
    if pages.flags_view[pfn] & PG_ANON_EXCLUSIVE:
        if has_pinned and page_maybe_dma_pinned(pages, pfn):
            return False
        pages.flags_view[pfn] &= ~PG_ANON_EXCLUSIVE
    page_dup_file_rmap(pages, pfn)
    return True


def page_maybe_dma_pinned(pages: PageColumns, pfn: int) -> bool:
    """Say whether a device may have the page pinned; many references look like a pin."""
    return pages.refcount_view[pfn] >= GUP_PIN_COUNTING_BIAS


def page_move_anon_rmap(pages: PageColumns, pfn: int, vma: Vma) -> None:
    """Make an anonymous page its last user's own: walks begin there, not at an ancestor's."""
    pages.mapping_view[pfn] = anon_mapping(vma)
    pages.flags_view[pfn] |= PG_ANON_EXCLUSIVE


def page_remove_rmap(pages: PageColumns, pfn: int) -> bool:
    """Take back an entry's count, not its reference; say whether nobody maps the page any more."""
    mapcount = pages.mapcount_view[pfn] - 1
    pages.mapcount_view[pfn] = mapcount
    return mapcount == 0


def put_page(pages: PageColumns, pfn: int) -> bool:
    """Let go of a reference; say whether that was the last one, so that the page can be freed."""
    left = pages.refcount_view[pfn] - 1
    assert left >= 0, f"page {pfn:#x} had no reference"
    pages.refcount_view[pfn] = left
    return left == 0


def reset_freed_page(pages: PageColumns, pfn: int) -> None:
    """Forget what a page was that is being freed (free_pages_prepare)."""
    assert pages.mapcount_view[pfn] == 0, f"page {pfn:#x} is still mapped"
    pages.mapping_view[pfn] = 0
    pages.flags_view[pfn] &= ~(
        PG_SWAPBACKED
        | PG_ANON_EXCLUSIVE
        | PG_DIRTY
        | PG_UPTODATE
        | PG_READAHEAD
        | PG_YOUNG
        | PG_IDLE
    )
