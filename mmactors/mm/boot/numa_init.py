"""Which memory is on which node, and each node's pg_data_t (arch/x86/mm/numa.c, v6.1).

Addresses are bytes.

Left out: numa=fake, distances.
"""

from collections.abc import Sequence

from attrs import evolve

from mmactors.mm.boot.firmware import NodeRange
from mmactors.mm.boot.memblock import Memblock, OutOfBootMemoryError
from mmactors.mm.boot.regions import PHYS_ADDR_MAX, MemblockFlags
from mmactors.units import MIB, PAGE_SHIFT


def numa_init(
    memblock: Memblock,
    affinity: Sequence[NodeRange],
    *,
    end: int,
    node_data_bytes: int,
) -> dict[int, int]:
    """Put memory below `end` on its nodes; return by node with memory where its pg_data_t lies.

    Without SRAT, or with one that leaves out memory or overlaps itself, all is node 0. Raises
    OutOfBootMemoryError.
    """
    for ranges in (affinity, (NodeRange(0, 0, end),)):
        if not ranges:
            continue
        memblock.memory.set_node(0, PHYS_ADDR_MAX, node=None)
        memblock.reserved.set_node(0, PHYS_ADDR_MAX, node=None)
        memblock.memory.set_flags(0, PHYS_ADDR_MAX, MemblockFlags.HOTPLUG, is_wanted=False)
        memblock.bottom_up = False
        blocks = _cleaned(memblock, ranges, end)
        if blocks is None:
            continue
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
        return node_data
    raise OutOfBootMemoryError("node 0", end)


def _place_node_data(memblock: Memblock, node: int, nr_bytes: int) -> int:
    at = memblock.alloc_range(nr_bytes, node=node)
    if at is None:
        raise OutOfBootMemoryError("pg_data_t", nr_bytes)
    return at


def _cleaned(memblock: Memblock, ranges: Sequence[NodeRange], end: int) -> list[NodeRange] | None:
    """Return what of the ranges has memory, merged; None: nodes overlap (numa_cleanup_meminfo)."""
    blocks = [
        evolve(block, end=min(block.end, end))
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
