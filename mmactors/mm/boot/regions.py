"""A sorted list of physical ranges with nodes and flags (struct memblock_type, v6.1).

Invariants: the regions of a list are sorted and disjoint; two that touch differ in node or flags.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Final, NamedTuple

from attrs import Factory, define

PHYS_ADDR_MAX: Final = (1 << 64) - 1
_START = attrgetter("start")


class MemblockFlags:
    """What is special about a region (enum memblock_flags)."""

    HOTPLUG: Final = 1
    """It may be taken out while the machine runs."""
    MIRROR: Final = 2
    """Kept twice by the hardware."""
    NOMAP: Final = 4
    """Not in the kernel's direct map."""
    DRIVER_MANAGED: Final = 8


class Region(NamedTuple):
    """The bytes `[start, end)`; node None is "not known yet", the kernel's MAX_NUMNODES."""

    start: int
    end: int
    node: int | None = None
    flags: int = 0


@define(eq=False, repr=False)
class RegionList:
    """One of the two lists (struct memblock_type)."""

    regions: list[Region] = Factory(list)

    @property
    def total_size(self) -> int:
        """Bytes of all regions."""
        return sum(region.end - region.start for region in self.regions)

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return what of `[start, end)` is in no region."""
        found = []
        at = start
        for region in self.regions[self._first_after(start) :]:
            if region.start >= end:
                break
            if region.start > at:
                found.append((at, region.start))
            at = max(at, region.end)
        if at < end:
            found.append((at, end))
        return found

    def gaps_from_above(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the same, the highest first."""
        at = end
        for index in range(bisect_left(self.regions, end, key=_START) - 1, -1, -1):
            region = self.regions[index]
            if region.end <= start:
                break
            if region.end < at:
                yield region.end, at
            at = region.start
        if start < at:
            yield start, at

    def add(self, start: int, end: int, *, node: int | None = None, flags: int = 0) -> None:
        """Insert what of `[start, end)` is not there yet; regions that are there stay as they are.

        Source: memblock_add_range.
        """
        assert 0 <= start <= end, f"[{start:#x}, {end:#x}) is not a range"
        for low, high in self.gaps(start, capped(end)):
            self._insert(Region(low, high, node, flags))

    def remove(self, start: int, end: int) -> None:
        """Take `[start, end)` out, splitting regions at its ends (memblock_remove_range)."""
        first, last = self.isolate(start, end)
        del self.regions[first:last]

    def isolate(self, start: int, end: int) -> tuple[int, int]:
        """Split regions at both ends; return the index range of those inside.

        Source: memblock_isolate_range.
        """
        end = capped(end)
        if start >= end:
            return 0, 0
        self._split(start)
        self._split(end)
        first = self._first_after(start)
        last = self._first_after(end)
        if last < len(self.regions) and self.regions[last].start < end:
            last += 1
        return first, max(first, last)

    def set_node(self, start: int, end: int, *, node: int | None) -> None:
        """Say on which node the regions in `[start, end)` are (memblock_set_node)."""
        self._change(start, end, lambda region: region._replace(node=node))

    def set_flags(self, start: int, end: int, flags: int, *, is_wanted: bool = True) -> None:
        """Set or clear flags of the regions in `[start, end)` (memblock_setclr_flag)."""
        self._change(
            start,
            end,
            lambda region: region._replace(
                flags=region.flags | flags if is_wanted else region.flags & ~flags
            ),
        )

    def overlaps(self, start: int, end: int) -> bool:
        """Return whether a region has a byte of `[start, end)` (memblock_overlaps_region)."""
        at = self._first_after(start)
        return at < len(self.regions) and self.regions[at].start < capped(end)

    def find(self, at: int) -> Region | None:
        """Return the region with the byte `at`, or None (memblock_search)."""
        index = self._first_after(at)
        if index < len(self.regions) and self.regions[index].start <= at:
            return self.regions[index]
        return None

    def _first_after(self, at: int) -> int:
        """Return the index of the first region that ends after `at`."""
        index = bisect_right(self.regions, at, key=_START)
        return index - 1 if index and self.regions[index - 1].end > at else index

    def _insert(self, region: Region) -> None:
        """Insert a range that lies in a gap, and merge it with what it touches."""
        regions = self.regions
        index = bisect_right(regions, region.start, key=_START)
        before = regions[index - 1] if index else None
        after = regions[index] if index < len(regions) else None
        low = index
        if before is not None and _is_one(before, region):
            region = Region(before.start, region.end, region.node, region.flags)
            low -= 1
        high = index
        if after is not None and _is_one(region, after):
            region = Region(region.start, after.end, region.node, region.flags)
            high += 1
        regions[low:high] = [region]

    def _change(self, start: int, end: int, change: Callable[[Region], Region]) -> None:
        first, last = self.isolate(start, end)
        self.regions[first:last] = map(change, self.regions[first:last])
        self._merge()

    def _split(self, at: int) -> None:
        index = self._first_after(at)
        if index < len(self.regions) and self.regions[index].start < at:
            region = self.regions[index]
            self.regions[index : index + 1] = [
                Region(region.start, at, region.node, region.flags),
                Region(at, region.end, region.node, region.flags),
            ]

    def _merge(self) -> None:
        merged: list[Region] = []
        for region in self.regions:
            if merged and _is_one(merged[-1], region):
                merged[-1] = Region(merged[-1].start, region.end, region.node, region.flags)
            else:
                merged.append(region)
        self.regions = merged


def capped(end: int) -> int:
    """Return where a range ends whose size is cut so as not to overflow (memblock_cap_size)."""
    return min(end, PHYS_ADDR_MAX)


def _is_one(left: Region, right: Region) -> bool:
    return left.end == right.start and left.node == right.node and left.flags == right.flags
