"""The table for the entry of a fault that may not have one yet (mm/memory.c, Linux 6.1).

The parts of struct vm_fault about it. A fault on a file gets a page for a missing table before it
looks for what to map (`prealloc_pte`), hangs it in when there is something, and gives it back when
there is not. So behind the end of a file, SIGBUS leaves the upper tables only. Tables stay while
mmap_lock is held for reading; another thread may add one at any time.
"""

from collections.abc import Generator

from attrs import define

from mmactors.arch.pte import TABLE_SHIFT, pte_pfn, table_index
from mmactors.label import Label, Mode, pte
from mmactors.mm.page_table.page_table import (
    PTE_LEVEL,
    AllocTable,
    FreeTable,
    LockTables,
    PageTable,
    TableRequest,
    UnlockTables,
)


@define(eq=False, kw_only=True)
class VmFault:
    """Where the entry of a fault is, or is going to be (struct vm_fault)."""

    table: PageTable
    address: int
    flags: int
    """FAULT_FLAG_ bits."""
    pte: int | None
    """Word index of the entry; None: its table is missing."""
    pmd: int | None = None
    """Word index of the entry above; None: the table was there when the fault began."""
    prealloc_pte: int | None = None
    """Frame of a table that hangs nowhere yet."""

    def prealloc(self) -> Generator[TableRequest | Label, int | None, bool]:
        """Get a page for the table if it is missing; False: no memory."""
        if self.prealloc_pte is None and (yield from self._is_pmd_none()):
            self.prealloc_pte = yield AllocTable(PTE_LEVEL, is_for_later=True)
            return self.prealloc_pte is not None
        return True

    def install(self) -> Generator[TableRequest | Label, int | None, int]:
        """Hang the table in if it is still missing; end with the word index of the entry."""
        if (yield from self._is_pmd_none()):
            assert self.pmd is not None, "the table was missing"
            assert self.prealloc_pte is not None, "the page for it was asked for before"
            yield LockTables()
            if self.table.wants_step():
                yield Label("install a table", ((pte(self.pmd), Mode.WRITE),))
            if self.table.install(self.pmd, level=PTE_LEVEL, pfn=self.prealloc_pte):
                self.prealloc_pte = None
            below = pte_pfn(self.table.memory.view[self.pmd])
            self.pte = (below << TABLE_SHIFT) + table_index(self.address, PTE_LEVEL)
            yield UnlockTables()
        assert self.pte is not None, "the table is there now"
        return self.pte

    def put_prealloc(self) -> Generator[TableRequest | Label, int | None, None]:
        """Give the page back if no table was needed."""
        if self.prealloc_pte is not None:
            yield FreeTable(PTE_LEVEL, self.prealloc_pte)
            self.prealloc_pte = None

    def _is_pmd_none(self) -> Generator[TableRequest | Label, int | None, bool]:
        if self.pte is None:
            if self.table.wants_step():
                yield from self.table.read_step(self.address)
            self.pte = self.table.pte_offset(self.address)
        return self.pte is None
