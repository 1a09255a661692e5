"""Giving an area back (free_percpu; mm/percpu.c, v6.1)."""

from mmactors.mm.percpu.percpu import Percpu
from mmactors.mm.percpu.populate import LOCK, UNLOCK
from mmactors.mm.percpu.request import PercpuSteps, ScheduleBalance, TellFreePercpu


def free_percpu(percpu: Percpu, pointer: int) -> PercpuSteps[int]:
    """Give back the area of a per-CPU pointer; return its bytes.

    Pages stay; chunks without areas, and with many empty pages, are left to the balance work. The
    pointer is one that was handed out: whose chunk is gone, nobody can look up.
    """
    yield LOCK
    found = percpu.find(pointer)
    assert found is not None, f"the per-CPU pointer {pointer:#x} is in no chunk"
    chunk, off = found
    nr_bytes = percpu.free_area(chunk, off)
    needs_balance = False
    if not chunk.isolated and chunk.free_bytes == percpu.units.unit_size:
        free_chunks = percpu.slots.lists[percpu.slots.free]
        needs_balance = any(other is not chunk for other in free_chunks)
    elif percpu.should_reclaim(chunk):
        percpu.isolate(chunk)
        needs_balance = True
    yield TellFreePercpu(base_addr=chunk.base_addr, off=off, ptr=pointer)
    yield UNLOCK
    if needs_balance:
        yield ScheduleBalance()
    return nr_bytes
