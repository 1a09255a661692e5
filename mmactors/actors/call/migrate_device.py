"""Offering memory to a device (mm/migrate_device.c, Linux 6.1): mmap_lock around what mm/ does."""

from mmactors.actors.fault.page_work import perform_page_work
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.label import Label, Mode, areas
from mmactors.mm.migrate.migrate_device import migrate_vma


async def migrate_range(kernel: Kernel, cpu: Cpu, space: AddressSpace, start: int, end: int) -> int:
    """Collect the pages of `[start, end)` and put them back; return how many there were."""
    mm = space.mm
    nr_collected = 0
    async with space.mmap_lock.read():
        if kernel.engine.wants_step():
            await kernel.engine.step(Label("read areas", ((areas(mm.ctx_id), Mode.READ),)))
        for vma in mm.tree.in_range(start, end):
            steps = migrate_vma(
                kernel.fault_context(cpu),
                mm,
                vma,
                start=max(start, vma.vm_start),
                end=min(end, vma.vm_end),
                flushes_under_ptl=kernel.rules.migrate_collect_flushes_under_ptl,
            )
            nr_collected += await perform_page_work(kernel, cpu, space, steps)
    return nr_collected
