"""System calls on the address space: mmap, munmap, brk, and exit (mm/mmap.c, Linux 6.1).

mmap_lock is held for writing. Taking pages away is actors/unmap.py.
"""

from collections.abc import Callable

from mmactors.actors.address_space import CHANGE_AREAS, AddressSpace, free_table
from mmactors.actors.kernel import Kernel
from mmactors.actors.rmap_locks import answer_rmap, rmap_label
from mmactors.actors.tlb import shoot_lazy_tlbs
from mmactors.actors.unmap import unmap_region
from mmactors.engine.cpu import Cpu
from mmactors.events import VmUnmappedArea
from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.mmap import MmapRequest, MmapSteps
from mmactors.mm.munmap import UnmapRegion, exit_mmap
from mmactors.mm.unmapped_area import AreaSearched
from mmactors.mm.vma_adjust import RmapRequest


async def change_mappings(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, steps: Callable[[MmStruct], MmapSteps]
) -> int:
    """Do what `steps` says with mmap_lock held for writing; return its result."""
    async with space.mmap_lock.write():
        await kernel.engine.spend(kernel.costs.mmap_ns)
        return await _perform(kernel, cpu, space, steps(space.mm))


async def exit_mm(kernel: Kernel, cpu: Cpu, space: AddressSpace) -> None:
    """Give everything back when the last thread has ended (exit_mmap, mmdrop)."""
    mm = space.mm
    await change_mappings(kernel, cpu, space, exit_mmap)
    await shoot_lazy_tlbs(kernel, cpu, mm)
    del kernel.spaces[mm.ctx_id]
    pgd = mm.page_table.free_pgd()
    mm.page_table.release(pgd)
    await free_table(kernel, cpu, pgd.pfn)


async def _perform(kernel: Kernel, cpu: Cpu, space: AddressSpace, steps: MmapSteps) -> int:
    engine = kernel.engine
    request: MmapRequest | None = None
    while True:
        if engine.wants_step():
            label = CHANGE_AREAS
            if isinstance(request, RmapRequest):
                label = rmap_label(space, request, CHANGE_AREAS)
            await engine.step(label)
        try:
            request = next(steps)
        except StopIteration as done:
            result: int = done.value
            return result
        match request:
            case AreaSearched(address=address, length=length, flags=flags):
                if kernel.probe.on:
                    kernel.probe.emit(VmUnmappedArea(address=address, length=length, flags=flags))
            case UnmapRegion():
                await unmap_region(kernel, cpu, space, request)
            case _ if isinstance(request, RmapRequest):
                await answer_rmap(kernel, space, request)
