"""Which address space a CPU translates through (arch/x86/mm/tlb.c, Linux 6.1).

A CPU stands in mm_cpumask of the address space that it has loaded, also while it is lazy. The bit
is set before tlb_gen is read and CR3 loaded: who raises tlb_gen after that finds the bit. Left
out: mitigations, LDT, membarrier.

Touched here: `mm_cpumask[ctx_id]`, `tlb_gen[ctx_id]`, `tlb[cpu]`; what a CPU has loaded and whether
it is lazy (struct tlb_state) belongs to the object `cpu<n>`, as its interrupts do.
"""

from typing import Final

from mmactors.actors.state.kernel import Kernel, LateStore
from mmactors.arch.memory import Words
from mmactors.engine.cpu import Cpu
from mmactors.engine.guard import Guard
from mmactors.events import TlbFlush
from mmactors.label import (
    MM_CPUMASK,
    TLB_FLUSH_PENDING,
    TLB_GEN,
    Label,
    Mode,
    mm_cpumask,
    tlb,
    tlb_gen,
)
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.entries.tlb_state import LOADED_MM_SWITCHING, TLB_FLUSH_ALL, Switched

_NAMES: Final = (MM_CPUMASK, TLB_GEN, TLB_FLUSH_PENDING)
"""By index in MmStruct.flushing."""

TLB_FLUSH_ON_TASK_SWITCH: Final = 0
TLB_REMOTE_SHOOTDOWN: Final = 1
TLB_LOCAL_SHOOTDOWN: Final = 2
TLB_LOCAL_MM_SHOOTDOWN: Final = 3
TLB_REMOTE_SEND_IPI: Final = 4
"""Reasons of the tracepoint tlb_flush (include/linux/mm_types.h)."""


class GuardedFlushing:
    """An address space's words `mm_cpumask`, `tlb_gen`, `tlb_flush_pending`, each guarded."""

    def __init__(self, words: Words, ctx_id: int, guard: Guard) -> None:
        self._words: Final = words
        self._ctx_id: Final = ctx_id
        self._guard: Final = guard

    def __getitem__(self, index: int, /) -> int:
        self._guard.check(_NAMES[index], self._ctx_id, Mode.READ)
        return self._words[index]

    def __setitem__(self, index: int, value: int, /) -> None:
        self._guard.check(_NAMES[index], self._ctx_id, Mode.WRITE)
        self._words[index] = value


async def switch_mm(kernel: Kernel, cpu: Cpu, mm: MmStruct) -> None:
    """Make a CPU translate through the page tables of `mm`, for a thread that runs on it now."""
    with cpu.irqs_off():
        await switch_mm_irqs_off(kernel, cpu, mm)


async def switch_mm_irqs_off(kernel: Kernel, cpu: Cpu, mm: MmStruct) -> None:
    """Load an address space, or go on with the one that is loaded; flush what is out of date."""
    engine = kernel.engine
    state = kernel.tlb_states[cpu.index]
    if engine.wants_step():
        await engine.step(Label("begin switch_mm", ((cpu.name, Mode.WRITE),)))
    before = state.loaded_mm
    assert before is not LOADED_MM_SWITCHING, f"cpu{cpu.index} is switching already"
    was_lazy, state.is_lazy = state.is_lazy, False
    if before is mm:
        if not was_lazy:
            return
        mm_tlb_gen = await _read_tlb_gen(kernel, mm)
        if state.loaded_context.tlb_gen == mm_tlb_gen:
            return
        switched = Switched(state.loaded_asid, needs_flush=True)
    else:
        state.loaded_mm = LOADED_MM_SWITCHING
        if before is not kernel.init_mm:
            await _leave_cpumask(kernel, cpu, before)
        if mm is not kernel.init_mm:
            await _enter_cpumask(kernel, cpu, mm)
        mm_tlb_gen = await _read_tlb_gen(kernel, mm)
        switched = state.choose_new_asid(mm, mm_tlb_gen)
    if engine.wants_step():
        await engine.step(Label("load cr3", ((tlb(cpu.index), Mode.WRITE),)))
    pcid = state.use(mm, switched, mm_tlb_gen)
    if switched.needs_flush:
        kernel.hardware.flush_pcid(cpu.index, pcid)
    kernel.hardware.load_cr3(cpu.index, mm.page_table.pgd_pfn, pcid)
    emit_tlb_flush(kernel, TLB_FLUSH_ON_TASK_SWITCH, TLB_FLUSH_ALL if switched.needs_flush else 0)
    if engine.wants_step():
        await engine.step(Label("end switch_mm", ((cpu.name, Mode.WRITE),)))
    state.loaded_mm = mm
    state.loaded_asid = switched.asid


def enter_lazy_tlb(kernel: Kernel, cpu: Cpu) -> None:
    """Note that the CPU goes on without an address space of its own: idle, or at a thread's end."""
    state = kernel.tlb_states[cpu.index]
    if state.loaded_mm is not kernel.init_mm:
        state.is_lazy = True


def emit_tlb_flush(kernel: Kernel, reason: int, pages: int) -> None:
    """Emit the tracepoint tlb_flush."""
    if kernel.probe.on:
        kernel.probe.emit(TlbFlush(reason=reason, pages=pages))


async def _read_tlb_gen(kernel: Kernel, mm: MmStruct) -> int:
    if kernel.engine.wants_step():
        label = Label("read tlb_gen", ((tlb_gen(mm.ctx_id), Mode.READ),))
        await kernel.engine.step(label)
    return mm.tlb_gen


async def _enter_cpumask(kernel: Kernel, cpu: Cpu, mm: MmStruct) -> None:
    """Set this CPU's bit; a store that no barrier orders waits in the CPU's store buffer."""
    store = LateStore(cpu.index, mm)
    if kernel.rules.switch_mm_orders_cpumask:
        await _commit(kernel, store)
    else:
        kernel.late_stores.append(store)
        name = f"store {len(kernel.late_stores)} of {cpu.name}"
        kernel.engine.spawn(name, _commit(kernel, store), daemon=False)


async def _leave_cpumask(kernel: Kernel, cpu: Cpu, mm: MmStruct) -> None:
    """Clear this CPU's bit; being locked, the instruction commits all stores before it."""
    for store in kernel.late_stores:
        if store.cpu == cpu.index:
            await _commit(kernel, store)
    await _step_cpumask(kernel, mm, "leave")
    mm.mm_cpumask &= ~(1 << cpu.index)


async def _commit(kernel: Kernel, store: LateStore) -> None:
    """Let all CPUs see a bit of mm_cpumask."""
    if store.is_done:
        return
    await _step_cpumask(kernel, store.mm, "enter")
    if not store.is_done:
        store.is_done = True
        store.mm.mm_cpumask |= 1 << store.cpu


async def _step_cpumask(kernel: Kernel, mm: MmStruct, what: str) -> None:
    if kernel.engine.wants_step():
        label = Label(f"{what} mm_cpumask", ((mm_cpumask(mm.ctx_id), Mode.WRITE),))
        await kernel.engine.step(label)
