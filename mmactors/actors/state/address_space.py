"""An address space with its locks: what threads of a process share.

What its steps touch by name stands here too: the words of all page tables, and the rss counters.
"""

from collections.abc import Callable

from attrs import define, field

from mmactors.actors.state.kernel import Kernel
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.seqcount import SeqCount
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.label import Mode, areas
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.vmalloc.kernel_mapping import clone_kernel_pgd


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
