"""Who is on a path of vmalloc: its locks, and what it asks for, answered (mm/vmalloc.c, v6.1).

Who dies of an oops lets go of what it holds, where Linux's locks would stay held. Tables of pages
are allocated whatever the caller may wait for, as in 6.1.
"""

from functools import partial
from typing import Any, Protocol, TypeVar, assert_never

from attrs import define, field

from mmactors.actors.alloc.page_alloc import alloc_pages, alloc_pages_bulk, free_pages
from mmactors.actors.slab.caller import printk, warn
from mmactors.actors.slab.slab import SlabAllocator
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.actors.state.preempt import preemptible_step
from mmactors.actors.tlb.tlb import flush_tlb_kernel_range
from mmactors.actors.vmalloc.mapping import vmap_pages_range, vunmap_range_noflush
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.spinlock import Mutex, Spinlock
from mmactors.label import Label
from mmactors.mm.page_alloc.alloc_site import VM_AREA_ALLOC_PAGES
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.kernel_caches import RADIX_TREE_NODE, VMAP_AREA
from mmactors.mm.slab.object_cache import AllocObject
from mmactors.mm.slab.request import Printk
from mmactors.mm.vmalloc import request as ask
from mmactors.mm.vmalloc.request import VmallocRequest, VmallocSteps

T = TypeVar("T")
_ENOMEM = -12


class Work(Protocol):
    """What paths share, and leave for others to do or for later (`Vmalloc`)."""

    purge_lock: Mutex

    def lock_of(self, name: str, number: int) -> Spinlock:
        """Return one of vmalloc's spinlocks."""
        ...

    def schedule_drain(self, cpu: Cpu) -> None:
        """Let a worker purge, unless one is about to."""
        ...

    def schedule_vfree(self, cpu: Cpu) -> None:
        """Let a worker free what interrupts have left on a CPU, unless one is about to."""
        ...

    def warn_alloc(self, gfp: int, text: str) -> None:
        """Say that an allocation has failed."""
        ...

    async def sleep_jiffies(self, cpu: Cpu, jiffies: int) -> None:
        """Sleep for some ticks."""
        ...

    def purge_begins(self) -> None:
        """Note what TLBs know of what is unmapped, for who checks."""
        ...

    def purge_ended(self) -> None:
        """Hold what they still know against what is free now."""
        ...


