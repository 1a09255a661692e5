"""Reclaiming anonymous pages of a range (mm/madvise.c, mm/vmscan.c, mm/rmap.c, Linux 6.1).

MADV_PAGEOUT takes the pages of a range that only this process maps and reclaims them. A page that
MADV_FREE gave up is discarded if nobody has written to it since and nobody else refers to it: its
entry is cleared, the flush is deferred (`DeferFlush`), and before the pages are free all that was
deferred is done (`FlushDeferred`). Other anonymous pages would have to be written to swap, of which
there is none: they become active. Who isolates a page takes it off its LRU list; what is not
reclaimed waits in the CPU's batch of new pages then. A generator; the caller holds mmap_lock for
reading. Left out: swap; pages of files; the way by the page's anon_vma to its entry, which is the
one where it was found.
"""

from collections.abc import Generator

from attrs import frozen

from mmactors.arch.page import PG_DIRTY, PG_SWAPBACKED
from mmactors.arch.pte import DIRTY, SPECIAL, pte_pfn
from mmactors.label import Label, Mode, page, pte, rss
from mmactors.mm.area.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.page_table.entry import is_present
from mmactors.mm.page_table.leaf_entries import LeafRange
from mmactors.mm.request import (
    UNLOCK_PTES,
    FreePage,
    LockPtes,
    StepRequest,
    TryLockPage,
    UnlockPage,
)
from mmactors.mm.rmap.rmap import is_anon, page_maybe_dma_pinned, page_remove_rmap, put_page
from mmactors.mm.vmstat import NR_ANON_MAPPED, PGLAZYFREED
from mmactors.units import PAGE_SIZE


@frozen(kw_only=True)
class DeferFlush:
    """The entry of `address` was cleared: let other CPUs forget it at `FlushDeferred` (tlb_ubc).

    If only the running CPU can know it, it forgets it now. Answered with None.
    """

    address: int


@frozen
class FlushDeferred:
    """Let CPUs forget all that was deferred (try_to_unmap_flush); answered with None."""


ReclaimRequest = StepRequest | TryLockPage | UnlockPage | FreePage | DeferFlush | FlushDeferred
ReclaimSteps = Generator[ReclaimRequest, int | None, int]
_Found = tuple[int, int, int]
"""Word index of an entry, the address it maps, the page."""


def reclaim_pages(context: FaultContext, mm: MmStruct, *, start: int, end: int) -> ReclaimSteps:
    """Reclaim the pages of `[start, end)` that are mapped once; end with how many went."""
    nr_reclaimed = 0
    if mm.page_table.wants_step():
        yield from mm.page_table.find_tables_step(start, end)
    for leaves in list(mm.page_table.leaf_ranges(start, end)):
        isolated = yield from _isolate(context, mm, leaves)
        unmapped: list[int] = []
        for found in isolated:
            is_unmapped = yield from _shrink_page(context, mm, found)
            if is_unmapped:
                unmapped.append(found[2])
        if unmapped:
            yield FlushDeferred()
        for _, _, pfn in isolated:
            if mm.page_table.wants_step():
                yield Label("put page back", ((page(pfn), Mode.WRITE),))
            if context.lru is not None and context.pages.refcount_view[pfn] > 1:
                context.lru.add_page(pfn)
            yield FreePage(pfn=pfn)
        for _ in unmapped:
            context.count_event(PGLAZYFREED)
        nr_reclaimed += len(unmapped)
    return nr_reclaimed


def _isolate(
    context: FaultContext, mm: MmStruct, leaves: LeafRange
) -> Generator[StepRequest, int | None, list[_Found]]:
    """Take each anonymous page that is mapped once off its list, with a reference."""
    pages, lru = context.pages, context.lru
    view = mm.page_table.memory.view
    wants_step = mm.page_table.wants_step
    isolated = []
    yield LockPtes(leaves.index)
    for nth in range(leaves.count):
        index = leaves.index + nth
        if wants_step():
            yield Label("read pte", ((pte(index), Mode.READ),))
        entry = view[index]
        if not is_present(entry) or entry & SPECIAL:
            continue
        pfn = pte_pfn(entry)
        if wants_step():
            yield Label("isolate page", ((page(pfn), Mode.WRITE),))
        if not is_anon(pages, pfn) or pages.mapcount_view[pfn] != 1:
            continue
        if lru is None:
            pages.refcount_view[pfn] += 1
        elif not lru.isolate_page(pfn):
            continue
        isolated.append((index, leaves.address + nth * PAGE_SIZE, pfn))
    yield UNLOCK_PTES
    return isolated


def _shrink_page(
    context: FaultContext, mm: MmStruct, found: _Found
) -> Generator[ReclaimRequest, int | None, bool]:
    """Unmap a page if it can be locked and discarded; end with whether it was unmapped.

    (shrink_folio_list, try_to_unmap_one.) Nobody but who isolated it and its entry may refer to it.
    """
    index, address, pfn = found
    pages = context.pages
    view = mm.page_table.memory.view
    wants_step = mm.page_table.wants_step
    if not (yield TryLockPage(pfn=pfn)):
        return False
    if wants_step():
        yield Label("may it be discarded", ((page(pfn), Mode.WRITE),))
    if pages.flags_view[pfn] & PG_SWAPBACKED:
        if context.lru is not None and not page_maybe_dma_pinned(pages, pfn):
            context.lru.activate_isolated(pfn)
        yield UnlockPage(pfn=pfn)
        return False
    is_unmapped = False
    yield LockPtes(index)
    if wants_step():
        yield Label("clear pte", ((pte(index), Mode.WRITE),))
    entry = view[index]
    if is_present(entry) and pte_pfn(entry) == pfn:
        view[index] = 0
        yield DeferFlush(address=address)
        if wants_step():
            touches = (
                (page(pfn), Mode.WRITE),
                (pte(index), Mode.WRITE),
                (rss(mm.ctx_id), Mode.ADD),
            )
            yield Label("discard page", touches)
        if entry & DIRTY:
            pages.flags_view[pfn] |= PG_DIRTY
        is_unmapped = (
            pages.refcount_view[pfn] == 1 + pages.mapcount_view[pfn]
            and not pages.flags_view[pfn] & PG_DIRTY
        )
        if is_unmapped:
            mm.add_mm_counter(MM_ANONPAGES, -1)
            page_remove_rmap(pages, pfn)
            context.count_node(NR_ANON_MAPPED, -1)
            put_page(pages, pfn)
        else:
            # Somebody has written to it, or has found it: it is no page to be given up any more.
            view[index] = entry
            pages.flags_view[pfn] |= PG_SWAPBACKED
            if context.lru is not None:
                context.lru.activate_isolated(pfn)
    yield UNLOCK_PTES
    yield UnlockPage(pfn=pfn)
    return is_unmapped
