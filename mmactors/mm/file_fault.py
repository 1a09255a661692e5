"""Faults on files and shared memory (mm/memory.c, do_fault; mm/filemap.c; mm/shmem.c; Linux 6.1).

A page of shared memory is made when it is first touched. Pages of other files come into the page
cache by `ReadPage`. Left out: what reading a file takes (read-ahead, waiting).
"""

from collections.abc import Generator

from mmactors.arch.page import PG_DIRTY, PG_SWAPBACKED, PG_UPTODATE
from mmactors.arch.pte import DIRTY, PTRS_PER_TABLE, RW, make_pte
from mmactors.mm.anon_vma_chain import anon_vma_prepare
from mmactors.mm.fault import (
    VM_FAULT_MAJOR,
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
    AllocPage,
    FaultContext,
    FaultRequest,
    FaultSteps,
    FreePage,
    ReadPage,
    is_none,
    vma_page_prot,
)
from mmactors.mm.mapped_file import MappedFile
from mmactors.mm.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.rmap import mm_counter, page_add_file_rmap, page_add_new_anon_rmap
from mmactors.mm.vma import VM_SHARED, VM_WRITE, Vma, linear_page_index
from mmactors.units import PAGE_SHIFT, PAGE_SIZE


def do_fault(
    context: FaultContext, mm: MmStruct, vma: Vma, address: int, index: int, *, is_write: bool
) -> FaultSteps:
    """Map a page of what backs the area; a write to private memory maps a copy at once."""
    if is_write and not vma.vm_flags & VM_SHARED:
        return (yield from _do_cow_fault(context, mm, vma, address, index))
    if not is_write and _do_fault_around(context, mm, vma, address, index):
        return 0
    pfn, fault = yield from _fault_page(context, vma, address)
    if pfn is None or not is_none(mm.page_table.memory.view[index]):
        return fault
    entry = make_pte(pfn, vma_page_prot(vma))
    if is_write:
        entry |= DIRTY | (RW if vma.vm_flags & VM_WRITE else 0)
        context.pages.flags_view[pfn] |= PG_DIRTY
    _set_pte(context, mm, index, pfn, entry)
    return fault


def _do_cow_fault(
    context: FaultContext, mm: MmStruct, vma: Vma, address: int, index: int
) -> FaultSteps:
    if vma.anon_vma is None:
        yield from anon_vma_prepare(mm, vma)
    original, fault = yield from _fault_page(context, vma, address)
    if original is None:
        return fault
    pfn = yield AllocPage(copy_of=original)
    if pfn is None:
        return VM_FAULT_OOM
    view = mm.page_table.memory.view
    if not is_none(view[index]):
        yield FreePage(pfn=pfn)
        return fault
    page_add_new_anon_rmap(context.pages, pfn, vma, address)
    mm.add_mm_counter(MM_ANONPAGES, 1)
    flags = vma_page_prot(vma) | DIRTY | (RW if vma.vm_flags & VM_WRITE else 0)
    view[index] = make_pte(pfn, flags)
    return fault


def _do_fault_around(
    context: FaultContext, mm: MmStruct, vma: Vma, address: int, index: int
) -> bool:
    """Map the cached pages around an address, within its aligned window, area and table.

    Return whether the address itself is mapped now.
    """
    file = vma.vm_file
    if not isinstance(file, MappedFile) or not file.has_map_pages:
        return False
    page = address & -PAGE_SIZE
    start = max(page & -context.fault_around_bytes, vma.vm_start)
    end = min(start + context.fault_around_bytes, vma.vm_end)
    first_word = index - ((page - start) >> PAGE_SHIFT)
    nr_in_table = PTRS_PER_TABLE - first_word % PTRS_PER_TABLE
    count = min((end - start) >> PAGE_SHIFT, nr_in_table)
    first = linear_page_index(vma, start)
    view = mm.page_table.memory.view
    prot = vma_page_prot(vma)
    cached, nr_pages = file.mapping.pages, file.mapping.nr_pages
    for offset in range(min(count, max(0, nr_pages - first))):
        pfn = cached.get(first + offset)
        if pfn is not None and is_none(view[first_word + offset]):
            _set_pte(context, mm, first_word + offset, pfn, make_pte(pfn, prot))
    return not is_none(view[index])


def _set_pte(context: FaultContext, mm: MmStruct, index: int, pfn: int, entry: int) -> None:
    page_add_file_rmap(context.pages, pfn)
    mm.add_mm_counter(mm_counter(context.pages, pfn), 1)
    mm.page_table.memory.view[index] = entry


def _fault_page(
    context: FaultContext, vma: Vma, address: int
) -> Generator[FaultRequest, int | None, tuple[int | None, int]]:
    """Find the page that backs an address; end with its PFN, or None, and the VM_FAULT_ bits."""
    index = linear_page_index(vma, address)
    if vma.special is not None:
        if index >= len(vma.special.pages):
            return None, VM_FAULT_SIGBUS
        return vma.special.pages[index], 0
    file = vma.vm_file
    assert isinstance(file, MappedFile), f"{vma} maps no file"
    mapping = file.mapping
    if index >= mapping.nr_pages:
        return None, VM_FAULT_SIGBUS
    pfn = mapping.pages.get(index)
    if pfn is not None:
        return pfn, 0
    if not mapping.is_shmem:
        is_read = yield ReadPage(file=file, index=index)
        pfn = mapping.pages.get(index) if is_read else None
        return pfn, VM_FAULT_SIGBUS if pfn is None else VM_FAULT_MAJOR
    pfn = yield AllocPage()
    if pfn is None:
        return None, VM_FAULT_OOM
    if index in mapping.pages:
        yield FreePage(pfn=pfn)
    else:
        shmem_add_to_page_cache(context, file, index, pfn)
    return mapping.pages[index], 0


def shmem_add_to_page_cache(context: FaultContext, file: MappedFile, index: int, pfn: int) -> None:
    """Make a new page, of which the caller has the one reference, shared memory."""
    pages = context.pages
    pages.flags_view[pfn] |= PG_SWAPBACKED | PG_UPTODATE
    pages.mapping_view[pfn] = 0
    pages.index_view[pfn] = index
    pages.refcount_view[pfn] = 1
    file.mapping.pages[index] = pfn