@define(eq=False, kw_only=True)
class VmallocThread:
    """A thread, a worker or an interrupt that drives paths of vmalloc on its CPU."""

    kernel: Kernel
    cpu: Cpu
    """The one that it is on."""
    slab: SlabAllocator
    work: Work
    _held: list[Spinlock] = field(factory=list, init=False)
    _is_purging: bool = field(default=False, init=False)
    _nr_reads: int = field(default=0, init=False)
    """Sections of RCU that it is in."""

    async def perform(self, steps: VmallocSteps[T]) -> T:
        """Drive a path to its end; raise KernelOopsError if the kernel dies of it."""
        try:
            return await perform(steps, self._answer)
        finally:
            while self._nr_reads:
                self._nr_reads -= 1
                self.kernel.rcu.leave(self.cpu)
            while self._held:
                await self._held.pop().release()
            if self._is_purging:
                await self.work.purge_lock.release()

    async def _answer(self, request: VmallocRequest) -> Any:
        """Do what is asked for; the answer's type is the request's to say."""
        match request:
            case Label():
                await self._step(request)
            case ask.SpinLock() | ask.SpinUnlock() | ask.CondReschedLock():
                await self._lock(request)
            case ask.PurgeLock() | ask.PurgeUnlock():
                await self._purge(request)
            case ask.RcuReadLock() | ask.RcuReadUnlock():
                await self._read(request)
            case (
                ask.AllocVmapArea() | ask.FreeVmapArea() | ask.AllocXaNode() | ask.FreeXaNode()
                | ask.Kmalloc() | ask.Kfree() | ask.KfreeRcu()
            ):  # fmt: skip
                return await self._object(request)
            case (
                ask.AllocPagesBulk() | ask.AllocPage() | ask.FreePage()
                | ask.VmapPagesRange() | ask.VunmapRange() | ask.FlushTlbKernelRange()
            ):  # fmt: skip
                return await self._pages(request)
            case ask.CondResched():
                if self.cpu.irqs_enabled:
                    await self.cpu.cond_resched()
            case ask.ScheduleTimeout(jiffies=jiffies):
                await self.work.sleep_jiffies(self.cpu, jiffies)
            case ask.ScheduleDrain():
                self.work.schedule_drain(self.cpu)
            case ask.ScheduleVfree(cpu=cpu):
                self.work.schedule_vfree(self.kernel.cpus[cpu])
            case ask.IsInterrupt():
                return int(bool(self.cpu.contexts))
            case ask.FatalSignalPending():
                context = self.kernel.fault_contexts.get(self.cpu.current.index)
                return int(context is not None and context.task.fatal_signal_pending)
            case Printk(lines=lines):
                printk(self.kernel, lines)
            case ask.Warn(place=place, text=text, is_once=is_once):
                warn(self.kernel, place, *filter(None, (text,)), is_once=is_once)
            case ask.WarnAlloc(gfp=gfp, text=text):
                self.work.warn_alloc(gfp, text)
            case _:
                assert_never(request)
        return None

    async def _step(self, label: Label) -> None:
        """Take a step; who may be preempted before it goes on wherever it is put."""
        engine, cpu = self.kernel.engine, self.cpu
        actor = engine.current
        is_kept = cpu.spinlocks_held or cpu.rcu_nesting or cpu.contexts or not cpu.irqs_enabled
        if not engine.is_exploring or actor.preempt is None or is_kept:
            await engine.step(label)
        else:
            self.cpu = await preemptible_step(self.kernel, cpu, label)

    async def _lock(self, request: ask.SpinLock | ask.SpinUnlock | ask.CondReschedLock) -> None:
        lock = self.work.lock_of(request.name, request.number)
        match request:
            case ask.SpinLock():
                await lock.acquire()
                self._held.append(lock)
            case ask.SpinUnlock():
                self._held.remove(lock)
                await lock.release()
            case ask.CondReschedLock():
                if lock.is_contended():
                    await lock.release()
                    await lock.acquire()
            case _:
                assert_never(request)

    async def _purge(self, request: ask.PurgeLock | ask.PurgeUnlock) -> None:
        if isinstance(request, ask.PurgeLock):
            await self.work.purge_lock.acquire()
            self._is_purging = True
            self.work.purge_begins()
        else:
            self.work.purge_ended()
            self._is_purging = False
            await self.work.purge_lock.release()

    async def _read(self, request: ask.RcuReadLock | ask.RcuReadUnlock) -> None:
        if isinstance(request, ask.RcuReadLock):
            await self.kernel.rcu.read_lock(self.cpu)
            self._nr_reads += 1
        else:
            await self.kernel.rcu.read_unlock(self.cpu)
            self._nr_reads -= 1

    async def _object(
        self,
        request: ask.AllocVmapArea | ask.FreeVmapArea | ask.AllocXaNode | ask.FreeXaNode
        | ask.Kmalloc | ask.Kfree | ask.KfreeRcu,
    ) -> int | None:  # fmt: skip
        objects, site = self.kernel.objects, request.site
        who = partial(SlabCaller, site=site)
        match request:
            case ask.AllocVmapArea(gfp=gfp, node=node):
                if node is None:
                    return await objects.kmem_cache_alloc(VMAP_AREA, site, gfp)
                return await objects.alloc(
                    AllocObject(cache=VMAP_AREA, site=site, gfp=gfp, node=node)
                )
            case ask.FreeVmapArea(thing=thing):
                if thing:  # Boot's have none.
                    await objects.kmem_cache_free(VMAP_AREA, thing, site)
            case ask.AllocXaNode(gfp=gfp):
                return await objects.kmem_cache_alloc(RADIX_TREE_NODE, site, gfp)
            case ask.FreeXaNode(thing=thing, by_rcu=by_rcu):
                if by_rcu:
                    objects.free_by_rcu(RADIX_TREE_NODE, thing, site)
                else:
                    await objects.kmem_cache_free(RADIX_TREE_NODE, thing, site)
            case ask.Kmalloc(size=size, gfp=gfp, node=node):
                return await self.slab.kmalloc(self.cpu, size, gfp, who, node=node)
            case ask.Kfree(thing=thing):
                await self.slab.kfree(self.cpu, thing, who)
            case ask.KfreeRcu(thing=thing):
                objects.kfree_by_rcu(thing, site)
            case _:
                assert_never(request)
        return None

    async def _pages(
        self,
        request: ask.AllocPagesBulk | ask.AllocPage | ask.FreePage
        | ask.VmapPagesRange | ask.VunmapRange | ask.FlushTlbKernelRange,
    ) -> int | tuple[int, ...] | None:  # fmt: skip
        kernel, cpu, site = self.kernel, self.cpu, VM_AREA_ALLOC_PAGES
        match request:
            case ask.AllocPagesBulk(gfp=gfp, nr=nr):
                node = self._node(request.node)
                return await alloc_pages_bulk(kernel, cpu, nr, gfp, node=node, site=site)
            case ask.AllocPage(gfp=gfp):
                node = self._node(request.node)
                return await alloc_pages(kernel, cpu, 0, gfp, node=node, site=site)
            case ask.FreePage(pfn=pfn):
                await free_pages(kernel, cpu, pfn, 0)
            case ask.VmapPagesRange(start=start, pfns=pfns):
                is_done = await vmap_pages_range(kernel, cpu, start, pfns)
                return 0 if is_done else _ENOMEM
            case ask.VunmapRange(start=start, end=end):
                await vunmap_range_noflush(kernel, start, end)
            case ask.FlushTlbKernelRange(start=start, end=end):
                if kernel.rules.vmalloc_purge_flushes_tlb:
                    await flush_tlb_kernel_range(kernel, cpu, start=start, end=end)
            case _:
                assert_never(request)
        return None

    def _node(self, node: int | None) -> int | None:
        """Return a node, if there is one (Linux follows a null pointer); None: that of the CPU."""
        return node if node in self.kernel.zone_node else None
