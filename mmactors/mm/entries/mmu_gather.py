"""What has to be flushed and given back after entries were cleared (mm/mmu_gather.c, Linux 6.1).

Cleared entries widen a range and note their level; pages and page tables wait in batches until the
TLBs are flushed. The first batch is inside the gather and holds MMU_GATHER_BUNDLE pages; each more
is a page, asked for with `AllocBatch`. Without memory, or with MAX_GATHER_BATCH_COUNT batches full,
what is gathered has to be flushed early.

Page tables wait among the pages, as on bare hardware; or, as under KVM and Xen, whose flushes send
no interrupts that a walker without locks could hold off, in a batch of their own which is freed
after an RCU grace period (MMU_GATHER_RCU_TABLE_FREE, `tables_by_rcu`). Without memory for that
batch a table is freed alone, when the TLBs were flushed and every CPU has taken an interrupt.

Left out: huge pages, which change the page size, and hugetlb's shared tables; VM_PFNMAP.

Invariants: there is something to flush exactly if freed_tables or one of `cleared` is set; a page
that waits keeps one reference.
"""

from collections.abc import Generator
from typing import Final

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.entries.tlb_state import TLB_FLUSH_ALL
from mmactors.mm.page_table.page_table import PTE_LEVEL, PUD_LEVEL, FreedTable
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

Words = NDArray[np.int64]

_WORD_BYTES: Final = 8
MMU_GATHER_BUNDLE: Final = 8
MAX_GATHER_BATCH: Final = (PAGE_SIZE - 16) // _WORD_BYTES
"""A batch page begins with the next batch's address, its fill and its size."""
MAX_GATHER_BATCH_COUNT: Final = 10_000 // MAX_GATHER_BATCH
MAX_TABLE_BATCH: Final = (PAGE_SIZE - 24) // _WORD_BYTES
"""A page of tables begins with a struct rcu_head and a count."""

_TABLE_SHIFT: Final = 9
_P4D_LEVEL: Final = PUD_LEVEL + 1


@frozen
class AllocBatch:
    """A page is needed to note more pages in, GFP_NOWAIT; the answer is its PFN, or None."""


BatchSteps = Generator[AllocBatch, int | None, bool]


@frozen(kw_only=True)
class FlushRange:
    """What the TLBs have to forget."""

    start: int
    end: int
    """Bytes, or TLB_FLUSH_ALL."""
    stride_shift: int
    freed_tables: bool


@define(eq=False)
class _Batch:
    """struct mmu_gather_batch."""

    max: int
    pfn: int | None = None
    """Its own page; None: the batch inside the gather."""
    pages: list[Words] = field(factory=list)
    nr: int = 0


