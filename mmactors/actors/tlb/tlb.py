"""TLB flushes and shootdowns (arch/x86/mm/tlb.c, Linux 6.1).

Whoever takes a translation away raises the address space's tlb_gen, sends an interrupt to every
other CPU in mm_cpumask that needs one, flushes its own TLB and spins until all have. A CPU that
missed an earlier flush of the address space forgets all of it, and one that is up to date already
nothing (flush_tlb_func). If page tables are freed, lazy CPUs are interrupted too, and let go of the
address space: their walkers would go on to read the tables.

Touched here: `mm_cpumask[ctx_id]`, `tlb_gen[ctx_id]`, `tlb[cpu]`, `cpu<n>`
(actors/tlb/switch_mm.py).
"""

from collections.abc import Awaitable, Callable
from typing import Final

from attrs import define

from mmactors.actors.state.kernel import Kernel
from mmactors.actors.tlb.switch_mm import (
    TLB_LOCAL_MM_SHOOTDOWN,
    TLB_LOCAL_SHOOTDOWN,
    TLB_REMOTE_SEND_IPI,
    TLB_REMOTE_SHOOTDOWN,
    emit_tlb_flush,
    switch_mm_irqs_off,
)
from mmactors.engine.cpu import Cpu
from mmactors.engine.ipi import call_on
from mmactors.label import Label, Mode, mm_cpumask, tlb, tlb_flush_batched, tlb_gen
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.entries.tlb_state import (
    LOADED_MM_SWITCHING,
    TLB_FLUSH_ALL,
    TLB_GENERATION_INVALID,
    TLB_SINGLE_PAGE_FLUSH_CEILING,
    FlushTlbInfo,
)
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_VECTOR: Final = "TLB"
"""The row of /proc/interrupts."""


async def flush_tlb_page(kernel: Kernel, cpu: Cpu, mm: MmStruct, address: int) -> None:
    """Make all CPUs forget one page of an address space."""
    start = address & -PAGE_SIZE
    await flush_tlb_mm_range(
        kernel, cpu, mm, start=start, end=start + PAGE_SIZE, freed_tables=False
    )


async def flush_tlb_range(kernel: Kernel, cpu: Cpu, mm: MmStruct, *, start: int, end: int) -> None:
    """Make all CPUs, lazy ones too, forget a range of an address space and its tables."""
    await flush_tlb_mm_range(kernel, cpu, mm, start=start, end=end, freed_tables=True)


async def flush_tlb_mm(kernel: Kernel, cpu: Cpu, mm: MmStruct) -> None:
    """Make all CPUs, lazy ones too, forget an address space."""
    await flush_tlb_mm_range(kernel, cpu, mm, start=0, end=TLB_FLUSH_ALL, freed_tables=True)


async def flush_tlb_mm_range(
    kernel: Kernel,
    cpu: Cpu,
    mm: MmStruct,
    *,
    start: int,
    end: int,
    stride_shift: int = PAGE_SHIFT,
    freed_tables: bool,
) -> None:
    """Make all CPUs forget a range of an address space; return when they have.

    `end` may be TLB_FLUSH_ALL. `stride_shift` is log2 of the bytes that one entry maps.
    """
    if end == TLB_FLUSH_ALL or (end - start) >> stride_shift > TLB_SINGLE_PAGE_FLUSH_CEILING:
        start, end = 0, TLB_FLUSH_ALL
    info = FlushTlbInfo(
        mm=mm,
        start=start,
        end=end,
        new_tlb_gen=await inc_mm_tlb_gen(kernel, mm),
        stride_shift=stride_shift,
        freed_tables=freed_tables,
        initiating_cpu=cpu.index,
    )
    mask = await read_cpumask(kernel, mm)
    if mask & ~(1 << cpu.index):
        await _flush_tlb_multi(kernel, cpu, mask, info)
    elif kernel.tlb_states[cpu.index].loaded_mm is mm:
        with cpu.irqs_off():
            await _flush_tlb_func(kernel, cpu, info)


async def inc_mm_tlb_gen(kernel: Kernel, mm: MmStruct) -> int:
    """Raise an address space's tlb_gen; return what it is then."""
    if kernel.engine.wants_step():
        label = Label("raise tlb_gen", ((tlb_gen(mm.ctx_id), Mode.WRITE),))
        await kernel.engine.step(label)
    mm.tlb_gen += 1
    return mm.tlb_gen


