"""Reclaiming pages that were isolated from their LRU lists (mm/vmscan.c, mm/rmap.c, Linux 6.1).

MADV_PAGEOUT takes the pages of a range that only this process maps off their lists and hands them
over. What becomes of a page:

- anonymous memory would have to be written to swap, of which there is none: it becomes active;
- what MADV_FREE gave up is freed if nobody has written to it since and nobody else refers to it;
  otherwise its entry stays, and it is memory as any other again, and active;
- a page of a file loses its entry. A clean one then leaves the page cache and is freed; a dirty one
  becomes active: shared memory would go to swap (shmem_writepage), and pages of files on disk wait
  for who writes them back.

Flushes for entries that are cleared are deferred (`DeferFlush`): what is dirty is flushed before it
would be written (`FlushDeferred`), the rest before pages are free. What is not freed waits in the
CPU's batch of new pages at the end. A generator; the caller holds mmap_lock for reading. Left out:
swap; the way by the page's anon_vma or file to its entry, which is the one where it was found: who
is mapped elsewhere meanwhile becomes active.
"""

from collections.abc import Generator, Sequence
from typing import Final

from attrs import frozen

from mmactors.arch.page import PG_DIRTY, PG_RECLAIM, PG_SWAPBACKED
from mmactors.arch.pte import DIRTY, pte_pfn
from mmactors.label import Label, Mode, page, pte, rss
from mmactors.mm.area.mapped_file import MappedFile, Mapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vma import Vma
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.fault.dirty import folio_mark_dirty
from mmactors.mm.page_table.entry import is_present
from mmactors.mm.request import (
    UNLOCK_PTES,
    LockPtes,
    StepRequest,
    TryLockPage,
    UnlockPage,
)
from mmactors.mm.rmap.rmap import (
    is_anon,
    mm_counter,
    page_maybe_dma_pinned,
    page_remove_rmap,
    put_page,
)
from mmactors.mm.vmstat import (
    NODE_ITEM,
    NR_ANON_MAPPED,
    NR_FILE_MAPPED,
    PGLAZYFREED,
)

_NR_VMSCAN_IMMEDIATE: Final = NODE_ITEM["nr_vmscan_immediate_reclaim"]


@frozen(kw_only=True)
class Isolated:
    """A page that is on no list, to which who isolated it refers, and the entry that maps it."""

    index: int
    """Word index of the entry."""
    address: int
    pfn: int


@frozen(kw_only=True)
class DeferFlush:
    """The entry of `address` was cleared: let other CPUs forget it at `FlushDeferred` (tlb_ubc).

    If only the running CPU can know it, it forgets it now. Answered with None.
    """

    address: int
    is_dirty: bool
    """A CPU may still write to the page."""


@frozen
class FlushDeferred:
    """Let CPUs forget all that was deferred (try_to_unmap_flush); answered with None."""

    only_dirty: bool = False
    """Only if a dirty entry is among it (try_to_unmap_flush_dirty)."""


@frozen(kw_only=True)
class RemoveMapping:
    """Take a locked page out of the page cache if it is clean and only its isolation refers to it.

    Answered with whether it is out; nobody refers to it then (__remove_mapping).
    """

    mapping: Mapping
    index: int


@frozen(kw_only=True)
class FreePages:
    """Free pages to which nobody refers (free_unref_page_list); answered with None."""

    pfns: tuple[int, ...]


ReclaimRequest = (
    StepRequest | TryLockPage | UnlockPage | DeferFlush | FlushDeferred | RemoveMapping | FreePages
)
ReclaimSteps = Generator[ReclaimRequest, int | None, int]


def reclaim_pages(
    context: FaultContext, mm: MmStruct, vma: Vma, isolated: Sequence[Isolated]
) -> ReclaimSteps:
    """Reclaim isolated pages of an area; end with how many were freed (shrink_folio_list)."""
    freed: list[int] = []
    kept: list[int] = []
    for found in isolated:
        is_freed = yield from _shrink_page(context, mm, vma, found)
        (freed if is_freed else kept).append(found.pfn)
    yield FlushDeferred()
    if freed:
        # A list to whose head each was added.
        yield FreePages(pfns=tuple(reversed(freed)))
    for pfn in kept:
        if mm.page_table.wants_step():
            yield Label("put page back", ((page(pfn), Mode.WRITE),))
        if context.lru is not None:
            context.lru.add_page(pfn)
        put_page(context.pages, pfn)
    return len(freed)


