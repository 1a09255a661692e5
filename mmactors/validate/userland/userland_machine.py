"""A machine that performs page work at once: what drives mm/'s mechanisms without actors.

Every request of a mechanism is answered where it is made: pages come from a counter, flushes have
nobody to tell, locks are never contended. Nothing here decides anything that the kernel would;
that is all in mm/. Left out, and refused by NotModelled: files that are read piece by piece, huge
pages, running out of memory.
"""

from collections import Counter
from collections.abc import Generator
from typing import Any, Final

from attrs import define, field

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PG_REFERENCED, PG_SWAPBACKED, PageColumns
from mmactors.arch.pte import ACCESSED, DIRTY, PRESENT, SPECIAL, pte_pfn
from mmactors.mm.area.anon_vma import AnonVmaCache, anon_vma_cache
from mmactors.mm.area.fork import CopyPageRange, dup_mmap
from mmactors.mm.area.mapped_file import Mapping
from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.overcommit import Overcommit
from mmactors.mm.area.sysctl import VmSysctls
from mmactors.mm.area.unmapped_area import AreaSearched
from mmactors.mm.area.vm_flags import VM_SEQ_READ
from mmactors.mm.area.vma import Vma
from mmactors.mm.area.vma_adjust import RmapRequest, unlink_vma
from mmactors.mm.entries.change_protection import change_protection
from mmactors.mm.entries.copy_page_range import EntriesCopied, PageCopied, copy_page_range
from mmactors.mm.entries.move_page_tables import (
    EntriesMoved,
    FlushRange,
    LockTables,
    UnlockTables,
    move_page_tables,
)
from mmactors.mm.entries.zap import release_pages, zap_pte_range
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.fault.fault import (
    READ_UNLOCKED,
    VM_FAULT_ERROR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    ReadPage,
)
from mmactors.mm.fault.handle_mm_fault import (
    Downgrade,
    FaultSignal,
    LockForWriting,
    do_user_addr_fault,
    handle_mm_fault,
)
from mmactors.mm.fault.populate import FaultInPages, Populate, mm_populate
from mmactors.mm.lru.folio_batch import FolioBatches, is_lockable
from mmactors.mm.page_cache.page_cache import filemap_add_folio
from mmactors.mm.page_cache.readahead import sync_mmap_window
from mmactors.mm.page_cache.shmem import delete_from_page_cache, mapped_range
from mmactors.mm.page_table.entry import is_access_allowed
from mmactors.mm.page_table.page_table import AllocTable, FreedTable, FreeTable, PageTable
from mmactors.mm.request import (
    AllocPage,
    FlushPage,
    FreePage,
    LockPage,
    LockPtes,
    UnlockPage,
    UnlockPtes,
)
from mmactors.mm.rmap.rmap import is_anon, put_page, reset_freed_page
from mmactors.mm.syscall import madvise
from mmactors.mm.syscall.madvise_pages import madvise_cold_pte_range, madvise_free_pte_range
from mmactors.mm.syscall.mlock import LockPages
from mmactors.mm.syscall.mprotect import ChangeProtection
from mmactors.mm.syscall.mremap import MovePageTables
from mmactors.mm.syscall.msync import SyncFileRange
from mmactors.mm.syscall.munmap import EvictMapping, UnmapRegion, exit_mmap
from mmactors.mm.vmstat import (
    NODE_STAT_NAMES,
    NR_ANON_MAPPED,
    NR_FILE_MAPPED,
    NR_FILE_PAGES,
    NR_SHMEM,
    VM_EVENT_NAMES,
    ZONE_STAT_NAMES,
)
from mmactors.rules import Rules
from mmactors.units import PAGE_MASK, PAGE_SIZE
from mmactors.validate.result import NotModelled
from mmactors.validate.userland.userland_task import Task

Steps = Generator[Any, int | None, Any]

