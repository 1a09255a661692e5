"""Where things are in a machine: whose tables map what, and what programs call addresses.

A word of a page table is found by walking all tables that there are at the moment, downwards. What
was found once stays known, so that a table that has gone is still called what it was.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from attrs import frozen

from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.pte import PFN_SHIFT, PRESENT, PSE, PTRS_PER_TABLE, TABLE_SHIFT, pte_pfn
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.page_table.page_table import PTE_LEVEL

LEVELS: Final = ("", "pte", "pmd", "pud", "p4d", "pgd")
KERNEL: Final = "the kernel"


@frozen
class Table:
    """A page table: whose, of which level, and where its first entry maps."""

    ctx_id: int
    level: int
    address: int


class Places:
    """What tables and addresses of one machine are called."""

    def __init__(self, kernel: Kernel, processes: Callable[[], Sequence[Process]]) -> None:
        """`processes`: returns all that there are."""
        self._kernel: Final = kernel
        self._processes: Final = processes
        self._tables: Final[dict[int, Table]] = {}
        self._owners: Final[dict[int, str]] = {kernel.init_mm.ctx_id: KERNEL}
        self._ranges: Final[dict[tuple[int, str], tuple[int, int]]] = {}

    def glance(self) -> None:
        """Look where everything is now."""
        kernel = self._kernel
        for process in self._processes():
            if process.space is not None:
                ctx_id = process.space.mm.ctx_id
                self._owners[ctx_id] = process.label
                for name, bound in process.bindings.items():
                    self._ranges[ctx_id, name] = bound
        for space in kernel.spaces.values():
            self._find_tables(space.mm)

    def owner(self, ctx_id: int) -> str:
        """Return whose the address space is."""
        return self._owners.get(ctx_id, f"address space {ctx_id}")

    def table_at(self, pfn: int) -> Table | None:
        """Return what the page is a table of."""
        return self._tables.get(pfn)

    def entry(self, index: int, *, is_brief: bool = False) -> str:
        """Return what the word of a page table is called: `pte of A+0 (0x7ffff7ffd000)`."""
        table = self._tables.get(index >> TABLE_SHIFT)
        if table is None:
            return f"entry {index & PTRS_PER_TABLE - 1} of table {index >> TABLE_SHIFT:#x}"
        shift = PFN_SHIFT + TABLE_SHIFT * (table.level - 1)
        address = table.address + ((index & PTRS_PER_TABLE - 1) << shift)
        word = LEVELS[table.level]
        if table.level == PTE_LEVEL:
            return f"{word} of {self.address(table.ctx_id, address, is_brief=is_brief)}"
        names = self.names_in(table.ctx_id, address, address + (1 << shift))
        of = self.whose(table.ctx_id, *names)
        if names and not is_brief:
            return f"{word} above {' and '.join(names)}{of} ({address:#x})"
        return f"{word} above {' and '.join(names) or f'{address:#x}'}{of}"

    def is_upper(self, index: int) -> bool:
        """Return whether a word stands in a table above those of ptes."""
        table = self._tables.get(index >> TABLE_SHIFT)
        return table is not None and table.level > PTE_LEVEL

    def page_of(self, index: int) -> tuple[int, int] | None:
        """Return the ctx_id and the address that a pte maps; None: it is none."""
        table = self._tables.get(index >> TABLE_SHIFT)
        if table is None or table.level != PTE_LEVEL:
            return None
        return table.ctx_id, table.address + ((index & PTRS_PER_TABLE - 1) << PFN_SHIFT)

    def whose(self, ctx_id: int, *names: str) -> str:
        """Return ` of app`, unless `names` say it, or there is one program only."""
        if names and not any(owner != ctx_id and name in names for owner, name in self._ranges):
            return ""
        return "" if len(self._owners) <= 2 else f" of {self.owner(ctx_id)}"

    def address(self, ctx_id: int, address: int, *, is_brief: bool = False) -> str:
        """Return what a program calls an address: `A+0x1000 (0x7ffff7ffe000)`."""
        found = [
            (length, name, start)
            for (owner, name), (start, length) in self._ranges.items()
            if owner == ctx_id and start <= address < start + length
        ]
        if not found:
            return f"{address:#x}{self.whose(ctx_id)}"
        _, name, start = min(found)
        of = self.whose(ctx_id, name)
        named = f"{name}+{address - start:#x}{of}" if address > start else f"{name}+0{of}"
        return named if is_brief else f"{named} ({address:#x})"

    def names_in(self, ctx_id: int, start: int, end: int) -> list[str]:
        """Return the names of the ranges that overlap the bytes from `start` to `end`."""
        return [
            name
            for (owner, name), (begin, length) in self._ranges.items()
            if owner == ctx_id and length and begin < end and begin + length > start
        ]

    def ranges_of(self, ctx_id: int) -> list[tuple[str, int]]:
        """Return the names of ranges that a program has, and where each begins."""
        return [
            (name, start)
            for (owner, name), (start, length) in self._ranges.items()
            if owner == ctx_id and length
        ]

    def anywhere(self, address: int) -> str | None:
        """Return what some program calls an address; None: none has a name for it."""
        for ctx_id in self._owners:
            named = self.address(ctx_id, address, is_brief=True)
            if not named.startswith("0x"):
                return named
        return None

    def _find_tables(self, mm: MmStruct) -> None:
        levels = mm.page_table.levels
        words = self._kernel.memory.words
        todo = [(mm.page_table.pgd_pfn, levels, 0)]
        while todo:
            pfn, level, address = todo.pop()
            self._tables[pfn] = Table(mm.ctx_id, level, address)
            if level == PTE_LEVEL:
                continue
            first = pfn << TABLE_SHIFT
            # The upper half of a top table is the kernel's, which all share.
            nr_own = PTRS_PER_TABLE // 2 if level == levels else PTRS_PER_TABLE
            entries = words[first : first + nr_own]
            shift = PFN_SHIFT + TABLE_SHIFT * (level - 1)
            for slot in np.flatnonzero(entries & PRESENT).tolist():
                entry = int(entries[slot])
                if not entry & PSE:
                    todo.append((pte_pfn(entry), level - 1, address + (slot << shift)))
