"""Struct pages by pfn (include/linux/mm_types.h and page-flags.h, Linux 6.1)."""

from typing import Final

from attrs import field, frozen

from mmactors.arch.page import PageColumns
from mmactors.mm.rmap.rmap import PAGE_MAPPING_ANON, PG_ANON_EXCLUSIVE, anon_vma_number

_FLAG_NAMES: Final = (
    "locked referenced uptodate dirty lru active workingset waiters error slab owner_priv_1 arch_1"
    " reserved private private_2 writeback head mappedtodisk reclaim swapbacked unevictable"
    " mlocked uncached hwpoison young idle - - - table movable_ops"
)
"""By bit, as the kernel's tracepoints print them; the last two are no flags in Linux."""


@frozen(kw_only=True)
class Page:
    """One struct page."""

    pfn: int = field(repr=hex)
    zone: int | None
    """The number of its zone; None: the frame has no struct page."""
    flags: int = field(repr=hex)
    flag_names: tuple[str, ...]
    refcount: int
    mapcount: int
    """Entries that map it, from 0."""
    order: int
    """Of the compound page that starts here."""
    buddy_order: int | None
    """The order of the free block that starts here (PageBuddy); None: none does."""
    anon_vma: int | None
    """The number of its anon_vma, if it is anonymous memory."""
    index: int
    """Its place in its file or anon_vma; on a per-CPU list the migratetype it goes back with."""
    private: int
    generation: int
    """How often it changed hands."""


def page_of(pages: PageColumns, pfn: int) -> Page:
    """Return the struct page of a frame; raise IndexError if the machine has no such frame."""
    if not 0 <= pfn < pages.nr_frames:
        raise IndexError(f"pfn {pfn:#x}: the machine has frames 0 to {pages.nr_frames - 1:#x}")
    flags, mapping = int(pages.flags[pfn]), int(pages.mapping[pfn])
    zone, buddy = int(pages.zone[pfn]), int(pages.buddy[pfn])
    is_anon = mapping & PAGE_MAPPING_ANON != 0
    return Page(
        pfn=pfn,
        zone=zone - 1 if zone else None,
        flags=flags,
        flag_names=_flag_names(flags, is_anon=is_anon),
        refcount=int(pages.refcount[pfn]),
        mapcount=int(pages.mapcount[pfn]),
        order=int(pages.order[pfn]),
        buddy_order=buddy - 1 if buddy else None,
        anon_vma=anon_vma_number(mapping) if is_anon else None,
        index=int(pages.index[pfn]),
        private=int(pages.private[pfn]),
        generation=int(pages.generation[pfn]),
    )


def _flag_names(flags: int, *, is_anon: bool) -> tuple[str, ...]:
    return tuple(
        "anon_exclusive" if is_anon and 1 << bit == PG_ANON_EXCLUSIVE else name
        for bit, name in enumerate(_FLAG_NAMES.split())
        if flags & 1 << bit
    )
