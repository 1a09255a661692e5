"""A write to a page that is mapped without RW (mm/memory.c, do_wp_page, Linux 6.1).

Left out: that the page is locked while its references are counted.
"""

from typing import Final

from mmactors.arch.pte import ACCESSED, DIRTY, PFN_MASK, PFN_SHIFT, RW, SPECIAL, make_pte
from mmactors.label import PAGE_CACHE, Label, Mode, Touch, page, pte, rss
from mmactors.mm.area.anon_vma_chain import anon_vma_prepare
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.area.page_prot import vma_page_prot
from mmactors.mm.area.vm_flags import VM_SHARED, VM_WRITE
from mmactors.mm.area.vma import Vma, linear_page_index
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.fault.dirty import folio_mark_dirty
from mmactors.mm.fault.fault import VM_FAULT_OOM, VM_FAULT_WRITE, FaultSteps, copy_page
from mmactors.mm.lru.folio_batch import is_lockable
from mmactors.mm.page_alloc.alloc_site import WP_PAGE_COPY
from mmactors.mm.page_alloc.gfp import GFP_HIGHUSER_MOVABLE, GFP_ZERO
from mmactors.mm.request import (
    UNLOCK_PTES,
    AllocPage,
    FlushPage,
    FreePage,
    LockPage,
    LockPtes,
    UnlockPage,
)
from mmactors.mm.rmap.rmap import (
    PG_ANON_EXCLUSIVE,
    is_anon,
    mm_counter,
    page_add_new_anon_rmap,
    page_move_anon_rmap,
    page_remove_rmap,
)
from mmactors.mm.vmstat import NR_ANON_MAPPED, NR_FILE_MAPPED, PGREUSE

_ALLOC_ZEROED: Final = AllocPage(gfp=GFP_HIGHUSER_MOVABLE | GFP_ZERO, site=WP_PAGE_COPY)
_ALLOC_COPY: Final = AllocPage(is_copy=True, site=WP_PAGE_COPY)


def do_wp_page(
    context: FaultContext, mm: MmStruct, vma: Vma, address: int, index: int
) -> FaultSteps:
    """Make the page writable where it is if nobody else has it, or map a copy.

    The table's lock is held at the beginning and let go of at the end.
    """
    view = mm.page_table.memory.view
    pages = context.pages
    seen = view[index]
    if seen & SPECIAL:
        yield UNLOCK_PTES
        return (yield from _wp_page_copy(context, mm, vma, address, index, seen, None))
    pfn = (seen & PFN_MASK) >> PFN_SHIFT
    if is_anon(pages, pfn):
        is_reused = _is_reusable(context, vma, pfn)
    else:
        is_reused = vma.vm_flags & (VM_SHARED | VM_WRITE) == VM_SHARED | VM_WRITE
        if is_reused:
            if isinstance(vma.vm_file, MappedFile) and vma.vm_file.wants_writenotify:
                return (yield from _wp_page_shared(context, mm, vma, address, index, seen))
            folio_mark_dirty(context, pfn)
    if is_reused:
        view[index] = _writable(seen, vma)
        context.kind = "reuse"
        yield UNLOCK_PTES
        context.count_event(PGREUSE)
        return VM_FAULT_WRITE
    # A reference of its own, or the page might be freed and used anew while it is copied.
    pages.refcount_view[pfn] += 1
    yield UNLOCK_PTES
    return (yield from _wp_page_copy(context, mm, vma, address, index, seen, pfn))


