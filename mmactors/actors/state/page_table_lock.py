"""The locks of page tables: one for each PTE table (split page-table locks, Linux 6.1)."""

from typing import Final

from mmactors.engine.baton import Engine
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.mm.page_table.page_table import PTE_LEVEL
from mmactors.units import PAGE_SHIFT


class PageTableLocks:
    """By frame of the PTE table: its lock, made when somebody first takes it."""

    def __init__(self, engine: Engine, lock_class: LockClass) -> None:
        self._engine: Final = engine
        self._lock_class: Final = lock_class
        self._locks: Final[dict[int, Spinlock]] = {}

    def pte_lockptr(self, index: int) -> Spinlock:
        """Return the lock of the PTE table in which word `index` lies."""
        pfn = index >> (PAGE_SHIFT - 3)
        lock = self._locks.get(pfn)
        if lock is None:
            lock = Spinlock(self._engine, self._lock_class, name=f"ptl[{pfn:#x}]")
            self._locks[pfn] = lock
        return lock

    def forget_table(self, level: int, pfn: int) -> None:
        """The frame of a freed table may become something else: drop its lock."""
        if level == PTE_LEVEL:
            self._locks.pop(pfn, None)
