"""TLBs, walk caches and the walker, through the hardware that uses them."""

import numpy as np
import pytest
from attrs import evolve

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import (
    ACCESSED,
    DIRTY,
    GLOBAL,
    NX,
    PRESENT,
    PSE,
    RW,
    USER,
    make_pte,
    table_index,
)
from mmactors.arch.trace import FETCH, LOAD, MODIFY, STORE
from mmactors.errors import Place
from mmactors.hw.config import HardwareConfig, TlbConfig
from mmactors.hw.hardware import ERROR_CODE, FAULT, FAULT_ADDRESS, REASON, Hardware

PAGE = 0x1000
HUGE = 0x20_0000
GIGANTIC = 0x4000_0000
PLAIN = PRESENT | RW | USER


class Machine:
    """One CPU and page tables that a test writes by hand."""

    def __init__(self, config=None, *, levels=4):
        self.levels = levels
        self.config = evolve(config or HardwareConfig(), levels=levels)
        self.memory = PhysicalMemory(4096)
        self.generation = np.zeros(4096, np.int32)
        self.hw = Hardware(
            self.config,
            nr_cpus=1,
            memory=self.memory,
            arena=Arena(),
            generation=self.generation,
        )
        self.next_table = 100
        self.root = self.table()
        self.hw.load_cr3(0, self.root, 1)

    def table(self):
        self.next_table += 1
        self.memory.claim_table(self.next_table)
        return self.next_table

    def slot(self, address, level, root=None):
        """Return the index of the word for `address` in its table of `level`; make tables."""
        table = self.root if root is None else root
        for above in range(self.levels, level, -1):
            index = table * 512 + table_index(address, above)
            if not self.memory.words[index] & PRESENT:
                self.memory.words[index] = make_pte(self.table(), PLAIN)
            table = (int(self.memory.words[index]) >> 12) & 0xFFFFF
        return table * 512 + table_index(address, level)

    def map(self, address, pfn, flags=PLAIN, *, level=1, root=None):
        index = self.slot(address, level, root)
        self.memory.words[index] = make_pte(pfn, flags | (PSE if level > 1 else 0))
        return index

    def read(self, address):
        return self.hw.access(0, address, 8, LOAD)

    @property
    def tlb(self):
        return self.hw.statistics(0).read_tlb

    @property
    def walk_reads(self):
        return self.hw.statistics(0).walk.references


def test_second_access_hits():
    """The first access to a page walks, the second finds its translation."""
    machine = Machine()
    machine.map(0x1000, 7)

    assert [True, True] == [machine.read(0x1000), machine.read(0x1FF8)]
    assert (2, 1, 1) == (machine.tlb.lookups, machine.tlb.misses, machine.tlb.walks)


def test_second_level_serves_what_the_first_lost():
    """A miss of the DTLB that hits the STLB is no walk."""
    machine = Machine(HardwareConfig(dtlb=TlbConfig(entries=1, ways=1)))
    machine.map(0x1000, 7)
    machine.map(0x2000, 8)

    for address in (0x1000, 0x2000, 0x1000):
        machine.read(address)

    assert (3, 3, 2) == (machine.tlb.lookups, machine.tlb.misses, machine.tlb.walks)


@pytest.mark.parametrize(("level", "size"), [(1, PAGE), (2, HUGE), (3, GIGANTIC)])
def test_page_of_any_size_is_one_translation(level, size):
    """Its first and last byte share an entry; the byte behind it is another page."""
    machine = Machine()
    machine.map(3 * size, 512, level=level)

    assert machine.read(3 * size)
    assert machine.read(4 * size - 8)
    assert not machine.read(4 * size)
    assert 1 == machine.tlb.walks


def test_five_levels_are_walked():
    """With la57 bit 48 and above choose the entry of the top table."""
    machine = Machine(levels=5)
    machine.map(1 << 50, 7)

    assert machine.read(1 << 50)
    assert not machine.read(0)
    assert 5 + 1 + 0 <= machine.walk_reads


