"""Moving entries within an address space (mm/mremap.c, move_page_tables, Linux 6.1).

A generator that asks for tables (`AllocTable`) and for flushes (`FlushRange`, answered with None).
Where a whole table is moved, only the entry that points to it is. Left out: huge pages, the rmap
locks.
"""

from collections.abc import Generator

from attrs import frozen

from mmactors.arch.pte import PRESENT, PTRS_PER_TABLE
from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.page_table import (
    PMD_LEVEL,
    PMD_SHIFT,
    PTE_LEVEL,
    PUD_LEVEL,
    TableRequest,
)
from mmactors.units import PAGE_SHIFT

_PUD_SHIFT = PMD_SHIFT + PTRS_PER_TABLE.bit_length() - 1


@frozen(kw_only=True)
class FlushRange:
    """No CPU may know translations of `[start, end)` any more."""

    start: int
    end: int


MoveSteps = Generator[TableRequest | FlushRange, int | None, int]


def move_page_tables(mm: MmStruct, *, old_address: int, new_address: int, length: int) -> MoveSteps:
    """Move the entries of `length` bytes; end with the bytes done: fewer if a table was refused."""
    table = mm.page_table
    old, new = old_address, new_address
    end = old_address + length
    while old < end:
        level, _ = table.walk(old)
        extent = _extent(_PUD_SHIFT, old, end, new)
        # Without a table at the old place there is nothing to move as far as it would reach.
        if level < PUD_LEVEL:
            target = yield from table.alloc(new, PUD_LEVEL)
            if target is None:
                break
            if extent == 1 << _PUD_SHIFT and _move_table(mm, old, target, level=PUD_LEVEL):
                yield FlushRange(start=old, end=old + extent)
            else:
                extent = _extent(PMD_SHIFT, old, end, new)
                if level == PTE_LEVEL and not (yield from _move_pmd(mm, old, new, extent)):
                    break
        old += extent
        new += extent
    return old - old_address


def _move_pmd(
    mm: MmStruct, old: int, new: int, extent: int
) -> Generator[TableRequest | FlushRange, int | None, bool]:
    """Move what lies in one PTE table; end with False if a table was refused."""
    table = mm.page_table
    target = yield from table.alloc(new, PMD_LEVEL)
    if target is None:
        return False
    if extent == 1 << PMD_SHIFT and _move_table(mm, old, target, level=PMD_LEVEL):
        yield FlushRange(start=old, end=old + extent)
        return True
    target = yield from table.alloc(new)
    if target is None:
        return False
    source = table.pte_offset(old)
    assert source is not None, f"the table of {old:#x} has gone"
    view = table.memory.view
    moved = False
    for offset in range(extent >> PAGE_SHIFT):
        entry = view[source + offset]
        if entry:
            view[source + offset] = 0
            view[target + offset] = entry
            moved = moved or entry & PRESENT != 0
    if moved:
        yield FlushRange(start=old, end=old + extent)
    return True


def _move_table(mm: MmStruct, old: int, target: int, *, level: int) -> bool:
    """Let the entry at word `target` point to the table below that of `old`; False: it is taken."""
    view = mm.page_table.memory.view
    if view[target] & PRESENT:
        return False
    source = mm.page_table.entry_index(old, level)
    view[target] = view[source]
    view[source] = 0
    mm.page_table.forget_walks()
    return True


def _extent(shift: int, old: int, end: int, new: int) -> int:
    """Return how far one may go without leaving the entry of `1 << shift` bytes at either place."""
    size = 1 << shift
    return min(size - old % size, size - new % size, end - old)
