"""Operations on caches and their objects, as a kernel module does them for a program (v6.1).

Their results go to the log as those of system calls do. Caches and objects are the module's, which
keeps them when the program ends. All processes of a program know them by their names.
"""

import errno
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, assert_never

from attrs import define

from mmactors.actors.program.module.module_call import as_module, smp_call_function_single
from mmactors.actors.program.thread import UserThread
from mmactors.actors.slab.slab import SlabAllocator, Who
from mmactors.actors.slab.tell import pointer_of
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.vmalloc.at_first_use import VmallocAtFirstUse
from mmactors.actors.vmalloc.pointer import signed_pointer
from mmactors.engine.cpu import Cpu
from mmactors.mm.page_alloc import gfp
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.slab.slab_common import ZERO_SIZE_PTR, CacheRequest
from mmactors.units import JIFFY_NS
from mmactors.workload.operation import all as op
from mmactors.workload.operation.slab import SlabOperation

_GFP: Final = {
    "KERNEL": gfp.GFP_KERNEL,
    "ATOMIC": gfp.GFP_ATOMIC,
    "NOWAIT": gfp.GFP_NOWAIT,
    "KERNEL_ACCOUNT": gfp.GFP_KERNEL_ACCOUNT,
    "RECLAIMABLE": gfp.GFP_KERNEL | gfp.GFP_RECLAIMABLE,
    "DMA": gfp.GFP_KERNEL | gfp.GFP_DMA,
    "THISNODE": gfp.GFP_KERNEL | gfp.GFP_THISNODE,
}
_OnObjects = (
    op.KmemCacheAlloc | op.KmemCacheFree | op.KmemCacheShrink | op.KmemCacheDestroy
    | op.Kmalloc | op.Kzalloc | op.Krealloc | op.Kfree | op.Poke | op.Peek
)  # fmt: skip


