"""Operations on pages, as a kernel module does them for a program (mm/page_alloc.c, Linux 6.1).

Their results go to the log as those of system calls do. A block belongs to the module, which keeps
it when the program ends: memory in use, that nobody has lost. All processes of a program know it by
its name, which means the block that was bound to it last; the one before stays the module's.
"""

import errno
from typing import Final, assert_never

from attrs import define

from mmactors.actors.alloc.memory_hotplug import offline_pages, online_pages
from mmactors.actors.alloc.page_alloc import alloc_pages, drain_all_pages, free_pages
from mmactors.actors.alloc.page_isolation import start_isolate_page_range, undo_isolate_page_range
from mmactors.actors.program.thread import UserThread
from mmactors.actors.state.kernel import Kernel, ModulePages
from mmactors.arch.page import PG_MOVABLE_OPS
from mmactors.label import Label, Mode, page
from mmactors.mm.page_alloc import gfp
from mmactors.mm.page_alloc.buddy import PAGEBLOCK_PAGES
from mmactors.mm.page_alloc.gfp import ZONE_MOVABLE
from mmactors.workload.operation import all as op

PageOperation = (
    op.AllocPages
    | op.FreePages
    | op.DrainAllPages
    | op.StartIsolatePageRange
    | op.UndoIsolatePageRange
    | op.OfflinePages
    | op.OnlinePages
)

_GFP: Final = {
    "KERNEL": gfp.GFP_KERNEL,
    "ATOMIC": gfp.GFP_ATOMIC,
    "NOWAIT": gfp.GFP_NOWAIT,
    "USER": gfp.GFP_USER,
    "HIGHUSER": gfp.GFP_HIGHUSER,
    "HIGHUSER_MOVABLE": gfp.GFP_HIGHUSER_MOVABLE,
    "RECLAIMABLE": gfp.GFP_KERNEL | gfp.GFP_RECLAIMABLE,
}


@define(eq=False, kw_only=True)
class PageCalls:
    """Runs operations on pages for all threads of a machine."""

    kernel: Kernel

    async def perform(self, thread: UserThread, call: PageOperation) -> int:
        """Do one operation and return its result."""
        kernel, cpu = self.kernel, thread.cpu
        await kernel.engine.spend(kernel.costs.syscall_ns)
        match call:
            case op.AllocPages():
                return await self._alloc(thread, call)
            case op.DrainAllPages():
                await drain_all_pages(kernel, cpu)
                return 0
            case op.OnlinePages():
                zone = kernel.allocator.zones[-1]
                if zone.index != ZONE_MOVABLE:
                    return -errno.ENODEV  # No memory was plugged in.
                async with kernel.mem_hotplug_lock.write():
                    return await online_pages(kernel, cpu, zone)
        block = thread.process.family.blocks.get(call.block)
        if block is None:
            return -errno.EINVAL  # Its allocation failed.
        zone = kernel.allocator.zone_of(block.pfn)
        start_pfn = block.pfn & ~(PAGEBLOCK_PAGES - 1)
        end_pfn = ((block.pfn + (1 << block.order) - 1) | (PAGEBLOCK_PAGES - 1)) + 1
        match call:
            case op.FreePages():
                return await self._free(thread, block)
            case op.StartIsolatePageRange():
                return await start_isolate_page_range(kernel, cpu, zone, start_pfn, end_pfn)
            case op.UndoIsolatePageRange():
                await undo_isolate_page_range(kernel, cpu, zone, start_pfn, end_pfn)
                return 0
            case op.OfflinePages():
                async with kernel.mem_hotplug_lock.write():
                    return await offline_pages(kernel, cpu, zone, start_pfn, end_pfn)
            case _:
                assert_never(call)

    async def _alloc(self, thread: UserThread, call: op.AllocPages) -> int:
        kernel = self.kernel
        mask = _GFP[call.gfp] | (gfp.GFP_COMP if call.comp else 0)
        pfn = await alloc_pages(kernel, thread.cpu, call.order, mask)
        if pfn is None:
            return -errno.ENOMEM
        if call.movable:
            if kernel.engine.wants_step():
                label = Label(f"set movable {pfn:#x}", ((page(pfn), Mode.WRITE),))
                await kernel.engine.step(label)
            kernel.pages.flags_view[pfn] |= PG_MOVABLE_OPS
        block = ModulePages(pfn, call.order)
        kernel.module_pages.append(block)
        thread.process.family.blocks[call.name] = block
        return pfn

    async def _free(self, thread: UserThread, block: ModulePages) -> int:
        if not block.is_held:
            return -errno.EINVAL  # It was freed before.
        block.is_held = False
        await free_pages(self.kernel, thread.cpu, block.pfn, block.order)
        return 0
