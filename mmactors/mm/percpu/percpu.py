"""What the per-CPU allocator of a machine has (mm/percpu.c, v6.1).

Invariant: `nr_empty_pop_pages` is the sum over the chunks that are neither isolated nor reserved.
"""

from collections.abc import Hashable
from typing import Final

from mmactors.label import PCPU_CHUNKS, Label, Mode, WantsStep, never
from mmactors.mm.percpu.area import alloc_area, free_area
from mmactors.mm.percpu.pcpu_chunk import PcpuChunk
from mmactors.mm.percpu.request import AllocMutexLock, AllocMutexUnlock
from mmactors.mm.percpu.slots import Slots
from mmactors.mm.percpu.stats import PercpuStats
from mmactors.mm.percpu.struct_chunk import NR_EMPTY_POP_PAGES, PCPU_MIN_ALLOC_SHIFT
from mmactors.mm.percpu.unit_layout import PcpuUnits

EMPTY_POP_PAGES_LOW: Final = 2
"""With fewer empty pages that are there, the balance work is woken."""
EMPTY_POP_PAGES_HIGH: Final = 4
"""So many the balance work sees to."""
WARN_LIMIT: Final = 10
"""How many failures are told in the log."""
_WORD: Final = (1 << 64) - 1
LOOK: Final = Label("look at the chunks", ((PCPU_CHUNKS, Mode.READ),))
CHANGE: Final = Label("change the chunks", ((PCPU_CHUNKS, Mode.WRITE),))
"""What is done without the lock, or between taking it and giving it back."""
LOCK_MUTEX: Final = AllocMutexLock(is_killable=True)
UNLOCK_MUTEX: Final = AllocMutexUnlock()


