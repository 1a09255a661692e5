"""TLB flushes and shootdowns (arch/x86/mm/tlb.c, Linux 6.1).

Whoever takes a translation away raises the address space's tlb_gen, flushes its own TLB, sends an
interrupt to every other CPU in mm_cpumask and spins until all have flushed. A CPU that missed an
earlier flush of the address space forgets all of it, and one that is up to date already nothing
(flush_tlb_func). Left out so far: lazy mode, batching across address spaces, kernel mappings.
"""

from typing import Final

from attrs import frozen

from mmactors.actors.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.engine.ipi import call_on
from mmactors.events import TlbFlush
from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.tlb_state import TLB_SINGLE_PAGE_FLUSH_CEILING
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

TLB_REMOTE_SHOOTDOWN: Final = 1
TLB_LOCAL_MM_SHOOTDOWN: Final = 3
TLB_REMOTE_SEND_IPI: Final = 4
"""Reasons of the tracepoint tlb_flush (include/linux/mm_types.h)."""
TLB_FLUSH_ALL: Final = -1


@frozen(kw_only=True)
class FlushTlbInfo:
    """What every CPU of the address space has to forget."""

    mm: MmStruct
    start: int
    end: int
    """Bytes; the whole address space if the range is longer than the ceiling."""
    new_tlb_gen: int
    """The address space's tlb_gen that this flush made."""

    @property
    def nr_pages(self) -> int:
        """Pages to flush one by one, or TLB_FLUSH_ALL."""
        nr_pages = (self.end - self.start) >> PAGE_SHIFT
        return TLB_FLUSH_ALL if nr_pages > TLB_SINGLE_PAGE_FLUSH_CEILING else nr_pages


async def flush_tlb_page(kernel: Kernel, cpu: Cpu, mm: MmStruct, address: int) -> None:
    """Make all CPUs forget one page of an address space."""
    start = address & -PAGE_SIZE
    await flush_tlb_mm_range(kernel, cpu, mm, start=start, end=start + PAGE_SIZE)


async def flush_tlb_mm_range(
    kernel: Kernel, cpu: Cpu, mm: MmStruct, *, start: int, end: int
) -> None:
    """Make all CPUs forget a range of an address space; return when they have."""
    mm.tlb_gen += 1
    info = FlushTlbInfo(mm=mm, start=start, end=end, new_tlb_gen=mm.tlb_gen)
    others = [
        other for other in kernel.cpus if other is not cpu and mm.mm_cpumask >> other.index & 1
    ]
    if others:
        _emit(kernel, TLB_REMOTE_SEND_IPI, info.nr_pages)

        async def handler(target: Cpu) -> None:
            await _flush_here(kernel, target, info, TLB_REMOTE_SHOOTDOWN)

        await call_on(cpu, others, handler, vector="TLB", latency_ns=kernel.costs.ipi_ns)
    if mm.mm_cpumask >> cpu.index & 1:
        await _flush_here(kernel, cpu, info, TLB_LOCAL_MM_SHOOTDOWN)


async def _flush_here(kernel: Kernel, cpu: Cpu, info: FlushTlbInfo, reason: int) -> None:
    """Do what is left to do on this CPU (flush_tlb_func)."""
    state = kernel.tlb_states[cpu.index]
    mm = info.mm
    if state.loaded_mm is not mm:
        return  # coming back, the CPU sees by tlb_gen what it missed
    slot = state.slots[state.loaded_asid]
    assert slot is not None, "the loaded address space has a slot"
    local_tlb_gen = slot.tlb_gen
    if local_tlb_gen >= mm.tlb_gen:
        return
    is_next = info.new_tlb_gen == local_tlb_gen + 1 == mm.tlb_gen
    nr_pages = info.nr_pages if is_next else TLB_FLUSH_ALL
    pcid = state.catch_up(mm)
    costs = kernel.costs
    if nr_pages == TLB_FLUSH_ALL:
        kernel.hardware.flush_pcid(cpu.index, pcid)
        await kernel.engine.spend(costs.flush_all_ns)
    else:
        for page in range(nr_pages):
            kernel.hardware.flush_page(cpu.index, pcid, info.start + page * PAGE_SIZE)
        await kernel.engine.spend(costs.flush_page_ns * nr_pages)
    _emit(kernel, reason, nr_pages)


def _emit(kernel: Kernel, reason: int, nr_pages: int) -> None:
    if kernel.probe.on:
        kernel.probe.emit(TlbFlush(reason=reason, pages=nr_pages))
