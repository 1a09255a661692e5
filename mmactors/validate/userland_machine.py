"""A machine that performs page work at once: what drives mm/'s mechanisms without actors.

Every request of a mechanism is answered where it is made: pages come from a counter, flushes have
nobody to tell, locks are never contended. Nothing here decides anything that the kernel would;
that is all in mm/. Left out, and refused by NotModelled: reading files, huge pages, running out of
memory.
"""

from collections import Counter
from collections.abc import Generator
from typing import Any, Final

from attrs import define, field

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PageColumns
from mmactors.arch.pte import ACCESSED, DIRTY, PRESENT
from mmactors.mm import madvise
from mmactors.mm.anon_vma import AnonVmaCache, anon_vma_cache
from mmactors.mm.change_protection import change_protection
from mmactors.mm.copy_page_range import EntriesCopied, PageCopied, copy_page_range
from mmactors.mm.fault import (
    VM_FAULT_ERROR,
    VM_FAULT_OOM,
    AllocPage,
    FaultContext,
    FlushPage,
    FreePage,
    LockPage,
    ReadPage,
    UnlockPage,
    is_access_allowed,
)
from mmactors.mm.fork import CopyPageRange, dup_mmap
from mmactors.mm.handle_mm_fault import (
    Downgrade,
    FaultSignal,
    LockForWriting,
    do_user_addr_fault,
    handle_mm_fault,
)
from mmactors.mm.madvise_pages import madvise_cold_pte_range, madvise_free_pte_range
from mmactors.mm.mapped_file import Mapping
from mmactors.mm.mlock import LockPages
from mmactors.mm.mm_config import MmConfig
from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.move_page_tables import (
    EntriesMoved,
    FlushRange,
    LockTables,
    UnlockTables,
    move_page_tables,
)
from mmactors.mm.mprotect import ChangeProtection
from mmactors.mm.mremap import MovePageTables
from mmactors.mm.msync import SyncFileRange
from mmactors.mm.munmap import EvictMapping, UnmapRegion, exit_mmap
from mmactors.mm.overcommit import Overcommit
from mmactors.mm.page_table import AllocTable, FreeTable, PageTable
from mmactors.mm.populate import FaultInPages, Populate, mm_populate
from mmactors.mm.rmap import put_page, reset_freed_page
from mmactors.mm.shmem import delete_from_page_cache, unmap_mapping_range
from mmactors.mm.step import LockPtes, UnlockPtes
from mmactors.mm.sysctl import VmSysctls
from mmactors.mm.task import Task as FaultTask
from mmactors.mm.unmapped_area import AreaSearched
from mmactors.mm.vma_adjust import RmapRequest, unlink_vma
from mmactors.mm.zap import zap_range
from mmactors.rules import Rules
from mmactors.units import PAGE_MASK, PAGE_SIZE

Steps = Generator[Any, int | None, Any]

_ZERO_PFN: Final = 1
_FIRST_FREE_PFN: Final = 2
_ENOMEM: Final = -12
_EFAULT: Final = -14


class NotModelled(Exception):  # noqa: N818 - it is an answer, not an error of the recording
    """The case needs something that is not modelled yet."""


@define(eq=False)
class Task:
    """A process with one thread: its address space and its fault counts."""

    mm: MmStruct
    faults: FaultTask = field(factory=FaultTask)
    """Counts of its faults; what it counts of rss is told at once."""

    @property
    def minflt(self) -> int:
        """Faults that were made good without waiting for a disk."""
        return self.faults.min_flt

    @property
    def majflt(self) -> int:
        """Faults that waited for a disk."""
        return self.faults.maj_flt


