"""Recordings of the page allocator: reading one, and saying what is wrong with it.

The form is that of linux-6.1/kernel (topic `buddy`): parameters, the complete state before, the
operations with their results, the complete state after. What is read here is consistent enough to
be replayed: no page is in two places, counts are those of the lists, every number has its range.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from attrs import Factory, frozen
from cattrs import Converter, transform_error
from cattrs.errors import BaseValidationError

from mmactors.errors import Place, Problem, UserError
from mmactors.mm.page_alloc.buddy import (
    MAX_NR_ZONES,
    PAGEBLOCK_PAGES,
    PAGEBLOCK_TYPE_MASK,
)
from mmactors.mm.page_alloc.gfp import (
    GFP_BITS,
    GFP_MOVABLE,
    GFP_RECLAIMABLE,
    MIGRATE_ISOLATE,
    MIGRATE_TYPES,
    is_gfp_zone_bad,
)
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.page_alloc.pcp import NR_PCP_LISTS, pindex_to_order
from mmactors.validate.document import read_object
from mmactors.validate.limits import FRAMES_MAX, PROBLEMS_MAX

_MAX_INT: Final = 1 << 62
_MAX_SHIFT: Final = 31
_MAX_CPUS: Final = 1 << 10
_MAX_NODES: Final = 64
_HEX_DIGITS: Final = frozenset("0123456789abcdef.")
_FOUND_CHARS_MAX: Final = 300
_WRONG_BLOCK: Final = "not aligned, outside the zone, or free twice"


@frozen(kw_only=True)
class WatermarkState:
    """Pages; `boost` is added to each of the others."""

    min: int
    low: int
    high: int
    promo: int
    boost: int


@frozen(kw_only=True)
class FreeListState:
    """One free list, head first."""

    order: int
    mt: int
    pfns: list[int]


@frozen(kw_only=True)
class PcpState:
    """One CPU's lists and deltas; `lists` is by list index, head first: PFN and type."""

    cpu: int
    count: int
    high: int
    batch: int
    free_factor: int
    expire: int
    stat_threshold: int
    nr_free_pages_diff: int
    lists: dict[str, list[tuple[int, int]]]


@frozen(kw_only=True)
class ZoneState:
    """One zone."""

    node: int
    idx: int
    name: str
    start_pfn: int
    spanned: int
    present: int
    managed: int
    nr_free: list[int]
    free: list[FreeListState]
    pcp: list[PcpState]
    watermark: WatermarkState
    lowmem_reserve: list[int]
    nr_reserved_highatomic: int
    flags: int
    percpu_drift_mark: int
    vmstat_nr_free_pages: int
    pageblocks: str
    movable: list[tuple[int, int]]


@frozen(kw_only=True)
class AllocatorState:
    """All zones, and in which order a node's requests try them."""

    zonelists: dict[str, list[tuple[int, int]]]
    zones: list[ZoneState]


@frozen(kw_only=True)
class BuddyRecording:
    """One recording; `ops` is checked by hand, being long."""

    topic: str
    gfp_flags: list[int]
    initial: AllocatorState
    final: AllocatorState
    ops: list[Any]
    cpu_node: dict[str, int] = Factory(dict)

    @property
    def nr_cpus(self) -> int:
        """How many CPUs the machine had."""
        return len(self.initial.zones[0].pcp)

    @property
    def nodes_of_cpus(self) -> tuple[int, ...]:
        """By CPU: its node; the recordings leave out what is 0 everywhere."""
        return tuple(self.cpu_node.get(str(cpu), 0) for cpu in range(self.nr_cpus))


def read_recording(path: Path) -> tuple[BuddyRecording, dict[str, Any]]:
    """Return a recording and the same as plain JSON; raise UserError with all that is wrong."""
    content = read_object(path)
    try:
        recording = _CONVERTER.structure(content, BuddyRecording)
    except BaseValidationError as error:
        raise _bad(path, transform_error(error)) from None
    found = list(islice(_problems_of(recording), PROBLEMS_MAX))
    if found:
        raise _bad(path, found)
    return recording, content


