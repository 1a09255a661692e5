"""Copying entries to a forked child (mm/memory.c, copy_page_range, Linux 6.1).

A generator that asks for the child's tables (`AllocTable`) and for pages, the locks of both tables,
and steps. The child gets a table wherever the parent has one, also if it is empty. A page that a
device may have pinned stays the parent's alone: the child gets a copy at once. Who pins without
locks must know that entries are write-protected meanwhile; the caller sees to that
(mm->write_protect_seq). Left out: swap, huge pages.
"""

from collections.abc import Generator
from typing import Final

from attrs import frozen

from mmactors.arch.pte import ACCESSED, DIRTY, PRESENT, PROTNONE, RW, SPECIAL, make_pte, pte_pfn
from mmactors.label import Label, Mode, Touch, data, mm_flags, page, pte, rss
from mmactors.mm.area.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.area.page_prot import vma_page_prot
from mmactors.mm.area.vm_flags import VM_MAYWRITE, VM_SHARED, VM_WRITE
from mmactors.mm.area.vma import Vma
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.fault.fault import FaultRequest
from mmactors.mm.page_alloc.alloc_site import PAGE_COPY_PREALLOC
from mmactors.mm.page_table.page_table import PMD_MASK, PMD_SIZE, PTE_LEVEL
from mmactors.mm.page_table.swap_entry import (
    is_migration_entry,
    is_readable_migration_entry,
    make_readable_migration_entry,
    migration_entry_pfn,
)
from mmactors.mm.request import UNLOCK_PTES, AllocPage, FreePage, LockPtes
from mmactors.mm.rmap.rmap import (
    is_anon,
    mm_counter,
    page_add_new_anon_rmap,
    page_dup_file_rmap,
    page_try_dup_anon_rmap,
)
from mmactors.mm.vmstat import NR_ANON_MAPPED
from mmactors.units import PAGE_SHIFT

_ALLOC_COPY: Final = AllocPage(is_copy=True, site=PAGE_COPY_PREALLOC)


@frozen(kw_only=True)
class EntriesCopied:
    """Whoever follows contents be told: a child sees these of its parent; answered with None."""

    parent: MmStruct
    child: MmStruct
    start: int
    end: int


@frozen(kw_only=True)
class PageCopied:
    """Whoever follows contents be told: a child has a copy of a page; answered with None."""

    child: MmStruct
    address: int
    source: int
    target: int


CopyRequest = FaultRequest | EntriesCopied | PageCopied
CopySteps = Generator[CopyRequest, int | None, bool]


def is_cow_mapping(vma: Vma) -> bool:
    """Say whether a write to the area can make private copies."""
    return vma.vm_flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE


def copy_page_range(
    child: MmStruct, parent: MmStruct, context: FaultContext, *, child_vma: Vma, parent_vma: Vma
) -> CopySteps:
    """Copy the entries of an area; end with False if there was no memory for a table or a page."""
    address, end = parent_vma.vm_start, parent_vma.vm_end
    assert (child_vma.vm_start, child_vma.vm_end) == (address, end), "the areas differ"
    while address < end:
        if parent.page_table.wants_step():
            yield from parent.page_table.read_step(address)
        level, source = parent.page_table.walk(address)
        target = yield from child.page_table.alloc(address, level)
        if target is None:
            return False
        if level == PTE_LEVEL:
            following = min(end, (address & PMD_MASK) + PMD_SIZE)
            is_done = yield from _copy_pte_range(
                child,
                parent,
                context,
                parent_vma,
                address,
                source=source,
                target=target,
                count=(following - address) >> PAGE_SHIFT,
            )
            if not is_done:
                return False
        else:
            size = PMD_SIZE << 9 * (level - 2)
            following = (address & -size) + size
        address = following
    return True


