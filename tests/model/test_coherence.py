"""MESI between private caches: what any order of accesses of several CPUs must keep."""

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import PRESENT, RW, USER, make_pte
from mmactors.arch.trace import FETCH, LOAD, MODIFY, STORE
from mmactors.hw import layout
from mmactors.hw.cache import (
    EXCLUSIVE,
    HEADER_WORDS,
    INVALID,
    MASK,
    MODIFIED,
    SHARED,
    STATE_BITS,
    STATE_MASK,
    STRIDE,
    WAYS,
    find,
)
from mmactors.hw.config import CacheConfig, HardwareConfig
from mmactors.hw.hardware import Hardware

TABLE = PRESENT | RW | USER
NR_LINES = 32
FIRST_FRAME = 100


def tiny(**options):
    """Return a machine whose caches and snoop filter are too small for what is used."""

    def cache(lines, ways):
        return CacheConfig(size_bytes=lines * 64, ways=ways)

    machine = HardwareConfig(
        l1i=cache(2, 2), l1d=cache(4, 2), l2=cache(8, 2), llc=cache(16, 4), kernel_caching=True
    )
    return evolve(machine, **options)


class Machine:
    """CPUs that share one mapped page."""

    def __init__(self, config, nr_cpus):
        memory = PhysicalMemory(256)
        for table in (1, 2, 3, 4):
            memory.claim_table(table)
        for table in (1, 2, 3):
            memory.words[table * 512] = make_pte(table + 1, TABLE)
        memory.words[4 * 512] = make_pte(FIRST_FRAME, TABLE)
        self.nr_cpus = nr_cpus
        self.hw = Hardware(
            config,
            nr_cpus=nr_cpus,
            memory=memory,
            arena=Arena(),
            generation=np.zeros(256, np.int32),
        )
        for cpu in range(nr_cpus):
            self.hw.load_cr3(cpu, 1, 1)

    def touch(self, cpu, line, kind):
        assert self.hw.access(cpu, line * 64, 8, kind)

    def state(self, cpu, line, register=layout.L1D):
        """Return the state of a line of the shared page in a private cache."""
        state = self.hw._state
        base = state[self.hw._rows[cpu] + register]
        index = find(state, base, FIRST_FRAME * 64 + line)
        return INVALID if index < 0 else int(state[index]) & STATE_MASK

    def lines(self, base):
        """Return the words of all lines of a cache."""
        state = self.hw._state
        for set_index in range(state[base + MASK] + 1):
            first = base + HEADER_WORDS + set_index * state[base + STRIDE]
            for index in range(first, first + state[base + WAYS]):
                if state[index] != 0:
                    yield int(state[index])

    def check(self):
        """Assert the invariants of the directory."""
        state = self.hw._state
        holders = {}
        for cpu in range(self.nr_cpus):
            row = self.hw._rows[cpu]
            for register in (layout.L1I, layout.L1D, layout.L2):
                if state[row + register] == 0:
                    continue
                for word in self.lines(state[row + register]):
                    line, mesi = word >> STATE_BITS, word & STATE_MASK
                    # What the L1I holds is SHARED there even if its CPU owns the line.
                    mesi = INVALID if register == layout.L1I else mesi
                    holders.setdefault(line, {}).setdefault(cpu, set()).add(mesi)
        for line, cpus in holders.items():
            assert len(cpus) == 1 or all(states <= {INVALID, SHARED} for states in cpus.values())
            entry = find(state, state[layout.SNOOP], line)
            assert entry >= 0, f"line {line:#x} of {cpus} is not in the snoop filter"
            sharers = int(state[entry + state[layout.SHARERS]])
            for cpu in cpus:
                if state[entry] & STATE_MASK == EXCLUSIVE:
                    assert cpu == sharers
                else:
                    assert (sharers >> (cpu >> int(state[layout.CLUSTER_SHIFT]))) & 1
            if state[layout.IS_INCLUSIVE]:
                assert find(state, state[layout.LLC], line) >= 0


def test_only_reader_owns_the_line():
    """A line that nobody else has comes as EXCLUSIVE; the first store needs nobody."""
    machine = Machine(HardwareConfig(), 2)

    machine.touch(0, 3, LOAD)
    assert EXCLUSIVE == machine.state(0, 3)
    machine.touch(0, 3, STORE)
    assert MODIFIED == machine.state(0, 3)
    assert 0 == machine.hw.statistics(0).upgrades


