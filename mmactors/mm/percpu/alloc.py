"""Handing out an area (pcpu_alloc; mm/percpu.c, v6.1). Left out: memory cgroups.

Who may wait holds pcpu_alloc_mutex all the time: chunks are made and pages are added for it. Who
may not takes what is there.
"""

from typing import Final

from mmactors.mm.page_alloc.gfp import GFP_DIRECT_RECLAIM, GFP_KERNEL, GFP_NORETRY, GFP_NOWARN
from mmactors.mm.percpu.area import find_block_fit
from mmactors.mm.percpu.pcpu_chunk import PcpuChunk
from mmactors.mm.percpu.percpu import (
    CHANGE,
    EMPTY_POP_PAGES_LOW,
    LOCK_MUTEX,
    LOOK,
    UNLOCK_MUTEX,
    Percpu,
)
from mmactors.mm.percpu.populate import LOCK, UNLOCK, create_chunk, populate_chunk
from mmactors.mm.percpu.request import (
    NO_POINTER,
    PercpuPrintk,
    PercpuSteps,
    PercpuWarn,
    ScheduleBalance,
    TellAllocPercpu,
    TellAllocPercpuFail,
    ZeroUnits,
)
from mmactors.mm.percpu.struct_chunk import (
    PCPU_MIN_ALLOC_SHIFT,
    PCPU_MIN_ALLOC_SIZE,
    PCPU_MIN_UNIT_SIZE,
)
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_SLOT_FAIL_THRESHOLD: Final = 3
"""A chunk on a list below it that had no room is not looked at again until it has more."""
_SCHEDULE: Final = ScheduleBalance()
_CGROUP_BYTES: Final = 8
"""A pointer to a memory cgroup for each 4 bytes, which would be charged with an area."""
Place = tuple[PcpuChunk, int]
"""A chunk, and where in its units, in bytes."""


def alloc_percpu(
    percpu: Percpu, size: int, align: int, gfp: int, *, reserved: bool = False
) -> PercpuSteps[int]:
    """Return the per-CPU pointer of an area of bytes, all zero; NO_POINTER: there is none.

    Sizes and alignments that there are none of are warned of, and failures for whoever may wait,
    ten times in all; unless `gfp` has __GFP_NOWARN.
    """
    pcpu_gfp = gfp & (GFP_KERNEL | GFP_NORETRY | GFP_NOWARN)
    is_atomic = not gfp & GFP_DIRECT_RECLAIM
    align = max(align, PCPU_MIN_ALLOC_SIZE)
    size = (size + PCPU_MIN_ALLOC_SIZE - 1) & -PCPU_MIN_ALLOC_SIZE
    if not 0 < size <= PCPU_MIN_UNIT_SIZE or align > PAGE_SIZE or align & (align - 1):
        if not gfp & GFP_NOWARN:
            text = f"illegal size ({size}) or align ({align}) for percpu allocation"
            yield PercpuWarn(text)
        return NO_POINTER
    if not is_atomic and not (yield LOCK_MUTEX):
        return NO_POINTER
    request = _Request(percpu, size, align, is_atomic=is_atomic, reserved=reserved)
    found = yield from request.find(pcpu_gfp)
    if isinstance(found, tuple) and not is_atomic:
        found = yield from request.populate(found, pcpu_gfp)
    if isinstance(found, str):
        yield from request.fail(found, gfp)
        return NO_POINTER
    if not is_atomic:
        yield UNLOCK_MUTEX
    if percpu.wants_step():
        yield LOOK
    if percpu.nr_empty_pop_pages < EMPTY_POP_PAGES_LOW:
        yield _SCHEDULE
    chunk, off = found
    pointer = percpu.pointer(chunk, off)
    yield ZeroUnits(chunk.base_addr + off, size)
    yield TellAllocPercpu(
        reserved=reserved,
        is_atomic=is_atomic,
        size=size,
        align=align,
        base_addr=chunk.base_addr,
        off=off,
        ptr=pointer,
        bytes_alloc=size * percpu.nr_units_of_cpus + request.cgroup_bytes,
        gfp=gfp,
    )
    return pointer