def _bad(path: Path, found: Iterable[str]) -> UserError:
    return UserError(
        Problem(
            place=Place(str(path)),
            found=each[:_FOUND_CHARS_MAX],
            legal="expected a recording of the page allocator (topic buddy)",
            advice="tests/reference/linux-6.1/kernel/buddy/README.md describes its fields",
        )
        for each in islice(found, PROBLEMS_MAX)
    )


def _problems_of(recording: BuddyRecording) -> Iterator[str]:
    if recording.topic != "buddy":
        yield f"topic is {recording.topic!r}"
    for nth, gfp in enumerate(recording.gfp_flags):
        both = GFP_MOVABLE | GFP_RECLAIMABLE
        if gfp & ~GFP_BITS or gfp & both == both or is_gfp_zone_bad(gfp):
            yield f"gfp_flags[{nth}] is {gfp:#x}"
    zones = recording.initial.zones
    if not zones:
        yield "initial.zones is empty"
        return
    places = [(zone.node, zone.idx) for zone in zones]
    if len(set(places)) < len(places):
        yield f"initial.zones has a zone twice: {places}"
    final_places = [(zone.node, zone.idx) for zone in recording.final.zones]
    if final_places != places:
        yield f"final.zones has zones {final_places}, initial.zones {places}"
    if not 0 < recording.nr_cpus <= _MAX_CPUS:
        yield f"initial.zones[0].pcp has {recording.nr_cpus} CPUs"
    nodes = set(recording.nodes_of_cpus)
    for node, order in recording.initial.zonelists.items():
        if (
            not node.isdecimal()
            or len(node) > 4
            or not {tuple(place) for place in order} <= set(places)
        ):
            yield f"initial.zonelists[{node}] is {order}, but the zones are {places}"
    missing = {str(node) for node in nodes} - recording.initial.zonelists.keys()
    if missing:
        yield f"initial.zonelists has no list of node {', '.join(sorted(missing))}"
    found = 0
    is_free = bytearray(_nr_frames(zones))
    for nth, zone in enumerate(zones):
        for problem in _zone_problems(zone, recording.nr_cpus, is_free):
            found += 1
            yield f"initial.zones[{nth}].{problem}"
    if not found:
        yield from _op_problems(recording, is_free)


def _nr_frames(zones: list[ZoneState]) -> int:
    return min(FRAMES_MAX, max(zone.start_pfn + zone.spanned for zone in zones))


