"""What walkers and the kernel do by themselves: speculation, and mappings of the kernel's own.

A walker may translate any address at any time, for whatever address space its CPU has loaded, lazy
or not; what it finds it keeps.
"""

from typing import Final

from mmactors.actors.alloc.page_alloc import alloc_pages, free_pages
from mmactors.actors.program.thread import UserThread
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.vmalloc.mapping import vmap_pages_range, vunmap_range_noflush
from mmactors.engine.cpu import Cpu
from mmactors.hw.hardware import REASON, STALE
from mmactors.label import PAGE_TABLES, Label, Mode, tlb
from mmactors.mm.area.vm_flags import page_align
from mmactors.mm.entries.tlb_state import LOADED_MM_SWITCHING
from mmactors.mm.page_alloc.alloc_site import VM_AREA_ALLOC_PAGES
from mmactors.mm.page_alloc.buddy import MANAGED_PAGES
from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.vmalloc.kernel_mapping import VMALLOC_START
from mmactors.units import PAGE_SHIFT
from mmactors.workload.operation import all as op

KernelOperation = op.Prefetch | op.Vmalloc

_ENOMEM: Final = -12


async def perform_kernel(kernel: Kernel, thread: UserThread, operation: KernelOperation) -> int:
    """Do an operation that no program can ask for; return 0, or minus the errno."""
    match operation:
        case op.Prefetch():
            bound = operation.range.resolve(thread.process.bindings)
            if bound is not None:
                await prefetch(kernel, kernel.cpus[operation.cpu], bound[0])
            return 0
        case op.Vmalloc():
            return await vmalloc(kernel, thread.cpu, operation.length)


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


async def vmalloc(kernel: Kernel, cpu: Cpu, length: int) -> int:
    """Map pages of the kernel's own; return 0, or -ENOMEM, and then nothing stays mapped.

    ENOMEM at once: nothing is asked for, or more than there is memory (__vmalloc_node_range).
    """
    nr_managed = sum(zone.view[MANAGED_PAGES] for zone in kernel.allocator.zones)
    length = page_align(length)
    if not length or length >> PAGE_SHIFT > nr_managed:
        return _ENOMEM
    start = VMALLOC_START + kernel.vmalloc_bytes
    kernel.vmalloc_bytes += length
    pfns: list[int] = []
    is_mapped = False
    for _ in range(length >> PAGE_SHIFT):
        pfn = await alloc_pages(kernel, cpu, 0, GFP_KERNEL | GFP_ZERO, site=VM_AREA_ALLOC_PAGES)
        if pfn is None:
            break
        pfns.append(pfn)
    else:
        is_mapped = await vmap_pages_range(kernel, cpu, start, pfns)
    if is_mapped:
        return 0
    # The tables stay. Nobody knew the addresses yet, so that no TLB has to forget them.
    await vunmap_range_noflush(kernel, start, start + length)
    for pfn in pfns:
        await free_pages(kernel, cpu, pfn, 0)
    return _ENOMEM
