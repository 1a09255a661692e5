"""The lists of chunks, by the size of their largest free room (mm/percpu.c, v6.1).

The last three are special: chunks that were depopulated, chunks all of which is free, chunks to
depopulate. Areas are taken from the most packed chunk, which is on the first list that will do.
"""

from typing import Final

from mmactors.mm.percpu.pcpu_chunk import PcpuChunk

_BASE_SHIFT: Final = 5
"""PCPU_SLOT_BASE_SHIFT"""


def _slot_of_size(nr_bytes: int) -> int:
    return max(nr_bytes.bit_length() - _BASE_SHIFT + 2, 1)


class Slots:
    """All lists, each head first. A chunk is on one of them, on none, or is the reserved one."""

    def __init__(self, unit_size: int) -> None:
        self._unit_size: Final = unit_size
        self.sidelined: Final = _slot_of_size(unit_size) + 1
        self.free: Final = self.sidelined + 1
        self.to_depopulate: Final = self.free + 1
        self.lists: Final[list[list[PcpuChunk]]] = [[] for _ in range(self.to_depopulate + 1)]
        self.reserved: PcpuChunk | None = None
        """The chunk that is on no list: pcpu_reserved_chunk."""

    def size_to_slot(self, nr_bytes: int) -> int:
        """Return the first list whose chunks may have so much room (pcpu_size_to_slot)."""
        return self.free if nr_bytes == self._unit_size else _slot_of_size(nr_bytes)

    def chunk_slot(self, chunk: PcpuChunk) -> int:
        """Return the list that a chunk belongs to by its room (pcpu_chunk_slot)."""
        nr_bytes = chunk.contig_bytes
        return self.size_to_slot(nr_bytes) if nr_bytes else 0

    def move(self, chunk: PcpuChunk, slot: int, *, to_front: bool = True) -> None:
        """Put a chunk on a list (pcpu_chunk_move)."""
        if chunk is self.reserved:
            return
        self.remove(chunk)
        if to_front:
            self.lists[slot].insert(0, chunk)
        else:
            self.lists[slot].append(chunk)
        chunk.slot = slot

    def remove(self, chunk: PcpuChunk) -> None:
        """Take a chunk from its list."""
        if chunk.slot is not None:
            self.lists[chunk.slot].remove(chunk)
            chunk.slot = None

    def relocate(self, chunk: PcpuChunk, old_slot: int) -> None:
        """Put a chunk on another list if its room has changed so much (pcpu_chunk_relocate).

        Who has more room than before comes first on the list, who has less comes last.
        """
        slot = self.chunk_slot(chunk)
        if not chunk.isolated and slot != old_slot:
            self.move(chunk, slot, to_front=old_slot < slot)
