"""An address space with its locks: what threads of a process share.

The labels of the steps on its shared state stand here too: what guard mode knows are the words of
all page tables, the columns of struct page that mapping changes, and the rss counters.
"""

from typing import Final

from attrs import define, field

from mmactors.actors.kernel import Kernel
from mmactors.actors.page_alloc import PAGES, alloc_pages, free_pages
from mmactors.arch.page import PG_TABLE
from mmactors.engine.cpu import Cpu
from mmactors.engine.guard import Label, Mode
from mmactors.engine.lock import Spinlock
from mmactors.engine.rwsem import RwSem
from mmactors.mm.gfp import GFP_PGTABLE_USER
from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.page_table import PTE_LEVEL, AllocTable, FreeTable
from mmactors.mm.vmstat import NR_PAGETABLE
from mmactors.units import PAGE_SHIFT

PAGE_TABLES: Final = "page_tables"
RSS: Final = "rss"

READ_PTE: Final = Label("read pte", ((PAGE_TABLES, Mode.READ),))
SET_PTE: Final = Label("set pte", ((PAGE_TABLES, Mode.WRITE), (PAGES, Mode.WRITE), (RSS, Mode.ADD)))
INSTALL_TABLE: Final = Label("install table", ((PAGE_TABLES, Mode.WRITE),))
FREE_TABLES: Final = Label("free tables", ((PAGE_TABLES, Mode.WRITE),))
CHANGE_AREAS: Final = Label("change areas", ((RSS, Mode.READ),))


@define(eq=False)
class AddressSpace:
    """struct mm_struct with mmap_lock and the locks of its page tables."""

    kernel: Kernel
    mm: MmStruct
    mmap_lock: RwSem = field(init=False)
    page_table_lock: Spinlock = field(init=False)
    """Guards the tables above the PTE tables."""
    _ptls: dict[int, Spinlock] = field(factory=dict, init=False)
    """By frame of the PTE table: its own lock (split page-table locks)."""

    def __attrs_post_init__(self) -> None:
        kernel = self.kernel
        ctx_id = self.mm.ctx_id
        kernel.spaces[ctx_id] = self
        self.mmap_lock = RwSem(kernel.engine, kernel.mmap_lock_class, name=f"mmap_lock[{ctx_id}]")
        self.page_table_lock = Spinlock(
            kernel.engine, kernel.ptl_class, name=f"page_table_lock[{ctx_id}]"
        )

    def pte_lockptr(self, index: int) -> Spinlock:
        """Return the lock of the PTE table in which word `index` lies."""
        pfn = index >> (PAGE_SHIFT - 3)
        lock = self._ptls.get(pfn)
        if lock is None:
            lock = Spinlock(self.kernel.engine, self.kernel.ptl_class, name=f"ptl[{pfn:#x}]")
            self._ptls[pfn] = lock
        return lock

    async def alloc_tables(self, cpu: Cpu, address: int) -> int | None:
        """Add the tables missing above `address`; return the index of its PTE, None: no memory."""
        steps = self.mm.page_table.alloc(address)
        answer: int | None = None
        while True:
            async with self.page_table_lock:
                if self.kernel.engine.wants_step():
                    await self.kernel.engine.step(INSTALL_TABLE)
                try:
                    request = steps.send(answer)
                except StopIteration as done:
                    index: int | None = done.value
                    return index
            match request:
                case AllocTable():
                    answer = await alloc_table(self.kernel, cpu)
                case FreeTable(pfn=pfn):
                    await free_table(self.kernel, cpu, pfn)
                    answer = None

    def forget_table(self, level: int, pfn: int) -> None:
        """The frame of a freed table may become something else: drop its lock."""
        if level == PTE_LEVEL:
            self._ptls.pop(pfn, None)


async def alloc_table(kernel: Kernel, cpu: Cpu) -> int | None:
    """Allocate and zero the frame of a page table."""
    pfn = await alloc_pages(kernel, cpu, 0, GFP_PGTABLE_USER)
    if pfn is not None:
        await kernel.engine.spend(kernel.costs.clear_page_ns)
        kernel.pages.flags_view[pfn] |= PG_TABLE
        kernel.count_node(cpu, NR_PAGETABLE, 1)
    return pfn


async def free_table(kernel: Kernel, cpu: Cpu, pfn: int) -> None:
    """Give the frame of a page table back."""
    kernel.pages.flags_view[pfn] &= ~PG_TABLE
    kernel.count_node(cpu, NR_PAGETABLE, -1)
    await free_pages(kernel, cpu, pfn, 0)
