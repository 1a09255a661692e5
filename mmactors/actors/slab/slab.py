"""kmem_cache_* and kmalloc for the threads of a machine (mm/slab_common.c, Linux 6.1).

Where nobody can come between, an object that a CPU has at hand is handed out, or taken back, by one
compiled call, without a message and without a lock; all else are the generators of mm/slab.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar, assert_never

from attrs import define, field

from mmactors.actors.alloc.page_alloc import free_pages
from mmactors.actors.slab.caller import AsksOthers, SlabLock, SlabThread, printk
from mmactors.actors.slab.tell import (
    tell_alloc,
    tell_kfree,
    tell_kmem_cache_alloc,
    tell_kmem_cache_free,
)
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.tlb.switch_mm import enter_lazy_tlb
from mmactors.engine.cpu import Cpu
from mmactors.engine.ipi import call_on
from mmactors.engine.lock.spinlock import Mutex, Spinlock
from mmactors.engine.wait_queue import WaitQueue
from mmactors.mm.slab.access import access_bytes
from mmactors.mm.slab.allocator import KmemCacheLike, ObjectAllocator
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.common_calls import SlabCommon
from mmactors.mm.slab.request import (
    AlienLock,
    CallRcu,
    FlushCpus,
    FreeSlabPages,
    KernelOopsError,
    ListLock,
    RcuBarrier,
    SlabSteps,
    SlobLock,
)
from mmactors.mm.slab.slab_common import (
    ZERO_SIZE_PTR,
    CacheRequest,
)

T = TypeVar("T")
Who = Callable[[], SlabCaller]
"""Says who calls, for those that want to know: reports, and caches that keep it."""


@define(eq=False, kw_only=True)
class SlabAllocator:
    """The object allocator of a machine."""

    kernel: Kernel
    allocator: ObjectAllocator[Any]
    """SLUB, SLAB or SLOB."""
    common: SlabCommon[Any]
    """Its kmalloc, and what makes its caches."""
    slab_mutex: Mutex
    """Guards which caches there are."""
    flush_lock: Mutex | None
    """SLUB's; None: another allocator flushes by interrupts."""
    _list_locks: dict[tuple[int, int], Spinlock] = field(factory=dict, init=False)
    _other_locks: dict[SlabLock, Spinlock] = field(factory=dict, init=False)
    _in_grace: dict[int, int] = field(factory=dict, init=False)
    """By number of a cache: slabs that wait for readers."""
    _freed: WaitQueue | None = field(default=None, init=False)
    """Where sleeps who waits for them."""
    _nr_workers: int = field(default=0, init=False)
    _is_stepping: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._is_stepping = self.allocator.memory.wants_step()

    async def kmem_cache_create(
        self, cpu: Cpu, request: CacheRequest, who: Who
    ) -> KmemCacheLike | None:
        """Make a cache, or an alias; None: it was refused, or there was no memory."""
        async with self.slab_mutex:
            steps = self.common.kmem_cache_create(self._this_cpu, request, caller=who())
            return await self.perform(cpu, steps)

    async def kmem_cache_destroy(self, cpu: Cpu, s: KmemCacheLike, who: Who) -> bool:
        """Let go of a cache; return whether it, or this use of it, is gone."""
        async with self.slab_mutex:
            steps = self.common.kmem_cache_destroy(self._this_cpu, s, caller=who())
            return await self.perform(cpu, steps)

    async def kmem_cache_shrink(self, cpu: Cpu, s: KmemCacheLike) -> bool:
        """Give back what nobody uses; return whether slabs are left."""
        return await self.perform(cpu, self.allocator.shrink(s, cpu.index))

    async def kmem_cache_alloc(
        self, cpu: Cpu, s: KmemCacheLike, gfp: int, who: Who, *, node: int | None = None
    ) -> int:
        """Return the address of an object, 0: no memory; of a node (kmem_cache_alloc_node)."""
        await self._spend()
        return await self.alloc_object(cpu, s, gfp, who, node=node)

    async def alloc_object(
        self, cpu: Cpu, s: KmemCacheLike, gfp: int, who: Who, *, node: int | None = None
    ) -> int:
        """Do the same in time that the caller has spent."""
        thing = await self._alloc(cpu, s, gfp, who, s.object_size, node)
        if self.kernel.probe.on:
            tell_kmem_cache_alloc(self.kernel.probe, s, thing, gfp, who().site, node)
        return thing

    async def kmem_cache_free(self, cpu: Cpu, s: KmemCacheLike, thing: int, who: Who) -> None:
        """Free an object of a cache."""
        await self._spend()
        await self.free_object(cpu, s, thing, who)

    async def free_object(self, cpu: Cpu, s: KmemCacheLike, thing: int, who: Who) -> None:
        """Do the same in time that the caller has spent."""
        slab, own = self.allocator.cache_from_obj(s, thing)
        if own is not None and self.kernel.probe.on:
            tell_kmem_cache_free(self.kernel.probe, own.name, thing, who().site)
        if own is s and self._free_local(cpu, s, slab, thing):
            return
        steps = self.allocator.kmem_cache_free(s, self._this_cpu, thing, caller=who())
        await self.perform(cpu, steps)

    def free_later(
        self, cpu: Cpu, s: KmemCacheLike, thing: int, who: Who, done: Callable[[], object]
    ) -> None:
        """Let a thread of RCU's free an object on a CPU; `done` is called before."""

        async def free(own: Cpu) -> None:
            done()
            await self.free_object(own, s, thing, who)

        self._start("rcuc", cpu, free)

    async def kmalloc(
        self, cpu: Cpu, size: int, gfp: int, who: Who, *, node: int | None = None
    ) -> int:
        """Return the address of `size` bytes, 0: no memory; of nothing, ZERO_SIZE_PTR.

        Of a node: kmalloc_node.
        """
        if size == 0:
            return ZERO_SIZE_PTR
        s = self.common.cache_for(size, gfp)
        if s is not None:
            await self._spend()
            thing = await self._alloc(cpu, s, gfp, who, size, node)
        else:
            steps = self.common.kmalloc(self._this_cpu, size, gfp, node, caller=who())
            thing = await self.perform(cpu, steps)
        if self.kernel.probe.on:
            tell_alloc(
                self.kernel.probe,
                self.common.told(thing, size, gfp, who().site, node),
            )
        return thing

    async def krealloc(self, cpu: Cpu, thing: int, size: int, gfp: int, who: Who) -> int:
        """Return `size` bytes that begin as those of `thing` do, 0: no memory, and it stays."""
        steps = self.common.krealloc(self._this_cpu, thing, size, gfp, caller=who())
        return await self.perform(cpu, steps)

    async def kfree(self, cpu: Cpu, thing: int, who: Who) -> None:
        """Free what kmalloc, or a cache, has returned; 0 and ZERO_SIZE_PTR are nothing."""
        await self._spend()
        if self.kernel.probe.on:
            tell_kfree(self.kernel.probe, thing, who().site)
        slab, s = self.allocator.slab_of(thing)
        if s is not None and self._free_local(cpu, s, slab, thing):
            return
        steps = self.common.kfree(self._this_cpu, thing, caller=who())
        await self.perform(cpu, steps)

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
        steps = access_bytes(self.allocator.memory, thing, offset, nr_bytes, value=value, seen=seen)
        return await self.perform(cpu, steps)

    def start_worker(self, cpu: Cpu, work: Callable[[Cpu], Coroutine[Any, Any, None]]) -> None:
        """Let a worker do something on a CPU; what the kernel dies of there is told."""
        self._start("kworker", cpu, work)

    def oops(self, error: KernelOopsError) -> None:
        """Write into the kernel's log what it died of, for one of its threads."""
        printk(self.kernel, error.lines)

    # How a path is driven.

    async def _alloc(
        self, cpu: Cpu, s: KmemCacheLike, gfp: int, who: Who, orig_size: int, node: int | None
    ) -> int:
        if not self._is_stepping and node is None and not self.kernel.engine.allowed:
            thing = self.allocator.alloc_local(s, cpu.index, gfp)
            if thing:
                return thing
        steps = self.allocator.alloc(
            s, self._this_cpu, gfp, node, caller=who(), orig_size=orig_size
        )
        return await self.perform(cpu, steps)

    async def _spend(self) -> None:
        engine, ns = self.kernel.engine, self.kernel.costs.slab_ns
        if not engine.spend_nowait(ns):
            await engine.spend(ns)

    def _free_local(self, cpu: Cpu, s: KmemCacheLike, slab: int, thing: int) -> bool:
        return not self._is_stepping and self.allocator.free_local(s, cpu.index, slab, thing)

    def _this_cpu(self) -> int:
        """Return the CPU that the caller is on by now."""
        return self.kernel.engine.cpu_index

    async def perform(self, cpu: Cpu, steps: SlabSteps[T]) -> T:
        """Drive a path to its end, for a thread or an interrupt on a CPU."""
        thread = SlabThread(
            kernel=self.kernel, cpu=cpu, lock_of=self._lock_of, ask_others=self._ask_others
        )
        return await thread.perform(steps)

    def _lock_of(self, request: SlabLock) -> Spinlock:
        if not isinstance(request, ListLock):
            return self._other_lock(request)
        cache, node = request.cache, request.node
        lock = self._list_locks.get((cache, node))
        if lock is None:
            name = f"list_lock of cache {cache} on node {node}"
            lock = self._new_lock("&n->list_lock", name)
            self._list_locks[cache, node] = lock
        return lock

    def _other_lock(self, request: AlienLock | SlobLock) -> Spinlock:
        lock = self._other_locks.get(request)
        if lock is None:
            match request:
                case AlienLock(cache=cache, node=node, alien=alien):
                    name = f"lock of cache {cache} on node {node} for objects of node {alien}"
                    lock = self._new_lock("&ac->lock", name)
                case SlobLock():
                    lock = self._new_lock("slob_lock", "slob_lock")
                case _:
                    assert_never(request)
            self._other_locks[request] = lock
        return lock

    def _new_lock(self, lock_class: str, name: str) -> Spinlock:
        return Spinlock(self.kernel.engine, self.kernel.locks.of(lock_class), name=name)

    async def _ask_others(self, cpu: Cpu, request: AsksOthers) -> None:
        match request:
            case FlushCpus(cache=cache, cpus=cpus, is_interrupt=False):
                await self._flush(cache, cpus)
            case FlushCpus(cache=cache, cpus=cpus):
                await self._flush_at_once(cpu, cache, cpus)
            case CallRcu(cache=cache, freed=freed):
                self._in_grace[cache] = self._in_grace.get(cache, 0) + 1
                free = partial(self._start, "rcuc", cpu, self._rcu_free, cache, freed)
                self.kernel.rcu.call(free)
            case RcuBarrier(cache=cache):
                self.kernel.rcu.call(partial(self._start, "kworker", cpu, self._release, cache))
            case FreeSlabPages(pfn=pfn, order=order):
                self._start("kworker", cpu, self._free_pages, pfn, order)

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
        coro = self.work_of(cpu, work, *arguments)
        cpu.spawn_thread(f"{name}/{cpu.index}:{self._nr_workers}", coro, at_ns=now_ns)

    async def work_of(
        self, cpu: Cpu, work: Callable[..., Coroutine[Any, Any, None]], *arguments: int
    ) -> None:
        """Do something as a thread of the kernel's own on a CPU, from its begin to its end."""
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
        assert self.flush_lock is not None, "threads flush what is SLUB's"
        async with self.flush_lock:
            done = WaitQueue(kernel.engine, f"flush of cache {cache}")

            async def flush(own: Cpu) -> None:
                try:
                    await self.perform(own, self.allocator.flush_cpu(cache, own.index))
                finally:
                    left.discard(own.index)
                    done.wake_all(at_ns=own.clock.now)

            for number in cpus:
                self._start("kworker", kernel.cpus[number], flush)
            while left:
                await done.sleep(unless=lambda: not left)

    async def _flush_at_once(self, cpu: Cpu, cache: int, cpus: tuple[int, ...]) -> None:
        """Let an interrupt on each CPU flush it; wait for all (on_each_cpu)."""
        kernel = self.kernel

        async def flush(own: Cpu) -> None:
            await self.perform(own, self.allocator.flush_cpu(cache, own.index))

        others = [kernel.cpus[number] for number in cpus if number != cpu.index]
        if others:
            latency_ns = kernel.costs.ipi_ns
            await call_on(cpu, others, flush, vector="CAL", latency_ns=latency_ns)
        if cpu.index in cpus:
            with cpu.irqs_off():
                await flush(cpu)

    async def _free_pages(self, cpu: Cpu, pfn: int, order: int) -> None:
        """Give pages back for an interrupt, which asks nobody."""
        await free_pages(self.kernel, cpu, pfn, order)

    async def _rcu_free(self, cpu: Cpu, cache: int, freed: int) -> None:
        await self.perform(cpu, self.allocator.rcu_free(cache, cpu.index, freed))
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
            steps = self.common.release(self._this_cpu, cache)
            await self.perform(cpu, steps)
