"""The direct map of all memory, and the page tables it takes at boot (arch/x86/mm/init.c, v6.1).

Memory is mapped from the top down in growing steps, so that page tables come from memory that is
mapped already; the first ones come from the kernel's brk. Pieces that fill no 2 MiB take small
pages. Addresses are bytes.

Left out: entries of 1 GiB, which QEMU's plain CPU does not have.

Invariants: `mapped` is sorted, disjoint and merged; a table is taken when its first entry is made.
"""

from typing import Final

from attrs import define, field

from mmactors.mm.boot.kernel_image import KernelImage
from mmactors.mm.boot.memblock import Memblock, OutOfBootMemoryError
from mmactors.mm.boot.regions import RegionList
from mmactors.units import GIB, MIB, PAGE_SIZE, TIB

ISA_END: Final = 1 * MIB
PMD_SIZE: Final = 2 * MIB
_PUD_SIZE: Final = 1 * GIB
_PGD_SIZE: Final = TIB // 2
_STEP_SHIFT: Final = 8


@define(eq=False, repr=False, kw_only=True)
class DirectMap:
    """Which physical ranges are mapped, and the page tables that map them."""

    memblock: Memblock
    image: KernelImage
    mapped: Final[RegionList] = field(factory=RegionList, init=False)
    _pud_pages: set[int] = field(factory=set, init=False)
    _pmd_pages: set[int] = field(factory=set, init=False)
    _pte_pages: set[int] = field(factory=set, init=False)
    _min_mapped: int = field(default=0, init=False)
    max_mapped: int = field(default=0, init=False)
    _brk_used: int = field(default=0, init=False)
    _can_use_brk: bool = field(default=True, init=False)

    def init_mem_mapping(self, end: int) -> None:
        """Map all memory below `end`; the first MiB is mapped whether there is memory or not."""
        self._map(0, ISA_END)
        if self.memblock.bottom_up:
            self._bottom_up(self.image.image_end, end)
            self._bottom_up(ISA_END, self.image.image_end)
        else:
            self._top_down(ISA_END, end)

    def is_mapped(self, start: int, end: int) -> bool:
        """Return whether all of `[start, end)` is mapped (pfn_range_is_mapped)."""
        region = self.mapped.find(start)
        return region is not None and end <= region.end

    def _top_down(self, start: int, end: int) -> None:
        caller = "init_mem_mapping"
        at = self.memblock.phys_alloc_range(
            PMD_SIZE, align=PMD_SIZE, start=start, end=end, caller=caller
        )
        if at is None:
            real_end = max(start, end // PMD_SIZE * PMD_SIZE)
        else:
            self.memblock.phys_free(at, at + PMD_SIZE, caller=caller)
            real_end = at + PMD_SIZE
        step = PMD_SIZE
        nr_mapped = 0
        self.max_mapped, self._min_mapped = 0, real_end
        last = real_end
        while last > start:
            low = max((last - 1) // step * step, start) if last > step else start
            nr_mapped += self._map_memory(low, last)
            last = self._min_mapped = low
            if nr_mapped >= step:
                step <<= _STEP_SHIFT
        if real_end < end:
            self._map_memory(real_end, end)

    def _bottom_up(self, start: int, end: int) -> None:
        step = PMD_SIZE
        nr_mapped = 0
        self._min_mapped = start
        while start < end:
            high = min(-(-(start + 1) // step) * step, end) if end - start > step else end
            nr_mapped += self._map_memory(start, high)
            start = high
            if nr_mapped >= step:
                step <<= _STEP_SHIFT

    def _map_memory(self, start: int, end: int) -> int:
        """Map the memory in a range; return its bytes (init_range_memory_mapping).

        A piece in which the page tables of brk lie takes its own from memblock.
        """
        nr_mapped = 0
        brk = self.image.brk_start
        brk_end = brk + self._brk_used * PAGE_SIZE
        brk_top = brk + self.image.brk_page_tables * PAGE_SIZE
        for region in self.memblock.memory.regions:
            low, high = max(region.start, start), min(region.end, end)
            if low >= high:
                continue
            self._can_use_brk = max(low, brk_end) >= min(high, brk_top)
            self._map(low, high)
            self._can_use_brk = True
            brk_end = brk + self._brk_used * PAGE_SIZE
            nr_mapped += high - low
        return nr_mapped

    def _map(self, start: int, end: int) -> None:
        """Map one range, what fills 2 MiB by one entry each (init_memory_mapping).

        Its ends are small pages, unless all of the 2 MiB around them is memory.
        """
        low, high = _up(start, PMD_SIZE), end // PMD_SIZE * PMD_SIZE
        if low < high:
            pieces = [(start, low, False), (low, high, True), (high, end, False)]
        else:
            pieces = [(start, min(low, end), False), (min(low, end), end, False)]
        last = end
        for piece_start, piece_end, is_inner in pieces:
            if piece_start < piece_end:
                is_large = is_inner or self._is_memory(piece_start, piece_end)
                self._fill(piece_start, piece_end, is_large=is_large)
                last = _up(piece_end, PMD_SIZE) if is_large else piece_end
        self.mapped.add(start, last)
        self.max_mapped = max(self.max_mapped, last)

    def _is_memory(self, start: int, end: int) -> bool:
        """Return whether all is memory when the range is widened to whole large entries."""
        region = self.memblock.memory.find(start // PMD_SIZE * PMD_SIZE)
        return region is not None and _up(end, PMD_SIZE) <= region.end

    def _fill(self, start: int, end: int, *, is_large: bool) -> None:
        """Take the tables that map a range and are not there (kernel_physical_mapping_init)."""
        for at in range(start // _PUD_SIZE * _PUD_SIZE, end, _PUD_SIZE):
            self._need_table(self._pud_pages, at // _PGD_SIZE)
            self._need_table(self._pmd_pages, at // _PUD_SIZE)
            if not is_large:
                low, high = max(start, at), min(end, at + _PUD_SIZE)
                for small in range(low // PMD_SIZE, _up(high, PMD_SIZE) // PMD_SIZE):
                    self._need_table(self._pte_pages, small)

    def _need_table(self, tables: set[int], number: int) -> None:
        if number not in tables:
            self._take_table()
            tables.add(number)

    def _take_table(self) -> None:
        """Take a page of brk, or below what is mapped last (alloc_low_pages)."""
        if self._can_use_brk and self._brk_used < self.image.brk_page_tables:
            self._brk_used += 1
            return
        at = None
        if self._min_mapped < self.max_mapped:
            at = self.memblock.phys_alloc_range(
                PAGE_SIZE,
                align=PAGE_SIZE,
                start=self._min_mapped,
                end=self.max_mapped,
                caller="alloc_low_pages",
            )
        if at is None:
            raise OutOfBootMemoryError("page tables", PAGE_SIZE)


def _up(value: int, align: int) -> int:
    return -(-value // align) * align