def _shrink_page(
    context: FaultContext, mm: MmStruct, vma: Vma, found: Isolated
) -> Generator[ReclaimRequest, int | None, bool]:
    """Free a page if it can be locked, unmapped, and given up; end with whether nobody has it."""
    pfn = found.pfn
    pages = context.pages
    if not (yield TryLockPage(pfn=pfn)):
        return False
    if mm.page_table.wants_step():
        yield Label("may it be reclaimed", ((page(pfn), Mode.WRITE),))
    is_swapbacked = pages.flags_view[pfn] & PG_SWAPBACKED != 0
    anonymous = is_anon(pages, pfn)
    if context.lru is not None and not context.lru.begin_reclaim(pfn):
        return (yield from _keep(context, pfn, activates=True))
    if anonymous and is_swapbacked:
        is_pinned = page_maybe_dma_pinned(pages, pfn)
        return (yield from _keep(context, pfn, activates=not is_pinned))
    if pages.mapcount_view[pfn]:
        yield from _try_to_unmap_one(context, mm, found)
    if mm.page_table.wants_step():
        yield Label("is it unmapped", ((page(pfn), Mode.WRITE),))
    if pages.mapcount_view[pfn] or page_maybe_dma_pinned(pages, pfn):
        return (yield from _keep(context, pfn, activates=True))
    if pages.flags_view[pfn] & PG_DIRTY:
        if not is_swapbacked:
            context.count_page(pfn, _NR_VMSCAN_IMMEDIATE, 1)
            pages.flags_view[pfn] |= PG_RECLAIM
            return (yield from _keep(context, pfn, activates=True))
        yield FlushDeferred(only_dirty=True)
        if mm.page_table.wants_step():
            yield Label("may it be freed", ((page(pfn), Mode.WRITE),))
        # pageout: nobody but the page cache and who isolated it; shmem_writepage redirties it.
        is_freeable = pages.refcount_view[pfn] == 2
        return (yield from _keep(context, pfn, activates=is_freeable))
    if anonymous:
        if pages.refcount_view[pfn] != 1:
            return (yield from _keep(context, pfn, activates=False))
        put_page(pages, pfn)
        context.count_event(PGLAZYFREED)
        yield UnlockPage(pfn=pfn)
        return True
    file = vma.vm_file
    assert isinstance(file, MappedFile), f"{vma} maps pages of a file"
    index = pages.index_view[pfn]
    if not (yield RemoveMapping(mapping=file.mapping, index=index)):
        return (yield from _keep(context, pfn, activates=False))
    yield UnlockPage(pfn=pfn)
    return True


def _keep(
    context: FaultContext, pfn: int, *, activates: bool
) -> Generator[ReclaimRequest, int | None, bool]:
    """Unlock a page that cannot be freed; end with False."""
    if activates and context.lru is not None:
        context.lru.activate_isolated(pfn)
    yield UnlockPage(pfn=pfn)
    return False


def _try_to_unmap_one(
    context: FaultContext, mm: MmStruct, found: Isolated
) -> Generator[ReclaimRequest, int | None, None]:
    """Clear the entry that maps a page; that of one to be freed lazily only if it is clean.

    Nobody but who isolated that one and its entry may refer to it then.
    """
    index, pfn = found.index, found.pfn
    pages = context.pages
    view = mm.page_table.memory.view
    wants_step = mm.page_table.wants_step
    yield LockPtes(index)
    if wants_step():
        yield Label("clear pte", ((pte(index), Mode.WRITE),))
    entry = view[index]
    if is_present(entry) and pte_pfn(entry) == pfn:
        view[index] = 0
        is_dirty = entry & DIRTY != 0
        yield DeferFlush(address=found.address, is_dirty=is_dirty)
        if wants_step():
            touches = (
                (page(pfn), Mode.WRITE),
                (pte(index), Mode.WRITE),
                (rss(mm.ctx_id), Mode.ADD),
            )
            yield Label("unmap page", touches)
        if is_dirty:
            folio_mark_dirty(context, pfn)
        anonymous = is_anon(pages, pfn)
        is_used = (
            pages.refcount_view[pfn] != 1 + pages.mapcount_view[pfn]
            or pages.flags_view[pfn] & PG_DIRTY
        )
        if anonymous and is_used:
            # Somebody has written to it, or has found it: it is no page to be given up any more.
            view[index] = entry
            pages.flags_view[pfn] |= PG_SWAPBACKED
        else:
            mm.add_mm_counter(mm_counter(pages, pfn), -1)
            if page_remove_rmap(pages, pfn):
                context.count_page(pfn, NR_ANON_MAPPED if anonymous else NR_FILE_MAPPED, -1)
            put_page(pages, pfn)
    yield UNLOCK_PTES
