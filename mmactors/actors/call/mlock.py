"""Locking the pages of an area that are present (mm/mlock.c, Linux 6.1)."""

from mmactors.actors.alloc.lru_add_drain import free_released, lru_add_drain
from mmactors.actors.entries.change_ptes import entry_touches
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.label import Label, Mode
from mmactors.mm.lru.mlock_pages import mlock_pte_range
from mmactors.mm.syscall.mlock import LockPages


async def mlock_vma_pages_range(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, request: LockPages
) -> None:
    """Let pages count as locked, or no more; the caller holds mmap_lock for writing."""
    engine = kernel.engine
    table = space.mm.page_table
    lru = kernel.lru[cpu.index]
    await lru_add_drain(kernel, cpu)
    if engine.wants_step():
        for step in table.find_tables_step(request.start, request.end):
            await engine.step(step)
    for leaves in list(table.leaf_ranges(request.start, request.end)):
        async with space.pte_lockptr(leaves.index):
            if engine.wants_step():
                text = "lock pages" if request.is_locked else "unlock pages"
                await engine.step(Label(text, entry_touches(kernel, leaves, Mode.READ)))
            mlock_pte_range(kernel.memory, lru, leaves, is_locked=request.is_locked)
            if lru.released:
                await free_released(kernel, cpu, lru)
    await lru_add_drain(kernel, cpu)