def _copy_pte_range(
    child: MmStruct,
    parent: MmStruct,
    context: FaultContext,
    vma: Vma,
    address: int,
    *,
    source: int,
    target: int,
    count: int,
) -> CopySteps:
    """Copy entries with both tables' locks held; end with False if there was no page for a copy."""
    view = parent.page_table.memory.view
    wants_step = parent.page_table.wants_step
    spare: int | None = None
    offset = 0
    yield LockPtes(target, source)
    while offset < count:
        if wants_step():
            yield Label("read pte", ((pte(source + offset), Mode.READ),))
        entry = view[source + offset]
        if entry & (PRESENT | PROTNONE):
            place = address + (offset << PAGE_SHIFT)
            words = (source + offset, target + offset)
            if not (
                yield from _copy_present_pte(
                    child, parent, context, vma, place, entry, words, spare
                )
            ):
                yield UNLOCK_PTES
                spare = yield _ALLOC_COPY
                if spare is None:
                    return False
                yield LockPtes(target, source)
                continue
            if spare is not None and pte_pfn(view[target + offset]) != spare:
                yield FreePage(pfn=spare)  # The page was given back by its device meanwhile.
            spare = None
        elif is_migration_entry(entry):
            yield from _copy_migration_entry(
                child, parent, context, vma, source=source + offset, target=target + offset
            )
        offset += 1
    end = address + (count << PAGE_SHIFT)
    yield EntriesCopied(parent=parent, child=child, start=address, end=end)
    yield UNLOCK_PTES
    return True


def _copy_migration_entry(
    child: MmStruct, parent: MmStruct, context: FaultContext, vma: Vma, *, source: int, target: int
) -> Generator[Label, int | None, None]:
    """Copy the entry of a page that is being moved; it will be writable to neither."""
    view = parent.page_table.memory.view
    if parent.page_table.wants_step():
        touches = (
            (pte(source), Mode.WRITE),
            (pte(target), Mode.WRITE),
            (rss(child.ctx_id), Mode.ADD),
        )
        yield Label("copy migration entry", touches)
    entry = view[source]
    child.add_mm_counter(mm_counter(context.pages, migration_entry_pfn(entry)), 1)
    if is_cow_mapping(vma) and not is_readable_migration_entry(entry):
        entry = make_readable_migration_entry(entry, is_exclusive=False)
        view[source] = entry
    view[target] = entry


def _copy_present_pte(
    child: MmStruct,
    parent: MmStruct,
    context: FaultContext,
    vma: Vma,
    address: int,
    entry: int,
    words: tuple[int, int],
    spare: int | None,
) -> CopySteps:
    """Copy one entry, or its page to `spare`; end with False if the page has to be copied, but how.

    An entry of private memory loses RW in both, one of shared memory DIRTY in the child's.
    """
    view = parent.page_table.memory.view
    wants_step = parent.page_table.wants_step
    pages = context.pages
    source, target = words
    if not entry & SPECIAL:
        pfn = pte_pfn(entry)
        if wants_step():
            touches: tuple[Touch, ...] = (
                (page(pfn), Mode.WRITE),
                (mm_flags(parent.ctx_id), Mode.READ),
            )
            yield Label("duplicate rmap", (*touches, (rss(child.ctx_id), Mode.ADD)))
        if not is_anon(pages, pfn):
            page_dup_file_rmap(pages, pfn)
        elif not page_try_dup_anon_rmap(pages, pfn, has_pinned=parent.has_pinned):
            if spare is None:
                return False
            if wants_step():
                touches = (
                    (pte(target), Mode.WRITE),
                    (page(spare), Mode.WRITE),
                    (page(pfn), Mode.READ),
                )
                touches = (*touches, (data(pfn), Mode.READ), (data(spare), Mode.WRITE))
                yield Label("map a copy", (*touches, (rss(child.ctx_id), Mode.ADD)))
            yield PageCopied(child=child, address=address, source=pfn, target=spare)
            view[target] = _copy_present_page(child, context, vma, address, spare)
            return True
        child.add_mm_counter(mm_counter(pages, pfn), 1)
    if wants_step():
        yield Label("copy pte", ((pte(source), Mode.WRITE), (pte(target), Mode.WRITE)))
    if is_cow_mapping(vma) and entry & RW:
        view[source] &= ~RW
        entry &= ~RW
    if vma.vm_flags & VM_SHARED:
        entry &= ~DIRTY
    view[target] = entry & ~ACCESSED
    return True


def _copy_present_page(
    child: MmStruct, context: FaultContext, vma: Vma, address: int, pfn: int
) -> int:
    """Make a copy of a page the child's own; return its entry."""
    page_add_new_anon_rmap(context.pages, pfn, vma, address)
    context.count_page(pfn, NR_ANON_MAPPED, 1)
    if context.lru is not None:
        context.lru.add_page(pfn, vma.vm_flags)
    child.add_mm_counter(MM_ANONPAGES, 1)
    return make_pte(pfn, vma_page_prot(vma) | DIRTY | (RW if vma.vm_flags & VM_WRITE else 0))