@define(eq=False)
class MmuGather:
    """struct mmu_gather: made by who begins to take pages away, used up by one flush or several."""

    mm: MmStruct
    span: tuple[int, int]
    """Where entries may be cleared: first byte and end."""
    full_mm: bool = field(default=False, kw_only=True)
    """The whole address space goes, or has to be flushed."""
    tables_by_rcu: bool = field(default=False, kw_only=True)
    start: int = field(init=False)
    end: int = field(init=False)
    freed_tables: bool = field(init=False)
    cleared: int = field(init=False)
    """Bit by level: entries of that level were cleared."""
    table_batch: int | None = field(default=None, init=False)
    """The page in which tables wait for RCU."""
    _tables: list[int] = field(factory=list, init=False)
    _noted_tables: list[int] = field(factory=list, init=False)
    _batches: list[_Batch] = field(factory=lambda: [_Batch(MMU_GATHER_BUNDLE)], init=False)
    _active: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.reset_range()

    def reset_range(self) -> None:
        """Forget what was to be flushed (__tlb_reset_range)."""
        self.start = self.mm.task_size
        self.end = 0
        self.freed_tables = False
        self.cleared = 0

    # -- what was cleared ------------------------------------------------------------------------

    def flush_pte_range(self, start: int, end: int) -> None:
        """Note that page-table entries of `[start, end)` were cleared or changed."""
        self._widen(PTE_LEVEL, start, end)

    def free_table(self, table: FreedTable) -> None:
        """Note that a table hangs no more below its entry (pte_free_tlb, pmd_free_tlb...)."""
        self._widen(table.level + 1, table.address, table.address + PAGE_SIZE)
        self.freed_tables = True

    def flush_everything(self) -> None:
        """Let the next flush be of the whole address space and its tables."""
        self.full_mm = True
        self.reset_range()
        self.freed_tables = True

    def forget_levels(self) -> None:
        """Let the next flush be of the whole span, and of page-table entries only."""
        self.reset_range()
        self.flush_pte_range(*self.span)

    def _widen(self, level: int, start: int, end: int) -> None:
        self.start = min(self.start, start)
        self.end = max(self.end, end)
        if level <= _P4D_LEVEL:
            self.cleared |= 1 << level

    def take_flush(self) -> FlushRange | None:
        """Return what to flush, which is then owed no more; None: nothing."""
        if not self.freed_tables and not self.cleared:
            return None
        start, end = self.start, self.end
        if self.full_mm:
            start, end = 0, TLB_FLUSH_ALL
        lowest = (self.cleared & -self.cleared).bit_length() - 1 if self.cleared else PTE_LEVEL
        flush = FlushRange(
            start=start,
            end=end,
            stride_shift=PAGE_SHIFT + _TABLE_SHIFT * (lowest - PTE_LEVEL),
            freed_tables=self.freed_tables,
        )
        self.reset_range()
        return flush

    # -- pages that wait -------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many pages can be added before more room has to be made; at least 1."""
        batch = self._batches[self._active]
        return batch.max - batch.nr

    def add_pages(self, pfns: Words) -> BatchSteps:
        """Let pages wait, `room` at most; end with whether they have to be flushed at once.

        (__tlb_remove_page_size.)
        """
        batch = self._batches[self._active]
        batch.pages.append(pfns)
        batch.nr += len(pfns)
        assert batch.nr <= batch.max, f"{batch.nr} pages in a batch of {batch.max}"
        if batch.nr < batch.max:
            return False
        return not (yield from self._next_batch())

    def _next_batch(self) -> BatchSteps:
        if self._active + 1 == len(self._batches):
            if len(self._batches) > MAX_GATHER_BATCH_COUNT:
                return False
            pfn = yield AllocBatch()
            if pfn is None:
                return False
            self._batches.append(_Batch(MAX_GATHER_BATCH, pfn))
        self._active += 1
        return True

    def take_pages(self) -> list[Words]:
        """Return the pages that waited, by batch; the TLBs must have been flushed."""
        taken = [np.concatenate(batch.pages) for batch in self._batches if batch.nr]
        for batch in self._batches:
            batch.pages.clear()
            batch.nr = 0
        self._active = 0
        return taken

    def note_table(self, pfn: int) -> None:
        """Note that one of the pages that wait is a table."""
        self._noted_tables.append(pfn)

    def take_noted_tables(self) -> list[int]:
        """Return which of the pages that waited are tables."""
        taken, self._noted_tables = self._noted_tables, []
        return taken

    def take_batches(self) -> list[int]:
        """Return the pages of the batches themselves (tlb_batch_list_free)."""
        pfns = [batch.pfn for batch in self._batches if batch.pfn is not None]
        del self._batches[1:]
        return pfns

    # -- tables that wait for RCU ----------------------------------------------------------------

    def add_table(self, pfn: int) -> bool:
        """Let a table wait in the table batch, which there is; return whether it is full now."""
        assert self.table_batch is not None, "tables wait in a page"
        self._tables.append(pfn)
        return len(self._tables) == MAX_TABLE_BATCH

    def take_tables(self) -> tuple[int, list[int]] | None:
        """Return the table batch's page and the tables in it; None: no table waits."""
        if self.table_batch is None:
            return None
        taken = self.table_batch, self._tables
        self.table_batch = None
        self._tables = []
        return taken