def test_second_reader_makes_it_shared():
    """The dirty line is handed over, and both have it as SHARED; memory is not read again."""
    machine = Machine(HardwareConfig(), 2)
    machine.touch(0, 3, STORE)
    before = machine.hw.statistics(1).read

    machine.touch(1, 3, LOAD)

    assert (SHARED, SHARED) == (machine.state(0, 3), machine.state(1, 3))
    statistics = machine.hw.statistics(1)
    assert 1 == statistics.read.l1_misses - before.l1_misses
    assert 0 == statistics.read.llc_misses
    assert 1 <= statistics.forwards


def test_writer_takes_the_line_from_all():
    """A store to a SHARED line is an upgrade, and the others lose it."""
    machine = Machine(HardwareConfig(), 4)
    for cpu in range(4):
        machine.touch(cpu, 3, LOAD)

    machine.touch(2, 3, STORE)

    expected = [INVALID, INVALID, MODIFIED, INVALID]
    assert expected == [machine.state(cpu, 3) for cpu in range(4)]
    # One for the line, one for the page-table entry whose dirty bit the walker sets.
    assert 2 == machine.hw.statistics(2).upgrades


def test_lock_word_that_bounces_costs_more_than_one_that_stays():
    """The kernel's lock words are lines too."""
    hw = Machine(HardwareConfig(), 2).hw
    address = FIRST_FRAME << 12
    hw.kernel_access(0, address, MODIFY)
    mine = hw.kernel_access(0, address, MODIFY)
    taken = hw.kernel_access(1, address, MODIFY)

    assert mine < taken
    assert (2, 1) == (hw.statistics(0).kernel.references, hw.statistics(1).kernel.references)


@settings(max_examples=80)
@given(st.data())
def test_directory_knows_who_holds_what(data):
    """One writer or many readers; what is cached privately is in the filter, and as it says."""
    nr_cpus = data.draw(st.sampled_from([2, 3, 5]))
    config = tiny(
        llc_inclusion=data.draw(st.sampled_from(["inclusive", "non_inclusive"])),
        snoop_filter_percent=data.draw(st.sampled_from([10, 200])),
        l2=data.draw(st.sampled_from([None, CacheConfig(size_bytes=64, ways=1), tiny().l2])),
    )
    machine = Machine(config, nr_cpus)
    operation = st.tuples(
        st.integers(0, nr_cpus - 1),
        st.integers(0, NR_LINES - 1),
        st.sampled_from([FETCH, LOAD, STORE, MODIFY]),
    )
    for cpu, line, kind in data.draw(st.lists(operation, max_size=60)):
        machine.touch(cpu, line, kind)

        machine.check()
        if kind >= STORE:
            assert MODIFIED == machine.state(cpu, line)
        elif kind == LOAD:
            assert SHARED <= machine.state(cpu, line)


@pytest.mark.parametrize("nr_cpus", [64, 65, 200])
def test_clusters_lose_no_holder(nr_cpus):
    """With more CPUs than bits in a mask a bit is a cluster; a store still reaches all."""
    machine = Machine(tiny(), nr_cpus)
    for cpu in range(nr_cpus):
        machine.touch(cpu, 1, LOAD)
    machine.check()

    machine.touch(nr_cpus - 1, 1, STORE)

    machine.check()
    assert 1 == sum(machine.state(cpu, 1) != INVALID for cpu in range(nr_cpus))


def test_dirty_line_reaches_memory_once():
    """What was stored leaves through L1, L2 and LLC, and is written to memory when it leaves."""
    machine = Machine(tiny(), 2)
    for line in range(NR_LINES):
        machine.touch(0, line, STORE)
    for line in range(NR_LINES):
        machine.touch(1, line, LOAD)

    written = sum(machine.hw.statistics(cpu).memory_writes for cpu in range(2))
    state = machine.hw._state
    dirty = [word for word in machine.lines(state[layout.LLC]) if word & STATE_MASK == MODIFIED]
    # The page tables' accessed and dirty bits are dirty lines too.
    assert NR_LINES <= written + len(dirty)
