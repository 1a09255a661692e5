"""Operations on the kernel's own mappings, as a kernel module does them for a program (v6.1).

Their results go to the log as those of system calls do. Areas are the module's, which keeps them
when the program ends; all processes of a program know them by their names. What a module gives back
that it never had is the kernel's to find, but for what it knows that it was not given.
"""

import errno
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, assert_never

from attrs import define

from mmactors.actors.program.module.module_call import as_module, smp_call_function_single
from mmactors.actors.program.thread import UserThread
from mmactors.actors.slab.tell import pointer_of
from mmactors.actors.state.kernel import Kernel, ModulePages
from mmactors.actors.vmalloc.at_first_use import ModuleArea, VmallocAtFirstUse
from mmactors.actors.vmalloc.pointer import signed_pointer, thing_at
from mmactors.engine.cpu import Cpu
from mmactors.mm.page_alloc import gfp
from mmactors.mm.vmalloc.vm_struct import VM_IOREMAP
from mmactors.units import PAGE_SHIFT, PAGE_SIZE
from mmactors.workload.operation import all as op
from mmactors.workload.operation.vmalloc import VmallocOperation

_GFP: Final = {
    "KERNEL": gfp.GFP_KERNEL,
    "KERNEL_ACCOUNT": gfp.GFP_KERNEL_ACCOUNT,
    "NOWARN": gfp.GFP_KERNEL | gfp.GFP_NOWARN,
    "THISNODE": gfp.GFP_KERNEL | gfp.GFP_THISNODE,
}
_Maps = op.Vmalloc | op.Vzalloc | op.Vmap | op.VmMapRam | op.GetVmArea
_Unmaps = op.Vfree | op.Vunmap | op.VmUnmapRam | op.FreeVmArea


@define(eq=False, kw_only=True)
class VmallocCalls:
    """Runs operations on areas for all threads of a machine."""

    kernel: Kernel
    vmalloc: VmallocAtFirstUse

    def perform(self, thread: UserThread, call: VmallocOperation) -> Coroutine[Any, Any, int]:
        """Do one operation and return its result; an oops ends the process."""
        return as_module(self.kernel, thread, partial(self._perform, thread, thread.cpu, call))

    async def _perform(self, thread: UserThread, cpu: Cpu, call: VmallocOperation) -> int:
        match call:
            case op.VmUnmapAliases():
                await self.vmalloc.get().vm_unmap_aliases(cpu)
                return 0
            case op.Vmalloc() | op.Vzalloc() | op.Vmap() | op.VmMapRam() | op.GetVmArea():
                return await self._map(thread, cpu, call)
            case op.Vfree() | op.Vunmap() | op.VmUnmapRam() | op.FreeVmArea():
                return await self._unmap(thread, cpu, call)
            case _:
                assert_never(call)

    async def _map(self, thread: UserThread, cpu: Cpu, call: _Maps) -> int:
        """Let the kernel map something, and know it by a name."""
        vmalloc, caller = self.vmalloc.get(), f"{thread.process.family.root.comm}.{call.verb}"
        block: ModulePages | None = None
        match call:
            case op.Vmalloc(length=size, align=align, node=node):
                address = await vmalloc.vmalloc(
                    cpu, size, _GFP[call.gfp], caller=caller, align=align, node=node
                )
            case op.Vzalloc(length=size, node=node):
                mask = gfp.GFP_KERNEL | gfp.GFP_ZERO
                address = await vmalloc.vmalloc(cpu, size, mask, caller=caller, node=node)
            case op.GetVmArea(length=size, flags=flags):
                bits = VM_IOREMAP if flags else 0
                address = await vmalloc.get_vm_area(cpu, size, bits, caller=caller)
            case op.Vmap(count=count) | op.VmMapRam(count=count):
                block = thread.process.family.blocks.get(call.block)
                if block is None or not block.is_held or (count or 1) > 1 << block.order:
                    return -errno.EINVAL  # These pages are not the module's.
                pfns = range(block.pfn, block.pfn + (count or 1 << block.order))
                size = len(pfns) << PAGE_SHIFT
                if isinstance(call, op.Vmap):
                    address = await vmalloc.vmap(cpu, pfns, caller=caller)
                else:
                    address = await vmalloc.vm_map_ram(cpu, pfns, call.node)
            case _:
                assert_never(call)
        return self._bind(thread, call, address, size, block)

    def _bind(
        self, thread: UserThread, call: _Maps, address: int, size: int, block: ModulePages | None
    ) -> int:
        family, kernel, name = thread.process.family, self.kernel, call.name
        if name is None:
            return 0 if address else -errno.ENOMEM
        thing = thing_at(address) if address else 0
        family.objects[name] = thing
        self.vmalloc.module_areas[address] = ModuleArea(-(-size // PAGE_SIZE), block)
        checks = kernel.slab.memory.checks
        if checks is not None:
            checks.object_named(family.root.pid, name, 0, 0)
        if kernel.area_checks is not None:
            kernel.area_checks.area_named(family.root.pid, name, address, size, call.verb)
        return pointer_of(thing) if address else -errno.ENOMEM

    async def _unmap(self, thread: UserThread, cpu: Cpu, call: _Unmaps) -> int:
        """Let the kernel unmap what a name means."""
        family, vmalloc = thread.process.family, self.vmalloc.get()
        address = signed_pointer(family.objects.get(call.area, 0))
        if not address and isinstance(call, op.VmUnmapRam | op.FreeVmArea):
            return -errno.EINVAL  # Its allocation failed.
        if self.kernel.area_checks is not None:
            self.kernel.area_checks.area_freed(family.root.pid, call.area, call.verb)
        match call:
            case op.Vfree(smp_call=number):
                if number is None or not address:
                    await vmalloc.vfree(cpu, address)
                else:
                    await self._vfree_on(cpu, self.kernel.cpus[number], address)
            case op.Vunmap():
                await vmalloc.vunmap(cpu, address)
            case op.VmUnmapRam():
                area = self.vmalloc.module_areas.get(address)
                await vmalloc.vm_unmap_ram(cpu, address, 1 if area is None else area.nr_pages)
            case op.FreeVmArea():
                await vmalloc.free_vm_area(cpu, address)
            case _:
                assert_never(call)
        return 0

    async def _vfree_on(self, cpu: Cpu, target: Cpu, address: int) -> None:
        """Let an interrupt of a CPU free an area."""

        async def function(own: Cpu) -> None:
            await self.vmalloc.get().vfree(own, address)

        await smp_call_function_single(self.kernel, cpu, target, function)
