"""Copying entries to a forked child (mm/memory.c, copy_page_range, Linux 6.1).

A generator that asks for the child's tables (`AllocTable`), the locks of both tables, and steps.
The child gets a table wherever the parent has one, also if it is empty. Left out: swap, huge
pages, pinned pages.
"""

from collections.abc import Generator

from mmactors.arch.page import PageColumns
from mmactors.arch.pte import ACCESSED, DIRTY, PFN_MASK, PFN_SHIFT, PRESENT, PROTNONE, RW, SPECIAL
from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.page_table import PMD_MASK, PMD_SIZE, PTE_LEVEL, TableRequest
from mmactors.mm.rmap import mm_counter, page_dup_rmap
from mmactors.mm.step import UNLOCK_PTES, LockPtes, Step, StepRequest, Touch, page, pte, rss
from mmactors.mm.vma import VM_MAYWRITE, VM_SHARED, Vma
from mmactors.units import PAGE_SHIFT

CopySteps = Generator[TableRequest | StepRequest, int | None, bool]


def copy_page_range(
    child: MmStruct, parent: MmStruct, pages: PageColumns, *, child_vma: Vma, parent_vma: Vma
) -> CopySteps:
    """Copy the entries of an area; end with False if there was no memory for a table."""
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
            count = (following - address) >> PAGE_SHIFT
            yield LockPtes(target, source)
            if parent.page_table.wants_step():
                yield _copy_step(child, parent, source=source, target=target, count=count)
            _copy_pte_range(
                child, parent, pages, parent_vma, source=source, target=target, count=count
            )
            yield UNLOCK_PTES
        else:
            size = PMD_SIZE << 9 * (level - 2)
            following = (address & -size) + size
        address = following
    return True


def _copy_step(child: MmStruct, parent: MmStruct, *, source: int, target: int, count: int) -> Step:
    """Return the step in which entries are copied, with the pages that they map."""
    touches: list[Touch] = [(rss(child.ctx_id), "a")]
    words = parent.page_table.memory.words[source : source + count].tolist()
    for offset, entry in enumerate(words):
        touches += [(pte(source + offset), "w"), (pte(target + offset), "w")]
        if entry & (PRESENT | PROTNONE) and not entry & SPECIAL:
            touches.append((page((entry & PFN_MASK) >> PFN_SHIFT), "w"))
    return Step("copy ptes", tuple(touches))


def _copy_pte_range(
    child: MmStruct,
    parent: MmStruct,
    pages: PageColumns,
    vma: Vma,
    *,
    source: int,
    target: int,
    count: int,
) -> None:
    """Copy entries; those of private memory lose RW in both, those of shared memory DIRTY."""
    view = parent.page_table.memory.view
    is_cow = vma.vm_flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE
    for offset in range(count):
        entry = view[source + offset]
        if not entry & (PRESENT | PROTNONE):
            continue
        if not entry & SPECIAL:
            pfn = (entry & PFN_MASK) >> PFN_SHIFT
            page_dup_rmap(pages, pfn)
            child.add_mm_counter(mm_counter(pages, pfn), 1)
        if is_cow and entry & RW:
            entry &= ~RW
            view[source + offset] = entry
        if vma.vm_flags & VM_SHARED:
            entry &= ~DIRTY
        view[target + offset] = entry & ~ACCESSED
