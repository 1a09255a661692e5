"""A write to a page that is mapped without RW (mm/memory.c, do_wp_page, Linux 6.1)."""

from mmactors.arch.pte import ACCESSED, DIRTY, PFN_MASK, PFN_SHIFT, RW, SPECIAL, make_pte
from mmactors.mm.anon_vma_chain import anon_vma_prepare
from mmactors.mm.fault import (
    VM_FAULT_OOM,
    VM_FAULT_REUSED,
    AllocPage,
    FaultContext,
    FaultSteps,
    FlushPage,
    FreePage,
    vma_page_prot,
)
from mmactors.mm.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.rmap import (
    PG_ANON_EXCLUSIVE,
    is_anon,
    mm_counter,
    page_add_new_anon_rmap,
    page_move_anon_rmap,
    page_remove_rmap,
)
from mmactors.mm.vma import VM_SHARED, VM_WRITE, Vma


def do_wp_page(
    context: FaultContext, mm: MmStruct, vma: Vma, address: int, index: int
) -> FaultSteps:
    """Make the page writable where it is if nobody else has it, or map a copy."""
    view = mm.page_table.memory.view
    entry = view[index]
    if not entry & SPECIAL:
        pfn = (entry & PFN_MASK) >> PFN_SHIFT
        if is_anon(context.pages, pfn):
            if _is_reusable(context, vma, pfn):
                view[index] = _writable(entry, vma)
                return VM_FAULT_REUSED
        elif vma.vm_flags & (VM_SHARED | VM_WRITE) == VM_SHARED | VM_WRITE:
            view[index] = _writable(entry, vma)
            return VM_FAULT_REUSED
    return (yield from _wp_page_copy(context, mm, vma, address, index))


def _is_reusable(context: FaultContext, vma: Vma, pfn: int) -> bool:
    """Say whether nobody else has a reference; an exclusive page is not asked."""
    pages = context.pages
    if pages.flags_view[pfn] & PG_ANON_EXCLUSIVE:
        return True
    if pages.refcount_view[pfn] != 1:
        return False
    page_move_anon_rmap(pages, pfn, vma)
    return True


def _wp_page_copy(
    context: FaultContext, mm: MmStruct, vma: Vma, address: int, index: int
) -> FaultSteps:
    view = mm.page_table.memory.view
    pages = context.pages
    seen = view[index]
    old = None if seen & SPECIAL else (seen & PFN_MASK) >> PFN_SHIFT
    if vma.anon_vma is None:
        yield from anon_vma_prepare(mm, vma)
    pfn = yield AllocPage(copy_of=old)
    if pfn is None:
        return VM_FAULT_OOM
    if view[index] != seen:
        yield FreePage(pfn=pfn)
        return 0
    # Cleared and flushed before the new page can be written, or a CPU might go on reading the old.
    view[index] = 0
    yield FlushPage(address=address)
    page_add_new_anon_rmap(pages, pfn, vma, address)
    mm.add_mm_counter(MM_ANONPAGES, 1)
    view[index] = _writable(make_pte(pfn, vma_page_prot(vma)), vma)
    if old is not None:
        mm.add_mm_counter(mm_counter(pages, old), -1)
        if page_remove_rmap(pages, old):
            yield FreePage(pfn=old)
    return 0


def _writable(entry: int, vma: Vma) -> int:
    """Return the entry as a write leaves it (maybe_mkwrite: by force also where RW is refused)."""
    return entry | ACCESSED | DIRTY | (RW if vma.vm_flags & VM_WRITE else 0)
