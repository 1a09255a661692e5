"""Page tables of 4 and 5 levels against dictionaries of pages and of tables."""

import hypothesis.strategies as st
import numpy as np
from attrs import define
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import PRESENT, PSE, PTRS_PER_TABLE, TABLE_SHIFT, make_pte, pte_pfn
from mmactors.mm.page_table.page_table import AllocTable, PageTable
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

NR_FRAMES = 4096
PGD_PFN = 1

# Pages around the borders of tables of every level, so that tables are shared and crossed.
borders = st.tuples(*(st.integers(0, 2) for _ in range(4))).map(
    lambda parts: sum(part << TABLE_SHIFT * (level + 1) for level, part in enumerate(parts))
)
pages = st.tuples(borders, st.integers(-2, 2)).map(lambda pair: max(0, sum(pair)))
lengths = st.one_of(
    st.integers(1, 4), st.sampled_from([PTRS_PER_TABLE, PTRS_PER_TABLE**2, PTRS_PER_TABLE**3])
)


@define
class Area:
    """What freeing tables sees of an area."""

    vm_start: int
    vm_end: int


class PageTableMachine(RuleBasedStateMachine):
    """Maps areas and pages and unmaps ranges; the tables that exist are those areas still need."""

    levels = 4

    @initialize()
    def start(self):
        self.memory = PhysicalMemory(NR_FRAMES)
        self.table = PageTable(self.memory, pgd_pfn=PGD_PFN, levels=self.levels)
        self.free_pfns = list(range(NR_FRAMES - 1, PGD_PFN, -1))
        self.areas = []
        self.entries = {}
        self.tables = set()

    @rule(page=pages, length=lengths)
    def map_area(self, page, length):
        start, end = self.range_of(page, length)
        is_free = all(area.vm_end <= start or area.vm_start >= end for area in self.areas)
        if is_free:
            self.areas.append(Area(start, end))
            self.areas.sort(key=lambda area: area.vm_start)

    @precondition(lambda self: self.areas)
    @rule(data=st.data(), offset=st.integers(0, 3), from_end=st.booleans(), flags=st.integers(0, 7))
    def touch(self, data, offset, from_end, flags):
        area = data.draw(st.sampled_from(self.areas))
        offset = min(offset * PAGE_SIZE, area.vm_end - area.vm_start - PAGE_SIZE)
        address = area.vm_end - PAGE_SIZE - offset if from_end else area.vm_start + offset
        index = self.alloc(address, level=1)
        entry = make_pte(len(self.entries), PRESENT | flags << 1 & ~PSE)
        self.memory.view[index] = entry
        self.entries[address] = entry

        assert index == self.table.pte_offset(address)

    @rule(page=pages, length=lengths)
    def unmap(self, page, length):
        start, end = self.range_of(page, length)
        areas = self.cut(start, end)
        expected = {
            address: entry
            for address, entry in sorted(self.entries.items())
            if start <= address < end
        }
        read = self.table.read_range(start, end)
        cleared = self.table.clear_range(start, end)
        below = [area.vm_end for area in self.areas if area.vm_end <= start]
        above = [area.vm_start for area in self.areas if area.vm_start >= end]
        floor, ceiling = max(below, default=0), min(above, default=0)
        freed = self.table.free_pgtables(areas, floor=floor, ceiling=ceiling) if areas else []
        for table in freed:
            self.table.release(table)
            self.free_pfns.append(table.pfn)
        for address in expected:
            del self.entries[address]
        kept = {table for table in self.tables if self.is_needed(*table)}

        assert list(expected.items()) == as_items(read)
        assert list(expected.items()) == as_items(cleared)
        assert len(self.tables) - len(kept) == len(freed)
        self.tables = kept

    @invariant()
    def tables_are_those_that_areas_need(self):
        found = set()
        self.collect(PGD_PFN, self.levels, 0, found)

        assert self.tables == found
        assert len(self.tables) + 1 == self.memory.nr_tables

    @invariant()
    def counts_are_by_level(self):
        levels = [level for level, _address in self.tables]

        assert [levels.count(level) for level in (1, 2, 3)] == [
            self.table.nr_ptes,
            self.table.nr_pmds,
            self.table.nr_puds,
        ]

    @invariant()
    def entries_are_found(self):
        assert sorted(self.entries.items()) == as_items(
            self.table.read_range(0, self.end_of_user_addresses())
        )
        for address, entry in self.entries.items():
            assert entry == self.memory.view[self.table.pte_offset(address)]

    @invariant()
    def no_table_means_no_pte(self):
        for area in self.areas:
            base = area.vm_start >> 21 << 21
            if (1, base) not in self.tables:
                assert self.table.pte_offset(area.vm_start) is None

    def range_of(self, page, length):
        """Return a range of user addresses."""
        limit = self.end_of_user_addresses()
        start = page * PAGE_SIZE % limit
        return start, min(start + length * PAGE_SIZE, limit)

    def end_of_user_addresses(self):
        return table_bytes(self.levels) // 2

    def alloc(self, address, *, level):
        steps = self.table.alloc(address, level)
        answer = None
        try:
            while True:
                request = steps.send(answer)
                assert isinstance(request, AllocTable)
                answer = self.free_pfns.pop()
                size = table_bytes(request.level)
                self.tables.add((request.level, address // size * size))
        except StopIteration as stop:
            return stop.value

    def cut(self, start, end):
        """Take `[start, end)` out of the areas; return the parts."""
        parts, left = [], []
        for area in self.areas:
            low, high = max(area.vm_start, start), min(area.vm_end, end)
            if low >= high:
                left.append(area)
                continue
            parts.append(Area(low, high))
            if area.vm_start < low:
                left.append(Area(area.vm_start, low))
            if high < area.vm_end:
                left.append(Area(high, area.vm_end))
        self.areas = left
        return parts

    def is_needed(self, level, address):
        end = address + table_bytes(level)
        return any(area.vm_start < end and area.vm_end > address for area in self.areas)

    def collect(self, pfn, level, address, found):
        """Add the tables below table `pfn`, read from memory."""
        first = pfn * PTRS_PER_TABLE
        words = self.memory.words[first : first + PTRS_PER_TABLE]
        for index in np.flatnonzero(words):
            base = address + (int(index) << (PAGE_SHIFT + TABLE_SHIFT * (level - 1)))
            found.add((level - 1, base))
            if level > 2:
                self.collect(pte_pfn(int(words[index])), level - 1, base, found)


class PageTable5Machine(PageTableMachine):
    """The same with 5 levels."""

    levels = 5


def table_bytes(level):
    """Return what a table of `level` covers."""
    return 1 << (PAGE_SHIFT + TABLE_SHIFT * level)


def as_items(entries):
    return list(zip(entries.addresses.tolist(), entries.entries.tolist(), strict=True))


TestPageTable = PageTableMachine.TestCase
TestPageTable5 = PageTable5Machine.TestCase
TestPageTable.settings = settings(max_examples=120, stateful_step_count=30)
TestPageTable5.settings = TestPageTable.settings