async def read_cpumask(kernel: Kernel, mm: MmStruct) -> int:
    """Return which CPUs may hold translations of an address space."""
    if kernel.engine.wants_step():
        label = Label("read mm_cpumask", ((mm_cpumask(mm.ctx_id), Mode.READ),))
        await kernel.engine.step(label)
    return mm.mm_cpumask


async def shoot_lazy_tlbs(kernel: Kernel, cpu: Cpu, mm: MmStruct) -> None:
    """Make every CPU let go of an address space that nobody uses any more.

    Freeing the last page tables has done so, unless there were none.
    """
    mask = await read_cpumask(kernel, mm)

    async def leave(target: Cpu) -> None:
        if kernel.tlb_states[target.index].loaded_mm is mm:
            await switch_mm_irqs_off(kernel, target, kernel.init_mm)

    others = [other for other in kernel.cpus if other is not cpu and mask >> other.index & 1]
    await call_on(cpu, others, leave, vector="CAL", latency_ns=kernel.costs.ipi_ns)
    with cpu.irqs_off():
        await leave(cpu)


@define(eq=False)
class TlbBatch:
    """Flushes that are owed, of several address spaces (struct arch_tlbflush_unmap_batch)."""

    cpumask: int = 0
    writable: bool = False
    """An entry among them was dirty: a CPU that knows it still may write to the page."""

    async def add_mm(self, kernel: Kernel, mm: MmStruct, *, is_dirty: bool) -> None:
        """Owe a flush of `mm`, whose entry was just cleared (set_tlb_ubc_flush_pending)."""
        await inc_mm_tlb_gen(kernel, mm)
        self.cpumask |= await read_cpumask(kernel, mm)
        kernel.engine.touch(tlb_flush_batched(mm.ctx_id), Mode.WRITE)
        mm.tlb_flush_batched += 1
        self.writable |= is_dirty

    async def flush(self, kernel: Kernel, cpu: Cpu) -> None:
        """Make all CPUs concerned forget what they have loaded (arch_tlbbatch_flush)."""
        mask, self.cpumask, self.writable = self.cpumask, 0, False
        info = FlushTlbInfo(
            mm=None,
            start=0,
            end=TLB_FLUSH_ALL,
            new_tlb_gen=TLB_GENERATION_INVALID,
            stride_shift=PAGE_SHIFT,
            freed_tables=False,
            initiating_cpu=cpu.index,
        )
        if mask & ~(1 << cpu.index):
            await _flush_tlb_multi(kernel, cpu, mask, info)
        elif mask:
            with cpu.irqs_off():
                await _flush_tlb_func(kernel, cpu, info)


async def flush_tlb_batched_pending(kernel: Kernel, cpu: Cpu, mm: MmStruct) -> None:
    """Make up for flushes that reclaim has deferred, for one that works on entries (mm/rmap.c).

    The caller holds a lock of page tables. It cannot tell which of them are done, so that the first
    one after each time flushes all. Others that are deferred meanwhile stay counted.
    """
    kernel.engine.touch(tlb_flush_batched(mm.ctx_id), Mode.READ)
    seen = mm.tlb_flush_batched
    if not seen:
        return
    await flush_tlb_mm(kernel, cpu, mm)
    kernel.engine.touch(tlb_flush_batched(mm.ctx_id), Mode.WRITE)
    if mm.tlb_flush_batched == seen:
        mm.tlb_flush_batched = 0


async def flush_tlb_all(kernel: Kernel, cpu: Cpu) -> None:
    """Make every CPU forget everything, global entries too."""

    async def forget(target: Cpu) -> None:
        await _step_tlb(kernel, target)
        kernel.hardware.flush_all(target.index, including_global=True)
        await kernel.engine.spend(kernel.costs.flush_all_ns)

    await _on_each_cpu(kernel, cpu, forget)


async def flush_tlb_kernel_range(kernel: Kernel, cpu: Cpu, *, start: int, end: int) -> None:
    """Make every CPU forget a range of kernel addresses, whose entries are global."""
    if end == TLB_FLUSH_ALL or end - start > TLB_SINGLE_PAGE_FLUSH_CEILING << PAGE_SHIFT:
        await flush_tlb_all(kernel, cpu)
        return

    async def forget(target: Cpu) -> None:
        await _step_tlb(kernel, target)
        state = kernel.tlb_states[target.index]
        pcid = state.pcid_of(state.loaded_asid)
        for address in range(start, end, PAGE_SIZE):
            kernel.hardware.flush_page(target.index, pcid, address)
        await kernel.engine.spend(kernel.costs.flush_page_ns * ((end - start) >> PAGE_SHIFT))

    await _on_each_cpu(kernel, cpu, forget)


