"""The access path: batches and collapsed traces change no count, and a plain model agrees."""

import numpy as np
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import PKEY_SHIFT, PRESENT, RW, USER, make_pte, table_index
from mmactors.arch.trace import FETCH, LOAD, MODIFY, STORE, Trace
from mmactors.hw.config import CacheConfig, HardwareConfig, TlbConfig
from mmactors.hw.hardware import (
    BUDGET,
    ELAPSED_NS,
    END,
    ERROR_CODE,
    FAULT,
    FAULT_ADDRESS,
    MEMORY_READS,
    NO_LIMIT_NS,
    REASON,
    Hardware,
)
from mmactors.hw.walk import ERROR_PKEY, ERROR_PROTECTION, ERROR_USER, ERROR_WRITE

TABLE = PRESENT | RW | USER
NR_FRAMES = 2048


def tiny(replacement="lru", **options):
    """Return a machine so small that everything is evicted all the time."""

    def cache(lines, ways):
        return CacheConfig(size_bytes=lines * 64, ways=ways, replacement=replacement)

    def tlb(entries, ways):
        return TlbConfig(entries=entries, ways=ways, replacement=replacement)

    machine = HardwareConfig(
        l1i=cache(4, 2),
        l1d=cache(4, 2),
        l2=cache(8, 4),
        llc=cache(16, 4),
        itlb=tlb(2, 2),
        dtlb=tlb(2, 1),
        stlb=tlb(4, 2),
        pmd_cache=tlb(2, 2),
    )
    return evolve(machine, **options)


class Machine:
    """One CPU and a kernel that maps pages when they fault, in the order of their faults."""

    def __init__(self, config):
        self.memory = PhysicalMemory(NR_FRAMES)
        self.memory.claim_table(1)
        self.next_table = 2
        self.next_frame = 512
        self.hw = Hardware(
            config,
            nr_cpus=1,
            memory=self.memory,
            arena=Arena(),
            generation=np.zeros(NR_FRAMES, np.int32),
        )
        self.hw.load_cr3(0, 1, 1)
        self.elapsed_ns = 0

    def fault(self):
        address = self.hw.stop[FAULT_ADDRESS]
        table = 1
        for level in (4, 3, 2):
            index = table * 512 + table_index(address, level)
            if not self.memory.words[index]:
                self.memory.claim_table(self.next_table)
                self.memory.words[index] = make_pte(self.next_table, TABLE)
                self.next_table += 1
            table = (int(self.memory.words[index]) >> 12) & 0xFFFFF
        self.memory.words[table * 512 + table_index(address, 1)] = make_pte(self.next_frame, TABLE)
        self.next_frame += 1

    def run(self, trace, budgets=(NO_LIMIT_NS,)):
        """Run all of a trace in batches of these budgets, again and again; return all counts."""
        row = turn = 0
        while True:
            row = self.hw.run(0, trace, row, budgets[turn % len(budgets)])
            self.elapsed_ns += self.hw.stop[ELAPSED_NS]
            turn += 1
            if self.hw.stop[REASON] == END:
                assert row == len(trace)
                return self.hw.statistics(0)
            if self.hw.stop[REASON] == FAULT:
                self.fault()


@st.composite
def traces(draw, *, pages=7):
    """Draw a trace with runs, loops, and accesses over lines and up to four pages."""
    accesses = []
    fetch = draw(st.integers(0, pages * 4096))
    for _ in range(draw(st.integers(1, 60))):
        kind = draw(st.sampled_from([FETCH, FETCH, LOAD, STORE, MODIFY]))
        if kind == FETCH:
            if draw(st.booleans()):
                fetch = draw(st.integers(0, pages * 64 - 1)) * 64 + draw(st.integers(0, 63))
            for _ in range(draw(st.integers(1, 12))):
                size = draw(st.integers(1, 15))
                accesses.append((FETCH, size, fetch))
                fetch += size
        else:
            line = draw(st.integers(0, pages * 64 - 1))
            offset = draw(st.sampled_from([0, 8, 60, 63]))
            size = draw(st.sampled_from([1, 8, 32, 100, 4097, 9000]))
            accesses.append((kind, size, line * 64 + offset))
    kind, size, address = (np.array(column) for column in zip(*accesses, strict=True))
    return Trace.of_columns(kind.astype(np.uint8), size.astype(np.uint16), address)


