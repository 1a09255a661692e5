"""Offering memory to a device that takes none of it (mm/migrate_device.c, mm/migrate.c, Linux 6.1).

A driver collects the pages of a range (migrate_vma_setup): each page that can be locked gets a
migration entry in place of its own. What the driver has no memory for is put back
(migrate_vma_finalize). Generators: they ask for table locks, page locks, flushes and steps; the
caller holds mmap_lock for reading. Left out: pages that are on a device already, holes, huge pages,
and moving the contents.

Invariant: who has collected a page holds a reference of it and its lock until it is put back.
"""

from collections.abc import Collection, Generator

from mmactors.arch.page import PG_DIRTY, PageColumns
from mmactors.arch.pte import ACCESSED, DIRTY, RW, SPECIAL, make_pte, pte_pfn
from mmactors.label import Label, Mode, Touch, page, pte
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.page_prot import vma_page_prot
from mmactors.mm.area.vm_flags import VM_WRITE
from mmactors.mm.area.vma import Vma
from mmactors.mm.entries.move_page_tables import FlushRange
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.fault.dirty import folio_mark_dirty
from mmactors.mm.lru.folio_batch import FolioBatches, is_lockable
from mmactors.mm.page_table.entry import is_present
from mmactors.mm.page_table.leaf_entries import LeafRange
from mmactors.mm.page_table.swap_entry import (
    is_migration_entry,
    is_readable_migration_entry,
    is_writable_migration_entry,
    make_migration_entry,
    migration_entry_flags,
    migration_entry_pfn,
)
from mmactors.mm.request import (
    LRU_ADD_DRAIN,
    LRU_ADD_DRAIN_ALL,
    UNLOCK_PTES,
    FlushPage,
    FreePage,
    LockPtes,
    LruAddDrain,
    StepRequest,
    TryLockPage,
    UnlockPage,
)
from mmactors.mm.rmap.rmap import (
    PG_ANON_EXCLUSIVE,
    is_anon,
    page_maybe_dma_pinned,
    page_remove_rmap,
)
from mmactors.mm.vmstat import NR_ANON_MAPPED, NR_FILE_MAPPED
from mmactors.units import PAGE_SIZE

MigrateRequest = (
    StepRequest | TryLockPage | UnlockPage | FlushPage | FlushRange | FreePage | LruAddDrain
)
MigrateSteps = Generator[MigrateRequest, int | None, int]


def migrate_vma(
    context: FaultContext,
    mm: MmStruct,
    vma: Vma,
    *,
    start: int,
    end: int,
    flushes_under_ptl: bool,
) -> MigrateSteps:
    """Collect the pages of a part of an area and put them back; end with how many there were.

    `flushes_under_ptl`: no CPU knows the old entries any more when a table's lock is released.
    """
    lru = context.lru
    collected: list[int] = []
    if mm.page_table.wants_step():
        yield from mm.page_table.find_tables_step(start, end)
    for leaves in list(mm.page_table.leaf_ranges(start, end)):
        pfns = yield from _collect_pmd(
            context, mm, vma, leaves, flushes_under_ptl=flushes_under_ptl
        )
        collected += pfns
    isolated = [] if lru is None else (yield from _isolate(lru, collected))
    if collected:
        if mm.page_table.wants_step():
            yield from mm.page_table.find_tables_step(start, end)
        for leaves in list(mm.page_table.leaf_ranges(start, end)):
            yield LockPtes(leaves.index)
            if mm.page_table.wants_step():
                yield Label("put pages back", _touches(mm, leaves))
            _remove_migration_ptes(context, mm, vma, leaves, collected)
            yield UNLOCK_PTES
    for pfn in collected:
        yield UnlockPage(pfn=pfn)
        if lru is not None and pfn in isolated:
            lru.add_page(pfn)  # putback_lru_page
        yield FreePage(pfn=pfn)
    return len(collected)


def _isolate(
    lru: FolioBatches, collected: Collection[int]
) -> Generator[MigrateRequest, int | None, list[int]]:
    """Take pages off their lists; return which could be (migrate_device_unmap)."""
    yield LRU_ADD_DRAIN
    may_drain = True
    isolated = []
    for pfn in collected:
        if may_drain and not lru.is_listed(pfn):
            yield LRU_ADD_DRAIN_ALL
            may_drain = False
        # The reference of who collected it is enough.
        if lru.isolate_page(pfn, takes_reference=False):
            isolated.append(pfn)
    return isolated


