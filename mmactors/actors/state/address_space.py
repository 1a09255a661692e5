"""An address space with its locks: what threads of a process share.

What its steps touch by name stands here too: the words of all page tables, and the rss counters.
"""

from collections.abc import Callable
from typing import Final

from attrs import define, field

from mmactors.actors.alloc.page_alloc import alloc_pages, free_pages
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.page import PG_TABLE
from mmactors.engine.cpu import Cpu
from mmactors.engine.guard import Mode
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.seqcount import SeqCount
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.page_alloc.gfp import GFP_PGTABLE_USER
from mmactors.mm.page_table.page_table import PMD_LEVEL
from mmactors.mm.step import areas
from mmactors.mm.vmalloc.kernel_mapping import clone_kernel_pgd
from mmactors.mm.vmstat import NR_PAGETABLE

PAGE_TABLES: Final = "page_tables"
RSS: Final = "rss"


@define(eq=False)
class AddressSpace:
    """struct mm_struct with mmap_lock and the locks of its page tables."""

    kernel: Kernel
    mm: MmStruct
    mmap_lock: RwSem = field(init=False)
    page_table_lock: Spinlock = field(init=False)
    """Guards the tables above the PTE tables."""
    write_protect_seq: SeqCount = field(init=False)
    """Odd while a fork write-protects entries."""

    def __attrs_post_init__(self) -> None:
        kernel = self.kernel
        ctx_id = self.mm.ctx_id
        clone_kernel_pgd(self.mm.page_table, kernel.init_mm.page_table)
        kernel.spaces[ctx_id] = self
        self.mm.tree.call_rcu = self.call_rcu
        self.mmap_lock = RwSem(kernel.engine, kernel.mmap_lock_class, name=f"mmap_lock[{ctx_id}]")
        self.write_protect_seq = SeqCount(kernel.engine, name=f"write_protect_seq[{ctx_id}]")
        self.page_table_lock = Spinlock(
            kernel.engine,
            kernel.locks.of("&mm->page_table_lock"),
            name=f"page_table_lock[{ctx_id}]",
        )

    def call_rcu(self, callback: Callable[[], None]) -> None:
        """Free a node of the tree of areas when no RCU reader can be in it any more."""
        engine = self.kernel.engine
        name = areas(self.mm.ctx_id)

        def free() -> None:
            engine.touch(name, Mode.WRITE)
            callback()

        self.kernel.rcu.call(free)

    def pte_lockptr(self, index: int) -> Spinlock:
        """Return the lock of the PTE table in which word `index` lies."""
        return self.kernel.pte_lockptr(index)

    def forget_table(self, level: int, pfn: int) -> None:
        """The frame of a freed table may become something else: drop its lock."""
        self.kernel.forget_table(level, pfn)


async def alloc_table(kernel: Kernel, cpu: Cpu, level: int) -> int | None:
    """Allocate and zero the frame of a page table."""
    pfn = await alloc_pages(kernel, cpu, 0, GFP_PGTABLE_USER)
    if pfn is not None:
        await kernel.engine.spend(kernel.costs.clear_page_ns)
        kernel.pages.flags_view[pfn] |= PG_TABLE
        if level <= PMD_LEVEL:
            kernel.count_node(cpu, NR_PAGETABLE, 1)
    return pfn


async def free_table(kernel: Kernel, cpu: Cpu, pfn: int, level: int) -> None:
    """Give the frame of a page table back that no walker can have seen."""
    page_table_dtor(kernel, cpu, pfn, level)
    await free_pages(kernel, cpu, pfn, 0)


def page_table_dtor(kernel: Kernel, cpu: Cpu, pfn: int, level: int) -> None:
    """Count a page table no more; its frame is given back later (pgtable_pte_page_dtor).

    Only PTE and PMD tables are counted: those above have no constructor.
    """
    kernel.pages.flags_view[pfn] &= ~PG_TABLE
    if level <= PMD_LEVEL:
        kernel.count_node(cpu, NR_PAGETABLE, -1)