@pytest.mark.parametrize(
    ("flags", "kind", "error"),
    [
        (0, LOAD, 4),
        (0, STORE, 6),
        (0, FETCH, 20),
        (PRESENT | USER, STORE, 7),
        (PRESENT | USER, MODIFY, 7),
        (PRESENT | RW, LOAD, 5),
        (PLAIN | NX, FETCH, 21),
    ],
)
def test_what_may_not_pass_is_a_fault(flags, kind, error):
    """CR2 and the error code say what happened, nothing is counted, the PTE is untouched."""
    machine = Machine()
    index = machine.map(0x5000, 7, flags)
    before = int(machine.memory.words[index])

    assert not machine.hw.access(0, 0x5008, 4, kind)

    stop = machine.hw.stop
    assert (FAULT, 0x5008, error) == (stop[REASON], stop[FAULT_ADDRESS], stop[ERROR_CODE])
    assert before == machine.memory.words[index]
    statistics = machine.hw.statistics(0)
    assert (0,) * 9 == statistics.cachegrind() == statistics.tlb()
    assert 1 == statistics.faults


def test_permissions_of_all_levels_count():
    """An upper entry without RW makes its whole range read-only, also from the walk cache."""
    machine = Machine()
    machine.map(0x1000, 7)
    machine.map(0x2000, 8)
    upper = machine.slot(0x1000, 2)
    machine.memory.words[upper] &= ~RW

    assert machine.read(0x1000)
    assert not machine.hw.access(0, 0x2000, 4, STORE)
    assert 7 == machine.hw.stop[ERROR_CODE]


def test_accessed_and_dirty_are_set_where_the_kernel_sees_them():
    """A read sets A in all entries of the walk; the first store sets D by another walk."""
    machine = Machine()
    index = machine.map(0x1000, 7)
    upper = machine.slot(0x1000, 2)

    machine.read(0x1000)

    assert machine.memory.words[upper] & ACCESSED
    assert ACCESSED == machine.memory.words[index] & (ACCESSED | DIRTY)
    machine.hw.access(0, 0x1000, 8, STORE)
    machine.hw.access(0, 0x1000, 8, STORE)

    assert machine.memory.words[index] & DIRTY
    statistics = machine.hw.statistics(0)
    assert 1 == statistics.dirty_walks
    assert (2, 0, 0) == (
        statistics.write_tlb.lookups,
        statistics.write_tlb.misses,
        statistics.write_tlb.walks,
    )


def test_stale_entry_is_used_until_it_is_flushed():
    """The TLB does not see the kernel clear a PTE: that is what flushes are for."""
    machine = Machine()
    index = machine.map(0x1000, 7)
    machine.read(0x1000)
    machine.memory.words[index] = 0

    assert machine.read(0x1000)
    assert 2 <= machine.hw.flush_page(0, 1, 0x1000)
    assert not machine.read(0x1000)


def test_entry_that_became_too_weak_walks_again():
    """A store after the kernel made a page writable needs no flush."""
    machine = Machine()
    index = machine.map(0x1000, 7, PRESENT | USER)
    machine.read(0x1000)
    machine.memory.words[index] |= RW

    assert machine.hw.access(0, 0x1000, 8, STORE)


def test_huge_page_that_was_split_is_translated_anew():
    """A store through a stale clean entry of 2 MiB finds the page table that replaced it."""
    machine = Machine()
    upper = machine.map(HUGE, 512, level=2)
    machine.read(HUGE)
    table = machine.table()
    machine.memory.words[table * 512 : table * 512 + 512] = [
        make_pte(512 + page, PLAIN) for page in range(512)
    ]
    machine.memory.words[upper] = make_pte(table, PLAIN)

    assert machine.hw.access(0, HUGE + PAGE, 8, STORE)
    assert machine.memory.words[table * 512 + 1] & DIRTY


