"""/sys/kernel/debug/percpu_stats: chunks of per-CPU memory, their areas and holes (6.1).

As mm/percpu-stats.c prints it, which Debian's kernel leaves out (CONFIG_PERCPU_STATS). Bytes.
"""

from collections.abc import Iterator

from mmactors.mm.boot.kernel_image import DEBIAN_6_1
from mmactors.mm.percpu.pcpu_chunk import PcpuChunk
from mmactors.mm.percpu.percpu import Percpu
from mmactors.mm.percpu.percpu_state import fragments_of
from mmactors.mm.percpu.struct_chunk import (
    CHUNK_MD,
    CONTIG_HINT,
    FIRST_FREE,
    MAX_ALLOC_SIZE,
    NR_ALLOC,
    PCPU_MIN_ALLOC_SHIFT,
)

_RULE = "-" * 40


def percpu_stats(percpu: Percpu) -> str:
    """Return the text (percpu_stats_show)."""
    return "".join(f"{line}\n" for line in _lines(percpu))


def _line(name: str, value: int) -> str:
    return f"  {name:<20}: {value:12d}"


def _lines(percpu: Percpu) -> Iterator[str]:
    units, stats, image = percpu.units, percpu.stats, DEBIAN_6_1
    yield from ("Percpu Memory Statistics", "Allocation Info:", _RULE)
    yield _line("unit_size", units.unit_size)
    yield _line("static_size", image.percpu_static_bytes)
    yield _line("reserved_size", image.percpu_reserved_bytes)
    yield _line("dyn_size", image.percpu_dynamic_bytes)
    yield _line("atom_size", units.atom_size)
    yield _line("alloc_size", units.atom_size)
    yield from ("", "Global Stats:", _RULE)
    yield _line("nr_alloc", stats.nr_alloc)
    yield _line("nr_dealloc", stats.nr_dealloc)
    yield _line("nr_cur_alloc", stats.nr_cur_alloc)
    yield _line("nr_max_alloc", stats.nr_max_alloc)
    yield _line("nr_chunks", stats.nr_chunks)
    yield _line("nr_max_chunks", stats.nr_max_chunks)
    yield _line("min_alloc_size", stats.min_alloc_size)
    yield _line("max_alloc_size", stats.max_alloc_size)
    yield _line("empty_pop_pages", percpu.nr_empty_pop_pages)
    yield from ("", "Per Chunk Stats:", _RULE)
    if percpu.reserved is not None:
        yield "Chunk: <- Reserved Chunk"
        yield from _chunk_map_stats(percpu.reserved)
    for slot, chunks in enumerate(percpu.slots.lists):
        for chunk in chunks:
            if chunk is percpu.first:
                yield "Chunk: <- First Chunk"
            elif slot == percpu.slots.to_depopulate:
                yield "Chunk (to_depopulate)"
            elif slot == percpu.slots.sidelined:
                yield "Chunk (sidelined):"
            else:
                yield "Chunk:"
            yield from _chunk_map_stats(chunk)


def _chunk_map_stats(chunk: PcpuChunk) -> Iterator[str]:
    view = chunk.view
    sizes = sorted(fragments_of(chunk))
    holes = [-size for size in sizes if size < 0]
    areas = [0, 0, 0]
    if len(holes) < len(sizes):
        nth = len(holes)
        areas = [sizes[nth], sizes[(nth + len(sizes) - 1) // 2], sizes[-1]]
    yield _line("nr_alloc", view[NR_ALLOC])
    yield _line("max_alloc_size", view[MAX_ALLOC_SIZE])
    yield _line("empty_pop_pages", chunk.nr_empty_pop_pages)
    yield _line("first_bit", view[CHUNK_MD + FIRST_FREE])
    yield _line("free_bytes", chunk.free_bytes)
    yield _line("contig_bytes", view[CHUNK_MD + CONTIG_HINT] << PCPU_MIN_ALLOC_SHIFT)
    yield _line("sum_frag", sum(holes))
    yield _line("max_frag", max(holes, default=0))
    yield _line("cur_min_alloc", areas[0])
    yield _line("cur_med_alloc", areas[1])
    yield _line("cur_max_alloc", areas[2])
    yield ""
