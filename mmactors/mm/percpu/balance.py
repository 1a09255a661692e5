"""What is done in the background: pcpu_balance_workfn (mm/percpu.c, v6.1).

One chunk without areas is kept and four empty pages for who may not wait. Chunks with many empty
pages give them back. All is done under pcpu_alloc_mutex; pcpu_lock is held between the steps that
need memory, addresses or flushes.
"""

from typing import Final

from mmactors.mm.page_alloc.gfp import GFP_NOIO, GFP_NORETRY, GFP_NOWARN
from mmactors.mm.percpu.area import last_empty_pages
from mmactors.mm.percpu.pcpu_chunk import PcpuChunk
from mmactors.mm.percpu.percpu import EMPTY_POP_PAGES_HIGH, UNLOCK_MUTEX, Percpu
from mmactors.mm.percpu.populate import (
    LOCK,
    UNLOCK,
    create_chunk,
    depopulate_chunk,
    destroy_chunk,
    flush_tlb,
    populate_chunk,
)
from mmactors.mm.percpu.request import AllocMutexLock, PercpuSteps
from mmactors.units import PAGE_SIZE

_GFP: Final = GFP_NOIO | GFP_NORETRY | GFP_NOWARN
"""GFP_KERNEL under memalloc_noio_save: those who wait for the mutex may be in the middle of I/O."""
_LOCK_MUTEX: Final = AllocMutexLock(is_killable=False)


def balance(percpu: Percpu) -> PercpuSteps[None]:
    """Do the work once."""
    yield _LOCK_MUTEX
    yield LOCK
    yield from _balance_free(percpu, empty_only=False)
    yield from _reclaim_populated(percpu)
    yield from _balance_populated(percpu)
    yield from _balance_free(percpu, empty_only=True)
    yield UNLOCK
    yield UNLOCK_MUTEX


def _balance_free(percpu: Percpu, *, empty_only: bool) -> PercpuSteps[None]:
    """Destroy all chunks without areas but the first, or those of them that have no pages."""
    slots = percpu.slots
    to_free: list[PcpuChunk] = []
    for chunk in tuple(slots.lists[slots.free])[1:]:
        if not empty_only or chunk.nr_empty_pop_pages == 0:
            slots.remove(chunk)
            to_free.insert(0, chunk)
    if not to_free:
        return
    yield UNLOCK
    for chunk in to_free:
        for start, end in chunk.present():
            yield from depopulate_chunk(percpu, chunk, start, end)
            yield LOCK
            percpu.chunk_depopulated(chunk, start, end)
            yield UNLOCK
        yield from destroy_chunk(percpu, chunk)
    yield LOCK


def _balance_populated(percpu: Percpu) -> PercpuSteps[None]:
    """See to it that there are empty pages, in the most packed chunks."""
    slots = percpu.slots
    while True:
        if percpu.atomic_alloc_failed:
            nr_to_pop = EMPTY_POP_PAGES_HIGH
            percpu.atomic_alloc_failed = False
        else:
            nr_to_pop = max(EMPTY_POP_PAGES_HIGH - percpu.nr_empty_pop_pages, 0)
        for slot in range(slots.size_to_slot(PAGE_SIZE), slots.free + 1):
            if not nr_to_pop:
                break
            chunk = _first_with_room(slots.lists[slot])
            if chunk is not None:
                nr_to_pop = yield from _populate(percpu, chunk, nr_to_pop)
        if not nr_to_pop:
            return
        yield UNLOCK
        made = yield from create_chunk(percpu, _GFP)
        yield LOCK
        if made is None:
            return
        slots.relocate(made, -1)


def _first_with_room(chunks: list[PcpuChunk]) -> PcpuChunk | None:
    """Return the first chunk that lacks a page."""
    return next((chunk for chunk in chunks if chunk.nr_populated < chunk.nr_pages), None)


def _populate(percpu: Percpu, chunk: PcpuChunk, nr_to_pop: int) -> PercpuSteps[int]:
    """Add up to so many pages; return how many are still to be added, 0: there is no memory."""
    for start, end in chunk.missing(0, chunk.nr_pages):
        nr_pages = min(end - start, nr_to_pop)
        yield UNLOCK
        is_done = yield from populate_chunk(percpu, chunk, start, start + nr_pages, _GFP)
        yield LOCK
        if not is_done:
            return 0
        nr_to_pop -= nr_pages
        percpu.chunk_populated(chunk, start, start + nr_pages)
        if not nr_to_pop:
            break
    return nr_to_pop


def _reclaim_populated(percpu: Percpu) -> PercpuSteps[None]:
    """Give back the empty pages of chunks that were isolated, the last pages first."""
    slots = percpu.slots
    to_depopulate = slots.lists[slots.to_depopulate]
    while to_depopulate:
        chunk = to_depopulate[0]
        low, high, reintegrates = chunk.nr_pages, 0, False
        left = chunk.nr_pages
        while left and chunk.nr_empty_pop_pages:
            if percpu.nr_empty_pop_pages < EMPTY_POP_PAGES_HIGH:
                reintegrates = True
                break
            start, end = last_empty_pages(chunk.words, left)
            if start < end:
                yield UNLOCK
                yield from depopulate_chunk(percpu, chunk, start, end)
                yield LOCK
                percpu.chunk_depopulated(chunk, start, end)
                low, high = min(low, start), max(high, end)
            left = max(start - 1, 0)  # The page before is in use, or not there.
        if low < high:
            yield UNLOCK
            yield flush_tlb(percpu, chunk, low, high)
            yield LOCK
        if reintegrates or chunk.free_bytes == percpu.units.unit_size:
            percpu.reintegrate(chunk)
        else:
            slots.move(chunk, slots.sidelined, to_front=False)
