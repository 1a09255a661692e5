"""What a page fault makes of an area and an entry (mm/memory.c, Linux 6.1).

Generators: they ask for tables (`AllocTable`, `FreeTable`), pages (`AllocPage`), contents
(`ReadPage`) and flushes (`FlushPage`), for the locks of tables, and for steps (mm/step.py); before
the first page of an area they also make the requests of mm/area/anon_vma.py. The caller holds
mmap_lock. An entry is read without its table's lock and looked at again under it. Entries without
RW of pages that a write reaches are served in mm/fault/wp_page.py, pages of files in
mm/fault/file_fault.py. Left out: swap, huge pages, userfaultfd, NUMA hints.
"""

from collections.abc import Callable, Generator
from typing import Final

from attrs import define, field, frozen

from mmactors.arch.page import PageColumns
from mmactors.arch.pte import PRESENT, PROTNONE, RW
from mmactors.checks import Checks
from mmactors.mm.area.anon_vma import AnonVmaRequest
from mmactors.mm.area.anon_vma_chain import anon_vma_prepare
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.area.pgprot import anonymous_pte, vm_get_page_prot, zero_page_pte
from mmactors.mm.area.task import Task
from mmactors.mm.area.vma import VM_SHARED, Vma
from mmactors.mm.lru.folio_batch import FolioBatches
from mmactors.mm.page_alloc.gfp import GFP_HIGHUSER_MOVABLE, GFP_ZERO
from mmactors.mm.page_table.page_table import TableRequest
from mmactors.mm.rmap.rmap import page_add_new_anon_rmap
from mmactors.mm.step import UNLOCK_PTES, LockPtes, Step, StepRequest, data, page, pte, rss
from mmactors.mm.vmstat import NR_ANON_MAPPED
from mmactors.units import KIB

VM_FAULT_OOM: Final = 0x01
VM_FAULT_SIGBUS: Final = 0x02
VM_FAULT_MAJOR: Final = 0x04
VM_FAULT_WRITE: Final = 0x08
VM_FAULT_RETRY: Final = 0x400
"""A write to a read-only entry was served: what it maps now is the private copy, if it is one."""
VM_FAULT_ERROR: Final = VM_FAULT_OOM | VM_FAULT_SIGBUS


def _not_counted(item: int, delta: int = 1) -> None:
    """Count nothing: nobody reads the machine's counters."""


def _never_locked(_pfn: int) -> bool:
    """Answer for machines on which nobody locks pages."""
    return False


@define(eq=False, kw_only=True)
class FaultContext:
    """What faults work with on one CPU: struct pages, counters, and who runs there."""

    pages: PageColumns
    zero_pfn: int
    """The page of zeros that reads of untouched memory see."""
    fault_around_bytes: int = 64 * KIB
    count_event: Callable[[int], None] = _not_counted
    """Called with an event of /proc/vmstat."""
    count_node: Callable[[int, int], None] = _not_counted
    """Called with an item of the node and what it changes by."""
    is_page_locked: Callable[[int], bool] = _never_locked
    """Called with a page of a file."""
    checks: Checks | None = None
    """Who is told what happens to contents; None: nobody."""
    lru: FolioBatches | None = None
    """Where new pages wait for their LRU list; None: none is kept."""
    task: Task = field(factory=Task)
    """The thread that runs (current)."""

    def add_mm_counter_fast(self, mm: MmStruct, member: int, value: int) -> None:
        """Add pages to an rss counter; the running thread's own are told later."""
        task = self.task
        if mm is task.mm:
            task.rss.add_mm_counter_fast(member, value)
        else:
            mm.add_mm_counter(member, value)

    def sync_mm_rss(self, mm: MmStruct) -> None:
        """Bring what the running thread has counted to `mm`, if that is its address space."""
        if mm is self.task.mm:
            self.task.rss.fold(mm)


@frozen(kw_only=True)
class AllocPage:
    """A page is needed; answered with its PFN, None: no memory."""

    gfp: int = GFP_HIGHUSER_MOVABLE
    """With GFP_ZERO, the page is cleared."""
    is_copy: bool = False
    """Another page is copied to it."""


ALLOC_ZEROED: Final = AllocPage(gfp=GFP_HIGHUSER_MOVABLE | GFP_ZERO)
ALLOC_COPY: Final = AllocPage(is_copy=True)


@frozen(kw_only=True)
class FreePage:
    """Let go of a reference of a page, which is freed with the last one; answered with None."""

    pfn: int


@frozen(kw_only=True)
class FlushPage:
    """No CPU may know a translation of `address` any more; answered with None."""

    address: int


READ_UNLOCKED: Final = 2


@frozen(kw_only=True)
class ReadPage:
    """Bring page `index` into the page cache.

    Answered with 1, with READ_UNLOCKED if mmap_lock was let go of meanwhile, so that the fault
    begins anew, or None if the page cannot be read.
    """

    file: MappedFile
    index: int


@frozen(kw_only=True)
class LockPage:
    """Lock a page of a file, of which the asker has a reference; answered with None."""

    pfn: int


@frozen(kw_only=True)
class TryLockPage:
    """Lock a page if nobody has it locked; answered with whether it is locked now."""

    pfn: int


@frozen(kw_only=True)
class UnlockPage:
    """Unlock a page; answered with None."""

    pfn: int


FaultRequest = (
    TableRequest
    | AllocPage
    | FreePage
    | FlushPage
    | ReadPage
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
        yield Step(f"copy page {source:#x}", ((data(source), "r"), (data(target), "w")))
    if context.checks is not None:
        context.checks.page_copied(source, target)


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
    wants_step = mm.page_table.wants_step
    if not is_write:
        yield LockPtes(index)
        if wants_step():
            yield Step("map the zero page", ((pte(index), "w"),))
        if not view[index]:
            view[index] = zero_page_pte(context.zero_pfn, vma.vm_flags)
        yield UNLOCK_PTES
        return 0
    if vma.anon_vma is None:
        yield from anon_vma_prepare(mm, vma)
    pfn = yield ALLOC_ZEROED
    if pfn is None:
        return VM_FAULT_OOM
    yield LockPtes(index)
    if wants_step():
        touches = ((pte(index), "w"), (page(pfn), "w"), (rss(mm.ctx_id), "a"))
        yield Step("map a page", touches)
    if not map_anonymous_page(context, mm, vma, address, index, pfn):
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
    context.count_node(NR_ANON_MAPPED, 1)
    context.add_mm_counter_fast(mm, MM_ANONPAGES, 1)
    if context.lru is not None:
        context.lru.add_page(pfn, vma.vm_flags)
    view[index] = anonymous_pte(pfn, vma.vm_flags)
    return True


def is_access_allowed(entry: int, *, is_write: bool) -> bool:
    """Say whether the hardware serves the access with this entry."""
    return entry & PRESENT != 0 and (not is_write or entry & RW != 0)


def is_none(entry: int) -> bool:
    """Say whether nothing is there (pte_none); a swap entry is something."""
    return entry == 0


def is_present(entry: int) -> bool:
    """Say whether a page is mapped, accessible or not (pte_present)."""
    return entry & (PRESENT | PROTNONE) != 0
