"""`numa=fake=`: a machine cut into nodes that it does not have (numa_emulation.c, v6.1, x86-64).

`N` cuts all memory into N nodes, `NU` each node into N, and a size into nodes of that size. Nodes
are filled in turn from the physical ones. Addresses are bytes.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import define, field

from mmactors.mm.boot.cmdline import memparse
from mmactors.mm.boot.firmware import NodeRange
from mmactors.mm.boot.memblock import Memblock
from mmactors.units import GIB, MIB, PAGE_SHIFT, PAGE_SIZE

_MIN_SIZE: Final = 32 * MIB
_DMA32_END: Final = 4 * GIB
_MAX_NUMNODES: Final = 1024


@define(eq=False, repr=False)
class FakeNodes:
    """The cutting of physical blocks; nodes that are made, and where each lies physically."""

    memblock: Memblock
    physical: list[NodeRange]
    """What is not cut yet."""
    end: int
    blocks: list[NodeRange] = field(factory=list, init=False)
    physical_of: dict[int, int] = field(factory=dict, init=False)

    def cut(self, text: str, nodes: Iterable[int]) -> bool:
        """Do what `numa=fake=` says with the blocks of `nodes`; return whether it can be done."""
        masks = sorted(nodes)
        number = memparse(text)[0]
        if "U" in text:
            return self._cut_each(memparse(text.partition("U")[0])[0], masks)
        if "M" in text or "G" in text:
            return self._cut_by_size(number, masks)
        return self._cut_in(number, masks)

    def _cut_in(self, nr_nodes: int, nodes: Sequence[int]) -> bool:
        """Cut all memory into so many nodes (split_nodes_interleave)."""
        if not nr_nodes:
            return False
        nr_nodes = min(nr_nodes, _MAX_NUMNODES)
        size = (self.end - self._hole(0, self.end) >> PAGE_SHIFT) // nr_nodes << PAGE_SHIFT
        nr_big = size % _MIN_SIZE * nr_nodes // _MIN_SIZE
        size -= size % _MIN_SIZE
        if not size:
            return False
        for made, block in enumerate(self._in_turn(nodes)):
            end = block.start + size + (_MIN_SIZE if made < nr_big else 0)
            end = self._grown(block.start, end, block.end, size)
            self._make(made % nr_nodes, self._rounded(end, block.end, size))
        return True

    def _cut_by_size(self, size: int, nodes: Sequence[int]) -> bool:
        """Cut all memory into nodes of one size (split_nodes_size_interleave)."""
        if not size:
            return False
        least = (self.end - self._hole(0, self.end) >> PAGE_SHIFT) // _MAX_NUMNODES << PAGE_SHIFT
        least = -(-max(least, _MIN_SIZE) // _MIN_SIZE) * _MIN_SIZE
        size = max(size, least) // _MIN_SIZE * _MIN_SIZE
        for made, block in enumerate(self._in_turn(nodes)):
            end = self._grown(block.start, block.start + size, block.end, size)
            self._make(made % _MAX_NUMNODES, self._rounded(end, block.end, size))
        return True

    def _cut_each(self, nr_nodes: int, nodes: Sequence[int]) -> bool:
        """Cut each node into so many of one size, holes or not."""
        if not nr_nodes:
            return False
        made = 0
        for _ in nodes:
            if not self.physical:
                return False
            first = self.physical[0]
            size = (first.end - first.start >> PAGE_SHIFT) // nr_nodes << PAGE_SHIFT
            size = max(-(-max(size, _MIN_SIZE) // _MIN_SIZE) * _MIN_SIZE, size)
            before = made
            for block in self._in_turn([first.node]):
                end = self._to_dma32_end(block.start + size)
                self._make(made % _MAX_NUMNODES, min(end, block.end))
                made += 1
            if made - before < nr_nodes:
                return False
        return True

    def _in_turn(self, nodes: Sequence[int]) -> Iterable[NodeRange]:
        """Yield the next uncut block of each node in turn, until there is none."""
        rest = list(nodes)
        while rest:
            for node in list(rest):
                index = next((i for i, b in enumerate(self.physical) if b.node == node), None)
                if index is None:
                    rest.remove(node)
                    continue
                self.physical.insert(0, self.physical.pop(index))
                yield self.physical[0]

    def _make(self, node: int, end: int) -> None:
        """Give the first block up to `end` to a fake node (emu_setup_memblk)."""
        block = self.physical[0]
        self.blocks.append(NodeRange(node, block.start, end))
        self.physical_of.setdefault(node, block.node)
        self.physical[0] = block._replace(start=end)
        if end >= block.end:
            del self.physical[0]
        self.physical.sort(key=lambda one: one.start)

    def _grown(self, start: int, end: int, limit: int, size: int) -> int:
        """Return where a node ends so that it has `size` of memory, at most `limit`."""
        while end - start - self._hole(start, end) < size:
            end += _MIN_SIZE
            if end > limit:
                return limit
        return end

    def _rounded(self, end: int, limit: int, size: int) -> int:
        """Return where a node ends if what is left behind it were too little for another."""
        end = self._to_dma32_end(end)
        if limit - end - self._hole(end, limit) < size:
            end = limit
        return min(end, limit)

    def _to_dma32_end(self, end: int) -> int:
        if end < _DMA32_END and _DMA32_END - end - self._hole(end, _DMA32_END) < _MIN_SIZE:
            return _DMA32_END
        return end

    def _hole(self, start: int, end: int) -> int:
        """Return the bytes of a range that are no memory, in whole pages (mem_hole_size)."""
        low, high = -(-start // PAGE_SIZE), end >> PAGE_SHIFT
        if low >= high:
            return 0
        nr_pages = high - low
        for region in self.memblock.memory.regions:
            first, last = -(-region.start // PAGE_SIZE), region.end >> PAGE_SHIFT
            nr_pages -= max(min(last, high) - max(first, low), 0)
        return nr_pages << PAGE_SHIFT
