"""What a page fault makes of an area and an entry (mm/memory.c, Linux 6.1).

Generators: they ask for tables (`AllocTable`, `FreeTable`), pages (`AllocPage`), contents
(`ReadPages`) and flushes (`FlushPage`), for the locks of tables, and for steps (label.py); before
the first page of an area they also make the requests of mm/area/anon_vma.py. The caller holds
mmap_lock. An entry is read without its table's lock and looked at again under it. Entries without
RW of pages that a write reaches are served in mm/fault/wp_page.py, pages of files in
mm/fault/file_fault.py. Left out: swap, huge pages, userfaultfd, NUMA hints.
"""

from collections.abc import Generator
from typing import Final

from attrs import frozen

from mmactors.label import Label, Mode, data, page, pte, rss
from mmactors.mm.area.anon_vma import AnonVmaRequest
from mmactors.mm.area.anon_vma_chain import anon_vma_prepare
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.area.pgprot import anonymous_pte, zero_page_pte
from mmactors.mm.area.vma import Vma
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.page_cache.readahead import Windows
from mmactors.mm.page_table.page_table import TableRequest
from mmactors.mm.request import (
    ALLOC_ZEROED,
    UNLOCK_PTES,
    AllocPage,
    FlushPage,
    FreePage,
    LockPage,
    LockPtes,
    StepRequest,
    TryLockPage,
    UnlockPage,
)
from mmactors.mm.rmap.rmap import page_add_new_anon_rmap
from mmactors.mm.vmstat import NR_ANON_MAPPED

VM_FAULT_OOM: Final = 0x01
VM_FAULT_SIGBUS: Final = 0x02
VM_FAULT_MAJOR: Final = 0x04
VM_FAULT_WRITE: Final = 0x08
"""A write to a read-only entry was served: what it maps now is the private copy, if it is one."""
VM_FAULT_RETRY: Final = 0x400
"""mmap_lock was let go of: the fault begins anew."""
VM_FAULT_ERROR: Final = VM_FAULT_OOM | VM_FAULT_SIGBUS

FAULT_FLAG_ALLOW_RETRY: Final = 0x04
FAULT_FLAG_TRIED: Final = 0x20
"""The fault begins for the second time: nothing is read ahead, nothing waits without mmap_lock."""

READ_UNLOCKED: Final = 2


@frozen(kw_only=True)
class ReadPages:
    """Read what is missing of some windows of a file, and page `index`, into the page cache.

    Answered with READ_UNLOCKED if `drops_lock`: mmap_lock was let go of meanwhile, and taken again,
    so that the fault begins anew. Otherwise with 1, None: there is no memory for page `index`.
    """

    file: MappedFile
    index: int
    windows: Windows
    size_bytes: int
    """The length of the file, as it was seen when the page was looked for."""
    drops_lock: bool


def allows_retry_first(flags: int) -> bool:
    """Say whether a fault may let go of mmap_lock to wait (fault_flag_allow_retry_first)."""
    return flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED) == FAULT_FLAG_ALLOW_RETRY


FaultRequest = (
    TableRequest
    | AllocPage
    | FreePage
    | FlushPage
    | ReadPages
    | LockPage
    | TryLockPage
    | UnlockPage
    | StepRequest
    | AnonVmaRequest
)
FaultSteps = Generator[FaultRequest, int | None, int]


def copy_page(
    context: FaultContext, mm: MmStruct, source: int, target: int
) -> Generator[StepRequest, None, None]:
    """Copy what a page contains, as it is at this moment (copy_user_highpage)."""
    if mm.page_table.wants_step():
        yield Label(
            f"copy page {source:#x}", ((data(source), Mode.READ), (data(target), Mode.WRITE))
        )
    if context.frame_words is not None:
        context.frame_words.copy(source, target)
    if context.checks is not None:
        context.checks.page_copied(source, target)


def do_anonymous_page(
    context: FaultContext, mm: MmStruct, vma: Vma, address: int, index: int, *, is_write: bool
) -> FaultSteps:
    """Map untouched anonymous memory: the zero page for a read, a page of its own for a write."""
    view = mm.page_table.memory.view
    wants_step = mm.page_table.wants_step
    if not is_write:
        yield LockPtes(index)
        if wants_step():
            yield Label("map the zero page", ((pte(index), Mode.WRITE),))
        if not view[index]:
            view[index] = zero_page_pte(context.zero_pfn, vma.vm_flags)
        context.kind, context.pfn = "zero", context.zero_pfn
        yield UNLOCK_PTES
        return 0
    if vma.anon_vma is None and (yield from anon_vma_prepare(mm, vma)):
        return VM_FAULT_OOM
    pfn = yield ALLOC_ZEROED
    if pfn is None:
        return VM_FAULT_OOM
    yield LockPtes(index)
    if wants_step():
        touches = ((pte(index), Mode.WRITE), (page(pfn), Mode.WRITE), (rss(mm.ctx_id), Mode.ADD))
        yield Label("map a page", touches)
    if map_anonymous_page(context, mm, vma, address, index, pfn):
        context.kind, context.pfn = "anon", pfn
    else:
        yield FreePage(pfn=pfn)
    yield UNLOCK_PTES
    return 0


def map_anonymous_page(
    context: FaultContext, mm: MmStruct, vma: Vma, address: int, index: int, pfn: int
) -> bool:
    """Map a new page, with the table's lock held; False: something is mapped there by now."""
    view = mm.page_table.memory.view
    if view[index]:
        return False
    page_add_new_anon_rmap(context.pages, pfn, vma, address)
    context.count_page(pfn, NR_ANON_MAPPED, 1)
    context.add_mm_counter_fast(mm, MM_ANONPAGES, 1)
    if context.lru is not None:
        context.lru.add_page(pfn, vma.vm_flags)
    view[index] = anonymous_pte(pfn, vma.vm_flags)
    return True
