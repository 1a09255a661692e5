"""Boot memory: what memory there is, what is taken, and who asked (mm/memblock.c, v6.1).

Before the page allocator works, the kernel knows its memory as regions of `memory`, and what it
must not hand out as regions of `reserved`; free is what is in the first and not in the second.
Addresses and sizes are bytes. The last byte of the address space is no memory and is never taken:
what reaches over PHYS_ADDR_MAX ends there. Each call is remembered as `memblock=debug` prints it.

Left out: region lists in slab pages (only memory hotplug after boot would make them so).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from attrs import Factory, define, field

from mmactors.mm.boot.regions import PHYS_ADDR_MAX, MemblockFlags, Region, RegionList
from mmactors.units import PAGE_SIZE

ALLOC_ACCESSIBLE: Final = 0
"""As an upper limit: what the kernel can reach by now."""
SMP_CACHE_BYTES: Final = 64
INIT_REGIONS: Final = 128
"""Regions that the first, static list of each kind holds."""
_REGION_BYTES: Final = 24
_ALLOC_RANGE: Final = "memblock_alloc_range_nid"
"""Who reserves what an allocation has found."""


class OutOfBootMemoryError(Exception):
    """Memblock has no room for something without which the kernel does not boot."""

    def __init__(self, what: str, nr_bytes: int) -> None:
        self.what = what
        self.nr_bytes = nr_bytes
        super().__init__(f"no {nr_bytes} bytes for {what}")


class BootCall(NamedTuple):
    """One call of memblock, as `memblock=debug` prints it.

    An allocation has a size; its range is where it may lie. Others have the range they are about.
    """

    function: str
    start: int
    end: int
    """For an allocation its upper limit as given, 0: none."""
    caller: str
    """The function of the kernel image in which the call stands."""
    nr_bytes: int | None = None
    align: int = 0
    node: int | None = None
    """-1: any; None: the function takes none."""

    def __str__(self) -> str:
        if self.nr_bytes is None:
            return f"{self.function}: [0x{self.start:016x}-0x{self.end - 1:016x}] {self.caller}"
        node = "" if self.node is None else f" nid={self.node}"
        return (
            f"{self.function}: {self.nr_bytes} bytes align=0x{self.align:x}{node} "
            f"from=0x{self.start:016x} max_addr=0x{self.end:016x} {self.caller}"
        )


class MemblockDump(NamedTuple):
    """Both lists at one moment of boot (memblock_dump_all)."""

    after_calls: int
    memory_size: int
    memory: tuple[Region, ...]
    reserved: tuple[Region, ...]


@define(eq=False, repr=False, kw_only=True)
class Memblock:
    """The boot allocator: `memory` and `reserved`, searched from the top or from the bottom."""

    memory: Final[RegionList] = Factory(RegionList)
    reserved: Final[RegionList] = Factory(RegionList)
    bottom_up: bool = False
    current_limit: int = PHYS_ADDR_MAX
    """The end of what the kernel can reach by now; allocations without a limit keep to it."""
    can_resize: bool = False
    """Whether a full list may be doubled: known once all that is taken at first is in."""
    has_mirror: bool = False
    """Some memory is mirrored, which is then given first."""
    is_movable_node: bool = False
    """Hotpluggable memory is not given."""
    calls: Final[list[BootCall]] = Factory(list)
    dumps: Final[list[MemblockDump]] = Factory(list)
    doublings: Final[list[tuple[str, int, int, int]]] = Factory(list)
    """`(list, regions it now holds, address, calls before)`."""
    _most: dict[str, int] = field(init=False)
    _arrays: dict[str, int] = field(factory=dict, init=False)
    _nr_uncounted: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._most = {"memory": INIT_REGIONS, "reserved": INIT_REGIONS}

    def add(
        self, start: int, end: int, *, node: int | None = None, flags: int = 0, caller: str = ""
    ) -> None:
        """Say that there is memory at `[start, end)` (memblock_add, memblock_add_node)."""
        self.calls.append(BootCall("memblock_add", start, end, caller))
        self._add("memory", start, end, node=node, flags=flags)

    def remove(self, start: int, end: int, *, caller: str = "") -> None:
        """Say that there is no memory at `[start, end)`."""
        self.calls.append(BootCall("memblock_remove", start, end, caller))
        self._make_room("memory", start, end, nr_new=2)
        self.memory.remove(start, end)

    def reserve(self, start: int, end: int, *, caller: str = "") -> None:
        """Take `[start, end)`, whether there is memory or not."""
        self.calls.append(BootCall("memblock_reserve", start, end, caller))
        self._add("reserved", start, end)

    def phys_free(self, start: int, end: int, *, caller: str = "") -> None:
        """Give `[start, end)` back, whoever took it."""
        self.calls.append(BootCall("memblock_phys_free", start, end, caller))
        self._make_room("reserved", start, end, nr_new=2)
        self.reserved.remove(start, end)

    def mark_mirror(self, start: int, end: int) -> None:
        """Say that the hardware keeps `[start, end)` twice (memblock_mark_mirror)."""
        self.has_mirror = True
        self.memory.set_flags(start, end, MemblockFlags.MIRROR)

    def trim_memory(self, align: int = PAGE_SIZE) -> None:
        """Shrink every region of memory to multiples of `align`, dropping what vanishes."""
        trimmed = []
        for region in self.memory.regions:
            start, end = _round_up(region.start, align), _round_down(region.end, align)
            if start < end:
                trimmed.append(region._replace(start=start, end=end))
                self._nr_uncounted += region.end - region.start - (end - start)
        self.memory.regions = trimmed

    def phys_mem_size(self) -> int:
        """Return the bytes of memory as the kernel counts them: trimming takes nothing off."""
        return self.memory.total_size + self._nr_uncounted

    def enforce_memory_limit(self, nr_bytes: int) -> None:
        """Keep the first `nr_bytes` of memory; 0 or more than there is changes nothing.

        Source: memblock_enforce_memory_limit.
        """
        if not nr_bytes:
            return
        rest = nr_bytes
        for region in self.memory.regions:
            if rest <= region.end - region.start:
                self.memory.remove(region.start + rest, PHYS_ADDR_MAX)
                self.reserved.remove(region.start + rest, PHYS_ADDR_MAX)
                return
            rest -= region.end - region.start

    def cap_memory_range(self, start: int, end: int) -> None:
        """Keep only `[start, end)`, and memory that is not mapped (memblock_cap_memory_range)."""
        if start >= end or not self.memory.regions:
            return
        first, last = self.memory.isolate(start, end)
        self.memory.regions = [
            region
            for index, region in enumerate(self.memory.regions)
            if first <= index < last or region.flags & MemblockFlags.NOMAP
        ]
        self.reserved.remove(0, start)
        self.reserved.remove(end, PHYS_ADDR_MAX)

    def discard(self) -> list[tuple[int, int]]:
        """Give back the memory of lists that were doubled; return it as bytes (memblock_discard).

        Boot's last call: the lists stay as they are.
        """
        found = []
        for name in ("reserved", "memory"):
            if name in self._arrays:
                start = self._arrays[name]
                end = start + _round_up(self._most[name] * _REGION_BYTES, PAGE_SIZE)
                self.calls.append(BootCall("memblock_free_late", start, end, "memblock_discard"))
                found.append((start, end))
        return found

    def dump_all(self) -> None:
        """Remember both lists as they are (memblock_dump_all)."""
        self.dumps.append(
            MemblockDump(
                len(self.calls),
                self.phys_mem_size(),
                tuple(self.memory.regions),
                tuple(self.reserved.regions),
            )
        )

    def free_ranges(self, node: int | None = None, *, flags: int = 0) -> Iterator[Region]:
        """Yield what is free, in rising order, never across a border of two memory regions.

        With `node`, only memory of that node; of special memory only what `flags` asks for
        (for_each_free_mem_range, should_skip_region).
        """
        for region in self.memory.regions:
            if not self._is_skipped(region, node, flags):
                for low, high in self.reserved.gaps(region.start, region.end):
                    yield Region(low, high, region.node, region.flags)

    def find_in_range(
        self,
        nr_bytes: int,
        *,
        align: int,
        start: int,
        end: int,
        node: int | None = None,
        flags: int = 0,
    ) -> int | None:
        """Return where `nr_bytes` fit into `[start, end)` on `node`, or None.

        Top-down is the highest free range that is large enough, its end rounded down to `align`;
        bottom-up the lowest. The first page is never given (memblock_find_in_range_node).
        """
        start = max(start, PAGE_SIZE)
        end = max(start, self.current_limit if end == ALLOC_ACCESSIBLE else end)
        regions = self.memory.regions
        for region in regions if self.bottom_up else reversed(regions):
            low, high = max(region.start, start), min(region.end, end)
            if low >= high or self._is_skipped(region, node, flags):
                continue
            gaps = self.reserved.gaps if self.bottom_up else self.reserved.gaps_from_above
            for free, limit in gaps(low, high):
                at = (
                    _round_up(free, align)
                    if self.bottom_up
                    else _round_down(limit - nr_bytes, align)
                )
                if free <= at < limit and limit - at >= nr_bytes:
                    return at
        return None

    def alloc_range(
        self,
        nr_bytes: int,
        *,
        align: int = SMP_CACHE_BYTES,
        start: int = 0,
        end: int = ALLOC_ACCESSIBLE,
        node: int | None = None,
        exact_node: bool = False,
    ) -> int | None:
        """Reserve `nr_bytes` in `[start, end)` and return their address, or None.

        Mirrored memory is tried first where there is some. If `node` has no room, any node will
        do, unless `exact_node`. Source: memblock_alloc_range_nid.
        """
        flags = MemblockFlags.MIRROR if self.has_mirror else 0
        for wanted in (flags, 0) if flags else (0,):
            for on_node in (node, None) if node is not None and not exact_node else (node,):
                found = self.find_in_range(
                    nr_bytes, align=align, start=start, end=end, node=on_node, flags=wanted
                )
                if found is not None:
                    self.reserve(found, found + nr_bytes, caller=_ALLOC_RANGE)
                    return found
        return None

    def phys_alloc_range(
        self, nr_bytes: int, *, align: int, start: int, end: int, caller: str = ""
    ) -> int | None:
        """Do as `alloc_range`, in a range that may lie beyond what the kernel can reach."""
        function = "memblock_phys_alloc_range"
        self.calls.append(BootCall(function, start, end, caller, nr_bytes, align))
        return self.alloc_range(nr_bytes, align=align, start=start, end=end)

    def alloc(
        self,
        nr_bytes: int,
        *,
        align: int = SMP_CACHE_BYTES,
        start: int = 0,
        end: int = ALLOC_ACCESSIBLE,
        node: int | None = None,
        exact_node: bool = False,
        function: str = "memblock_alloc_try_nid",
        caller: str = "",
    ) -> int | None:
        """Do as `alloc_range`, and without a lower limit if there is no room above `start`.

        Source: memblock_alloc_internal.
        """
        nid = -1 if node is None else node
        self.calls.append(BootCall(function, start, end, caller, nr_bytes, align, nid))
        end = min(end, self.current_limit)
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

    def node_of(self, at: int) -> int | None:
        """Return the node of the memory at an address, or None."""
        region = self.memory.find(at)
        return None if region is None else region.node

    def _is_skipped(self, region: Region, node: int | None, flags: int) -> bool:
        if node is not None and node != region.node:
            return True
        special = region.flags
        if not special and not flags:
            return False  # nearly all memory there is
        return bool(
            (self.is_movable_node and special & ~flags & MemblockFlags.HOTPLUG)
            or (flags & ~special & MemblockFlags.MIRROR)
            or (special & ~flags & (MemblockFlags.NOMAP | MemblockFlags.DRIVER_MANAGED))
        )

    def _add(
        self, name: str, start: int, end: int, *, node: int | None = None, flags: int = 0
    ) -> None:
        regions = self.memory if name == "memory" else self.reserved
        if len(regions.regions) * 2 + 1 >= self._most[name]:
            nr_new = len(regions.gaps(start, min(end, PHYS_ADDR_MAX)))
            self._make_room(name, start, end, nr_new=nr_new)
        regions.add(start, end, node=node, flags=flags)

    def _make_room(self, name: str, start: int, end: int, *, nr_new: int) -> None:
        """Double a list until `nr_new` more regions fit (memblock_double_array).

        The larger list comes from memblock itself: not from what is about to be taken, and the
        list before goes back, if it came from here, too. Who may not double yet writes on: the
        first list of this kernel never overflows before it may.
        """
        regions = self.memory if name == "memory" else self.reserved
        while self.can_resize and len(regions.regions) + nr_new > self._most[name]:
            most = self._most[name]
            nr_bytes = _round_up(2 * most * _REGION_BYTES, PAGE_SIZE)
            low, high = (start, end) if name == "reserved" else (0, 0)
            at = self.find_in_range(nr_bytes, align=PAGE_SIZE, start=high, end=ALLOC_ACCESSIBLE)
            if at is None and high:
                limit = min(low, self.current_limit)
                at = self.find_in_range(nr_bytes, align=PAGE_SIZE, start=0, end=limit or 1)
            if at is None:
                return
            self.doublings.append((name, 2 * most, at, len(self.calls)))
            self._most[name] = 2 * most
            old = self._arrays.get(name)
            self._arrays[name] = at
            if old is not None:
                old_bytes = _round_up(most * _REGION_BYTES, PAGE_SIZE)
                self.phys_free(old, old + old_bytes, caller="memblock_double_array")
            self.reserve(at, at + nr_bytes, caller="memblock_double_array")


def _round_up(value: int, align: int) -> int:
    return -(-value // align) * align


def _round_down(value: int, align: int) -> int:
    return value // align * align
