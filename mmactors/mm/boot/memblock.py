"""Boot memory: two sorted lists of ranges, what there is and what is taken (mm/memblock.c, v6.1).

Before the page allocator works, the kernel knows its memory as regions of `memory`, and what it
must not hand out as regions of `reserved`; free is what is in the first and not in the second.
Addresses and sizes are bytes. The last byte of the address space is no memory and is never taken:
what reaches over PHYS_ADDR_MAX ends there.

Left out: flags (hotplug, mirror, no-map) and doubling a region list that is full.

Invariants: the regions of a list are sorted and disjoint; two that touch differ in their node.
"""

from collections.abc import Iterator
from typing import Final

from attrs import Factory, define, frozen

from mmactors.units import PAGE_SIZE

PHYS_ADDR_MAX: Final = (1 << 64) - 1


@frozen
class Region:
    """The bytes `[start, end)`; node None is "not known yet", the kernel's MAX_NUMNODES."""

    start: int
    end: int
    node: int | None = None


@define(eq=False)
class RegionList:
    """One of the two lists (struct memblock_type)."""

    regions: list[Region] = Factory(list)

    def add(self, start: int, end: int, *, node: int | None = None) -> None:
        """Insert what of `[start, end)` is not there yet; regions that are there keep their node.

        Source: memblock_add_range.
        """
        assert 0 <= start <= end, f"[{start:#x}, {end:#x}) is not a range"
        end = _capped(end)
        gaps: list[Region] = []
        at = start
        for region in self.regions:
            if region.start >= end:
                break
            if region.end <= at:
                continue
            if region.start > at:
                gaps.append(Region(at, region.start, node))
            at = min(region.end, end)
        if at < end:
            gaps.append(Region(at, end, node))
        self.regions.extend(gaps)
        self.regions.sort(key=lambda region: region.start)
        self._merge()

    def remove(self, start: int, end: int) -> None:
        """Take `[start, end)` out, splitting regions at its ends (memblock_remove_range)."""
        end = _capped(end)
        if start >= end:
            return
        self._split(start)
        self._split(end)
        self.regions = [
            region for region in self.regions if not (start <= region.start and region.end <= end)
        ]

    def set_node(self, start: int, end: int, *, node: int) -> None:
        """Say on which node the regions in `[start, end)` are (memblock_set_node)."""
        end = _capped(end)
        if start >= end:
            return
        self._split(start)
        self._split(end)
        self.regions = [
            Region(region.start, region.end, node)
            if start <= region.start and region.end <= end
            else region
            for region in self.regions
        ]
        self._merge()

    def _split(self, at: int) -> None:
        for index, region in enumerate(self.regions):
            if region.start < at < region.end:
                self.regions[index : index + 1] = [
                    Region(region.start, at, region.node),
                    Region(at, region.end, region.node),
                ]
                return

    def _merge(self) -> None:
        merged: list[Region] = []
        for region in self.regions:
            if merged and merged[-1].end == region.start and merged[-1].node == region.node:
                merged[-1] = Region(merged[-1].start, region.end, region.node)
            else:
                merged.append(region)
        self.regions = merged


@define(eq=False, kw_only=True)
class Memblock:
    """The boot allocator: `memory` and `reserved`, searched from the top or from the bottom."""

    memory: Final[RegionList] = Factory(RegionList)
    reserved: Final[RegionList] = Factory(RegionList)
    bottom_up: bool = False

    def add(self, start: int, end: int, *, node: int | None = None) -> None:
        """Say that there is memory at `[start, end)`."""
        self.memory.add(start, end, node=node)

    def remove(self, start: int, end: int) -> None:
        """Say that there is no memory at `[start, end)`."""
        self.memory.remove(start, end)

    def reserve(self, start: int, end: int) -> None:
        """Take `[start, end)`, whether there is memory or not."""
        self.reserved.add(start, end)

    def phys_free(self, start: int, end: int) -> None:
        """Give `[start, end)` back, whoever took it."""
        self.reserved.remove(start, end)

    def trim_memory(self, align: int = PAGE_SIZE) -> None:
        """Shrink every region of memory to multiples of `align`, dropping what vanishes."""
        trimmed = (
            Region(_round_up(region.start, align), _round_down(region.end, align), region.node)
            for region in self.memory.regions
        )
        self.memory.regions = [region for region in trimmed if region.start < region.end]

    def free_ranges(self, node: int | None = None) -> Iterator[Region]:
        """Yield what is free, in rising order, never across a border of two memory regions.

        With `node`, only memory of that node (for_each_free_mem_range).
        """
        reserved = self.reserved.regions
        index = 0
        for region in self.memory.regions:
            while index and reserved[index - 1].end > region.start:
                index -= 1
            at = region.start
            while index < len(reserved) and reserved[index].start < region.end:
                taken = reserved[index]
                if taken.start > at and node in (None, region.node):
                    yield Region(at, taken.start, region.node)
                at = max(at, taken.end)
                index += 1
            if at < region.end and node in (None, region.node):
                yield Region(at, region.end, region.node)

    def find_in_range(
        self, nr_bytes: int, *, align: int, start: int, end: int, node: int | None = None
    ) -> int | None:
        """Return where `nr_bytes` fit into `[start, end)` on `node`, or None.

        Top-down is the highest free range that is large enough, its end rounded down to `align`;
        bottom-up the lowest. The first page is never given (memblock_find_in_range_node).
        """
        start = max(start, PAGE_SIZE)
        free = list(self.free_ranges(node))
        for region in free if self.bottom_up else reversed(free):
            low, high = max(region.start, start), min(region.end, end)
            at = _round_up(low, align) if self.bottom_up else _round_down(high - nr_bytes, align)
            if low <= at and at + nr_bytes <= high:
                return at
        return None

    def alloc_range(
        self,
        nr_bytes: int,
        *,
        align: int,
        start: int = 0,
        end: int | None = None,
        node: int | None = None,
        exact_node: bool = False,
    ) -> int | None:
        """Reserve `nr_bytes` in `[start, end)` and return their address, or None.

        If `node` has no room, any node will do, unless `exact_node`. Source:
        memblock_alloc_range_nid.
        """
        limit = self.end_of_memory() if end is None else end
        found = self.find_in_range(nr_bytes, align=align, start=start, end=limit, node=node)
        if found is None and node is not None and not exact_node:
            found = self.find_in_range(nr_bytes, align=align, start=start, end=limit)
        if found is not None:
            self.reserve(found, found + nr_bytes)
        return found

    def alloc(
        self,
        nr_bytes: int,
        *,
        align: int,
        start: int = 0,
        end: int | None = None,
        node: int | None = None,
        exact_node: bool = False,
    ) -> int | None:
        """Do as `alloc_range`, and without a lower limit if there is no room above `start`.

        Source: memblock_alloc_internal.
        """
        found = None
        for low in (start, 0) if start else (0,):
            found = self.alloc_range(
                nr_bytes, align=align, start=low, end=end, node=node, exact_node=exact_node
            )
            if found is not None:
                break
        return found

    def end_of_memory(self) -> int:
        """Return the first byte after all memory."""
        return self.memory.regions[-1].end if self.memory.regions else 0


def _capped(end: int) -> int:
    """Return where a range ends whose size is cut so as not to overflow (memblock_cap_size)."""
    return min(end, PHYS_ADDR_MAX)


def _round_up(value: int, align: int) -> int:
    return -(-value // align) * align


def _round_down(value: int, align: int) -> int:
    return value // align * align
