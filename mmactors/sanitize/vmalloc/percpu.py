"""What must hold of per-CPU memory when nobody runs: no area is forgotten, chunks count truly."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmactors.actors.state.kernel import Kernel
from mmactors.arch.pte import pte_pfn
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.law import Law
from mmactors.units import PAGE_SHIFT

if TYPE_CHECKING:
    from mmactors.mm.percpu.pcpu_chunk import PcpuChunk
    from mmactors.mm.percpu.percpu import Percpu

Problems = list[tuple[Law, str, list[str]]]
_WORD = 1 << 64


def percpu_problems(kernel: Kernel, percpu: "Percpu", config: SanitizeConfig) -> Problems:
    """Return all that is wrong, as far as the options want it looked at."""
    # Who has no per-CPU memory does without its compiled functions.
    from mmactors.mm.percpu.percpu_state import areas_of, counts_of  # noqa: PLC0415

    problems: Problems = []
    chunks = _chunks_of(percpu)
    if config.leaks:
        known = {area.pointer for area in kernel.module_percpu.values() if area.is_held}
        for chunk in chunks:
            for off, nr_bytes in areas_of(chunk):
                if percpu.pointer(chunk, off) not in known:
                    what = f"the per-CPU area of {nr_bytes} bytes at {off} of {chunk}"
                    problems.append((Law.AREA_LEAK, f"nobody knows {what}, and it is in use", []))
    if config.counters and kernel.is_percpu_in_order:
        for chunk in chunks:
            for name, counted, true in counts_of(chunk):
                if counted != true:
                    what = f"{name} of {chunk} is {counted}, and its bits say {true}"
                    problems.append((Law.COUNTER, what, []))
        listed = sum(chunk.nr_empty_pop_pages for chunk in chunks if _counts(percpu, chunk))
        if percpu.nr_empty_pop_pages != listed:
            counted = percpu.nr_empty_pop_pages
            what = f"pcpu_nr_empty_pop_pages is {counted}, and chunks have {listed}"
            problems.append((Law.COUNTER, what, []))
    return problems


def percpu_objects(percpu: "Percpu") -> Iterator[int]:
    """Yield the addresses of what chunks are described in; those of vmalloc's are negative."""
    yield percpu.pages_array
    for chunk in _chunks_of(percpu):
        yield from chunk.mem


def percpu_pages(kernel: Kernel, percpu: "Percpu") -> list[int]:
    """Return the pages of all units of chunks that have been populated."""
    table = kernel.init_mm.page_table
    pfns = []
    for chunk in _chunks_of(percpu):
        if chunk.immutable:
            continue
        for offset in percpu.units.unit_offsets:
            start = chunk.base_addr + offset - _WORD
            for first, end in chunk.present():
                for page in range(first, end):
                    _, index = table.walk(start + (page << PAGE_SHIFT))
                    pfns.append(pte_pfn(table.memory.view[index]))
    return pfns


def _chunks_of(percpu: "Percpu") -> "list[PcpuChunk]":
    chunks = [chunk for chunks in percpu.slots.lists for chunk in chunks]
    return chunks if percpu.reserved is None else [*chunks, percpu.reserved]


def _counts(percpu: "Percpu", chunk: "PcpuChunk") -> bool:
    """Return whether a chunk's empty pages are among those of all."""
    return chunk is not percpu.reserved and not chunk.isolated
