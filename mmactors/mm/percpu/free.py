"""Giving an area back (free_percpu; mm/percpu.c, v6.1)."""

from mmactors.mm.percpu.percpu import Percpu
from mmactors.mm.percpu.populate import LOCK, UNLOCK
from mmactors.mm.percpu.request import PercpuSteps, ScheduleBalance, TellFreePercpu
from mmactors.mm.slab.request import KernelOopsError


def free_percpu(percpu: Percpu, pointer: int) -> PercpuSteps[int]:
    """Give back the area of a per-CPU pointer; return its bytes.

    Pages stay; chunks without areas, and with many empty pages, are left to the balance work.
    Raises KernelOopsError if no chunk has the pointer any more.
    """
    yield LOCK
    found = percpu.find(pointer)
    if found is None:  # page->index of no page (pcpu_get_page_chunk)
        raise KernelOopsError("BUG: kernel NULL pointer dereference, address: 0000000000000020")
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