def test_pcid_keeps_address_spaces_apart():
    """The same address under another PCID is another entry, and both survive a switch."""
    machine = Machine()
    other = machine.table()
    machine.map(0x1000, 7)
    machine.map(0x1000, 8, root=other)
    for root, pcid in ((machine.root, 1), (other, 2), (machine.root, 1), (other, 2)):
        machine.hw.load_cr3(0, root, pcid)
        assert machine.read(0x1000)

    assert 2 == machine.tlb.walks
    assert 0 < machine.hw.flush_pcid(0, 2)
    machine.hw.load_cr3(0, machine.root, 1)
    machine.read(0x1000)
    assert 2 == machine.tlb.walks


def test_global_entry_serves_every_pcid_and_outlives_flushes():
    """It goes with INVLPG, or when all is flushed including global entries."""
    machine = Machine()
    machine.map(0x1000, 7, PLAIN | GLOBAL)
    machine.read(0x1000)
    machine.hw.load_cr3(0, machine.table(), 2)

    assert machine.read(0x1000)
    machine.hw.flush_pcid(0, 1)
    machine.hw.flush_all(0)
    assert machine.read(0x1000)
    machine.hw.flush_all(0, including_global=True)
    assert not machine.read(0x1000)


def test_invlpg_drops_a_global_entry():
    """SDM volume 3, 4.10.4.1."""
    machine = Machine()
    machine.map(0x1000, 7, PLAIN | GLOBAL)
    machine.read(0x1000)

    machine.hw.flush_page(0, 3, 0x1000)

    machine.hw.load_cr3(0, machine.table(), 3)
    assert not machine.read(0x1000)


def test_walk_cache_saves_the_upper_levels():
    """The second page of a page table costs one read; after INVLPG all levels are read again."""
    machine = Machine()
    for page in range(1, 5):
        machine.map(page * PAGE, page)
    machine.read(1 * PAGE)
    first = machine.walk_reads
    machine.read(2 * PAGE)
    second = machine.walk_reads
    machine.hw.flush_page(0, 1, 0x77000)
    machine.read(3 * PAGE)
    third = machine.walk_reads

    # Reading four levels sets A in the four tables' entries; the next page sets its own alone.
    assert (8, 2) == (first, second - first)
    assert 5 == third - second


def test_entry_remembers_the_generation_of_its_page():
    """A checker can tell that the page changed hands after the translation was filled."""
    machine = Machine()
    machine.map(0x1000, 7)
    machine.generation[7] = 5
    machine.read(0x1000)

    assert [5, 5] == [entry.generation for entry in machine.hw.translations(0, 1, 0x1000)]


@pytest.mark.parametrize("replacement", ["lru", "fifo", "random", "plru"])
def test_replacement_is_an_option(replacement):
    """Four pages stay in a TLB of four entries, whatever it replaces; the fifth is a miss."""
    tlb = TlbConfig(entries=4, ways=4, replacement=replacement)
    machine = Machine(HardwareConfig(dtlb=tlb))
    for page in range(1, 6):
        machine.map(page * PAGE, page)
    for _ in range(3):
        for page in range(1, 5):
            machine.read(page * PAGE)

    assert 4 == machine.tlb.misses
    machine.read(5 * PAGE)
    missed = [page for page in range(1, 5) if _misses(machine, page)]
    assert 5 < machine.tlb.misses
    assert missed


def _misses(machine, page):
    before = machine.tlb.misses
    machine.read(page * PAGE)
    return machine.tlb.misses > before


def test_impossible_tlb_is_explained():
    """Entries and ways that give no power of two of sets are a problem with its place."""
    config = HardwareConfig(stlb=TlbConfig(entries=1536, ways=8))

    problems = config.problems(Place("fig.yaml"), "hardware", nr_cpus=1)

    assert ["hardware.stlb has 1536 entries of 8 ways"] == [each.found for each in problems]


def test_default_machine_has_no_problems():
    """For one CPU and for many."""
    for nr_cpus in (1, 4, 256):
        assert [] == HardwareConfig().problems(Place("fig.yaml"), "hardware", nr_cpus=nr_cpus)