configs = st.builds(
    tiny,
    st.sampled_from(["lru", "fifo", "random", "plru"]),
    llc_inclusion=st.sampled_from(["inclusive", "non_inclusive"]),
    l1d_write=st.sampled_from(["write_back", "write_through"]),
    l1d_write_miss=st.sampled_from(["allocate", "no_allocate"]),
    kernel_caching=st.booleans(),
)


@settings(max_examples=60)
@given(traces(), configs, st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_counts_do_not_depend_on_batches(trace, config, budgets):
    """Any budgets, down to one row a batch: equal counts, equal time, equal faults."""
    whole, parts = Machine(config), Machine(config)

    assert whole.run(trace) == parts.run(trace, budgets)
    assert whole.elapsed_ns == parts.elapsed_ns == whole.hw.statistics(0).ns


@settings(max_examples=60)
@given(traces(), configs)
def test_collapsed_trace_counts_the_same(trace, config):
    """One row for a run of fetches is as exact as one row a fetch."""
    collapsed = trace.collapse(64)

    assert Machine(config).run(trace) == Machine(config).run(collapsed)
    assert len(trace) == collapsed.nr_accesses
    twice = trace.collapse(32).collapse(64)
    assert (collapsed.address == twice.address).all()
    assert (collapsed.meta == twice.meta).all()


class Lru:
    """Sets of LRU lists, the plainest there are."""

    def __init__(self, nr_sets, ways):
        self.sets = [[] for _ in range(nr_sets)]
        self.ways = ways

    def hits(self, number):
        members = self.sets[number % len(self.sets)]
        is_hit = number in members
        if is_hit:
            members.remove(number)
        members.insert(0, number)
        del members[self.ways :]
        return is_hit


@settings(max_examples=60)
@given(traces(), st.booleans())
def test_plain_model_agrees(trace, is_first):
    """TLBs, L1s, L2 and LLC as lists count the same references, misses and walks."""
    config = tiny(kernel_caching=False, index="virtual")
    machine = Machine(config)
    if is_first:
        # Everything is mapped beforehand, so that nothing faults and no access is restarted.
        for page in range(10):
            machine.hw.access(0, page * 4096, 1, LOAD)
            machine.fault()
        machine.hw.flush_all(0)
    counts = {who: [0] * 4 for who in (FETCH, LOAD, STORE)}
    walks = {who: [0] * 3 for who in (FETCH, LOAD, STORE)}
    tlbs = {FETCH: Lru(1, 2), LOAD: Lru(2, 1)}
    stlb = Lru(2, 2)
    l1 = {FETCH: Lru(2, 2), LOAD: Lru(2, 2)}
    l2, llc = Lru(2, 4), Lru(4, 4)
    for address, meta in zip(trace.address.tolist(), trace.meta.tolist(), strict=True):
        kind, size = meta & 3, meta >> 2
        who = LOAD if kind == MODIFY else kind
        side = FETCH if kind == FETCH else LOAD
        last = address + size - 1
        counts[who][0] += 1
        for page in range(address >> 12, (last >> 12) + 1):
            walks[who][0] += 1
            if not tlbs[side].hits(page):
                walks[who][1] += 1
                walks[who][2] += not stlb.hits(page)
        for line in range(address >> 6, (last >> 6) + 1):
            if l1[side].hits(line):
                continue
            counts[who][1] += 1
            if not l2.hits(line):
                counts[who][2] += 1
                counts[who][3] += not llc.hits(line)

    statistics = machine.run(trace)

    expected_walks = tuple(count for who in walks.values() for count in who)
    assert expected_walks == statistics.tlb()
    for who, found in zip(
        counts.values(), (statistics.fetch, statistics.read, statistics.write), strict=True
    ):
        assert who[:2] == [found.references, found.l1_misses]
    # Dirty lines come back from above, and make lines of the lower levels young or present.
    if not any(kind in (STORE, MODIFY) for kind in (trace.meta & 3).tolist()):
        for who, found in zip(
            counts.values(), (statistics.fetch, statistics.read, statistics.write), strict=True
        ):
            assert who[2:] == [found.l2_misses, found.llc_misses]


def test_access_whose_second_page_faults_is_counted_once():
    """The first page has been looked up already; the retry does not count it again."""
    machine = Machine(tiny())
    trace = Trace.of_columns(np.array([LOAD]), np.array([16]), np.array([0x2FF8]))

    statistics = machine.run(trace)

    assert 2 == statistics.faults
    assert (2, 2, 2) == statistics.tlb()[3:6]
    assert 1 == statistics.read.references


def test_batch_stops_for_three_reasons():
    """A fault, a spent budget, the end; the row to run next is the one that was not done."""
    machine = Machine(tiny())
    trace = Trace.of_columns(
        np.array([LOAD, LOAD, LOAD]), np.array([8, 8, 8]), np.array([0, 64, 128])
    )
    hw = machine.hw

    assert (0, FAULT) == (hw.run(0, trace, 0), hw.stop[REASON])
    machine.fault()
    assert (1, BUDGET) == (hw.run(0, trace, 0, 1), hw.stop[REASON])
    assert 0 < hw.stop[ELAPSED_NS]
    assert 1 <= hw.stop[MEMORY_READS]
    assert (3, END) == (hw.run(0, trace, 1), hw.stop[REASON])
    assert (3, END) == (hw.run(0, trace, 3), hw.stop[REASON])
    assert 0 == hw.stop[ELAPSED_NS]


def test_access_longer_than_pages_is_done():
    """Sixty kilobytes touch every line of fifteen pages once."""
    machine = Machine(tiny())

    statistics = machine.run(
        Trace.of_columns(np.array([LOAD]), np.array([60 * 1024]), np.array([0]))
    )

    assert 15 == statistics.faults == statistics.read_tlb.lookups
    assert 960 == statistics.read.l1_misses


def test_snapshot_brings_everything_back():
    """After restoring the arena the same trace counts the same."""
    arena = Arena()
    memory = PhysicalMemory(NR_FRAMES)
    memory.claim_table(1)
    memory.claim_table(2)
    memory.claim_table(3)
    memory.claim_table(4)
    for table in (1, 2, 3):
        memory.words[table * 512] = make_pte(table + 1, TABLE)
    for page in range(8):
        memory.words[4 * 512 + page] = make_pte(512 + page, TABLE)
    hw = Hardware(
        tiny(), nr_cpus=1, memory=memory, arena=arena, generation=np.zeros(NR_FRAMES, np.int32)
    )
    hw.load_cr3(0, 1, 1)
    address = np.arange(0, 8 * 4096, 200)
    trace = Trace.of_columns(
        np.full(len(address), STORE), np.full(len(address), 8), address.astype(np.int64)
    )
    hw.run(0, trace, 0)
    snapshot = arena.snapshot()
    hw.run(0, trace, 0)
    first = hw.statistics(0)

    arena.restore(snapshot)
    hw.run(0, trace, 0)

    assert first == hw.statistics(0)


def test_a_protection_key_forbids_data_and_lets_code_be_fetched():
    """Also where the TLBs know the page, and whatever else the entry allows."""
    memory = PhysicalMemory(NR_FRAMES)
    for table in (1, 2, 3, 4):
        memory.claim_table(table)
    for table in (1, 2, 3):
        memory.words[table * 512] = make_pte(table + 1, TABLE)
    memory.words[4 * 512] = make_pte(512, TABLE | 1 << PKEY_SHIFT)
    generation = np.zeros(NR_FRAMES, np.int32)
    hw = Hardware(tiny(), nr_cpus=1, memory=memory, arena=Arena(), generation=generation)
    hw.load_cr3(0, 1, 1)

    def stopped_with(kind):
        trace = Trace.of_columns(np.array([kind]), np.array([8]), np.array([64]))
        row = hw.run(0, trace, 0)
        return None if row else int(hw.stop[ERROR_CODE])

    codes = [stopped_with(kind) for kind in (LOAD, FETCH, LOAD, STORE, FETCH)]

    data = ERROR_PROTECTION | ERROR_USER | ERROR_PKEY
    assert [data, None, data, data | ERROR_WRITE, None] == codes
