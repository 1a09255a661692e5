"""From an area of an address space to its lines in maps, smaps and numa_maps (fs/proc/task_mmu.c).

v6.1. What is resident is read from the page tables and the columns of struct page. For smaps that
includes pages that are being moved, as mapped once, whatever the entry was; for numa_maps it does
not. Left out: swap, huge pages.
"""

from typing import Self

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.page import (
    PG_ACTIVE,
    PG_DIRTY,
    PG_REFERENCED,
    PG_RESERVED,
    PG_SWAPBACKED,
    PG_UNEVICTABLE,
    PG_WRITEBACK,
    PG_YOUNG,
    PageColumns,
)
from mmactors.arch.pte import ACCESSED, DIRTY, PRESENT, PROTNONE, SPECIAL
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.pkeys import vma_pkey
from mmactors.mm.area.vm_flags import VM_LOCKED, VM_PFNMAP
from mmactors.mm.area.vma import Vma
from mmactors.mm.page_table.page_table import PTE_LEVEL
from mmactors.mm.page_table.swap_entry import is_migration_entry, migration_entry_pfn
from mmactors.mm.rmap.rmap import PAGE_MAPPING_ANON
from mmactors.observe.proc.process_view import PSS_SHIFT, NumaNumbers, SmapsNumbers, VmaView
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

Flags = NDArray[np.bool_]
Words = NDArray[np.int64]
Nodes = NDArray[np.int64]


@frozen(kw_only=True)
class Resident:
    """The pages of an area that entries map, but for those that belong to nobody."""

    entries: Words
    pfns: Words

    @classmethod
    def of_area(cls, mm: MmStruct, vma: Vma) -> Self:
        """Return what is mapped (vm_normal_page): the zero page is in no process's rss."""
        if vma.vm_flags & VM_PFNMAP:
            return cls(entries=np.empty(0, np.int64), pfns=np.empty(0, np.int64))
        found = mm.page_table.read_range(vma.vm_start, vma.vm_end)
        is_normal = (found.entries & SPECIAL) == 0
        return cls(entries=found.entries[is_normal], pfns=found.pfns[is_normal])


def moving_pages(mm: MmStruct, vma: Vma) -> Words:
    """Return the pages for which migration entries stand in an area."""
    words = mm.page_table.memory.words
    pfns: list[int] = []
    for leaves in mm.page_table.leaf_ranges(vma.vm_start, vma.vm_end):
        if leaves.level == PTE_LEVEL:
            entries = words[leaves.index : leaves.index + leaves.count]
            absent = entries[(entries & (PRESENT | PROTNONE)) == 0]
            others = absent[absent != 0].tolist()
            pfns += [migration_entry_pfn(entry) for entry in others if is_migration_entry(entry)]
    return np.array(pfns, np.int64)


def view_of_vma(mm: MmStruct, vma: Vma, pages: PageColumns, zone_node: Nodes) -> VmaView:
    """Return what /proc shows of an area; `zone_node` is by zone number."""
    file = vma.vm_file if isinstance(vma.vm_file, MappedFile) else None
    resident = Resident.of_area(mm, vma)
    return VmaView(
        start=vma.vm_start,
        end=vma.vm_end,
        vm_flags=vma.vm_flags,
        name=mm.vma_name(vma),
        offset=0 if vma.vm_file is None else vma.vm_pgoff << PAGE_SHIFT,
        dev=(0, 0) if file is None else file.mapping.dev,
        inode=0 if file is None else file.mapping.inode,
        has_file=file is not None,
        numbers=smaps_of_vma(vma, resident, moving_pages(mm, vma), pages),
        numa=numa_of_vma(resident, pages, zone_node),
        protection_key=None if mm.pkeys is None else vma_pkey(vma.vm_flags),
    )


def numa_of_vma(resident: Resident, pages: PageColumns, zone_node: Nodes) -> NumaNumbers:
    """Return the pages of an area by kind and node (gather_stats); reserved ones do not count."""
    if not len(resident.pfns):
        return NumaNumbers()
    flags = pages.flags[resident.pfns]
    is_counted = (flags & PG_RESERVED) == 0
    entries, pfns, flags = (
        resident.entries[is_counted],
        resident.pfns[is_counted],
        flags[is_counted],
    )

    def count(which: Flags) -> int:
        return int(np.count_nonzero(which))

    return NumaNumbers(
        pages=len(pfns),
        anon=count((pages.mapping[pfns] & PAGE_MAPPING_ANON) != 0),
        dirty=count(((entries & DIRTY) != 0) | ((flags & PG_DIRTY) != 0)),
        mapcount_max=int(pages.mapcount[pfns].max(initial=0)),
        active=count((flags & (PG_ACTIVE | PG_UNEVICTABLE)) != 0),
        writeback=count((flags & PG_WRITEBACK) != 0),
        nodes=tuple(np.bincount(zone_node[pages.zone[pfns] - 1]).tolist()),
    )


def smaps_of_vma(vma: Vma, resident: Resident, moving: Words, pages: PageColumns) -> SmapsNumbers:
    """Return what of an area is resident, by kind (smaps_pte_range, smaps_account)."""
    if not len(resident.entries) and not len(moving):
        return SmapsNumbers()
    entries = np.concatenate([resident.entries, np.zeros(len(moving), np.int64)])
    pfns = np.concatenate([resident.pfns, moving])
    flags = pages.flags[pfns]
    mapcount = np.concatenate(
        [pages.mapcount[resident.pfns], np.ones(len(moving), pages.mapcount.dtype)]
    )
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

    pss_of_all = int(pss.sum())
    return SmapsNumbers(
        resident=len(entries) * PAGE_SIZE,
        pss=pss_of_all,
        pss_dirty=share(is_dirty),
        pss_anon=share(is_anon),
        pss_shmem=share(~is_anon & is_swapbacked),
        pss_file=share(~is_anon & ~is_swapbacked),
        shared_clean=size(is_shared & ~is_dirty),
        shared_dirty=size(is_shared & is_dirty),
        private_clean=size(~is_shared & ~is_dirty),
        private_dirty=size(~is_shared & is_dirty),
        referenced=size(((entries & ACCESSED) != 0) | ((flags & (PG_REFERENCED | PG_YOUNG)) != 0)),
        anonymous=size(is_anon),
        lazyfree=size(is_anon & ~is_swapbacked & ~is_dirty),
        pss_locked=pss_of_all if vma.vm_flags & VM_LOCKED else 0,
    )