def _wp_page_shared(
    context: FaultContext, mm: MmStruct, vma: Vma, address: int, index: int, seen: int
) -> FaultSteps:
    """Tell the file system of the first write (page_mkwrite), then let the entry be writable.

    The page is locked and dirty before, so that it cannot be written back in between.
    """
    assert isinstance(vma.vm_file, MappedFile), f"{vma} maps no file"
    view = mm.page_table.memory.view
    pages = context.pages
    wants_step = mm.page_table.wants_step
    pfn = (seen & PFN_MASK) >> PFN_SHIFT
    pages.refcount_view[pfn] += 1
    yield UNLOCK_PTES
    yield LockPage(pfn=pfn)
    if wants_step():
        yield Label("mark the page dirty", ((PAGE_CACHE, Mode.READ), (page(pfn), Mode.WRITE)))
    is_same = vma.vm_file.mapping.pages.get(linear_page_index(vma, address)) == pfn
    if is_same:
        folio_mark_dirty(context, pfn)
        yield LockPtes(index)
        if wants_step():
            yield Label("make the pte writable", ((pte(index), Mode.WRITE),))
        is_same = view[index] == seen
        if is_same:
            view[index] = _writable(seen, vma)
            context.kind = "mkwrite"
            context.count_event(PGREUSE)
        yield UNLOCK_PTES
    yield UnlockPage(pfn=pfn)
    yield FreePage(pfn=pfn)
    return VM_FAULT_WRITE if is_same else 0


def _is_reusable(context: FaultContext, vma: Vma, pfn: int) -> bool:
    """Say whether nobody else has a reference; an exclusive page is not asked."""
    pages = context.pages
    if pages.flags_view[pfn] & PG_ANON_EXCLUSIVE:
        return True
    if context.lru is not None and not context.lru.is_listed(pfn):
        context.lru.drain()  # Its batch holds a reference.
    if pages.refcount_view[pfn] != 1:
        return False
    page_move_anon_rmap(pages, pfn, vma)
    return True


def _wp_page_copy(
    context: FaultContext,
    mm: MmStruct,
    vma: Vma,
    address: int,
    index: int,
    seen: int,
    old: int | None,
) -> FaultSteps:
    """Map a copy where `seen` stands; the caller's reference of `old` is let go of."""
    view = mm.page_table.memory.view
    pages = context.pages
    wants_step = mm.page_table.wants_step
    pfn = None
    if vma.anon_vma is not None or not (yield from anon_vma_prepare(mm, vma)):
        pfn = yield _ALLOC_ZEROED if old is None else _ALLOC_COPY
    if pfn is None:
        if old is not None:
            yield FreePage(pfn=old)
        return VM_FAULT_OOM
    if old is not None:
        yield from copy_page(context, mm, old, pfn)
    touches: tuple[Touch, ...] = (
        (pte(index), Mode.WRITE),
        (page(pfn), Mode.WRITE),
        (rss(mm.ctx_id), Mode.ADD),
    )
    if old is not None:
        touches = (*touches, (page(old), Mode.WRITE))
    yield LockPtes(index)
    if wants_step():
        yield Label("clear pte", touches)
    if view[index] != seen:
        yield FreePage(pfn=pfn)
        yield UNLOCK_PTES
        if old is not None:
            yield FreePage(pfn=old)
        return 0
    # Cleared and flushed before the new page can be written, or a CPU might go on reading the old.
    view[index] = 0
    yield FlushPage(address=address)
    if wants_step():
        yield Label("map a copy", touches)
    page_add_new_anon_rmap(pages, pfn, vma, address)
    context.count_page(pfn, NR_ANON_MAPPED, 1)
    context.add_mm_counter_fast(mm, MM_ANONPAGES, 1)
    if context.lru is not None:
        context.lru.add_page(pfn, vma.vm_flags)
    view[index] = _writable(make_pte(pfn, vma_page_prot(vma)), vma)
    context.kind, context.pfn = "cow", pfn
    if context.checks is not None:
        context.checks.page_made_private(mm, address, pfn)
    if old is not None:
        context.add_mm_counter_fast(mm, mm_counter(pages, old), -1)
        if page_remove_rmap(pages, old):
            item = NR_ANON_MAPPED if is_anon(pages, old) else NR_FILE_MAPPED
            context.count_page(old, item, -1)
        if context.lru is not None and is_lockable(vma.vm_flags):
            context.lru.munlock_page(old)
        # Not the last one: the fault's own is let go of below.
        pages.refcount_view[old] -= 1
    yield UNLOCK_PTES
    if old is not None:
        yield FreePage(pfn=old)
    return 0


def _writable(entry: int, vma: Vma) -> int:
    """Return the entry as a write leaves it (maybe_mkwrite: by force also where RW is refused)."""
    return entry | ACCESSED | DIRTY | (RW if vma.vm_flags & VM_WRITE else 0)
