"""Operations on caches and their objects, as a kernel module does them for a program (v6.1).

Their results go to the log as those of system calls do. Caches and objects are the module's, which
keeps them when the program ends. All processes of a program know them by their names.
"""

import errno
from typing import Final, assert_never

from attrs import define

from mmactors.actors.program.thread import UserThread
from mmactors.actors.slab.slab import SlabAllocator, Who, pointer_of
from mmactors.actors.state.kernel import Kernel
from mmactors.mm.fault.siginfo import SIGKILL, FaultSignal
from mmactors.mm.page_alloc import gfp
from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.slab.slab_common import ZERO_SIZE_PTR, CacheRequest
from mmactors.mm.slab.slub.debug.track import SlabCaller
from mmactors.workload.operation import all as op
from mmactors.workload.operation.slab import SlabOperation

_GFP: Final = {
    "KERNEL": gfp.GFP_KERNEL,
    "ATOMIC": gfp.GFP_ATOMIC,
    "NOWAIT": gfp.GFP_NOWAIT,
    "KERNEL_ACCOUNT": gfp.GFP_KERNEL_ACCOUNT,
    "RECLAIMABLE": gfp.GFP_KERNEL | gfp.GFP_RECLAIMABLE,
    "DMA": gfp.GFP_KERNEL | gfp.GFP_DMA,
}
_JIFFY_NS: Final = 4_000_000
"""HZ=250."""


@define(eq=False, kw_only=True)
class SlabCalls:
    """Runs operations on caches and objects for all threads of a machine."""

    kernel: Kernel
    slab: SlabAllocator

    async def perform(self, thread: UserThread, call: SlabOperation) -> int:
        """Do one operation and return its result; an oops ends the process."""
        await self.kernel.engine.spend(self.kernel.costs.syscall_ns)

        def who() -> SlabCaller:
            return SlabCaller(
                site=f"{thread.process.family.root.comm}.{call.verb}",
                pid=thread.tid,
                jiffies=thread.cpu.clock.now // _JIFFY_NS,
            )

        try:
            return await self._perform(thread, call, who)
        except KernelOopsError as error:
            self.slab.oops(error)
            thread.receive_signal(FaultSignal(number=SIGKILL, code=0, address=0))
            return -errno.EFAULT

    async def _perform(self, thread: UserThread, call: SlabOperation, who: Who) -> int:
        slab, cpu, family = self.slab, thread.cpu, thread.process.family
        match call:
            case op.KmemCacheCreate():
                return await self._create(thread, call, who)
            case op.Kmalloc(name=name) | op.Kzalloc(name=name):
                mask = _GFP[call.gfp] | (gfp.GFP_ZERO if isinstance(call, op.Kzalloc) else 0)
                thing = await slab.kmalloc(cpu, call.length, mask, who)
                return self._bind(thread, name, thing, call.length)
            case op.Krealloc(object=name):
                old = family.objects.get(name, 0)
                if old > ZERO_SIZE_PTR:
                    self._tell_freed(thread, name)
                thing = await slab.krealloc(cpu, old, call.length, _GFP[call.gfp], who)
                # Where there is no memory the old one stays.
                return self._bind(thread, name, thing, call.length) if thing else -errno.ENOMEM
            case op.Poke() | op.Peek():
                return await self._access(thread, call)
            case op.Kfree(object=name):
                self._tell_freed(thread, name)
                await slab.kfree(cpu, family.objects.get(name, 0), who)
                return 0
        s = family.caches.get(call.cache)
        if s is None:
            return -errno.EINVAL  # It could not be made, or is gone.
        match call:
            case op.KmemCacheAlloc(name=name):
                thing = await slab.kmem_cache_alloc(cpu, s, _GFP[call.gfp], who)
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
            return self.slab.slub.why_not(request)
        thread.process.family.caches[call.name] = s
        return 0

    async def _access(self, thread: UserThread, call: op.Poke | op.Peek) -> int:
        """Write or read beside an object, whether or not the program still has it."""
        family = thread.process.family
        name, checks = call.object, self.slab.slub.slabs.checks
        if name not in family.objects:
            return -errno.EINVAL  # It was never allocated.
        value = call.value if isinstance(call, op.Poke) else None

        def seen() -> None:
            if checks is not None:
                is_write = value is not None
                owner, offset = family.root.pid, call.offset
                checks.name_used(owner, name, offset, call.length, is_write=is_write)

        thing = family.objects[name]
        found = await self.slab.access(
            thread.cpu, thing, call.offset, call.length, value=value, seen=seen
        )
        return found if value is None else 0

    def _bind(self, thread: UserThread, name: str, thing: int, nr_bytes: int) -> int:
        family, checks = thread.process.family, self.slab.slub.slabs.checks
        family.objects[name] = thing
        if checks is not None:
            checks.object_named(family.root.pid, name, thing, nr_bytes)
        return pointer_of(thing) if thing else -errno.ENOMEM

    def _tell_freed(self, thread: UserThread, name: str) -> None:
        checks = self.slab.slub.slabs.checks
        if checks is not None:
            checks.name_freed(thread.process.family.root.pid, name)
