"""What is counted of areas and chunks: /sys/kernel/debug/percpu_stats (mm/percpu-stats.c, v6.1)."""

from typing import Final

from mmactors.mm.percpu.pcpu_chunk import PcpuChunk
from mmactors.mm.percpu.struct_chunk import MAX_ALLOC_SIZE, NR_ALLOC
from mmactors.mm.percpu.unit_layout import PcpuUnits


class PercpuStats:
    """struct percpu_stats. Sizes are bytes."""

    def __init__(self, units: PcpuUnits) -> None:
        self.units: Final = units
        self.nr_alloc = 0
        self.nr_dealloc = 0
        self.nr_cur_alloc = 0
        self.nr_max_alloc = 0
        self.nr_chunks = 0
        self.nr_max_chunks = 0
        self.min_alloc_size = units.unit_size
        self.max_alloc_size = 0

    def area_alloc(self, chunk: PcpuChunk, nr_bytes: int) -> None:
        """Count an area that was handed out."""
        self.nr_alloc += 1
        self.nr_cur_alloc += 1
        self.nr_max_alloc = max(self.nr_max_alloc, self.nr_cur_alloc)
        self.min_alloc_size = min(self.min_alloc_size, nr_bytes)
        self.max_alloc_size = max(self.max_alloc_size, nr_bytes)
        view = chunk.view
        view[NR_ALLOC] += 1
        view[MAX_ALLOC_SIZE] = max(view[MAX_ALLOC_SIZE], nr_bytes)

    def area_dealloc(self, chunk: PcpuChunk) -> None:
        """Count an area that was given back."""
        self.nr_dealloc += 1
        self.nr_cur_alloc -= 1
        chunk.view[NR_ALLOC] -= 1

    def chunk_alloc(self) -> None:
        """Count a chunk that was made."""
        self.nr_chunks += 1
        self.nr_max_chunks = max(self.nr_max_chunks, self.nr_chunks)

    def chunk_dealloc(self) -> None:
        """Count a chunk that was destroyed."""
        self.nr_chunks -= 1