def _collect_pmd(
    context: FaultContext,
    mm: MmStruct,
    vma: Vma,
    leaves: LeafRange,
    *,
    flushes_under_ptl: bool,
) -> Generator[MigrateRequest, int | None, list[int]]:
    """Put migration entries where pages are mapped (migrate_vma_collect_pmd).

    The reference of each entry becomes that of who collects.
    """
    pages = context.pages
    view = mm.page_table.memory.view
    table = mm.page_table
    collected = []
    flush = FlushRange(start=leaves.address, end=leaves.address + leaves.count * PAGE_SIZE)
    yield LockPtes(leaves.index)
    for index in range(leaves.index, leaves.index + leaves.count):
        if table.wants_step():
            yield Label("read pte", ((pte(index), Mode.READ),))
        entry = view[index]
        if not is_present(entry) or entry & SPECIAL:
            continue
        pfn = pte_pfn(entry)
        if not (yield TryLockPage(pfn=pfn)):
            continue
        if table.wants_step():
            yield Label("clear pte", ((pte(index), Mode.WRITE), (page(pfn), Mode.READ)))
        is_exclusive = is_anon(pages, pfn) and pages.flags_view[pfn] & PG_ANON_EXCLUSIVE != 0
        entry, view[index] = view[index], 0
        if is_exclusive:
            yield FlushPage(address=leaves.address + (index - leaves.index) * PAGE_SIZE)
        if table.wants_step():
            yield Label("set migration entry", ((pte(index), Mode.WRITE), (page(pfn), Mode.WRITE)))
        if is_exclusive and page_maybe_dma_pinned(pages, pfn):
            view[index] = (
                entry  # A device has the page: nobody may copy it (page_try_share_anon_rmap).
            )
            yield UnlockPage(pfn=pfn)
            continue
        view[index] = make_migration_entry(pfn, entry, is_exclusive=is_exclusive)
        pages.flags_view[pfn] &= ~PG_ANON_EXCLUSIVE
        if entry & DIRTY:
            folio_mark_dirty(context, pfn)
        if page_remove_rmap(pages, pfn):
            context.count_page(pfn, _mapped_item(pages, pfn), -1)
        if context.lru is not None and is_lockable(vma.vm_flags):
            context.lru.munlock_page(pfn)
        collected.append(pfn)
    if context.checks is not None:
        context.checks.revoke(mm, flush.start, flush.end)
    if collected and flushes_under_ptl:
        yield flush
    yield UNLOCK_PTES
    if collected and not flushes_under_ptl:
        yield flush
    return collected


def _remove_migration_ptes(
    context: FaultContext, mm: MmStruct, vma: Vma, leaves: LeafRange, collected: Collection[int]
) -> None:
    """Map pages again where their migration entries still stand (remove_migration_pte)."""
    pages = context.pages
    view = mm.page_table.memory.view
    for index in range(leaves.index, leaves.index + leaves.count):
        entry = view[index]
        if not is_migration_entry(entry) or migration_entry_pfn(entry) not in collected:
            continue
        pfn = migration_entry_pfn(entry)
        flags = migration_entry_flags(entry)
        restored = make_pte(pfn, vma_page_prot(vma)) & ~(ACCESSED | RW) | flags & ACCESSED
        if pages.flags_view[pfn] & PG_DIRTY:
            restored |= flags & DIRTY
        if is_writable_migration_entry(entry) and vma.vm_flags & VM_WRITE:
            restored |= RW
        if is_anon(pages, pfn) and not is_readable_migration_entry(entry):
            pages.flags_view[pfn] |= PG_ANON_EXCLUSIVE
        pages.refcount_view[pfn] += 1
        pages.mapcount_view[pfn] += 1
        if pages.mapcount_view[pfn] == 1:
            context.count_page(pfn, _mapped_item(pages, pfn), 1)
        if context.lru is not None and is_lockable(vma.vm_flags):
            context.lru.mlock_page(pfn)
            context.lru.drain_mlock()
        view[index] = restored


def _mapped_item(pages: PageColumns, pfn: int) -> int:
    return NR_ANON_MAPPED if is_anon(pages, pfn) else NR_FILE_MAPPED


def _touches(mm: MmStruct, leaves: LeafRange) -> tuple[Touch, ...]:
    """Return the entries of a table, and the pages that are being moved from there."""
    words = mm.page_table.memory.words[leaves.index : leaves.index + leaves.count].tolist()
    touches = []
    for nth, entry in enumerate(words):
        touches.append((pte(leaves.index + nth), Mode.WRITE))
        if is_migration_entry(entry):
            touches.append((page(migration_entry_pfn(entry)), Mode.WRITE))
    return tuple(touches)
