"""Which pages of files are dirty (mm/page-writeback.c, Linux 6.1).

A page of a file on disk counts as dirty from the first time it is marked until it is written back,
or until it leaves the cache unwritten. Pages in memory only (tmpfs) have the mark and do not count.
Left out: cgroups, and PG_writeback: what is written is on disk at once, so that nr_writeback is
always 0.

Invariant: nr_dirty is the number of pages of files on disk, in the page cache, with PG_dirty; so is
nr_zone_write_pending.
"""

from mmactors.arch.page import PG_DIRTY
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.page_cache.page_cache import is_of_store
from mmactors.mm.vmstat import NR_DIRTIED, NR_FILE_DIRTY, NR_WRITTEN, NR_ZONE_WRITE_PENDING
from mmactors.units import PAGE_SIZE


def folio_mark_dirty(context: FaultContext, pfn: int) -> None:
    """Mark a page as dirty; the first time count it as such, if it can be written back.

    One that left its file meanwhile only gets the mark (folio_account_dirtied).
    """
    flags = context.pages.flags_view
    if flags[pfn] & PG_DIRTY:
        return
    flags[pfn] |= PG_DIRTY
    if is_of_store(context.pages, pfn):
        _count_dirty(context, pfn, 1)
        context.count_page(pfn, NR_DIRTIED, 1)
        context.task.ioac.write_bytes += PAGE_SIZE


def folio_clear_dirty_for_io(context: FaultContext, pfn: int) -> bool:
    """Make a page clean that is written next; say whether it was dirty."""
    if not context.pages.flags_view[pfn] & PG_DIRTY:
        return False
    context.pages.flags_view[pfn] &= ~PG_DIRTY
    _count_dirty(context, pfn, -1)
    return True


def folio_end_writeback(context: FaultContext, pfn: int) -> None:
    """Count a page that is on disk now."""
    context.count_page(pfn, NR_WRITTEN, 1)


def folio_cancel_dirty(context: FaultContext, pfn: int) -> None:
    """Make a page clean that leaves its file unwritten (folio_account_cleaned)."""
    if context.pages.flags_view[pfn] & PG_DIRTY:
        context.pages.flags_view[pfn] &= ~PG_DIRTY
        if is_of_store(context.pages, pfn):
            _count_dirty(context, pfn, -1)
            context.task.ioac.cancelled_write_bytes += PAGE_SIZE


def _count_dirty(context: FaultContext, pfn: int, delta: int) -> None:
    context.count_page(pfn, NR_FILE_DIRTY, delta)
    context.count_page_in_zone(pfn, NR_ZONE_WRITE_PENDING, delta)
