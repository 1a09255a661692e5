"""Operations on per-CPU memory, as a kernel module does them for a program (v6.1).

Their results go to the log as those of system calls do. Areas are the module's, which keeps them
when the program ends; all processes of a program know them by their names.
"""

import errno
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, assert_never

from attrs import define, field

from mmactors.actors.program.module.module_call import as_module
from mmactors.actors.program.thread import UserThread
from mmactors.actors.state.kernel import Kernel, ModulePercpu
from mmactors.actors.vmalloc.at_first_use import VmallocAtFirstUse
from mmactors.mm.page_alloc import gfp
from mmactors.mm.page_alloc.layout import MemoryLayout
from mmactors.mm.percpu.request import NO_POINTER
from mmactors.workload.operation import all as op
from mmactors.workload.operation.percpu import PercpuOperation

if TYPE_CHECKING:
    from mmactors.actors.percpu.allocator import PercpuAllocator

_GFP: Final = {
    "KERNEL": gfp.GFP_KERNEL,
    "ATOMIC": gfp.GFP_ATOMIC,
    "NOWAIT": gfp.GFP_NOWAIT,
    "NOWARN": gfp.GFP_KERNEL | gfp.GFP_NOWARN,
}


@define(eq=False, kw_only=True)
class PercpuCalls:
    """Runs operations on per-CPU memory for all threads of a machine."""

    kernel: Kernel
    vmalloc: VmallocAtFirstUse
    layout: MemoryLayout

    _allocator: "PercpuAllocator | None" = field(default=None, init=False)

    @property
    def allocator(self) -> "PercpuAllocator":
        """Per-CPU memory; a machine that asks for none does without its compiled functions."""
        if self._allocator is None:
            from mmactors.actors.percpu.allocator import PercpuAllocator  # noqa: PLC0415

            self._allocator = PercpuAllocator(
                kernel=self.kernel,
                slab=self.vmalloc.slab,
                vmalloc=self.vmalloc.get(),
                areas=self.layout.percpu_areas,
                cpu_node=self.layout.possible_cpu_node,
            )
        return self._allocator

    def perform(self, thread: UserThread, call: PercpuOperation) -> Coroutine[Any, Any, int]:
        """Do one operation and return its result; an oops ends the process."""
        return as_module(self.kernel, thread, partial(self._perform, thread, call))

    async def _perform(self, thread: UserThread, call: PercpuOperation) -> int:
        family, cpu, allocator = thread.process.family, thread.cpu, self.allocator
        owner, site = family.root.pid, f"{family.root.comm}.{call.verb}"
        reserved = False
        match call:
            case op.FreePercpu(percpu=name):
                await self._free(thread, name, site)
                return 0
            case op.PerCpuWrite() | op.PerCpuRead():
                return await self._access(thread, call)
            case op.AllocPercpu():
                mask = _GFP[call.gfp]
            case op.AllocReservedPercpu():
                mask, reserved = gfp.GFP_KERNEL, True
            case _:
                assert_never(call)
        pointer = await allocator.alloc(
            cpu, call.length, call.align, mask, site=site, reserved=reserved
        )
        is_held = pointer != NO_POINTER
        self.kernel.module_percpu[owner, call.name] = ModulePercpu(pointer, call.length, is_held)
        return -errno.ENOMEM if pointer == NO_POINTER else pointer

    async def _free(self, thread: UserThread, name: str, site: str) -> None:
        """Give back what a name means; nothing is free_percpu(NULL)."""
        owner = thread.process.family.root.pid
        area = self.kernel.module_percpu.get((owner, name))
        if area is None or area.pointer == NO_POINTER:
            return
        if not area.is_held:
            self.kernel.is_percpu_in_order = False
            if self.kernel.area_checks is not None:
                self.kernel.area_checks.percpu_freed_twice(name)
        area.is_held = False
        await self.allocator.free(thread.cpu, area.pointer, site=site)

    async def _access(self, thread: UserThread, call: op.PerCpuWrite | op.PerCpuRead) -> int:
        """Write or read a CPU's copy of what a name means, whether or not it still has it."""
        family, kernel, name = thread.process.family, self.kernel, call.percpu
        owner = family.root.pid
        area = kernel.module_percpu.get((owner, name))
        value = call.value if isinstance(call, op.PerCpuWrite) else None
        if area is None or area.pointer == NO_POINTER:
            return -errno.EINVAL  # Its allocation failed.
        if kernel.area_checks is not None:
            last = call.offset + call.length
            kernel.area_checks.percpu_used(
                name, is_held=area.is_held, is_inside=last <= area.nr_bytes
            )
        found = await self.allocator.access(
            thread.cpu, area.pointer, call.of, call.offset, call.length, value=value
        )
        if found is None:
            return -errno.EINVAL  # There is no such CPU.
        return found if value is None else 0