_ZERO_PFN: Final = 1
_FIRST_FREE_PFN: Final = 2
_ENOMEM: Final = -12
_EFAULT: Final = -14


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
    node_items: Counter[int] = field(factory=Counter, init=False)
    zone_items: Counter[int] = field(factory=Counter, init=False)
    """By item of mm/vmstat.py."""
    lru: FolioBatches = field(init=False)
    tasks: list[Task] = field(factory=list, init=False)
    _free: list[int] = field(factory=list, init=False)
    _next_pfn: int = field(default=_FIRST_FREE_PFN, init=False)

    def __attrs_post_init__(self) -> None:
        self.memory = PhysicalMemory(self.nr_frames)
        self.pages = PageColumns(Arena(), self.nr_frames, nr_list_heads=1)
        self.lru = FolioBatches(
            pages=self.pages,
            count_event=self._count_event,
            count_node=self._count_node,
            count_zone=self._count_zone,
            free_page=lambda pfn: self.free_pages([pfn]),
        )
        self.context = FaultContext(
            pages=self.pages,
            zero_pfn=_ZERO_PFN,
            count_event=self._count_event,
            count_node=self._count_node,
            lru=self.lru,
        )

    def vmstat(self) -> dict[str, int]:
        """Return the counters by their names in /proc/vmstat."""
        found = {NODE_STAT_NAMES[item]: value for item, value in self.node_items.items()}
        found |= {ZONE_STAT_NAMES[item]: value for item, value in self.zone_items.items()}
        found |= {VM_EVENT_NAMES[item]: value for item, value in self.events.items()}
        tables = [task.mm.page_table for task in self.tasks]
        # Tables of higher levels have no constructor that would count them.
        found["nr_page_table_pages"] = sum(table.nr_ptes + table.nr_pmds for table in tables)
        return found

    def _count_event(self, item: int) -> None:
        self.events[item] += 1

    def _count_node(self, item: int, change: int) -> None:
        self.node_items[item] += change

    def _count_zone(self, item: int, change: int) -> None:
        self.zone_items[item] += change

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
            self.lru.forget_page(pfn)
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
        self._free_table(task.mm.page_table, task.mm.page_table.free_pgd())
        self.tasks.remove(task)

    def _free_table(self, table: PageTable, freed: FreedTable) -> None:
        table.release(freed)
        self.pages.refcount_view[freed.pfn] = 0
        self._free.append(freed.pfn)

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
                self._zap(mm, start, end)
            case madvise.PunchHole(file=file, first=first, end=end):
                if not file.mapping.is_shmem:
                    raise NotModelled("a hole is punched into a file on disk")
                self._free_cached(file.mapping, first=first, end=end)
                return 0
            case ReadPage(file=file, index=index):
                return self._read_around(file.mapping, index)
            case FreeTable() | madvise.ReadAhead() | madvise.CollapseHugePages():
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
                self.lru.drain()
                for leaves in mm.page_table.leaf_ranges(start, end):
                    madvise_free_pte_range(mm, self.pages, leaves, self.lru)
            case madvise.Deactivate():
                self._deactivate(mm, request)
            case LockPages():
                self._lock_pages(mm, request)
            case madvise.SwapIn():
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
            self._zap(mm, vma.vm_start, vma.vm_end, vma)
        for vma in region.areas:
            self.perform(task, unlink_vma(vma))
        for freed in table.free_pgtables(region.areas, floor=region.floor, ceiling=region.ceiling):
            self._free_table(table, freed)

    def _zap(self, mm: MmStruct, start: int, end: int, vma: Vma | None = None) -> None:
        """Take pages of one area away; what becomes of their lists is mm/memory.c's."""
        self.lru.drain()
        area = mm.tree.find_vma(start) if vma is None else vma
        assert area is not None, f"{start:#x} is in no area"
        for leaves in list(mm.page_table.leaf_ranges(start, end)):
            entries = mm.page_table.read(leaves).entries.tolist()
            done = zap_pte_range(mm, self.pages, leaves)
            self._count_node(NR_ANON_MAPPED, -done.anon_unmapped)
            self._count_node(NR_FILE_MAPPED, -done.file_unmapped)
            for entry in entries:
                if entry & SPECIAL:
                    continue
                pfn = pte_pfn(entry)
                is_used = entry & ACCESSED and not area.vm_flags & VM_SEQ_READ
                if is_used and not is_anon(self.pages, pfn):
                    self.lru.mark_accessed(pfn)
                if is_lockable(area.vm_flags):
                    self.lru.munlock_page(pfn)
            if len(done.pfns):
                self.lru.drain()  # free_pages_and_swap_cache
            self.free_pages(release_pages(self.pages, done.pfns).tolist())

    def _lock_pages(self, mm: MmStruct, request: LockPages) -> None:
        """Lock or unlock the pages that are present (mlock_vma_pages_range)."""
        self.lru.drain()
        for pfn in self._mapped_pages(mm, request.start, request.end):
            if request.is_locked:
                self.lru.mlock_page(pfn)
            else:
                self.lru.munlock_page(pfn)
        self.lru.drain()

    def _deactivate(self, mm: MmStruct, request: madvise.Deactivate) -> None:
        """Make pages old; those to be written to swap become active where there is none."""
        self.lru.drain()
        for leaves in mm.page_table.leaf_ranges(request.start, request.end):
            madvise_cold_pte_range(mm, self.pages, leaves)
        for pfn in self._mapped_pages(mm, request.start, request.end):
            if self.pages.mapcount_view[pfn] != 1:
                continue
            self.pages.flags_view[pfn] &= ~PG_REFERENCED
            if not request.pageout:
                self.lru.deactivate_page(pfn)
            elif is_anon(self.pages, pfn) and self.pages.flags_view[pfn] & PG_SWAPBACKED:
                self.lru.activate_unswappable(pfn)
            else:
                raise NotModelled("pages are written back or freed lazily")

    @staticmethod
    def _mapped_pages(mm: MmStruct, start: int, end: int) -> list[int]:
        entries = mm.page_table.read_range(start, end).entries.tolist()
        return [pte_pfn(entry) for entry in entries if not entry & SPECIAL]

    def _free_cached(self, mapping: Mapping, *, first: int, end: int) -> None:
        for task in self.tasks:
            for vma in task.mm.tree:
                place = mapped_range(vma, mapping, first=first, end=end)
                if place is not None:
                    self._zap(task.mm, *place, vma)
        self.lru.drain()  # __pagevec_release
        nr_before = len(mapping.pages)
        unused = delete_from_page_cache(self.pages, mapping, first=first, end=end)
        nr_deleted = nr_before - len(mapping.pages)
        self._count_node(NR_FILE_PAGES, -nr_deleted)
        if mapping.is_shmem:
            self._count_node(NR_SHMEM, -nr_deleted)
        self.free_pages(unused)

    def truncate(self, mapping: Mapping, length: int) -> None:
        """Set the length of a file; what maps or caches pages behind it lets go of them."""
        nr_before = mapping.nr_pages
        mapping.size_bytes = length
        if mapping.nr_pages < nr_before:
            self._free_cached(mapping, first=mapping.nr_pages, end=nr_before)

    def _read_around(self, mapping: Mapping, index: int) -> int:
        """Bring a file that is read as a whole into the page cache."""
        window = sync_mmap_window(index, mapping.nr_pages)
        if len(window) < mapping.nr_pages:
            raise NotModelled("files that are read piece by piece are not supported yet")
        for nth in window:
            if nth not in mapping.pages:
                pfn = self.alloc_page()
                filemap_add_folio(self.pages, mapping, nth, pfn)
                self._count_node(NR_FILE_PAGES, 1)
                self.lru.add_page(pfn, 0)
        return READ_UNLOCKED

    def _fault_in(self, task: Task, request: FaultInPages) -> int:
        """Fault pages in as the kernel does for itself; return 0 or minus the errno."""
        table = task.mm.page_table
        for address in range(request.start & PAGE_MASK, request.end, PAGE_SIZE):
            index = table.pte_offset(address)
            entry = 0 if index is None else self.memory.view[index]
            if is_access_allowed(entry, is_write=request.is_write):
                continue
            fault = VM_FAULT_RETRY
            while fault & VM_FAULT_RETRY:
                steps = handle_mm_fault(
                    self.context, task.mm, request.vma, address, is_write=request.is_write
                )
                fault = self.perform(task, steps)
            if fault & VM_FAULT_ERROR:
                return _ENOMEM if fault & VM_FAULT_OOM else _EFAULT
        self.lru.drain()
        return 0
