"""What walkers do by themselves: speculation.

A walker may translate any address at any time, for whatever address space its CPU has loaded, lazy
or not; what it finds it keeps.
"""

from mmactors.actors.program.thread import UserThread
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.hw.hardware import REASON, STALE
from mmactors.label import PAGE_TABLES, Label, Mode, tlb
from mmactors.mm.entries.tlb_state import LOADED_MM_SWITCHING
from mmactors.workload.operation import all as op


async def perform_prefetch(kernel: Kernel, thread: UserThread, operation: op.Prefetch) -> int:
    """Let a walker translate the first address of a range; return 0."""
    bound = operation.range.resolve(thread.process.bindings)
    if bound is not None:
        await prefetch(kernel, kernel.cpus[operation.cpu], bound[0])
    return 0


async def prefetch(kernel: Kernel, cpu: Cpu, address: int) -> None:
    """Let the walker of `cpu` translate an address, and keep what it finds.

    Nothing happens behind the end of user addresses, nor while the CPU is between two address
    spaces. Linux 6.1 takes it out of the first one's mm_cpumask some instructions before it loads
    CR3, and relies on walkers being idle there.
    """
    engine = kernel.engine
    touches = (
        (tlb(cpu.index), Mode.WRITE),
        (PAGE_TABLES, Mode.WRITE),
        (cpu.name, Mode.READ),
    )
    await engine.step(Label(f"prefetch {address:#x}", touches))
    if kernel.tlb_states[cpu.index].loaded_mm is LOADED_MM_SWITCHING:
        return
    if address >= kernel.init_mm.task_size:
        return
    with engine.guard.suspended():
        kernel.hardware.prefetch(cpu.index, address, now_ns=cpu.clock.now)
    if kernel.hardware.stop[REASON] == STALE:
        assert kernel.checks is not None, "somebody watches translations"
        kernel.checks.stale_translation(cpu.index)
