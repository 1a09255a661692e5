"""Whether MADV_COLLAPSE would make huge pages of small ones (mm/khugepaged.c, Linux 6.1).

There are no huge pages: who asks for what would result in one is told so. What 6.1 refuses gets
its error. What the setting `enabled` says is not asked. Left out: userfaultfd; CONFIG_READ_ONLY_
THP_FOR_FS, which Debian's kernel does not have.
"""

import errno
from enum import Enum
from typing import Final

from mmactors.arch.page import PG_LOCKED, PageColumns
from mmactors.arch.pte import PTRS_PER_TABLE, RW, SPECIAL, pte_pfn
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import VM_HUGETLB, VM_NOHUGEPAGE, VM_SPECIAL
from mmactors.mm.area.vma import Vma
from mmactors.mm.page_table.entry import is_present
from mmactors.mm.page_table.page_table import PMD_LEVEL, PMD_MASK, PMD_SIZE, PTE_LEVEL
from mmactors.mm.rmap.rmap import is_anon
from mmactors.units import PAGE_SHIFT

_WORD_MASK: Final = (1 << 64) - 1


class Scan(Enum):
    """What came of looking at the entries of 2 MiB (enum scan_result)."""

    SUCCEED = "would be a huge page"
    PMD_NONE = "there is no table"
    PMD_NULL = "there are no tables above"
    PAGE_RO = "no entry may be written"
    PAGE_ANON = "an entry maps a page of a file"
    PAGE_LOCK = "somebody has a page locked"
    PAGE_COUNT = "somebody else refers to a page"

    @property
    def error(self) -> int:
        """What the call ends with if nothing worse comes (madvise_collapse_errno)."""
        may_pass = self in (Scan.PAGE_LOCK, Scan.PAGE_COUNT)
        return -errno.EAGAIN if may_pass else -errno.EINVAL

    @property
    def ends_call(self) -> bool:
        """Whether the call does not go on behind it."""
        return self in (Scan.PMD_NONE, Scan.PAGE_ANON)


def collapse_range(start: int, end: int) -> range | int:
    """Return the addresses of the whole 2 MiB of a range; or 0 or -EINVAL: there are none.

    EINVAL: the range has not even the border of one in it.
    """
    hstart = (start + PMD_SIZE - 1) & PMD_MASK
    hend = end & PMD_MASK
    if hstart < hend:
        return range(hstart, hend, PMD_SIZE)
    return 0 if hstart == hend else -errno.EINVAL


def hugepage_vma_check(vma: Vma) -> bool:
    """Say whether an area could have a huge page if it were asked for."""
    if vma.vm_flags & (VM_NOHUGEPAGE | VM_SPECIAL | VM_HUGETLB):
        return False
    # As the kernel's numbers, these wrap: an area below 2 MiB seems to be long enough.
    first = (vma.vm_end - PMD_SIZE) & PMD_MASK & _WORD_MASK
    if first < vma.vm_start or (first + PMD_SIZE) & _WORD_MASK > vma.vm_end:
        return False
    if is_shmem(vma):
        return ((vma.vm_start >> PAGE_SHIFT) - vma.vm_pgoff) % (PMD_SIZE >> PAGE_SHIFT) == 0
    return vma.is_anonymous and vma.anon_vma is not None


def is_shmem(vma: Vma) -> bool:
    """Say whether an area maps shared memory, holes of which a huge page would fill."""
    return isinstance(vma.vm_file, MappedFile) and vma.vm_file.mapping.is_shmem


def hpage_collapse_scan_pmd(mm: MmStruct, pages: PageColumns, address: int) -> Scan:
    """Look at the entries of the 2 MiB at `address`, with the lock of their table held."""
    level, first = mm.page_table.walk(address)
    if level != PTE_LEVEL:
        return Scan.PMD_NONE if level == PMD_LEVEL else Scan.PMD_NULL
    view = mm.page_table.memory.view
    is_writable = False
    for index in range(first, first + PTRS_PER_TABLE):
        entry = view[index]
        if not is_present(entry) or entry & SPECIAL:
            continue  # Nothing, swapped out, or the page of zeros.
        is_writable |= entry & RW != 0
        refused = _scan_page(pages, pte_pfn(entry))
        if refused is not None:
            return refused
    return Scan.SUCCEED if is_writable else Scan.PAGE_RO


def _scan_page(pages: PageColumns, pfn: int) -> Scan | None:
    """Return why the page at an entry cannot be moved; None: it can."""
    if pages.flags_view[pfn] & PG_LOCKED:
        return Scan.PAGE_LOCK
    if not is_anon(pages, pfn):
        return Scan.PAGE_ANON
    if pages.refcount_view[pfn] != pages.mapcount_view[pfn]:
        return Scan.PAGE_COUNT
    return None
