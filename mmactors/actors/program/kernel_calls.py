"""What walkers and the kernel do by themselves: speculation, and mappings of the kernel's own.

A walker may translate any address at any time, for whatever address space its CPU has loaded, lazy
or not; what it finds it keeps. The kernel's mappings are made in init_mm; a new entry of the top
table goes to all address spaces under pgd_lock and the page_table_lock of each (sync_global_pgds,
arch/x86/mm/init_64.c, Linux 6.1).
"""

from collections.abc import Iterable
from typing import Final, assert_never

from mmactors.actors.alloc.page_alloc import alloc_pages, free_pages
from mmactors.actors.program.thread import UserThread
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.arch.pte import PRESENT
from mmactors.engine.cpu import Cpu
from mmactors.hw.hardware import REASON, STALE
from mmactors.label import PAGE_TABLES, Label, Mode, tlb
from mmactors.mm.area.vm_flags import page_align
from mmactors.mm.entries.tlb_state import LOADED_MM_SWITCHING
from mmactors.mm.page_alloc.alloc_site import (
    PTE_ALLOC_ONE_KERNEL,
    TABLE_SITES,
    VM_AREA_ALLOC_PAGES,
)
from mmactors.mm.page_alloc.buddy import MANAGED_PAGES
from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.page_table.page_table import (
    PTE_LEVEL,
    AllocTable,
    FreeTable,
)
from mmactors.mm.vmalloc.kernel_mapping import VMALLOC_START, pgd_index, set_kernel_pte, sync_pgd
from mmactors.rules import held
from mmactors.units import PAGE_SHIFT, PAGE_SIZE
from mmactors.workload.operation import all as op

KernelOperation = op.Prefetch | op.Vmalloc

_ENOMEM: Final = -12
_WRITE_TABLES: Final = Label("map kernel page", ((PAGE_TABLES, Mode.WRITE),))
_READ_PGD: Final = Label("read kernel pgd", ((PAGE_TABLES, Mode.READ),))
_SYNC_PGD: Final = Label("sync pgd", ((PAGE_TABLES, Mode.WRITE),))


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
    engine = kernel.engine
    table = kernel.init_mm.page_table
    nr_managed = sum(zone.view[MANAGED_PAGES] for zone in kernel.allocator.zones)
    length = page_align(length)
    if not length or length >> PAGE_SHIFT > nr_managed:
        return _ENOMEM
    start = VMALLOC_START + kernel.vmalloc_bytes
    kernel.vmalloc_bytes += -(-length // PAGE_SIZE) * PAGE_SIZE
    mapped: list[tuple[int, int]] = []
    for address in range(start, start + length, PAGE_SIZE):
        await engine.step(_READ_PGD)
        is_new = not kernel.memory.view[pgd_index(table, address)] & PRESENT
        pfn = await alloc_pages(kernel, cpu, 0, GFP_KERNEL | GFP_ZERO, site=VM_AREA_ALLOC_PAGES)
        index = None if pfn is None else await _alloc_kernel_tables(kernel, cpu, address)
        if pfn is None or index is None:
            await _vunmap(kernel, cpu, mapped)
            if pfn is not None:
                await free_pages(kernel, cpu, pfn, 0)
            return _ENOMEM
        await engine.step(_WRITE_TABLES)
        set_kernel_pte(table, index, pfn)
        mapped.append((index, pfn))
        if is_new:
            await sync_global_pgds(kernel, cpu, address)
    return 0


async def _vunmap(kernel: Kernel, cpu: Cpu, mapped: Iterable[tuple[int, int]]) -> None:
    """Take back what a vmalloc has mapped that fails: words of entries, and pages (__vunmap).

    The tables stay. Nobody knew the addresses yet, so that no TLB has to forget them.
    """
    for index, pfn in mapped:
        await kernel.engine.step(_WRITE_TABLES)
        kernel.memory.view[index] = 0
        await free_pages(kernel, cpu, pfn, 0)


async def sync_global_pgds(kernel: Kernel, cpu: Cpu, address: int) -> None:
    """Copy init_mm's top-level entry for `address` to all address spaces."""
    with held(cpu.irqs_off(), when=not kernel.rules.pgd_lock_keeps_interrupts_on):
        async with kernel.pgd_lock:
            for space in list(kernel.spaces.values()):
                async with space.page_table_lock:
                    await kernel.engine.step(_SYNC_PGD)
                    sync_pgd(space.mm.page_table, kernel.init_mm.page_table, address)


async def _alloc_kernel_tables(kernel: Kernel, cpu: Cpu, address: int) -> int | None:
    """Add the kernel tables missing above an address; return the index of its PTE."""
    lock = kernel.init_mm_lock

    async def before(_request: AllocTable | FreeTable | Label | None) -> None:
        await lock.acquire()
        await kernel.engine.step(_WRITE_TABLES)

    async def answer(request: AllocTable | FreeTable | Label) -> int | None:
        await lock.release()
        match request:
            case AllocTable(level=level):  # The kernel's own tables are in no counter.
                site = PTE_ALLOC_ONE_KERNEL if level == PTE_LEVEL else TABLE_SITES[level - 1]
                return await alloc_pages(kernel, cpu, 0, GFP_KERNEL | GFP_ZERO, site=site)
            case FreeTable(pfn=pfn):
                await free_pages(kernel, cpu, pfn, 0)
            case Label():
                await kernel.engine.step(request)
            case _:
                assert_never(request)
        return None

    index = await perform(kernel.init_mm.page_table.alloc(address), answer, before=before)
    await lock.release()
    return index