@define(eq=False, kw_only=True)
class SlabCalls:
    """Runs operations on caches and objects for all threads of a machine."""

    kernel: Kernel
    slab: SlabAllocator
    vmalloc: VmallocAtFirstUse

    def perform(self, thread: UserThread, call: SlabOperation) -> Coroutine[Any, Any, int]:
        """Do one operation and return its result; an oops ends the process."""
        number = getattr(call, "smp_call", None)
        if number is None:
            work = partial(self._perform, thread, thread.cpu, call)
            return as_module(self.kernel, thread, work)
        work = partial(self._smp_call, thread, self.kernel.cpus[number], call)
        return as_module(self.kernel, thread, work, may_preempt=False)

    async def _smp_call(self, thread: UserThread, target: Cpu, call: SlabOperation) -> int | None:
        """Let a CPU do an operation with interrupts off."""
        results: list[int | None] = []

        async def function(cpu: Cpu) -> None:
            results.append(await self._perform(thread, cpu, call))

        await smp_call_function_single(self.kernel, thread.cpu, target, function)
        return results[0]

    async def _perform(self, thread: UserThread, cpu: Cpu, call: SlabOperation) -> int | None:
        """Do one operation on a CPU; None: the kernel has died of it, or would of the next one."""
        engine = self.kernel.engine

        def who() -> SlabCaller:
            return SlabCaller(
                site=f"{thread.process.family.root.comm}.{call.verb}",
                pid=engine.current.tid or 0,
                jiffies=cpu.clock.now // JIFFY_NS,
            )

        try:
            if isinstance(call, op.KmemCacheCreate):
                return await self._create(thread, call, who)
            return await self._do(thread, cpu, call, who)
        except KernelOopsError as error:
            self.slab.oops(error)
            return None

    async def _do(self, thread: UserThread, cpu: Cpu, call: _OnObjects, who: Who) -> int:
        slab, family = self.slab, thread.process.family
        match call:
            case op.Kmalloc(name=name, node=node) | op.Kzalloc(name=name, node=node):
                mask = _GFP[call.gfp] | (gfp.GFP_ZERO if isinstance(call, op.Kzalloc) else 0)
                thing = await slab.kmalloc(cpu, call.length, mask, who, node=node)
                return self._bind(thread, name, thing, call.length)
            case op.Kfree(object=name):
                self._tell_freed(thread, name)
                await slab.kfree(cpu, family.objects.get(name, 0), who)
                return 0
            case op.Krealloc(object=name):
                old = family.objects.get(name, 0)
                if old > ZERO_SIZE_PTR:
                    self._tell_freed(thread, name)
                thing = await slab.krealloc(cpu, old, call.length, _GFP[call.gfp], who)
                # Where there is no memory the old one stays.
                return self._bind(thread, name, thing, call.length) if thing else -errno.ENOMEM
            case op.Poke() | op.Peek():
                return await self._access(thread, cpu, call)
        s = family.caches.get(call.cache)
        if s is None:
            return -errno.EINVAL  # It could not be made, or is gone.
        match call:
            case op.KmemCacheAlloc(name=name, node=node):
                thing = await slab.kmem_cache_alloc(cpu, s, _GFP[call.gfp], who, node=node)
                return self._bind(thread, name, thing, s.object_size)
            case op.KmemCacheFree(object=name):
                thing = family.objects.get(name, 0)
                if not thing:
                    return -errno.EINVAL  # Its allocation failed.
                self._tell_freed(thread, name)
                await slab.kmem_cache_free(cpu, s, thing, who)
                return 0
            case op.KmemCacheShrink():
                return int(await slab.kmem_cache_shrink(cpu, s))
            case op.KmemCacheDestroy():
                del family.caches[call.cache]
                return 0 if await slab.kmem_cache_destroy(cpu, s, who) else -errno.EBUSY
            case _:
                assert_never(call)

    async def _create(self, thread: UserThread, call: op.KmemCacheCreate, who: Who) -> int:
        request = CacheRequest(
            name=call.name, object_size=call.length, align=call.align, flags=int(call.flags)
        )
        s = await self.slab.kmem_cache_create(thread.cpu, request, who)
        if s is None:
            return self.slab.allocator.why_not(request)
        thread.process.family.caches[call.name] = s
        return 0

    async def _access(self, thread: UserThread, cpu: Cpu, call: op.Poke | op.Peek) -> int:
        """Write or read beside an object, whether or not the program still has it."""
        family = thread.process.family
        name, checks = call.object, self.slab.allocator.memory.checks
        if name not in family.objects:
            return -errno.EINVAL  # It was never allocated.
        value = call.value if isinstance(call, op.Poke) else None

        def seen() -> None:
            if checks is not None:
                is_write = value is not None
                owner, offset = family.root.pid, call.offset
                checks.name_used(owner, name, offset, call.length, is_write=is_write)

        thing = family.objects[name]
        address = signed_pointer(thing + call.offset)
        if self.vmalloc.has(address):
            return await self._access_area(thread, cpu, call, address)
        found = await self.slab.access(cpu, thing, call.offset, call.length, value=value, seen=seen)
        return found if value is None else 0

    async def _access_area(
        self, thread: UserThread, cpu: Cpu, call: op.Poke | op.Peek, address: int
    ) -> int:
        """Do the same with memory that the kernel has mapped."""
        value = call.value if isinstance(call, op.Poke) else None
        family, checks = thread.process.family, self.kernel.area_checks
        if checks is not None:
            area = self.vmalloc.module_areas.get(address - call.offset)
            has_pages = area is None or area.block is None or area.block.is_held
            checks.area_used(
                *(family.root.pid, call.object, call.offset, call.length),
                is_write=value is not None,
                has_pages=has_pages,
            )
        found = await self.vmalloc.get().memory.access(cpu, address, call.length, value=value)
        return found if value is None else 0

    def _bind(self, thread: UserThread, name: str, thing: int, nr_bytes: int) -> int:
        family, checks = thread.process.family, self.slab.allocator.memory.checks
        family.objects[name] = thing
        if self.kernel.area_checks is not None:
            self.kernel.area_checks.area_named(family.root.pid, name, 0, 0, "")
        if checks is not None:
            checks.object_named(family.root.pid, name, thing, nr_bytes)
        return pointer_of(thing) if thing else -errno.ENOMEM

    def _tell_freed(self, thread: UserThread, name: str) -> None:
        checks = self.slab.allocator.memory.checks
        if checks is not None:
            checks.name_freed(thread.process.family.root.pid, name)
