"""A chunk as a JSON object, in the form of the recordings of Linux 6.1 (topic `percpu`)."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from mmactors.mm.percpu.bitmap import bitmap_set, find_next_bit, find_next_zero_bit
from mmactors.mm.percpu.pcpu_chunk import PcpuChunk
from mmactors.mm.percpu.struct_chunk import (
    ALLOC_MAP,
    BLOCK_BITS,
    BOUND_MAP,
    CHUNK_MD,
    FREE_BYTES,
    MD_BLOCKS,
    NR_BLOCK_WORDS,
    NR_EMPTY_POP_PAGES,
    NR_POPULATED,
    PCPU_MIN_ALLOC_SHIFT,
    POPULATED,
)

BLOCK_COLUMNS: Final = (
    "scan_hint", "scan_hint_start", "contig_hint", "contig_hint_start",
    "left_free", "right_free", "first_free", "nr_bits",
)  # fmt: skip
"""The words of a pcpu_block_md, in order."""


def dump_chunk(chunk: PcpuChunk) -> dict[str, Any]:
    """Return all that a chunk has; `slot` is null if it is on no list."""
    view, nr_bits = chunk.view, chunk.nr_pages * BLOCK_BITS
    ends = MD_BLOCKS + chunk.nr_pages * NR_BLOCK_WORDS
    return {
        "slot": chunk.slot,
        "base_addr": f"{chunk.base_addr:x}",
        "free_bytes": chunk.free_bytes,
        "start_offset": chunk.start_offset,
        "end_offset": chunk.end_offset,
        "nr_pages": chunk.nr_pages,
        "nr_populated": chunk.nr_populated,
        "nr_empty_pop_pages": chunk.nr_empty_pop_pages,
        "immutable": int(chunk.immutable),
        "isolated": int(chunk.isolated),
        "chunk_md": dict(
            zip(BLOCK_COLUMNS, view[CHUNK_MD : CHUNK_MD + NR_BLOCK_WORDS].tolist(), strict=True)
        ),
        "blocks": chunk.words[MD_BLOCKS:ends].reshape(-1, NR_BLOCK_WORDS).tolist(),
        "populated_runs": _runs(chunk, view[POPULATED], chunk.nr_pages),
        "alloc_runs": _runs(chunk, view[ALLOC_MAP], nr_bits),
        "bound_bits": [
            start + nth
            for start, length in _runs(chunk, view[BOUND_MAP], nr_bits + 1)
            for nth in range(length)
        ],
    }


def _runs(chunk: PcpuChunk, base: int, size: int) -> list[list[int]]:
    """Return the bits that are set as runs: start and length."""
    runs, start = [], 0
    while (start := find_next_bit(chunk.words, base, size, start)) < size:
        end = find_next_zero_bit(chunk.words, base, size, start)
        runs.append([int(start), int(end - start)])
        start = end
    return runs


def load_chunk(state: dict[str, Any]) -> PcpuChunk:
    """Make the chunk that a state describes, on no list; `blocks` is by page."""
    chunk = PcpuChunk(int(state["base_addr"], 16), state["nr_pages"])
    chunk.start_offset, chunk.end_offset = state["start_offset"], state["end_offset"]
    chunk.immutable, chunk.isolated = bool(state["immutable"]), bool(state["isolated"])
    view = chunk.view
    view[FREE_BYTES] = state["free_bytes"]
    view[NR_POPULATED] = state["nr_populated"]
    view[NR_EMPTY_POP_PAGES] = state["nr_empty_pop_pages"]
    for nth, name in enumerate(BLOCK_COLUMNS):
        view[CHUNK_MD + nth] = state["chunk_md"][name]
    for nth, values in enumerate(state["blocks"]):
        for mth, value in enumerate(values):
            view[MD_BLOCKS + nth * NR_BLOCK_WORDS + mth] = value
    _set_runs(chunk, view[POPULATED], state["populated_runs"])
    _set_runs(chunk, view[ALLOC_MAP], state["alloc_runs"])
    _set_runs(chunk, view[BOUND_MAP], ((bit, 1) for bit in state["bound_bits"]))
    return chunk


def _set_runs(chunk: PcpuChunk, base: int, runs: Iterable[tuple[int, int]]) -> None:
    for start, length in runs:
        bitmap_set(chunk.words, base, start, length)


def areas_of(chunk: PcpuChunk) -> Iterator[tuple[int, int]]:
    """Yield where each area in use begins in its units, and its bytes."""
    view, nr_bits = chunk.view, chunk.nr_pages * BLOCK_BITS
    for start, length in _runs(chunk, view[ALLOC_MAP], nr_bits):
        first, end = start, start + length
        while first < end:
            following = int(find_next_bit(chunk.words, view[BOUND_MAP], end, first + 1))
            is_hidden = first < chunk.start_offset >> PCPU_MIN_ALLOC_SHIFT
            if not (is_hidden or first >= nr_bits - (chunk.end_offset >> PCPU_MIN_ALLOC_SHIFT)):
                yield first << PCPU_MIN_ALLOC_SHIFT, (following - first) << PCPU_MIN_ALLOC_SHIFT
            first = following


def counts_of(chunk: PcpuChunk) -> Iterator[tuple[str, int, int]]:
    """Yield name, value, and what the bits say, of each counter of a chunk."""
    view, nr_pages = chunk.view, chunk.nr_pages
    used = _runs(chunk, view[ALLOC_MAP], nr_pages * BLOCK_BITS)
    nr_used = sum(length for _, length in used)
    nr_free = nr_pages * BLOCK_BITS - nr_used
    yield "free_bytes", chunk.free_bytes, nr_free << PCPU_MIN_ALLOC_SHIFT
    there = {
        page
        for start, length in _runs(chunk, view[POPULATED], nr_pages)
        for page in range(start, start + length)
    }
    yield "nr_populated", chunk.nr_populated, len(there)
    for start, length in used:
        there -= set(range(start // BLOCK_BITS, (start + length - 1) // BLOCK_BITS + 1))
    yield "nr_empty_pop_pages", chunk.nr_empty_pop_pages, len(there)


def fragments_of(chunk: PcpuChunk) -> Iterator[int]:
    """Yield the bytes of each area up to the last in order, and minus those of holes between."""
    last = 0
    for off, nr_bytes in areas_of(chunk):
        start = max(last, chunk.start_offset)
        if off > start:
            yield start - off
        yield nr_bytes
        last = off + nr_bytes
