"""kmem_cache_* and kmalloc for the threads of a machine (mm/slub.c, mm/slab_common.c, Linux 6.1).

Where nobody can come between, an object that a CPU has at hand is handed out, or taken back, by one
compiled call, without a message and without a lock; all else are the generators of mm/slab.

Left out: tracepoints of what caches are made of themselves, pages of a node that the CPU is not on.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from attrs import define, field

from mmactors.actors.slab.caller import AsksOthers, SlabThread, printk
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.tlb.switch_mm import enter_lazy_tlb
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.lock.spinlock import Mutex, Spinlock
from mmactors.engine.wait_queue import WaitQueue
from mmactors.events import Kfree, Kmalloc, KmemCacheAlloc, KmemCacheFree
from mmactors.mm.page_alloc.gfp import GFP_ACCOUNT
from mmactors.mm.slab.flags import SLAB_ACCOUNT
from mmactors.mm.slab.request import CallRcu, FlushCpus, KernelOopsError, RcuBarrier, SlabSteps
from mmactors.mm.slab.slab_common import (
    KMALLOC_MAX_CACHE_SIZE,
    KMALLOC_MAX_SIZE,
    ZERO_SIZE_PTR,
    CacheRequest,
    large_order,
)
from mmactors.mm.slab.slub.access import access_bytes
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.debug.track import SlabCaller
from mmactors.mm.slab.slub.kmalloc import Kmalloc as KmallocCaches
from mmactors.mm.slab.slub.slub import Slub
from mmactors.mm.slab.slub.struct_slab import PAGE_OFFSET
from mmactors.units import PAGE_SIZE

T = TypeVar("T")
Who = Callable[[], SlabCaller]
"""Says who calls, for those that want to know: reports, and caches that keep it."""
_NO_NODE: Final = -1
"""NUMA_NO_NODE."""


def pointer_of(thing: int) -> int:
    """Return what the kernel calls an address of memory: that of its direct map; of 0, NULL."""
    return PAGE_OFFSET + thing if thing > ZERO_SIZE_PTR else thing


@define(eq=False, kw_only=True)
class SlabAllocator:
    """The object allocator of a machine."""

    kernel: Kernel
    slub: Slub
    kmalloc_caches: KmallocCaches
    slab_mutex: Mutex
    """Guards which caches there are."""
    flush_lock: Mutex
    list_lock_class: LockClass
    _list_locks: dict[tuple[int, int], Spinlock] = field(factory=dict, init=False)
    _in_grace: dict[int, int] = field(factory=dict, init=False)
    """By number of a cache: slabs that wait for readers."""
    _freed: WaitQueue | None = field(default=None, init=False)
    """Where sleeps who waits for them."""
    _nr_workers: int = field(default=0, init=False)
    _is_stepping: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        engine = self.kernel.engine
        self._is_stepping = engine.is_exploring or engine.guard.on

    async def kmem_cache_create(
        self, cpu: Cpu, request: CacheRequest, who: Who
    ) -> KmemCache | None:
        """Make a cache, or an alias; None: it was refused, or there was no memory."""
        async with self.slab_mutex:
            steps = self.kmalloc_caches.kmem_cache_create(_this_cpu(cpu), request, caller=who())
            return await self._perform(cpu, steps)

    async def kmem_cache_destroy(self, cpu: Cpu, s: KmemCache, who: Who) -> bool:
        """Let go of a cache; return whether it, or this use of it, is gone."""
        async with self.slab_mutex:
            steps = self.kmalloc_caches.kmem_cache_destroy(_this_cpu(cpu), s, caller=who())
            return await self._perform(cpu, steps)

    async def kmem_cache_shrink(self, cpu: Cpu, s: KmemCache) -> bool:
        """Give back what nobody uses; return whether slabs are left."""
        return await self._perform(cpu, self.slub.shrink(s, cpu.index))

    async def kmem_cache_alloc(self, cpu: Cpu, s: KmemCache, gfp: int, who: Who) -> int:
        """Return the address of an object, 0: no memory."""
        await self._spend()
        return await self.alloc_object(cpu, s, gfp, who)

    async def alloc_object(
        self, cpu: Cpu, s: KmemCache, gfp: int, who: Who, site: str | None = None
    ) -> int:
        """Do the same in time that the caller, known as `site`, has spent."""
        thing = await self._alloc(cpu, s, gfp, who, s.object_size)
        if self.kernel.probe.on:
            self.tell_alloc(s, thing, gfp, site)
        return thing

    def tell_alloc(self, s: KmemCache, thing: int, gfp: int, site: str | None) -> None:
        """Emit that an object was handed out, 0: or was not."""
        self.kernel.probe.emit(
            KmemCacheAlloc(
                call_site=site,
                ptr=pointer_of(thing),
                bytes_req=s.object_size,
                bytes_alloc=s.size,
                gfp_flags=gfp,
                node=_NO_NODE,
                accounted=bool(gfp & GFP_ACCOUNT or s.flags & SLAB_ACCOUNT),
            )
        )

    async def kmem_cache_free(self, cpu: Cpu, s: KmemCache, thing: int, who: Who) -> None:
        """Free an object of a cache."""
        await self._spend()
        await self.free_object(cpu, s, thing, who)

    async def free_object(
        self, cpu: Cpu, s: KmemCache, thing: int, who: Who, site: str | None = None
    ) -> None:
        """Do the same in time that the caller, known as `site`, has spent."""
        slab, own = self._slab_of(thing)
        if own is not None and self.kernel.probe.on:
            self.tell_free(own, thing, site)
        if own is s and self._free_local(cpu, s, slab, thing):
            return
        steps = self.slub.kmem_cache_free(s, _this_cpu(cpu), thing, caller=who())
        await self._perform(cpu, steps)

    def tell_free(self, s: KmemCache, thing: int, site: str | None) -> None:
        """Emit that an object is freed."""
        self.kernel.probe.emit(KmemCacheFree(call_site=site, ptr=pointer_of(thing), name_=s.name))

    async def kmalloc(self, cpu: Cpu, size: int, gfp: int, who: Who) -> int:
        """Return the address of `size` bytes, 0: no memory; of nothing, ZERO_SIZE_PTR."""
        if size == 0:
            return ZERO_SIZE_PTR
        if size <= KMALLOC_MAX_CACHE_SIZE:
            s = self.kmalloc_caches.cache_for(size, gfp)
            await self._spend()
            thing = await self._alloc(cpu, s, gfp, who, size)
        else:
            steps = self.kmalloc_caches.kmalloc(_this_cpu(cpu), size, gfp, caller=who())
            thing = await self._perform(cpu, steps)
        if self.kernel.probe.on:
            self._tell_kmalloc(thing, size, gfp)
        return thing

    def _tell_kmalloc(self, thing: int, size: int, gfp: int) -> None:
        if size <= KMALLOC_MAX_CACHE_SIZE:
            bytes_alloc = self.kmalloc_caches.cache_for(size, gfp).size
        else:
            bytes_alloc = PAGE_SIZE << large_order(min(size, KMALLOC_MAX_SIZE))
        self.kernel.probe.emit(
            Kmalloc(
                call_site=None,
                ptr=pointer_of(thing),
                bytes_req=size,
                bytes_alloc=bytes_alloc,
                gfp_flags=gfp,
                node=_NO_NODE,
                accounted=bool(gfp & GFP_ACCOUNT),
            )
        )

    async def krealloc(self, cpu: Cpu, thing: int, size: int, gfp: int, who: Who) -> int:
        """Return `size` bytes that begin as those of `thing` do, 0: no memory, and it stays."""
        steps = self.kmalloc_caches.krealloc(_this_cpu(cpu), thing, size, gfp, caller=who())
        found = await self._perform(cpu, steps)
        if self.kernel.probe.on and found != thing:
            if size:
                self._tell_kmalloc(found, size, gfp)
            if (found and thing > ZERO_SIZE_PTR) or not size:
                self._tell_kfree(thing)
        return found

    async def kfree(self, cpu: Cpu, thing: int, who: Who) -> None:
        """Free what kmalloc, or a cache, has returned; 0 and ZERO_SIZE_PTR are nothing."""
        await self._spend()
        if self.kernel.probe.on:
            self._tell_kfree(thing)
        slab, s = self._slab_of(thing)
        if s is not None and self._free_local(cpu, s, slab, thing):
            return
        steps = self.kmalloc_caches.kfree(_this_cpu(cpu), thing, caller=who())
        await self._perform(cpu, steps)

    def _tell_kfree(self, thing: int) -> None:
        self.kernel.probe.emit(Kfree(call_site=None, ptr=pointer_of(thing)))

    async def access(
        self,
        cpu: Cpu,
        thing: int,
        offset: int,
        nr_bytes: int,
        *,
        value: int | None,
        seen: Callable[[], None],
    ) -> int:
        """Write bytes beside an address, or read them; return the first ones as they are then."""
        await self._spend()
        steps = access_bytes(self.slub.slabs, thing, offset, nr_bytes, value=value, seen=seen)
        return await self._perform(cpu, steps)

    def oops(self, error: KernelOopsError) -> None:
        """Write into the kernel's log what it died of, for one of its threads."""
        printk(self.kernel, error.lines)

    # How a path is driven.

    async def _alloc(self, cpu: Cpu, s: KmemCache, gfp: int, who: Who, orig_size: int) -> int:
        if not self._is_stepping:
            thing = self.slub.alloc_local(s, cpu.index, gfp)
            if thing:
                return thing
        steps = self.slub.alloc(s, _this_cpu(cpu), gfp, caller=who(), orig_size=orig_size)
        return await self._perform(cpu, steps)

    async def _spend(self) -> None:
        engine, ns = self.kernel.engine, self.kernel.costs.slab_ns
        if not engine.spend_nowait(ns):
            await engine.spend(ns)

    def _free_local(self, cpu: Cpu, s: KmemCache, slab: int, thing: int) -> bool:
        return not self._is_stepping and self.slub.free_local(s, cpu.index, slab, thing)

    def _slab_of(self, thing: int) -> tuple[int, KmemCache | None]:
        """Return the slab that an address lies in, and its cache; None: it lies in none."""
        slabs = self.slub.slabs
        head = slabs.head_of(thing) if thing > ZERO_SIZE_PTR else None
        if head is None or not slabs.is_slab(head):
            return 0, None
        return head, self.slub.cache_of(head)

    async def _perform(self, cpu: Cpu, steps: SlabSteps[T]) -> T:
        thread = SlabThread(
            kernel=self.kernel, cpu=cpu, list_lock=self._list_lock, ask_others=self._ask_others
        )
        return await thread.perform(steps)

    def _list_lock(self, cache: int, node: int) -> Spinlock:
        lock = self._list_locks.get((cache, node))
        if lock is None:
            name = f"list_lock of cache {cache} on node {node}"
            lock = Spinlock(self.kernel.engine, self.list_lock_class, name=name)
            self._list_locks[cache, node] = lock
        return lock

    async def _ask_others(self, cpu: Cpu, request: AsksOthers) -> None:
        match request:
            case FlushCpus(cache=cache, cpus=cpus):
                await self._flush(cache, cpus)
            case CallRcu(cache=cache, pfn=pfn):
                self._in_grace[cache] = self._in_grace.get(cache, 0) + 1
                self.kernel.rcu.call(partial(self._start, "rcuc", cpu, self._free_slab, cache, pfn))
            case RcuBarrier(cache=cache):
                self.kernel.rcu.call(partial(self._start, "kworker", cpu, self._release, cache))

    def _start(
        self,
        name: str,
        cpu: Cpu,
        work: Callable[..., Coroutine[Any, Any, None]],
        *arguments: int,
    ) -> None:
        """Let a thread of the kernel's own do something on a CPU."""
        now_ns = self.kernel.engine.current.clock.now
        self._nr_workers += 1
        coro = self._work(cpu, work, arguments)
        cpu.spawn_thread(f"{name}/{cpu.index}:{self._nr_workers}", coro, at_ns=now_ns)

    async def _work(
        self,
        cpu: Cpu,
        work: Callable[..., Coroutine[Any, Any, None]],
        arguments: tuple[int, ...],
    ) -> None:
        enter_lazy_tlb(self.kernel, cpu)
        try:
            await work(cpu, *arguments)
        except KernelOopsError as error:
            self.oops(error)
        cpu.exit_thread()

    async def _flush(self, cache: int, cpus: tuple[int, ...]) -> None:
        """Let a worker on each CPU flush it; wait for all (flush_all_cpus_locked)."""
        kernel = self.kernel
        left = set(cpus)
        async with self.flush_lock:
            done = WaitQueue(kernel.engine, f"flush of cache {cache}")

            async def flush(own: Cpu) -> None:
                try:
                    await self._perform(own, self.slub.flush_cpu_slab(cache, own.index))
                finally:
                    left.discard(own.index)
                    done.wake_all(at_ns=own.clock.now)

            for number in cpus:
                self._start("kworker", kernel.cpus[number], flush)
            while left:
                await done.sleep(unless=lambda: not left)

    async def _free_slab(self, cpu: Cpu, cache: int, pfn: int) -> None:
        await self._perform(cpu, self.slub.rcu_free_slab(cache, cpu.index, pfn))
        self._in_grace[cache] -= 1
        if self._freed is not None:
            self._freed.wake_all(at_ns=cpu.clock.now)

    async def _release(self, cpu: Cpu, cache: int) -> None:
        """Give back what a cache was made of (slab_caches_to_rcu_destroy_workfn)."""
        if self._freed is None:
            self._freed = WaitQueue(self.kernel.engine, "slabs that readers have left")
        while self._in_grace.get(cache):
            await self._freed.sleep(unless=lambda: not self._in_grace.get(cache))
        async with self.slab_mutex:
            steps = self.kmalloc_caches.release(_this_cpu(cpu), cache)
            await self._perform(cpu, steps)


def _this_cpu(cpu: Cpu) -> Callable[[], int]:
    """Return what says on which CPU a thread is, which none leaves in the kernel."""
    return lambda: cpu.index
