"""Which memory and which CPUs are on which node (arch/x86/mm/numa.c, v6.1).

Addresses are bytes.

Left out: SRAT's ranges that are hotpluggable.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mmactors.mm.boot.firmware import Firmware, NodeRange
from mmactors.mm.boot.memblock import Memblock, OutOfBootMemoryError
from mmactors.mm.boot.numa_fake import FakeNodes
from mmactors.mm.boot.regions import PHYS_ADDR_MAX, MemblockFlags
from mmactors.units import MIB, PAGE_SHIFT, PAGE_SIZE


class NumaNodes(NamedTuple):
    """The nodes of a machine, as far as boot knows them."""

    node_data: dict[int, int]
    """By node with memory: where its pg_data_t lies."""
    possible: tuple[int, ...]
    """Nodes that the firmware names, with memory or not, rising."""
    cpu_node: tuple[int, ...]
    """By CPU: its node; empty: nobody says."""
    end_of_memory: int
    """Of all that the map or the firmware's nodes name, used or not (max_possible_pfn)."""
    physical_of: dict[int, int]
    """By fake node: where it lies physically."""


def numa_init(
    memblock: Memblock,
    firmware: Firmware,
    *,
    is_off: bool,
    fake: str | None,
    end: int,
    max_mapped: int,
    node_data_bytes: int,
) -> NumaNodes:
    """Put memory below `end` on its nodes, and place each node's pg_data_t.

    Without SRAT, or with one that leaves out memory or overlaps itself, all is node 0. `fake`
    cuts nodes into others. Raises OutOfBootMemoryError.
    """
    for affinity in ((), ()) if is_off else (firmware.memory_affinity, ()):
        memblock.memory.set_node(0, PHYS_ADDR_MAX, node=None)
        memblock.reserved.set_node(0, PHYS_ADDR_MAX, node=None)
        memblock.memory.set_flags(0, PHYS_ADDR_MAX, MemblockFlags.HOTPLUG, is_wanted=False)
        cpu_node = firmware.cpu_node if affinity else ()
        parsed = sorted({*cpu_node, *(block.node for block in affinity)}) or [0]
        distances = None
        if affinity and firmware.has_distances:
            distances = _take_distances(memblock, parsed[-1] + 1, max_mapped)
        memblock.bottom_up = False
        blocks = _cleaned(memblock, affinity or (NodeRange(0, 0, end),), end)
        if blocks is None:
            continue
        faked = None if fake is None else _fake_nodes(memblock, fake, blocks, parsed, end)
        if faked is not None:
            blocks, cpu_node = faked.blocks, _fake_cpu_nodes(faked, cpu_node)
            parsed = sorted({block.node for block in blocks})
            _fake_distances(memblock, distances, parsed[-1] + 1, max_mapped)
        for block in blocks:
            memblock.memory.set_node(block.start, block.end, node=block.node)
        for block in blocks:
            memblock.reserved.set_node(block.start, block.end, node=block.node)
        if not _covers(memblock, blocks):
            continue
        node_data = {
            node: _place_node_data(memblock, node, node_data_bytes)
            for node in sorted({block.node for block in blocks})
        }
        memblock.dump_all()
        return NumaNodes(
            node_data=node_data,
            possible=tuple(parsed),
            cpu_node=cpu_node,
            end_of_memory=max(end, *(block.end for block in affinity), 0),
            physical_of=faked.physical_of if faked is not None else {},
        )
    raise OutOfBootMemoryError("node 0", end)


def _fake_nodes(
    memblock: Memblock, text: str, blocks: list[NodeRange], parsed: Sequence[int], end: int
) -> FakeNodes | None:
    """Return the nodes that `numa=fake=` makes, or None if it cannot (numa_emulation)."""
    faked = FakeNodes(memblock, list(blocks), end)
    if not faked.cut(text, parsed):
        return None
    cleaned = _cleaned(memblock, faked.blocks, end)
    if not cleaned:
        return None
    faked.blocks = cleaned
    return faked


def _fake_cpu_nodes(faked: FakeNodes, cpu_node: Sequence[int]) -> tuple[int, ...]:
    """Return each CPU's fake node: the first on its physical one."""
    first: dict[int, int] = {}
    for node, physical in sorted(faked.physical_of.items()):
        first.setdefault(physical, node)
    return tuple(first.get(node, 0) for node in cpu_node)


def _take_distances(memblock: Memblock, nr_nodes: int, max_mapped: int) -> tuple[int, int] | None:
    """Take the table of distances between nodes, a byte each (numa_alloc_distance)."""
    nr_bytes = nr_nodes * nr_nodes
    at = memblock.phys_alloc_range(
        nr_bytes, align=PAGE_SIZE, start=0, end=max_mapped, caller="numa_alloc_distance"
    )
    return None if at is None else (at, at + nr_bytes)


def _fake_distances(
    memblock: Memblock, old: tuple[int, int] | None, nr_nodes: int, max_mapped: int
) -> None:
    """Replace the table of distances, of which a copy is kept meanwhile."""
    caller = "numa_emulation"
    copy = None
    if old is not None:
        copy = memblock.phys_alloc_range(
            old[1] - old[0], align=PAGE_SIZE, start=0, end=max_mapped, caller=caller
        )
        memblock.phys_free(*old, caller="numa_reset_distance")
    _take_distances(memblock, nr_nodes, max_mapped)
    if old is not None and copy is not None:
        memblock.phys_free(copy, copy + old[1] - old[0], caller="numa_init")


def _place_node_data(memblock: Memblock, node: int, nr_bytes: int) -> int:
    at = memblock.alloc_range(nr_bytes, node=node)
    if at is None:
        raise OutOfBootMemoryError("pg_data_t", nr_bytes)
    return at


def _cleaned(memblock: Memblock, ranges: Sequence[NodeRange], end: int) -> list[NodeRange] | None:
    """Return what of the ranges has memory, merged; None: nodes overlap (numa_cleanup_meminfo)."""
    blocks = [
        block._replace(end=min(block.end, end))
        for block in ranges
        if memblock.memory.overlaps(block.start, block.end) and block.start < min(block.end, end)
    ]
    first = 0
    while first < len(blocks):
        second = first + 1
        while second < len(blocks):
            left, right = blocks[first], blocks[second]
            if left.node != right.node:
                if left.end > right.start and left.start < right.end:
                    return None
                second += 1
                continue
            start, stop = min(left.start, right.start), max(left.end, right.end)
            if any(b.node != left.node and start < b.end and stop > b.start for b in blocks):
                second += 1
                continue
            blocks[first] = NodeRange(left.node, start, stop)
            del blocks[second]
        first += 1
    return blocks


def _covers(memblock: Memblock, blocks: Sequence[NodeRange]) -> bool:
    """Return whether less than 1 MiB of memory is on no node (numa_meminfo_cover_memory)."""
    missing = sum(
        (region.end >> PAGE_SHIFT) - (region.start >> PAGE_SHIFT)
        for region in memblock.memory.regions
        if region.node is None
    )
    return bool(blocks) and missing < MIB >> PAGE_SHIFT
