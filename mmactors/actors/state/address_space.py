"""An address space with its locks: what threads of a process share."""

from attrs import define

from mmactors.actors.state.page_table_lock import PageTableLocks
from mmactors.engine.baton import Engine
from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.seqcount import SeqCount
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.mm.area.mm_struct import MmStruct


@define(eq=False, init=False)
class AddressSpace:
    """struct mm_struct with mmap_lock and the locks of its page tables."""

    mm: MmStruct
    mmap_lock: RwSem
    page_table_lock: Spinlock
    """Guards the tables above the PTE tables."""
    write_protect_seq: SeqCount
    """Odd while a fork write-protects entries."""
    _ptls: PageTableLocks

    def __init__(
        self, mm: MmStruct, *, engine: Engine, locks: LockStatistics, ptls: PageTableLocks
    ) -> None:
        ctx_id = mm.ctx_id
        self.mm = mm
        self._ptls = ptls
        self.mmap_lock = RwSem(engine, locks.of("&mm->mmap_lock"), name=f"mmap_lock[{ctx_id}]")
        self.write_protect_seq = SeqCount(engine, name=f"write_protect_seq[{ctx_id}]")
        self.page_table_lock = Spinlock(
            engine, locks.of("&mm->page_table_lock"), name=f"page_table_lock[{ctx_id}]"
        )

    def pte_lockptr(self, index: int) -> Spinlock:
        """Return the lock of the PTE table in which word `index` lies."""
        return self._ptls.pte_lockptr(index)

    def forget_table(self, level: int, pfn: int) -> None:
        """The frame of a freed table may become something else: drop its lock."""
        self._ptls.forget_table(level, pfn)