@define(eq=False, kw_only=True)
class UserlandMachine:
    """Frames, and the processes that share them."""

    nr_frames: int
    overcommit: Overcommit
    config: MmConfig = field(factory=MmConfig)
    memory: PhysicalMemory = field(init=False)
    pages: PageColumns = field(init=False)
    context: FaultContext = field(init=False)
    anon_vma_cache: AnonVmaCache = field(factory=anon_vma_cache)
    rules: Rules = field(factory=Rules)
    events: Counter[int] = field(factory=Counter, init=False)
    """By item of mm/vmstat.py, the events that faults count."""
    tasks: list[Task] = field(factory=list, init=False)
    _free: list[int] = field(factory=list, init=False)
    _next_pfn: int = field(default=_FIRST_FREE_PFN, init=False)

    def __attrs_post_init__(self) -> None:
        self.memory = PhysicalMemory(self.nr_frames)
        self.pages = PageColumns(Arena(), self.nr_frames, nr_list_heads=1)
        self.context = FaultContext(
            pages=self.pages, zero_pfn=_ZERO_PFN, count_event=self._count_event
        )

    def _count_event(self, item: int) -> None:
        self.events[item] += 1

    def new_task(self) -> Task:
        """Make a process with an empty address space."""
        table = PageTable(self.memory, pgd_pfn=self.alloc_page())
        task = Task(
            MmStruct(
                config=self.config,
                page_table=table,
                overcommit=self.overcommit,
                anon_vma_cache=self.anon_vma_cache,
                rules=self.rules,
            )
        )
        self.tasks.append(task)
        return task

    def set_sysctls(self, sysctls: VmSysctls) -> None:
        """Let all processes obey other settings."""
        self.config = sysctls.config
        for task in self.tasks:
            task.mm.config = sysctls.config
        if sysctls.policy != self.overcommit.policy:
            self.overcommit.set_policy(sysctls.policy)

    def alloc_page(self) -> int:
        """Take a free frame."""
        if self._free:
            pfn = self._free.pop()
        else:
            pfn = self._next_pfn
            if pfn == self.nr_frames:
                raise NotModelled("the guest runs out of memory")
            self._next_pfn += 1
        self.pages.refcount_view[pfn] = 1
        return pfn

    def free_pages(self, pfns: list[int]) -> None:
        """Give frames back."""
        for pfn in pfns:
            reset_freed_page(self.pages, pfn)
            self._free.append(pfn)

    def fork(self, parent: Task) -> Task | int:
        """Make a copy of a process; minus the errno if that fails."""
        child = self.new_task()
        error = self.perform(child, dup_mmap(child.mm, parent.mm), parent=parent)
        if error:
            self.exit(child)
            return int(error)
        return child

    def exit(self, task: Task) -> None:
        """End a process."""
        self.perform(task, exit_mmap(task.mm))
        pgd = task.mm.page_table.free_pgd()
        task.mm.page_table.release(pgd)
        self._free.append(pgd.pfn)
        self.tasks.remove(task)

    def access(self, task: Task, address: int, *, is_write: bool) -> FaultSignal | None:
        """Read or write a byte as a program does; return the signal it gets."""
        mm = task.mm
        view = self.memory.view
        while True:
            index = mm.page_table.pte_offset(address)
            entry = 0 if index is None else view[index]
            if index is not None and is_access_allowed(entry, is_write=is_write):
                # What the hardware notes.
                view[index] = entry | ACCESSED | (DIRTY if is_write else 0)
                return None
            signal, fault = self.perform(
                task,
                do_user_addr_fault(
                    self.context,
                    mm,
                    address,
                    is_write=is_write,
                    is_protection=entry & PRESENT != 0,
                ),
            )
            if fault & VM_FAULT_OOM:
                raise NotModelled("the guest runs out of memory")
            if signal is not None:
                found: FaultSignal = signal
                return found

    def perform(self, task: Task, steps: Steps, *, parent: Task | None = None) -> Any:
        """Drive a mechanism to its end."""
        answer: int | None = None
        while True:
            self.context.task = task.faults
            try:
                request = steps.send(answer)
            except StopIteration as done:
                return done.value
            answer = self._answer(task, request, parent)

    def _answer(self, task: Task, request: object, parent: Task | None) -> int | None:
        mm = task.mm
        match request:
            case AllocPage() | AllocTable():
                return self.alloc_page()
            case FreePage(pfn=pfn):
                if put_page(self.pages, pfn):
                    self.free_pages([pfn])
            case UnmapRegion():
                self._unmap_region(task, request)
            case EvictMapping(mapping=mapping):
                self._free_cached(mapping, first=0, end=mapping.nr_pages)
            case ChangeProtection(vma=vma, start=start, end=end):
                change_protection(mm, self.pages, vma, start, end)
            case MovePageTables(old_address=old, new_address=new, length=length):
                steps = move_page_tables(
                    mm, Rules(), old_address=old, new_address=new, length=length
                )
                return int(self.perform(task, steps))
            case CopyPageRange(child=child, parent=source):
                assert parent is not None, "only a fork copies entries"
                copy = copy_page_range(
                    mm, parent.mm, self.context, child_vma=child, parent_vma=source
                )
                return 0 if self.perform(task, copy) else _ENOMEM
            case _:
                return self._answer_page_work(task, request)
        return None

    def _answer_page_work(self, task: Task, request: object) -> int | None:
        mm = task.mm
        match request:
            case Populate(start=start, length=length, ignores_errors=ignores_errors):
                steps = mm_populate(mm, start=start, length=length, ignores_errors=ignores_errors)
                return int(self.perform(task, steps))
            case FaultInPages():
                return self._fault_in(task, request)
            case madvise.ZapRange(start=start, end=end):
                self.free_pages(zap_range(mm, self.pages, start, end))
            case madvise.PunchHole(file=file, first=first, end=end):
                if not file.mapping.is_shmem:
                    raise NotModelled("a hole is punched into a file on disk")
                self._free_cached(file.mapping, first=first, end=end)
                return 0
            case FreeTable() | ReadPage() | madvise.ReadAhead() | madvise.CollapseHugePages():
                raise NotModelled(f"{type(request).__name__} is not served")
            case SyncFileRange():
                return 0
            case (
                AreaSearched()
                | FlushPage()
                | EntriesCopied()
                | PageCopied()
                | EntriesMoved()
                | FlushRange()
                | LockForWriting()
                | Downgrade()
            ):
                pass
            case LockPtes() | UnlockPtes() | LockTables() | UnlockTables():
                pass
            case LockPage() | UnlockPage():
                pass
            case madvise.Deactivate(pageout=True) if self.overcommit.total_swap_pages:
                raise NotModelled("pages are written to swap")
            case madvise.LazyFree(start=start, end=end):
                for leaves in mm.page_table.leaf_ranges(start, end):
                    madvise_free_pte_range(mm, self.pages, leaves)
            case madvise.Deactivate(start=start, end=end, pageout=False):
                for leaves in mm.page_table.leaf_ranges(start, end):
                    madvise_cold_pte_range(mm, self.pages, leaves)
            case LockPages() | madvise.Deactivate() | madvise.SwapIn():
                pass
            case _ if isinstance(request, RmapRequest):
                pass  # Nobody else wants the locks.
            case _:
                raise AssertionError(f"{request} has no answer")
        return None

    def _unmap_region(self, task: Task, region: UnmapRegion) -> None:
        mm = task.mm
        table = mm.page_table
        for vma in region.areas:
            self.free_pages(zap_range(mm, self.pages, vma.vm_start, vma.vm_end))
        for vma in region.areas:
            self.perform(task, unlink_vma(vma))
        for freed in table.free_pgtables(region.areas, floor=region.floor, ceiling=region.ceiling):
            table.release(freed)
            self._free.append(freed.pfn)

    def _free_cached(self, mapping: Mapping, *, first: int, end: int) -> None:
        spaces = [task.mm for task in self.tasks]
        place = {"first": first, "end": end}
        self.free_pages(unmap_mapping_range(spaces, self.pages, mapping, **place))
        self.free_pages(delete_from_page_cache(self.pages, mapping, **place))

    def _fault_in(self, task: Task, request: FaultInPages) -> int:
        """Fault pages in as the kernel does for itself; return 0 or minus the errno."""
        table = task.mm.page_table
        for address in range(request.start & PAGE_MASK, request.end, PAGE_SIZE):
            index = table.pte_offset(address)
            entry = 0 if index is None else self.memory.view[index]
            if is_access_allowed(entry, is_write=request.is_write):
                continue
            steps = handle_mm_fault(
                self.context, task.mm, request.vma, address, is_write=request.is_write
            )
            fault = self.perform(task, steps)
            if fault & VM_FAULT_ERROR:
                return _ENOMEM if fault & VM_FAULT_OOM else _EFAULT
        return 0