class _Request:
    """What is asked for, and the steps to it. A text says why there is none."""

    def __init__(
        self, percpu: Percpu, size: int, align: int, *, is_atomic: bool, reserved: bool
    ) -> None:
        self._percpu: Final = percpu
        self._size: Final = size
        self._align: Final = align
        self._is_atomic: Final = int(is_atomic)
        self._reserved: Final = reserved
        self._bits: Final = size >> PCPU_MIN_ALLOC_SHIFT
        self._bit_align: Final = align >> PCPU_MIN_ALLOC_SHIFT

    @property
    def cgroup_bytes(self) -> int:
        """What an area would cost a memory cgroup besides (pcpu_obj_full_size)."""
        return self._bits * _CGROUP_BYTES

    def find(self, pcpu_gfp: int) -> PercpuSteps[Place | str]:
        """Take an area, of a new chunk if need be; pages may be missing."""
        percpu = self._percpu
        free_chunks = percpu.slots.lists[percpu.slots.free]
        yield LOCK
        while True:
            if self._reserved and percpu.reserved is not None:
                place = self._take(percpu.reserved)
            else:
                place = self._search()
            if place is not None:
                percpu.stats.area_alloc(place[0], self._size)
            yield UNLOCK
            if place is not None:
                return place
            if self._reserved and percpu.reserved is not None:
                return "alloc from reserved chunk failed"
            if self._is_atomic:
                return "atomic alloc failed, no space left"
            chunk = None
            if percpu.wants_step():
                yield LOOK
            if not free_chunks:
                chunk = yield from create_chunk(percpu, pcpu_gfp)
                if chunk is None:
                    return "failed to allocate new chunk"
            yield LOCK
            if chunk is not None:
                percpu.slots.relocate(chunk, -1)

    def _search(self) -> Place | None:
        """Take an area of the first chunk that has room."""
        percpu, slots = self._percpu, self._percpu.slots
        for slot in range(slots.size_to_slot(self._size), slots.free + 1):
            if not slots.lists[slot]:
                continue
            for chunk in tuple(slots.lists[slot]):
                start = find_block_fit(chunk.words, self._bits, self._bit_align, self._is_atomic)
                if start < 0:
                    if slot < _SLOT_FAIL_THRESHOLD:
                        slots.move(chunk, 0)
                    continue
                off = percpu.alloc_area(chunk, self._bits, self._bit_align, start)
                if off >= 0:
                    percpu.reintegrate(chunk)
                    return chunk, off
        return None

    def _take(self, chunk: PcpuChunk) -> Place | None:
        start = find_block_fit(chunk.words, self._bits, self._bit_align, self._is_atomic)
        if start < 0:
            return None
        off = self._percpu.alloc_area(chunk, self._bits, self._bit_align, start)
        return (chunk, off) if off >= 0 else None

    def populate(self, place: Place, pcpu_gfp: int) -> PercpuSteps[Place | str]:
        """Add the pages that an area lacks, or give it back."""
        percpu, (chunk, off) = self._percpu, place
        first, end = off >> PAGE_SHIFT, (off + self._size + PAGE_SIZE - 1) >> PAGE_SHIFT
        if percpu.wants_step():
            yield LOOK
        for start, until in chunk.missing(first, end):
            is_done = yield from populate_chunk(percpu, chunk, start, until, pcpu_gfp)
            yield LOCK
            if not is_done:
                percpu.free_area(chunk, off)
                yield UNLOCK
                return "failed to populate"
            percpu.chunk_populated(chunk, start, until)
            yield UNLOCK
        return place

    def fail(self, why: str, gfp: int) -> PercpuSteps[None]:
        """Tell of it, and let the balance work make room for the next who may not wait."""
        percpu = self._percpu
        yield TellAllocPercpuFail(
            reserved=self._reserved,
            is_atomic=bool(self._is_atomic),
            size=self._size,
            align=self._align,
        )
        if percpu.wants_step():
            yield CHANGE
        if self._is_atomic:
            percpu.atomic_alloc_failed = True
            yield _SCHEDULE
            return
        if not gfp & GFP_NOWARN and percpu.warn_limit:
            text = f"allocation failed, size={self._size} align={self._align} atomic=0, {why}"
            yield PercpuPrintk(f"percpu: {text}", with_stack=True)
            percpu.warn_limit -= 1
            if not percpu.warn_limit:
                yield PercpuPrintk("percpu: limit reached, disable warning", with_stack=False)
        yield UNLOCK_MUTEX
