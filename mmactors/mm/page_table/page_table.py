"""Page tables of one address space (mm/memory.c, mm/pgtable-generic.c, x86-64; Linux 6.1).

The entries live in frames of PhysicalMemory, where the hardware walker reads them. Levels count
upwards: 1 PTE, 2 PMD, 3 PUD, 4 P4D, 5 PGD; with 4 levels the top table is of level 4. A word index
is the place of an entry in `PhysicalMemory.words`.

Left out: swap, migration and soft-dirty entries, huge page splitting, kernel addresses. Locks are
the caller's: an entry of level 1 is written under its table's lock, one of a higher level under
page_table_lock.

Invariants: every table but the top one hangs below exactly one present entry; nr_ptes, nr_pmds
and nr_puds count the tables of levels 1, 2 and 3. Tables are freed when the areas around say so,
never because they are empty.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import Final, Protocol

import numpy as np
from attrs import frozen

from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import (
    PFN_SHIFT,
    PRESENT,
    PSE,
    PTRS_PER_TABLE,
    TABLE_FLAGS,
    TABLE_SHIFT,
    make_pte,
    pte_pfn,
    table_index,
)
from mmactors.label import PAGE_TABLES, Label, Mode, Touch, Touches, WantsStep, never, pte
from mmactors.mm.page_table.leaf_entries import Entries, LeafRange, join, take_present
from mmactors.units import PAGE_SIZE

PTE_LEVEL: Final = 1
PMD_LEVEL: Final = 2
PUD_LEVEL: Final = 3

PMD_SHIFT: Final = PFN_SHIFT + TABLE_SHIFT
PMD_SIZE: Final = 1 << PMD_SHIFT
PMD_MASK: Final = -PMD_SIZE
_LAST_INDEX: Final = PTRS_PER_TABLE - 1

PageTableSnapshot = tuple[int, int, int, int]


@frozen
class AllocTable:
    """A table of `level` is missing; the answer is the PFN of a zeroed page, or None.

    It comes with page_table_lock held up to the next request that is no step.
    """

    level: int
    is_for_later: bool = False
    """It comes without the lock, and is hung in under `LockTables`, or given back."""


@frozen
class FreeTable:
    """Nobody needs the table, or somebody else added it first. Answered with None."""

    level: int
    pfn: int


@frozen
class LockTables:
    """Take page_table_lock, which guards entries that point to tables."""


@frozen
class UnlockTables:
    """Let go of page_table_lock."""


TableRequest = AllocTable | FreeTable | LockTables | UnlockTables


@frozen
class FreedTable:
    """A table that no entry points to any more; walk caches may still know it."""

    level: int
    pfn: int
    address: int
    """What a flush has to begin with: where the table begins, or the range that made it go."""


class Range(Protocol):
    """What freeing tables needs to know of an area."""

    vm_start: int
    vm_end: int


class PageTable:
    """The tables of one address space."""

    def __init__(
        self,
        memory: PhysicalMemory,
        *,
        pgd_pfn: int,
        levels: int = 4,
        wants_step: WantsStep = never,
    ) -> None:
        assert levels in (4, 5), f"x86-64 has 4 or 5 levels, not {levels}"
        self.memory: Final = memory
        self.pgd_pfn: Final = pgd_pfn
        self.levels: Final = levels
        self.wants_step: Final = wants_step
        """Asked before each access to shared state whether it has to be a step."""
        self.nr_ptes = 0
        self.nr_pmds = 0
        self.nr_puds = 0
        self._pte_tables: Final[dict[int, int]] = {}
        """By address >> 21: word index of the PTE table's first entry. Only what was walked."""
        self._found_indices: Final = np.zeros(PTRS_PER_TABLE, np.int64)
        self._found_entries: Final = np.zeros(PTRS_PER_TABLE, np.int64)
        memory.claim_table(pgd_pfn)

    @property
    def nr_tables(self) -> int:
        """How many tables mm_pgtables_bytes counts: neither the top one nor P4D tables."""
        return self.nr_ptes + self.nr_pmds + self.nr_puds

    def pte_offset(self, address: int) -> int | None:
        """Return the word index of the PTE of `address`; None: no table, or a larger page."""
        first = self._pte_tables.get(address >> PMD_SHIFT)
        if first is not None:
            return first + (address >> PFN_SHIFT & _LAST_INDEX)
        level, index = self.walk(address)
        if level != PTE_LEVEL:
            return None
        self._pte_tables[address >> PMD_SHIFT] = index & ~_LAST_INDEX
        return index

    def walk(self, address: int) -> tuple[int, int]:
        """Return level and word index of the lowest entry for `address`.

        Level 1: its PTE, whatever it holds. A higher level: the entry there maps a larger page
        (PRESENT and PSE), or no table hangs below it.
        """
        view = self.memory.view
        table = self.pgd_pfn << TABLE_SHIFT
        for level in range(self.levels, PTE_LEVEL, -1):
            index = table + table_index(address, level)
            entry = view[index]
            if not entry & PRESENT or entry & PSE:
                return level, index
            table = pte_pfn(entry) << TABLE_SHIFT
        return PTE_LEVEL, table + table_index(address, PTE_LEVEL)

    def path(self, address: int) -> list[int]:
        """Return the word indices that a walk to `address` reads, the top one first.

        No step is needed for it: who then takes one looks again.
        """
        words = self.memory.words
        table = self.pgd_pfn << TABLE_SHIFT
        path = []
        for level in range(self.levels, 0, -1):
            index = table + table_index(address, level)
            path.append(index)
            entry = int(words[index])
            if not entry & PRESENT or entry & PSE:
                break
            table = pte_pfn(entry) << TABLE_SHIFT
        return path

    def read_step(self, address: int) -> Generator[Label, int | None, None]:
        """Ask for the step in which the entries on the way to `address` are read."""
        path = self.path(address)
        while True:
            yield Label("read pte", tuple((pte(index), Mode.READ) for index in path))
            seen, path = path, self.path(address)
            if seen == path:
                return

    def find_tables_step(
        self, start: int, end: int, *also: Touch
    ) -> Generator[Label, int | None, None]:
        """Ask for the step in which the PTE tables of `[start, end)` are found, `also` touched."""
        touches = self._above_ptes(start, end)
        while True:
            yield Label("find tables", (*touches, *also))
            seen, touches = touches, self._above_ptes(start, end)
            if seen == touches:
                return

    def _above_ptes(self, start: int, end: int) -> Touches:
        """Return the entries above the PTEs of a range; all tables if it has more than one."""
        if start >> PMD_SHIFT != end - 1 >> PMD_SHIFT:
            return ((PAGE_TABLES, Mode.READ),)
        path = self.path(start)
        if len(path) == self.levels:
            del path[-1]
        return tuple((pte(index), Mode.READ) for index in path)

    def forget_walks(self) -> None:
        """Walk anew from now on: a table hangs somewhere else."""
        self._pte_tables.clear()

    def alloc(
        self, address: int, level: int = PTE_LEVEL
    ) -> Generator[AllocTable | FreeTable | Label, int | None, int | None]:
        """Add the tables missing above the entry of `level`; end with its word index.

        None: a table was refused, VM_FAULT_OOM. Whether somebody else added the table meanwhile
        is looked at again after each answer.
        """
        view = self.memory.view
        table = self.pgd_pfn << TABLE_SHIFT
        for above in range(self.levels, level, -1):
            index = table + table_index(address, above)
            if self.wants_step():
                yield Label("read a table", ((pte(index), Mode.READ),))
            entry = view[index]
            if not entry & PRESENT:
                pfn = yield AllocTable(above - 1)
                if pfn is None:
                    return None
                if self.wants_step():
                    yield Label("install a table", ((pte(index), Mode.WRITE),))
                is_ours = self.install(index, level=above - 1, pfn=pfn)
                entry = view[index]
                if not is_ours:
                    yield FreeTable(above - 1, pfn)
            assert not entry & PSE, f"{address:#x} is mapped by a page of level {above}"
            table = pte_pfn(entry) << TABLE_SHIFT
        return table + table_index(address, level)

    def install(self, index: int, *, level: int, pfn: int) -> bool:
        """Hang an empty table of `level` below the entry at `index`; False: there is one already.

        (pmd_install, __pmd_alloc, __pud_alloc.)
        """
        if self.memory.view[index] & PRESENT:
            return False
        self.memory.claim_table(pfn)
        self.memory.view[index] = make_pte(pfn, TABLE_FLAGS)
        self._count(level, 1)
        return True

    def leaf_ranges(self, start: int, end: int) -> Iterator[LeafRange]:
        """Yield the PTE tables and larger pages of `[start, end)`, lowest first.

        The caller may change entries in between, and take each table's lock. Larger pages must
        lie inside the range as a whole: split them before.
        """
        view = self.memory.view
        address = start
        while address < end:
            level, index = self.walk(address)
            size = 1 << (PFN_SHIFT + TABLE_SHIFT * (level - 1))
            if level == PTE_LEVEL:
                following = min(end, (address & PMD_MASK) + PMD_SIZE)
                count = (following - address) >> PFN_SHIFT
                yield LeafRange(PTE_LEVEL, address, index, count)
            else:
                following = (address & -size) + size
                if view[index] & PRESENT:
                    assert not address & (size - 1), f"{address:#x} is inside a larger page"
                    assert following <= end, f"{end:#x} is inside a larger page"
                    yield LeafRange(level, address, index, 1)
                else:
                    following += self._nr_absent_after(index) * size
            address = following

    def clear(self, leaves: LeafRange) -> Entries:
        """Set present entries to zero and return what they were (ptep_get_and_clear)."""
        return self._take(leaves, clear=1)

    def read(self, leaves: LeafRange) -> Entries:
        """Return the present entries."""
        return self._take(leaves, clear=0)

    def clear_range(self, start: int, end: int) -> Entries:
        """Set all present entries of `[start, end)` to zero and return what they were."""
        return join([self.clear(leaves) for leaves in self.leaf_ranges(start, end)])

    def read_range(self, start: int, end: int) -> Entries:
        """Return all present entries of `[start, end)`."""
        return join([self.read(leaves) for leaves in self.leaf_ranges(start, end)])

    def free_pgtables(
        self, areas: Sequence[Range], *, floor: int, ceiling: int
    ) -> list[FreedTable]:
        """Unhang the tables that only these areas could use; return them in the kernel's order.

        `floor` is the end of the area below and `ceiling` the start of the area above, 0 for none:
        a table that also covers theirs stays. The pages are the caller's to give back, after the
        flush, with `release`.
        """
        freed: list[FreedTable] = []
        position = 0
        while position < len(areas):
            start = areas[position].vm_start
            end = areas[position].vm_end
            position += 1
            # Areas less than a PMD apart go in one piece: they may share a table.
            while position < len(areas) and areas[position].vm_start <= end + PMD_SIZE:
                end = areas[position].vm_end
                position += 1
            above = areas[position].vm_start if position < len(areas) else ceiling
            self._free_pgd_range(start, end, floor, above, freed)
        return freed

    def release(self, table: FreedTable) -> None:
        """Let go of a freed table's frame; it may be used for something else now."""
        self.memory.release_table(table.pfn)

    def free_pgd(self) -> FreedTable:
        """Return the top table at the very end (mm_free_pgd); all others must be gone."""
        assert self.nr_tables == 0, f"{self.nr_tables} tables are left"
        return FreedTable(self.levels, self.pgd_pfn, 0)

    def snapshot(self) -> PageTableSnapshot:
        """Return what is not in the tables' words."""
        return self.pgd_pfn, self.nr_ptes, self.nr_pmds, self.nr_puds

    def restore(self, snapshot: PageTableSnapshot) -> None:
        """Put back what `snapshot` returned, and forget what was walked."""
        pgd_pfn, self.nr_ptes, self.nr_pmds, self.nr_puds = snapshot
        assert pgd_pfn == self.pgd_pfn, "the snapshot is of another address space"
        self._pte_tables.clear()

    def _nr_absent_after(self, index: int) -> int:
        """Return how many entries from `index + 1` on are not present, to the table's end."""
        rest = _LAST_INDEX - (index & _LAST_INDEX)
        found = take_present(
            self.memory.words, index + 1, rest, self._found_indices, self._found_entries, 0
        )
        return int(self._found_indices[0]) - index - 1 if found else rest

    def _take(self, leaves: LeafRange, *, clear: int) -> Entries:
        indices, entries = self._found_indices, self._found_entries
        found = take_present(self.memory.words, leaves.index, leaves.count, indices, entries, clear)
        return Entries(
            leaves.address + (indices[:found] - leaves.index) * PAGE_SIZE, entries[:found].copy()
        )

    def _count(self, level: int, change: int) -> None:
        if level == PTE_LEVEL:
            self.nr_ptes += change
        elif level == PMD_LEVEL:
            self.nr_pmds += change
        elif level == PUD_LEVEL:
            self.nr_puds += change

    def _free_pgd_range(
        self, start: int, end: int, floor: int, ceiling: int, freed: list[FreedTable]
    ) -> None:
        start &= PMD_MASK
        if start < floor:
            start += PMD_SIZE
        if ceiling:
            ceiling &= PMD_MASK
            if not ceiling:
                return
            if end > ceiling:
                end -= PMD_SIZE
        if start < end:
            self._free_below(
                self.pgd_pfn, self.levels, start, end, floor=floor, ceiling=ceiling, freed=freed
            )

    def _free_below(
        self,
        pfn: int,
        level: int,
        start: int,
        end: int,
        *,
        floor: int,
        ceiling: int,
        freed: list[FreedTable],
    ) -> None:
        """Free the tables that hang below table `pfn` of `level` and cover only `[start, end)`."""
        view = self.memory.view
        shift = PFN_SHIFT + TABLE_SHIFT * (level - 1)
        address = start
        while address < end:
            following = min(end, ((address >> shift) + 1) << shift)
            index = (pfn << TABLE_SHIFT) + table_index(address, level)
            entry = view[index]
            if entry & PRESENT:
                assert not entry & PSE, f"{address:#x} is still mapped by a larger page"
                below = pte_pfn(entry)
                is_only_user = True
                if level > PMD_LEVEL:
                    self._free_below(
                        below, level - 1, address, following,
                        floor=floor, ceiling=ceiling, freed=freed,
                    )  # fmt: skip
                    is_only_user = _is_only_user(address, following, shift, floor, ceiling)
                if is_only_user:
                    view[index] = 0
                    self._count(level - 1, -1)
                    first = address if level == PMD_LEVEL else address >> shift << shift
                    freed.append(FreedTable(level - 1, below, first))
                    if level == PMD_LEVEL:
                        self._pte_tables.pop(address >> PMD_SHIFT, None)
            address = following


def _is_only_user(start: int, end: int, shift: int, floor: int, ceiling: int) -> bool:
    """Say whether no area below `floor` or above `ceiling` shares the table of `1 << shift` bytes.

    `end` needs no rounding: between it and the rounded-down ceiling lies no other area.
    """
    if start >> shift << shift < floor:
        return False
    if ceiling:
        ceiling = ceiling >> shift << shift
        return ceiling != 0 and end <= ceiling
    return True
