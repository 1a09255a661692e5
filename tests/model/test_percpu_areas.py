"""Per-CPU areas as ranges: no two overlap, counts are true, hints promise no more than there is."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mmactors.mm.page_alloc.gfp import GFP_ATOMIC, GFP_KERNEL, GFP_NOWARN
from mmactors.mm.percpu.alloc import alloc_percpu
from mmactors.mm.percpu.balance import balance
from mmactors.mm.percpu.free import free_percpu
from mmactors.mm.percpu.pcpu_chunk import PcpuChunk
from mmactors.mm.percpu.percpu import EMPTY_POP_PAGES_HIGH, Percpu
from mmactors.mm.percpu.percpu_state import BLOCK_COLUMNS, dump_chunk
from mmactors.mm.percpu.request import (
    NO_POINTER,
    AllocMutexLock,
    AllocMutexUnlock,
    AllocUnitPage,
    FreeUnitPage,
    FreeVmAreas,
    GetVmAreas,
    MapPages,
    MemFree,
    MemZalloc,
    PcpuLock,
    PcpuUnlock,
    ScheduleBalance,
    UnmapPages,
)
from mmactors.mm.percpu.struct_chunk import BLOCK_BITS
from mmactors.mm.percpu.unit_layout import PcpuUnits
from mmactors.mm.perform import perform
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

NR_CPUS = 3
UNIT_PAGES = 12
UNIT = UNIT_PAGES << PAGE_SHIFT
BASE = 0xFFFF88800F800000
VMALLOC = 0xFFFFE8FFFFC00000
CPUS = tuple(UNIT * cpu for cpu in (0, 2, 1))
"""Units need not lie in the order of the CPUs."""


class Areas(RuleBasedStateMachine):
    """An allocator whose memory, pages and addresses run out now and then."""

    def __init__(self):
        super().__init__()
        self.areas: dict[int, int] = {}
        self.nr_refused = 0
        self.memory: set[int] = set()
        self.pages: dict[int, int | None] = {}
        self.mapped: dict[int, int] = {}
        self.bases: set[int] = set()
        self.last = 0
        self.is_locked = self.has_mutex = self.has_work = False

    @initialize(
        start=st.integers(0, 30).map(lambda n: 4 * n), nr_bytes=st.sampled_from([PAGE_SIZE, 8188])
    )
    def boot(self, start, nr_bytes):
        units = PcpuUnits(
            unit_pages=UNIT_PAGES, base_addr=BASE, unit_offsets=CPUS, group_units=(len(CPUS),)
        )
        reserved = PcpuChunk.first(BASE + start, PAGE_SIZE)
        first = PcpuChunk.first(BASE + start + PAGE_SIZE, nr_bytes)
        self.percpu = Percpu(units, first, reserved, nr_pages=4)
        self.first_populated = 4

    def refused(self):
        """Say whether memory has run out at last."""
        self.nr_refused -= 1
        return self.nr_refused == 0

    def new(self):
        self.last += 1
        return self.last

    def perform(self, steps):
        result = perform(steps, self.answer)
        assert not self.is_locked
        assert not self.has_mutex
        return result

    def answer(self, request):
        match request:
            case PcpuLock() | PcpuUnlock():
                assert self.is_locked is isinstance(request, PcpuUnlock)
                self.is_locked = not self.is_locked
            case AllocMutexLock() | AllocMutexUnlock():
                assert self.has_mutex is isinstance(request, AllocMutexUnlock)
                self.has_mutex = not self.has_mutex
                return True
            case MemZalloc():
                if self.refused():
                    return 0
                self.memory.add(self.new())
                return self.last
            case MemFree(address=address):
                self.memory.remove(address)
            case GetVmAreas():
                free = (VMALLOC - nth * 8 * UNIT for nth in range(100))
                base = 0 if self.refused() else next(b for b in free if b not in self.bases)
                self.bases |= {base} - {0}
                return base
            case FreeVmAreas(base_addr=base):
                self.bases.remove(base)
                assert not any(base <= address < base + 3 * UNIT for address in self.mapped)
            case AllocUnitPage():
                if self.refused():
                    return None
                self.pages[self.new()] = None
                return self.last
            case FreeUnitPage(pfn=pfn):
                assert self.pages.pop(pfn) is None, "it is mapped"
            case MapPages(address=address, pfns=pfns):
                if self.refused():
                    return False
                for nth, pfn in enumerate(pfns):
                    where = address + nth * PAGE_SIZE
                    assert where not in self.mapped
                    self.mapped[where] = pfn
                    self.pages[pfn] = where
                return True
            case UnmapPages(address=address, nr_pages=nr_pages):
                pfns = [self.mapped.pop(address + nth * PAGE_SIZE) for nth in range(nr_pages)]
                self.pages |= dict.fromkeys(pfns)
                return tuple(pfns)
            case ScheduleBalance():
                self.has_work = True
        return None

    @rule(
        size=st.one_of(st.integers(1, 600), st.integers(1, 32768)),
        align=st.integers(0, 12).map(lambda order: 1 << order),
        gfp=st.sampled_from([GFP_KERNEL, GFP_KERNEL, GFP_ATOMIC]),
        reserved=st.sampled_from([False, False, False, True]),
        nr_refused=st.sampled_from([0, 0, 0, 1, 2, 3, 5, 6, 8, 12, 20, 40]),
    )
    def alloc(self, size, align, gfp, reserved, nr_refused):
        self.nr_refused = nr_refused
        steps = alloc_percpu(self.percpu, size, align, gfp | GFP_NOWARN, reserved=reserved)
        pointer = self.perform(steps)
        was_refused = nr_refused and self.nr_refused <= 0
        self.nr_refused = 0
        if pointer == NO_POINTER:
            assert was_refused or reserved or gfp == GFP_ATOMIC
            return
        size = -(-size // 4) * 4
        assert pointer % max(align, 4) == 0
        assert not any(
            pointer < start + length and start < pointer + size
            for start, length in self.areas.items()
        )
        self.areas[pointer] = size
        chunk, off = self.percpu.find(pointer)
        end = off + size + PAGE_SIZE - 1
        assert not list(chunk.missing(off >> PAGE_SHIFT, end >> PAGE_SHIFT))

    @precondition(lambda self: self.areas)
    @rule(data=st.data())
    def free(self, data):
        pointer = data.draw(st.sampled_from(sorted(self.areas)))
        assert self.areas.pop(pointer) == self.perform(free_percpu(self.percpu, pointer))

    @precondition(lambda self: self.areas)
    @rule()
    def free_all(self):
        for pointer in list(self.areas):
            self.areas.pop(pointer)
            self.perform(free_percpu(self.percpu, pointer))

    @precondition(lambda self: self.has_work)
    @rule(nr_refused=st.sampled_from([0, 0, 1, 3, 6]))
    def balance(self, nr_refused):
        self.has_work = False
        self.nr_refused = nr_refused
        self.perform(balance(self.percpu))
        slots = self.percpu.slots
        if not nr_refused:
            assert self.percpu.nr_empty_pop_pages >= EMPTY_POP_PAGES_HIGH
        self.nr_refused = 0
        assert not slots.lists[slots.to_depopulate]
        assert all(
            chunk.nr_populated == 0 or nth == 0 or chunk.nr_empty_pop_pages
            for nth, chunk in enumerate(slots.lists[slots.free])
        )

    def chunks(self):
        return [chunk for chunks in self.percpu.slots.lists for chunk in chunks]

    @invariant()
    def nothing_is_lost(self):
        """Pages, addresses and memory are those of the chunks that there are."""
        own = [chunk for chunk in self.chunks() if not chunk.immutable]
        assert {chunk.base_addr for chunk in own} == self.bases
        assert len(self.pages) == len(self.mapped) == NR_CPUS * sum(c.nr_populated for c in own)
        gathered = {self.percpu.pages_array} - {0}
        assert self.memory == gathered.union(*(chunk.mem for chunk in own))
        assert self.percpu.nr_populated == self.first_populated + sum(c.nr_populated for c in own)
        assert self.percpu.nr_empty_pop_pages == sum(
            chunk.nr_empty_pop_pages for chunk in self.chunks() if not chunk.isolated
        )
        assert self.percpu.stats.nr_cur_alloc == len(self.areas)
        assert self.percpu.stats.nr_chunks == len(own)

    @invariant()
    def each_chunk_is_what_its_areas_say(self):
        for chunk in [*self.chunks(), self.percpu.reserved]:
            self.check(chunk, dump_chunk(chunk))

    def check(self, chunk, state):
        used = bytearray(chunk.nr_pages * BLOCK_BITS)
        used[: chunk.start_offset // 4] = b"\1" * (chunk.start_offset // 4)
        used[len(used) - chunk.end_offset // 4 :] = b"\1" * (chunk.end_offset // 4)
        pointers = {
            off: size
            for pointer, size in self.areas.items()
            for found, off in [self.percpu.find(pointer)]
            if found is chunk
        }
        for off, size in pointers.items():
            used[off // 4 : (off + size) // 4] = b"\1" * (size // 4)
        taken = bytearray(len(used))
        for start, length in state["alloc_runs"]:
            taken[start : start + length] = b"\1" * length
        assert used == taken
        assert state["free_bytes"] == 4 * used.count(0)
        assert {off // 4 for off in pointers} <= set(state["bound_bits"])
        self.check_hints(used, state["chunk_md"], is_chunk=True)
        nr_empty = 0
        for nth, values in enumerate(state["blocks"]):
            page = used[nth * BLOCK_BITS : (nth + 1) * BLOCK_BITS]
            self.check_hints(page, dict(zip(BLOCK_COLUMNS, values, strict=True)), is_chunk=False)
            nr_empty += not any(page) and any(
                start <= nth < start + length for start, length in state["populated_runs"]
            )
        assert nr_empty == state["nr_empty_pop_pages"]

    def check_hints(self, used, hints, *, is_chunk):
        """Hints are of room that is free; a page that is free is known to be."""
        largest = max(map(len, used.split(b"\1")))
        start, contig = hints["contig_hint_start"], hints["contig_hint"]
        assert not any(used[start : start + contig])
        assert contig <= largest
        assert is_chunk or (largest == len(used)) == (contig == len(used))
        start, scan = hints["scan_hint_start"], hints["scan_hint"]
        assert not any(used[start : start + scan])
        assert scan <= contig
        if not is_chunk:
            assert hints["left_free"] == (used + b"\1").index(1)
            assert hints["right_free"] <= len(used) - (b"\1" + used).rindex(1)
        if contig:
            assert not any(byte == 0 for byte in used[: hints["first_free"]])


TestAreas = Areas.TestCase