class Percpu:
    """The chunks of a machine, and what is counted over all of them."""

    def __init__(
        self,
        units: PcpuUnits,
        first: PcpuChunk,
        reserved: PcpuChunk | None,
        *,
        nr_pages: int,
        wants_step: WantsStep = never,
    ) -> None:
        """`nr_pages`: those of a unit of the first chunk, its static part included."""
        self.units: Final = units
        self.wants_step: Final = wants_step
        self.first: Final = first
        self.reserved: Final = reserved
        self.slots: Final = Slots(units.unit_size)
        self.slots.reserved = reserved
        self.stats: Final = PercpuStats(units)
        self.nr_empty_pop_pages = first.nr_empty_pop_pages
        self.nr_populated = nr_pages
        """Pages of a unit that are there, of all chunks."""
        self.atomic_alloc_failed = False
        """Who may not wait got nothing: the balance work makes more room than usual."""
        self.warn_limit = WARN_LIMIT
        """Failures that will still be told."""
        self.pages_array = 0
        """Address of the array in which pages are gathered, 0: there is none yet."""
        self.slots.relocate(first, -1)

    @property
    def nr_units_of_cpus(self) -> int:
        """How many copies there are of an area."""
        return len(self.units.unit_offsets)

    @property
    def nr_pages(self) -> int:
        """Pages of all units of CPUs: Percpu of /proc/meminfo (pcpu_nr_pages)."""
        return self.nr_populated * self.units.nr_units

    def key(self) -> Hashable:
        """Return all that there is, as values."""
        chunks = [chunk for chunks in self.slots.lists for chunk in chunks]
        chunks += [self.reserved] if self.reserved is not None else []
        return (
            (self.nr_empty_pop_pages, self.nr_populated, self.atomic_alloc_failed),
            (self.warn_limit, self.pages_array),
            tuple([(chunk.base_addr, chunk.slot, chunk.isolated) for chunk in chunks]),
            tuple([chunk.words.tobytes() for chunk in chunks]),
        )

    def pointer(self, chunk: PcpuChunk, off: int) -> int:
        """Return the per-CPU pointer of an area: what no CPU can follow (__addr_to_pcpu_ptr)."""
        return (chunk.base_addr + off - self.units.base_addr) & _WORD

    def find(self, pointer: int) -> tuple[PcpuChunk, int] | None:
        """Return the chunk of a per-CPU pointer and where in its units, None: of no chunk."""
        address = (pointer + self.units.base_addr) & _WORD
        for chunk in (self.first, self.reserved):
            if chunk is not None and chunk.has(address):
                return chunk, address - chunk.base_addr
        for chunks in self.slots.lists:
            for chunk in chunks:
                if chunk.has(address):
                    return chunk, address - chunk.base_addr
        return None

    def alloc_area(self, chunk: PcpuChunk, bits: int, align: int, start: int) -> int:
        """Take an area; return where it begins in bytes, -1: there is no room."""
        slots, old_slot = self.slots, self.slots.chunk_slot(chunk)
        before = chunk.view[NR_EMPTY_POP_PAGES]
        bit_off = int(alloc_area(chunk.words, bits, align, start))
        if bit_off < 0:
            return -1
        self._count_empty(chunk, before)
        slots.relocate(chunk, old_slot)
        return bit_off << PCPU_MIN_ALLOC_SHIFT

    def free_area(self, chunk: PcpuChunk, off: int) -> int:
        """Give an area back; return its bytes."""
        slots, old_slot = self.slots, self.slots.chunk_slot(chunk)
        before = chunk.view[NR_EMPTY_POP_PAGES]
        self.stats.area_dealloc(chunk)
        bits = int(free_area(chunk.words, off >> PCPU_MIN_ALLOC_SHIFT))
        self._count_empty(chunk, before)
        slots.relocate(chunk, old_slot)
        return bits << PCPU_MIN_ALLOC_SHIFT

    def _count_empty(self, chunk: PcpuChunk, before: int) -> None:
        if chunk is not self.reserved and not chunk.isolated:
            self.nr_empty_pop_pages += chunk.view[NR_EMPTY_POP_PAGES] - before

    def update_empty_pages(self, chunk: PcpuChunk, nr_pages: int) -> None:
        """Count pages without areas that came or went (pcpu_update_empty_pages)."""
        before = chunk.view[NR_EMPTY_POP_PAGES]
        chunk.view[NR_EMPTY_POP_PAGES] += nr_pages
        self._count_empty(chunk, before)

    def chunk_populated(self, chunk: PcpuChunk, start: int, end: int) -> None:
        """Count pages that are there now (pcpu_chunk_populated)."""
        chunk.set_populated(start, end)
        self.nr_populated += end - start
        self.update_empty_pages(chunk, end - start)

    def chunk_depopulated(self, chunk: PcpuChunk, start: int, end: int) -> None:
        """Count pages that are gone (pcpu_chunk_depopulated)."""
        chunk.clear_populated(start, end)
        self.nr_populated -= end - start
        self.update_empty_pages(chunk, start - end)

    def isolate(self, chunk: PcpuChunk) -> None:
        """Let a chunk's empty pages be given back (pcpu_isolate_chunk)."""
        if not chunk.isolated:
            chunk.isolated = True
            self.nr_empty_pop_pages -= chunk.nr_empty_pop_pages
        self.slots.move(chunk, self.slots.to_depopulate)

    def reintegrate(self, chunk: PcpuChunk) -> None:
        """Let areas be taken from a chunk again (pcpu_reintegrate_chunk)."""
        if chunk.isolated:
            chunk.isolated = False
            self.nr_empty_pop_pages += chunk.nr_empty_pop_pages
            self.slots.relocate(chunk, -1)

    def should_reclaim(self, chunk: PcpuChunk) -> bool:
        """Return whether a chunk's empty pages are too many (pcpu_should_reclaim_chunk).

        They are if they are a fourth of it, and the others have enough without them.
        """
        if chunk is self.first or chunk is self.reserved:
            return False
        nr_empty = chunk.nr_empty_pop_pages
        if chunk.isolated and nr_empty:
            return True
        enough = EMPTY_POP_PAGES_HIGH + nr_empty
        return self.nr_empty_pop_pages > enough and nr_empty >= chunk.nr_pages // 4
