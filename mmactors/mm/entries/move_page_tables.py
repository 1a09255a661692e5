"""Moving entries within an address space (mm/mremap.c, move_page_tables, Linux 6.1).

A generator that asks for tables (`AllocTable`), flushes (`FlushRange`, answered with None), the
locks of both places' tables, and steps. Where a whole table is moved, only the entry that points
to it is; `LockTables` asks for page_table_lock then. Left out: huge pages, the rmap locks.
"""

from collections.abc import Generator

from attrs import frozen

from mmactors.arch.pte import DIRTY, PRESENT, PTRS_PER_TABLE
from mmactors.label import Label, Mode, pte
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.page_table.page_table import (
    PMD_LEVEL,
    PMD_SHIFT,
    PTE_LEVEL,
    PUD_LEVEL,
    LockTables,
    TableRequest,
    UnlockTables,
)
from mmactors.mm.request import (
    FLUSH_BATCHED_PENDING,
    UNLOCK_PTES,
    FlushBatchedPending,
    LockPtes,
    StepRequest,
)
from mmactors.rules import Rules
from mmactors.units import PAGE_SHIFT

_PUD_SHIFT = PMD_SHIFT + PTRS_PER_TABLE.bit_length() - 1


@frozen(kw_only=True)
class FlushRange:
    """No CPU may know translations of `[start, end)` any more."""

    start: int
    end: int


@frozen(kw_only=True)
class EntriesMoved:
    """Whoever follows contents be told: they are at another address now; answered with None."""

    old: int
    new: int
    nr_bytes: int


MoveRequest = TableRequest | FlushRange | FlushBatchedPending | EntriesMoved | StepRequest
MoveSteps = Generator[MoveRequest, int | None, int]


def move_page_tables(
    mm: MmStruct, rules: Rules, *, old_address: int, new_address: int, length: int
) -> MoveSteps:
    """Move the entries of `length` bytes; end with the bytes done: fewer if a table was refused."""
    table = mm.page_table
    old, new = old_address, new_address
    end = old_address + length
    while old < end:
        if table.wants_step():
            yield from table.read_step(old)
        level, _ = table.walk(old)
        extent = _extent(_PUD_SHIFT, old, end, new)
        # Without a table at the old place there is nothing to move as far as it would reach.
        if level < PUD_LEVEL:
            target = yield from table.alloc(new, PUD_LEVEL)
            if target is None:
                break
            is_whole = extent == 1 << _PUD_SHIFT
            if not is_whole or not (yield from _move_table(mm, old, new, target, level=PUD_LEVEL)):
                extent = _extent(PMD_SHIFT, old, end, new)
                if level == PTE_LEVEL and not (yield from _move_pmd(mm, rules, old, new, extent)):
                    break
        old += extent
        new += extent
    return old - old_address


def _move_pmd(
    mm: MmStruct, rules: Rules, old: int, new: int, extent: int
) -> Generator[MoveRequest, int | None, bool]:
    """Move what lies in one PTE table; end with False if a table was refused."""
    table = mm.page_table
    target = yield from table.alloc(new, PMD_LEVEL)
    if target is None:
        return False
    if extent == 1 << PMD_SHIFT and (yield from _move_table(mm, old, new, target, level=PMD_LEVEL)):
        return True
    target = yield from table.alloc(new)
    if target is None:
        return False
    if table.wants_step():
        yield from table.find_tables_step(old, old + extent)
    source = table.pte_offset(old)
    assert source is not None, f"the table of {old:#x} has gone"
    yield from _move_ptes(mm, rules, source, target, extent=extent, old=old, new=new)
    return True


def _move_ptes(
    mm: MmStruct, rules: Rules, source: int, target: int, *, extent: int, old: int, new: int
) -> Generator[MoveRequest, int | None, None]:
    """Move entries under the locks of both tables; the flush of the old place is under them, too.

    Later is too late: a CPU that still knows the old place could use a page that was freed at the
    new one, or write to a page that was found clean there.
    """
    view = mm.page_table.memory.view
    count = extent >> PAGE_SHIFT
    yield LockPtes(source, target)
    yield FLUSH_BATCHED_PENDING
    if mm.page_table.wants_step():
        words = (*range(source, source + count), *range(target, target + count))
        yield Label("move ptes", tuple((pte(index), Mode.WRITE) for index in words))
    force_flush = need_flush = False
    for offset in range(count):
        entry = view[source + offset]
        if entry:
            view[source + offset] = 0
            view[target + offset] = entry
        if entry & PRESENT:
            force_flush |= (
                rules.move_ptes_flushes_dirty_under_ptl
                if entry & DIRTY
                else rules.move_ptes_flushes_clean_under_ptl
            )
            need_flush = True
    yield EntriesMoved(old=old, new=new, nr_bytes=extent)
    flush = FlushRange(start=old, end=old + extent)
    if force_flush:
        yield flush
    yield UNLOCK_PTES
    if need_flush and not force_flush:
        yield flush


def _move_table(
    mm: MmStruct, old: int, new: int, target: int, *, level: int
) -> Generator[MoveRequest, int | None, bool]:
    """Let the entry at word `target` point to the table below that of `old`; False: it is taken."""
    table = mm.page_table
    view = table.memory.view
    yield LockTables()
    source = table.path(old)[table.levels - level]
    if table.wants_step():
        touches = ((pte(source), Mode.WRITE), (pte(target), Mode.WRITE))
        yield Label("move a table", touches)
    is_free = not view[target] & PRESENT
    if is_free:
        view[target] = view[source]
        view[source] = 0
        table.forget_walks()
        nr_bytes = 1 << PMD_SHIFT + 9 * (level - PMD_LEVEL)
        yield EntriesMoved(old=old, new=new, nr_bytes=nr_bytes)
        yield FlushRange(start=old, end=old + nr_bytes)
    yield UnlockTables()
    return is_free


def _extent(shift: int, old: int, end: int, new: int) -> int:
    """Return how far one may go without leaving the entry of `1 << shift` bytes at either place."""
    size = 1 << shift
    return min(size - old % size, size - new % size, end - old)
