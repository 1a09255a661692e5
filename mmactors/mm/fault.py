"""What a page fault makes of an area and an entry (mm/memory.c, Linux 6.1).

Generators: they ask for tables (`AllocTable`, `FreeTable`), pages (`AllocPage`), contents
(`ReadPage`) and flushes (`FlushPage`), and look at the entry again after each answer; before the
first page of an area they also make the requests of mm/anon_vma.py. The caller holds mmap_lock, and
the table's lock from the last answer to the end. Entries without RW of pages that a write reaches
are served in mm/wp_page.py, pages of files in mm/file_fault.py. Left out: swap, huge pages,
userfaultfd, NUMA hints.
"""

from collections.abc import Generator
from typing import Final

from attrs import frozen

from mmactors.arch.page import PageColumns
from mmactors.arch.pte import PRESENT, PROTNONE, RW
from mmactors.mm.anon_vma import AnonVmaRequest
from mmactors.mm.anon_vma_chain import anon_vma_prepare
from mmactors.mm.mapped_file import MappedFile
from mmactors.mm.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.page_table import TableRequest
from mmactors.mm.pgprot import anonymous_pte, vm_get_page_prot, zero_page_pte
from mmactors.mm.rmap import page_add_new_anon_rmap
from mmactors.mm.vma import VM_SHARED, Vma
from mmactors.units import KIB

VM_FAULT_OOM: Final = 0x01
VM_FAULT_SIGBUS: Final = 0x02
VM_FAULT_MAJOR: Final = 0x04
VM_FAULT_REUSED: Final = 0x10_0000
"""Ours: the event PGREUSE, an entry was made writable without a copy."""
VM_FAULT_ERROR: Final = VM_FAULT_OOM | VM_FAULT_SIGBUS


@frozen(kw_only=True)
class FaultContext:
    """What all faults of a machine share."""

    pages: PageColumns
    zero_pfn: int
    """The page of zeros that reads of untouched memory see."""
    fault_around_bytes: int = 64 * KIB


@frozen(kw_only=True)
class AllocPage:
    """A page is needed, zeroed or a copy of `copy_of`; answered with its PFN, None: no memory."""

    copy_of: int | None = None


@frozen(kw_only=True)
class FreePage:
    """Give a page back that nobody refers to; answered with None."""

    pfn: int


@frozen(kw_only=True)
class FlushPage:
    """No CPU may know a translation of `address` any more; answered with None."""

    address: int


@frozen(kw_only=True)
class ReadPage:
    """Bring page `index` into the page cache; answered with 1, or None if it cannot be read."""

    file: MappedFile
    index: int


FaultRequest = TableRequest | AllocPage | FreePage | FlushPage | ReadPage | AnonVmaRequest
FaultSteps = Generator[FaultRequest, int | None, int]


def vma_page_prot(vma: Vma) -> int:
    """Return the flags of a new entry of an area (vma_set_page_prot).

    Shared pages of a file whose file system wants to know of the first write begin without RW.
    """
    vm_flags = vma.vm_flags
    if isinstance(vma.vm_file, MappedFile) and vma.vm_file.wants_writenotify:
        vm_flags &= ~VM_SHARED
    return vm_get_page_prot(vm_flags)


def do_anonymous_page(
    context: FaultContext, mm: MmStruct, vma: Vma, address: int, index: int, *, is_write: bool
) -> FaultSteps:
    """Map untouched anonymous memory: the zero page for a read, a page of its own for a write."""
    view = mm.page_table.memory.view
    if not is_write:
        if not view[index]:
            view[index] = zero_page_pte(context.zero_pfn, vma.vm_flags)
        return 0
    if vma.anon_vma is None:
        yield from anon_vma_prepare(mm, vma)
    pfn = yield AllocPage()
    if pfn is None:
        return VM_FAULT_OOM
    if view[index]:
        yield FreePage(pfn=pfn)
        return 0
    page_add_new_anon_rmap(context.pages, pfn, vma, address)
    mm.add_mm_counter(MM_ANONPAGES, 1)
    view[index] = anonymous_pte(pfn, vma.vm_flags)
    return 0


def is_access_allowed(entry: int, *, is_write: bool) -> bool:
    """Say whether the hardware serves the access with this entry."""
    return entry & PRESENT != 0 and (not is_write or entry & RW != 0)


def is_none(entry: int) -> bool:
    """Say whether nothing is mapped (pte_none, without swap)."""
    return not entry & (PRESENT | PROTNONE)
