"""From an area of an address space to its lines in maps and smaps (fs/proc/task_mmu.c, v6.1).

What is resident is read from the page tables and the columns of struct page. Left out: swap, huge
pages.
"""

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.page import PG_DIRTY, PG_SWAPBACKED, PageColumns
from mmactors.arch.pte import ACCESSED, DIRTY, SPECIAL
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.pkeys import vma_pkey
from mmactors.mm.area.vm_flags import VM_LOCKED, VM_PFNMAP
from mmactors.mm.area.vma import Vma
from mmactors.mm.rmap.rmap import PAGE_MAPPING_ANON
from mmactors.observe.proc.process_view import PSS_SHIFT, SmapsNumbers, VmaView
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

Flags = NDArray[np.bool_]


def view_of_vma(mm: MmStruct, vma: Vma, numbers: SmapsNumbers | None = None) -> VmaView:
    """Return what /proc shows of an area."""
    file = vma.vm_file if isinstance(vma.vm_file, MappedFile) else None
    return VmaView(
        start=vma.vm_start,
        end=vma.vm_end,
        vm_flags=vma.vm_flags,
        name=mm.vma_name(vma),
        offset=0 if vma.vm_file is None else vma.vm_pgoff << PAGE_SHIFT,
        dev=(0, 0) if file is None else file.mapping.dev,
        inode=0 if file is None else file.mapping.inode,
        numbers=SmapsNumbers() if numbers is None else numbers,
        protection_key=None if mm.pkeys is None else vma_pkey(vma.vm_flags),
    )


def smaps_of_vma(mm: MmStruct, vma: Vma, pages: PageColumns) -> SmapsNumbers:
    """Return what of an area is resident, by kind (smaps_pte_range)."""
    if vma.vm_flags & VM_PFNMAP:
        return SmapsNumbers()
    found = mm.page_table.read_range(vma.vm_start, vma.vm_end)
    # The zero page belongs to nobody: it is in no process's rss (vm_normal_page).
    is_normal = (found.entries & SPECIAL) == 0
    entries, pfns = found.entries[is_normal], found.pfns[is_normal]
    flags, mapcount = pages.flags[pfns], pages.mapcount[pfns]
    is_anon = (pages.mapping[pfns] & PAGE_MAPPING_ANON) != 0
    is_swapbacked = (flags & PG_SWAPBACKED) != 0
    is_dirty = ((entries & DIRTY) != 0) | ((flags & PG_DIRTY) != 0)
    is_shared = mapcount > 1
    # The share of each page is cut off on its own, as the kernel divides page by page.
    pss = (PAGE_SIZE << PSS_SHIFT) // np.maximum(mapcount, 1).astype(np.int64)

    def size(which: Flags) -> int:
        return int(np.count_nonzero(which)) * PAGE_SIZE

    def share(which: Flags) -> int:
        return int(pss[which].sum())

    everything = np.ones(len(entries), np.bool_)
    return SmapsNumbers(
        resident=size(everything),
        pss=share(everything),
        pss_dirty=share(is_dirty),
        pss_anon=share(is_anon),
        pss_shmem=share(~is_anon & is_swapbacked),
        pss_file=share(~is_anon & ~is_swapbacked),
        shared_clean=size(is_shared & ~is_dirty),
        shared_dirty=size(is_shared & is_dirty),
        private_clean=size(~is_shared & ~is_dirty),
        private_dirty=size(~is_shared & is_dirty),
        referenced=size((entries & ACCESSED) != 0),
        anonymous=size(is_anon),
        lazyfree=size(is_anon & ~is_swapbacked & ~is_dirty),
        pss_locked=share(everything) if vma.vm_flags & VM_LOCKED else 0,
    )
