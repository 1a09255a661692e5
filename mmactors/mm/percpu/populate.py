"""Chunks at vmalloc's addresses: made, filled, emptied, destroyed (mm/percpu-vm.c, v6.1).

All of it is under pcpu_alloc_mutex, without pcpu_lock. What cannot be had leaves nothing behind.
"""

from typing import Final

from mmactors.mm.page_alloc.gfp import GFP_HIGHMEM, GFP_KERNEL
from mmactors.mm.percpu.bitmap import nr_longs
from mmactors.mm.percpu.pcpu_chunk import PcpuChunk
from mmactors.mm.percpu.percpu import Percpu
from mmactors.mm.percpu.request import (
    AllocUnitPage,
    FlushTlbKernelRange,
    FreeUnitPage,
    FreeVmAreas,
    GetVmAreas,
    MapPages,
    MemFree,
    MemZalloc,
    PcpuLock,
    PcpuUnlock,
    PercpuSteps,
    TellCreateChunk,
    TellDestroyChunk,
    UnmapPages,
)
from mmactors.mm.percpu.struct_chunk import BLOCK_BITS
from mmactors.units import PAGE_SHIFT

LOCK: Final = PcpuLock()
UNLOCK: Final = PcpuUnlock()
_CHUNK_BYTES: Final = 136
"""struct pcpu_chunk without its bitmap of pages."""
_BLOCK_BYTES: Final = 32
"""struct pcpu_block_md"""
_LONG_BYTES: Final = 8


def create_chunk(percpu: Percpu, gfp: int) -> PercpuSteps[PcpuChunk | None]:
    """Return a chunk without pages that is on no list, None: no memory or no addresses."""
    mem: list[int] = []
    for nr_bytes in _sizes(percpu.units.unit_pages):
        address = yield MemZalloc(nr_bytes, gfp)
        if not address:
            yield from _free_mem(mem)
            return None
        assert isinstance(address, int), "memory has an address"
        mem.append(address)
    base_addr = yield GetVmAreas()
    if not base_addr:
        yield from _free_mem(mem)
        return None
    assert isinstance(base_addr, int), "a chunk has one base address"
    chunk = PcpuChunk(base_addr, percpu.units.unit_pages)
    chunk.mem = tuple(mem)
    yield LOCK
    percpu.stats.chunk_alloc()
    yield UNLOCK
    yield TellCreateChunk(base_addr)
    return chunk


def _sizes(nr_pages: int) -> tuple[int, int, int, int]:
    """Return the bytes of what describes a chunk: itself, both bitmaps, the hints of its pages."""
    nr_bits = nr_pages * BLOCK_BITS
    return (
        _CHUNK_BYTES + nr_longs(nr_pages) * _LONG_BYTES,
        nr_longs(nr_bits) * _LONG_BYTES,
        nr_longs(nr_bits + 1) * _LONG_BYTES,
        nr_pages * _BLOCK_BYTES,
    )


def _free_mem(mem: list[int] | tuple[int, ...]) -> PercpuSteps[None]:
    for address in reversed(mem):
        yield MemFree(address)


def destroy_chunk(percpu: Percpu, chunk: PcpuChunk) -> PercpuSteps[None]:
    """Give a chunk without pages back, which is on no list."""
    yield LOCK
    percpu.stats.chunk_dealloc()
    yield UNLOCK
    yield TellDestroyChunk(chunk.base_addr)
    yield FreeVmAreas(chunk.base_addr)
    yield from _free_mem(chunk.mem)


def populate_chunk(
    percpu: Percpu, chunk: PcpuChunk, start: int, end: int, gfp: int
) -> PercpuSteps[bool]:
    """Give all units pages and map them; return whether there were enough."""
    if not percpu.pages_array:
        units = percpu.units
        nr_bytes = units.nr_units * units.unit_pages * _LONG_BYTES
        address = yield MemZalloc(nr_bytes, GFP_KERNEL)
        if not address:
            return False
        assert isinstance(address, int), "memory has an address"
        percpu.pages_array = address
    pages = yield from _alloc_pages(percpu, start, end, gfp | GFP_HIGHMEM)
    if pages is None:
        return False
    for nr_mapped, pfns in enumerate(pages):
        if not (yield MapPages(_address(percpu, chunk, nr_mapped, start), tuple(pfns))):
            for cpu in range(nr_mapped):
                yield UnmapPages(_address(percpu, chunk, cpu, start), end - start)
            yield flush_tlb(percpu, chunk, start, end)
            yield from _free_pages(pages)
            return False
    return True


def _alloc_pages(
    percpu: Percpu, start: int, end: int, gfp: int
) -> PercpuSteps[list[list[int]] | None]:
    """Return pages by CPU, None: there is not enough, and nothing is kept."""
    pages: list[list[int]] = []
    for cpu in range(percpu.nr_units_of_cpus):
        pages.append([])
        for _ in range(start, end):
            pfn = yield AllocUnitPage(cpu=cpu, gfp=gfp)
            if pfn is None:
                yield from _free_pages([pages[-1][::-1], *pages[:-1]])
                return None
            assert isinstance(pfn, int), "a page has a PFN"
            pages[-1].append(pfn)
    return pages


def _free_pages(pages: list[list[int]]) -> PercpuSteps[None]:
    for pfns in pages:
        for pfn in pfns:
            yield FreeUnitPage(pfn)


def depopulate_chunk(percpu: Percpu, chunk: PcpuChunk, start: int, end: int) -> PercpuSteps[None]:
    """Unmap pages of all units and give them back; who calls flushes, or the addresses' owner."""
    pages: list[list[int]] = []
    for cpu in range(percpu.nr_units_of_cpus):
        pfns = yield UnmapPages(_address(percpu, chunk, cpu, start), end - start)
        assert isinstance(pfns, tuple), "what was mapped has pages"
        pages.append(list(pfns))
    yield from _free_pages(pages)


def flush_tlb(percpu: Percpu, chunk: PcpuChunk, start: int, end: int) -> FlushTlbKernelRange:
    """Return the flush of pages from the lowest CPU's unit to the highest's."""
    units = percpu.units
    return FlushTlbKernelRange(
        chunk.base_addr + units.low_offset + (start << PAGE_SHIFT),
        chunk.base_addr + units.high_offset + (end << PAGE_SHIFT),
    )


def _address(percpu: Percpu, chunk: PcpuChunk, cpu: int, page: int) -> int:
    """Return where a page of a CPU's unit is mapped (pcpu_chunk_addr)."""
    return chunk.base_addr + percpu.units.unit_offsets[cpu] + (page << PAGE_SHIFT)
