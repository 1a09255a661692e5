"""From an area of an address space to its lines in maps and smaps (fs/proc/task_mmu.c, v6.1).

What is resident is read from the page tables and the columns of struct page. Left out: swap, huge
pages.
"""

from typing import Final

from mmactors.arch.page import PG_DIRTY, PG_SWAPBACKED, PageColumns
from mmactors.arch.pte import ACCESSED, DIRTY, PFN_MASK, PFN_SHIFT, SPECIAL
from mmactors.mm.mapped_file import MappedFile
from mmactors.mm.mm_struct import MM_ANONPAGES, MM_SHMEMPAGES, MmStruct
from mmactors.mm.rmap import is_anon, mm_counter
from mmactors.mm.vma import VM_LOCKED, VM_PFNMAP, Vma
from mmactors.observe.proc.process_view import SmapsNumbers, VmaView, pss_of
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_PSS_FIELD: Final = {MM_ANONPAGES: "pss_anon", MM_SHMEMPAGES: "pss_shmem"}


def view_of_vma(mm: MmStruct, vma: Vma, numbers: SmapsNumbers | None = None) -> VmaView:
    """Return what /proc shows of an area."""
    file = vma.vm_file if isinstance(vma.vm_file, MappedFile) else None
    return VmaView(
        start=vma.vm_start,
        end=vma.vm_end,
        vm_flags=vma.vm_flags,
        name=mm.vma_name(vma),
        offset=0 if file is None else vma.vm_pgoff << PAGE_SHIFT,
        dev=(0, 0) if file is None else file.mapping.dev,
        inode=0 if file is None else file.mapping.inode,
        numbers=SmapsNumbers() if numbers is None else numbers,
    )


def smaps_of_vma(mm: MmStruct, vma: Vma, pages: PageColumns) -> SmapsNumbers:
    """Return what of an area is resident, by kind (smaps_pte_range)."""
    sums: dict[str, int] = {}

    def add(name: str, amount: int) -> None:
        sums[name] = sums.get(name, 0) + amount

    entries = [] if vma.vm_flags & VM_PFNMAP else _entries(mm, vma)
    for entry in entries:
        if entry & SPECIAL:
            continue
        pfn = (entry & PFN_MASK) >> PFN_SHIFT
        flags = pages.flags_view[pfn]
        is_dirty = (entry & DIRTY) != 0 or flags & PG_DIRTY != 0
        mapcount = pages.mapcount_view[pfn]
        pss = pss_of(PAGE_SIZE, mapcount)
        add("resident", PAGE_SIZE)
        add("pss", pss)
        add(_PSS_FIELD.get(mm_counter(pages, pfn), "pss_file"), pss)
        sharing = "shared" if mapcount > 1 else "private"
        add(f"{sharing}_{'dirty' if is_dirty else 'clean'}", PAGE_SIZE)
        if is_dirty:
            add("pss_dirty", pss)
        if entry & ACCESSED:
            add("referenced", PAGE_SIZE)
        if is_anon(pages, pfn):
            add("anonymous", PAGE_SIZE)
            if not flags & PG_SWAPBACKED and not is_dirty:
                add("lazyfree", PAGE_SIZE)
        if vma.vm_flags & VM_LOCKED:
            add("pss_locked", pss)
    return SmapsNumbers(**sums)


def _entries(mm: MmStruct, vma: Vma) -> list[int]:
    found: list[int] = mm.page_table.read_range(vma.vm_start, vma.vm_end).entries.tolist()
    return found
