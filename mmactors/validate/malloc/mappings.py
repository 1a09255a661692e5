"""Which memory a recorded process had mapped: regions by number, as the recorder numbered them.

Region 0 is the program-break heap; k from 1 on the k-th mmap that succeeded; below 0 what was
mapped before the first operation. A region's base is the address that mmap returned; mremap moves
it with the block.
"""

from bisect import bisect_right
from typing import Final

from attrs import define, field, frozen

from mmactors.units import PAGE_SIZE

NO_ADDRESS: Final = -100
"""The region of an operation that returned none."""
BREAK_HEAP: Final = 0
LIBC_DATA: Final = -1000
"""The C library's own data; the recorder numbers fewer mappings than that."""
_BREAK_HEAP_BYTES_MAX: Final = 1 << 40
"""What is that near above the first break is called by it, whether it is mapped or not."""


_NAMES: Final = {BREAK_HEAP: "heap", LIBC_DATA: "libc"}


@frozen
class Extent:
    """A range of addresses of one region."""

    start: int
    end: int
    region: int
    base: int
    """Of the region."""


@define(eq=False)
class Mappings:
    """All that is mapped, by address, and the program break."""

    break_base: int
    """The program break that the process started with."""
    program_break: int
    _extents: list[Extent] = field(factory=list, init=False)
    """Sorted, and none over another."""
    nr_regions: int = field(default=0, init=False)
    """Calls of mmap that succeeded."""
    bytes_mapped: int = field(default=0, init=False)
    """Of these calls, without what was mapped before the first operation."""

    def hold(self, start: int, length: int, region: int) -> bool:
        """Let a mapping be there that nobody counts; return whether the place was free."""
        is_free = self.is_free(start, start + length)
        if is_free:
            self._insert(Extent(start, start + length, region, start))
        return is_free

    def mmap(self, start: int, length: int) -> int:
        """Map a new region; return its number."""
        self.nr_regions += 1
        self.bytes_mapped += _whole_pages(length)
        self._insert(Extent(start, start + _whole_pages(length), self.nr_regions, start))
        return self.nr_regions

    def munmap(self, start: int, length: int) -> None:
        """Unmap a range."""
        self.bytes_mapped -= _whole_pages(length)
        self._cut(start, start + _whole_pages(length))

    def mremap(self, start: int, old_length: int, to: int, new_length: int) -> None:
        """Move a range of one region, or change its length."""
        extent = self.extent_of(start)
        assert extent is not None, f"{start:#x} is mapped"
        self._cut(start, start + old_length)
        base = to - (start - extent.base)
        self._insert(Extent(to, to + new_length, extent.region, base))
        self.bytes_mapped += new_length - old_length

    def extent_of(self, address: int) -> Extent | None:
        """Return the mapping at an address."""
        nth = bisect_right(self._extents, address, key=_start_of) - 1
        if nth >= 0 and self._extents[nth].end > address:
            return self._extents[nth]
        return None

    def is_free(self, start: int, end: int) -> bool:
        """Return whether nothing of a range is mapped."""
        if start < self.program_break and end > self.break_base:
            return False
        nth = bisect_right(self._extents, end - 1, key=_start_of) - 1
        return nth < 0 or self._extents[nth].end <= start

    def name_of(self, address: int) -> str:
        """Return what people call an address: where it lies and how far from there."""
        if not address:
            return "NULL"
        extent = self.extent_of(address)
        if extent is not None:
            name, base = name_of_region(extent.region), extent.base
        elif self.break_base <= address < self.break_base + _BREAK_HEAP_BYTES_MAX:
            name, base = name_of_region(BREAK_HEAP), self.break_base
        else:
            return f"{address:#x}"
        return f"{name}+{address - base:#x}"

    def _insert(self, extent: Extent) -> None:
        assert self.is_free(extent.start, extent.end), f"{extent} is mapped"
        self._extents.insert(bisect_right(self._extents, extent.start, key=_start_of), extent)

    def _cut(self, start: int, end: int) -> None:
        first = bisect_right(self._extents, start, key=_start_of)
        if first and self._extents[first - 1].end > start:
            first -= 1
        last = first
        kept = []
        while last < len(self._extents) and self._extents[last].start < end:
            it = self._extents[last]
            if it.start < start:
                kept.append(Extent(it.start, start, it.region, it.base))
            if it.end > end:
                kept.append(Extent(end, it.end, it.region, it.base))
            last += 1
        self._extents[first:last] = kept


def name_of_region(region: int) -> str:
    """Return what people call a region."""
    if region in _NAMES:
        return _NAMES[region]
    return f"mmap {region}" if region > 0 else f"initial map {-1 - region}"


def _whole_pages(length: int) -> int:
    return (length + PAGE_SIZE - 1) & -PAGE_SIZE


def _start_of(extent: Extent) -> int:
    return extent.start