async def _on_each_cpu(
    kernel: Kernel, cpu: Cpu, function: Callable[[Cpu], Awaitable[None]]
) -> None:
    """Run a function on every CPU with interrupts off; these calls count as CAL, not as TLB."""

    async def here() -> None:
        with cpu.irqs_off():
            await function(cpu)

    others = [other for other in kernel.cpus if other is not cpu]
    await call_on(
        cpu, others, function, vector="CAL", latency_ns=kernel.costs.ipi_ns, meanwhile=here
    )


async def _flush_tlb_multi(kernel: Kernel, cpu: Cpu, mask: int, info: FlushTlbInfo) -> None:
    """Flush on all CPUs of `mask` that need it, on this one while the others do (on_each_cpu)."""
    emit_tlb_flush(kernel, TLB_REMOTE_SEND_IPI, info.nr_pages)
    states = kernel.tlb_states

    def is_needed(target: Cpu) -> bool:
        return info.freed_tables or states[target.index].should_flush(info, kernel.rules)

    async def handler(target: Cpu) -> None:
        await _flush_tlb_func(kernel, target, info)

    async def here() -> None:
        if mask >> cpu.index & 1 and is_needed(cpu):
            with cpu.irqs_off():
                await _flush_tlb_func(kernel, cpu, info)

    await call_on(
        cpu,
        [other for other in kernel.cpus if other is not cpu and mask >> other.index & 1],
        handler,
        vector=_VECTOR,
        latency_ns=kernel.costs.ipi_ns,
        condition=is_needed,
        meanwhile=here,
    )


async def _flush_tlb_func(kernel: Kernel, cpu: Cpu, info: FlushTlbInfo) -> None:
    """Do what is left to do on this CPU; interrupts are off."""
    state = kernel.tlb_states[cpu.index]
    is_local = cpu.index == info.initiating_cpu
    mm = state.loaded_mm
    assert mm is not LOADED_MM_SWITCHING, f"cpu{cpu.index} switches with interrupts off"
    if not is_local and info.mm is not None and info.mm is not mm:
        return  # coming to it, the CPU sees by tlb_gen what it missed
    if mm is kernel.init_mm:
        return
    if state.is_lazy:
        await switch_mm_irqs_off(kernel, cpu, kernel.init_mm)
        return
    context = state.loaded_context
    if info.new_tlb_gen != TLB_GENERATION_INVALID and info.new_tlb_gen <= context.tlb_gen:
        return
    if kernel.engine.wants_step():
        label = Label("read tlb_gen", ((tlb_gen(mm.ctx_id), Mode.READ),))
        await kernel.engine.step(label)
    mm_tlb_gen = mm.tlb_gen
    nr_entries = 0
    if context.tlb_gen != mm_tlb_gen:
        is_partial = info.is_partial(local_tlb_gen=context.tlb_gen, mm_tlb_gen=mm_tlb_gen)
        nr_entries = info.nr_entries if is_partial else TLB_FLUSH_ALL
        await _forget(kernel, cpu, info, nr_entries)
        context.tlb_gen = mm_tlb_gen
    reason = TLB_LOCAL_SHOOTDOWN if info.mm is None else TLB_LOCAL_MM_SHOOTDOWN
    emit_tlb_flush(kernel, reason if is_local else TLB_REMOTE_SHOOTDOWN, nr_entries)


async def _forget(kernel: Kernel, cpu: Cpu, info: FlushTlbInfo, nr_entries: int) -> None:
    """Drop the entries of a range, or all of the loaded address space."""
    await _step_tlb(kernel, cpu)
    state = kernel.tlb_states[cpu.index]
    pcid = state.pcid_of(state.loaded_asid)
    if nr_entries == TLB_FLUSH_ALL:
        kernel.hardware.flush_pcid(cpu.index, pcid)
        await kernel.engine.spend(kernel.costs.flush_all_ns)
        return
    for address in range(info.start, info.end, 1 << info.stride_shift):
        kernel.hardware.flush_page(cpu.index, pcid, address)
    await kernel.engine.spend(kernel.costs.flush_page_ns * nr_entries)


async def _step_tlb(kernel: Kernel, cpu: Cpu) -> None:
    if kernel.engine.wants_step():
        await kernel.engine.step(Label("flush tlb", ((tlb(cpu.index), Mode.WRITE),)))