def _zone_problems(zone: ZoneState, nr_cpus: int, is_free: bytearray) -> Iterator[str]:
    """Yield what is wrong with a zone; mark its free pages."""
    end = zone.start_pfn + zone.spanned
    if not (0 <= zone.start_pfn < end <= FRAMES_MAX and 0 <= zone.node < _MAX_NODES):
        yield f"start_pfn is {zone.start_pfn} and spanned {zone.spanned}, on node {zone.node}"
        return
    if not 0 <= zone.idx < MAX_NR_ZONES:
        yield f"idx is {zone.idx}"
    if not 0 < len(zone.lowmem_reserve) <= MAX_NR_ZONES:
        yield f"lowmem_reserve has {len(zone.lowmem_reserve)} numbers"
    nr_blocks = -(-end // PAGEBLOCK_PAGES) - zone.start_pfn // PAGEBLOCK_PAGES
    if len(zone.pageblocks) != nr_blocks or not set(zone.pageblocks) <= _HEX_DIGITS:
        yield f"pageblocks has {len(zone.pageblocks)} digits for {nr_blocks} pageblocks"
    elif any(
        int(digit, 16) & PAGEBLOCK_TYPE_MASK > MIGRATE_ISOLATE
        for digit in set(zone.pageblocks) - {"."}
    ):
        yield "pageblocks has a type that does not exist"
    counts = [0] * MAX_ORDER
    for nth, run in enumerate(zone.free):
        if not (0 <= run.order < MAX_ORDER and 0 <= run.mt < MIGRATE_TYPES):
            yield f"free[{nth}] is of order {run.order} and type {run.mt}"
            continue
        counts[run.order] += len(run.pfns)
        for pfn in run.pfns:
            if not _take(is_free, zone, pfn, run.order):
                yield f"free[{nth}].pfns has {pfn}: {_WRONG_BLOCK}"
    if counts != zone.nr_free:
        yield f"nr_free is {zone.nr_free}, but the lists have {counts} blocks"
    for start, nr_pages in zone.movable:
        if not (zone.start_pfn <= start < start + nr_pages <= end):
            yield f"movable has {nr_pages} pages at {start}, outside the zone"
    if [pcp.cpu for pcp in zone.pcp] != list(range(nr_cpus)):
        yield f"pcp is of CPUs {[pcp.cpu for pcp in zone.pcp]}, not of the {nr_cpus}"
    for pcp in zone.pcp:
        for problem in _pcp_problems(pcp, zone, is_free):
            yield f"pcp[{pcp.cpu}].{problem}"


def _take(is_free: bytearray, zone: ZoneState, pfn: int, order: int) -> bool:
    """Mark a block as free; return whether it may be."""
    end = pfn + (1 << order)
    if pfn % (1 << order) or not zone.start_pfn <= pfn < end <= zone.start_pfn + zone.spanned:
        return False
    if any(is_free[pfn:end]):
        return False
    is_free[pfn:end] = b"\1" * (end - pfn)
    return True


def _pcp_problems(pcp: PcpState, zone: ZoneState, is_free: bytearray) -> Iterator[str]:
    if pcp.batch < 1 or pcp.high < 0 or pcp.stat_threshold < 0 or pcp.expire < 0:
        yield f"batch is {pcp.batch}, high {pcp.high}, stat_threshold {pcp.stat_threshold}"
    if not 0 <= pcp.free_factor <= _MAX_SHIFT:
        yield f"free_factor is {pcp.free_factor}"
    count = 0
    for pindex, entries in pcp.lists.items():
        if not (pindex.isdecimal() and len(pindex) <= 2 and int(pindex) < NR_PCP_LISTS):
            yield f"lists has a list {pindex!r}"
            continue
        order = pindex_to_order(int(pindex))
        for pfn, migratetype in entries:
            count += 1 << order
            if not 0 <= migratetype < MIGRATE_ISOLATE or not _take(is_free, zone, pfn, order):
                yield f"lists[{pindex}] has {pfn} of type {migratetype}: {_WRONG_BLOCK}"
    if count != pcp.count:
        yield f"count is {pcp.count}, but the lists have {count} pages"


def _op_problems(recording: BuddyRecording, is_free: bytearray) -> Iterator[str]:
    """Yield what is wrong with the operations, followed through on the map of free pages."""
    nr_cpus, nr_gfps = recording.nr_cpus, len(recording.gfp_flags)
    for nth, op in enumerate(recording.ops):
        if not isinstance(op, list) or not op or any(type(part) is not int for part in op[1:]):
            yield f"ops[{nth}] is {op!r}"
            continue
        match op:
            case ["a", cpu, order, gfp, pfn]:
                legal = 0 <= gfp < nr_gfps and pfn >= -1
                free = 1
            case ["f", cpu, order, pfn]:
                legal = pfn >= 0
                free = 0
            case _:
                yield f"ops[{nth}] is {op!r}"
                continue
        if not (legal and 0 <= cpu < nr_cpus and 0 <= order < MAX_ORDER):
            yield f"ops[{nth}] is {op!r}"
        elif pfn >= 0:
            end = pfn + (1 << order)
            if pfn % (1 << order) or end > len(is_free):
                yield f"ops[{nth}] is {op!r}, a block that cannot be"
            elif (1 - free) in is_free[pfn:end]:
                yield f"ops[{nth}] is {op!r}, but pages of it are {'in use' if free else 'free'}"
            else:
                is_free[pfn:end] = bytes([1 - free]) * (end - pfn)


def _converter() -> Converter:
    """Return a converter that takes a value only when it has the type asked for."""
    converter = Converter(detailed_validation=True)

    def exact_int(value: Any, _: type[int]) -> int:
        if type(value) is not int or abs(value) > _MAX_INT:
            raise TypeError(f"{value!r} is no integer of 63 bits")
        return value

    def exact_str(value: Any, _: type[str]) -> str:
        if type(value) is not str:
            raise TypeError(f"{value!r} is no text")
        return value

    converter.register_structure_hook(int, exact_int)
    converter.register_structure_hook(str, exact_str)
    return converter


_CONVERTER: Final = _converter()
