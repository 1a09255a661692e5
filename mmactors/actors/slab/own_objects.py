"""What the kernel makes of its own memory: areas, anon_vmas, tasks, files (mm/slab.h, Linux 6.1).

An object that a CPU has at hand is handed out, or taken back, within the step of who asks: nobody
can tell the loads and stores of it apart (mm/slab), so a search is told afterwards
what the step has touched. All else are the paths that modules drive too. The time that it takes is
in the costs of what it is done for.
"""

from collections.abc import Iterable
from functools import partial
from typing import Final

from mmactors.actors.slab.slab import SlabAllocator
from mmactors.actors.slab.tell import tell_kmem_cache_alloc, tell_kmem_cache_free
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.objects import KernelObjects
from mmactors.engine.cpu import Cpu
from mmactors.mm.slab.allocator import KmemCacheLike
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.kernel_caches import KERNEL_CACHES
from mmactors.mm.slab.object_cache import AllocObject, FreeObject
from mmactors.mm.slab.request import KernelOopsError
from mmactors.units import PAGE_SHIFT


class OwnObjects(KernelObjects):
    """The caches of the kernel's own objects, on a machine."""

    def __init__(self, kernel: Kernel, allocator: SlabAllocator) -> None:
        super().__init__()
        self._kernel: Final = kernel
        self._allocator: Final = allocator
        self._in_grace: Final[dict[int, None]] = {}
        objects = self._objects = allocator.allocator
        made = map(objects.create, KERNEL_CACHES)
        self._caches: Final[tuple[KmemCacheLike, ...]] = tuple(s for s in made if s is not None)
        """By the numbers of mm/slab/kernel_caches.py."""
        assert len(self._caches) == len(KERNEL_CACHES), "each fits into a slab"

    def alloc_local(self, cache: int, site: str, gfp: int) -> int:
        """Return an object that this CPU has at hand, 0: it has none, or others are asked first."""
        kernel = self._kernel
        if kernel.engine.allowed:
            return 0  # Who wants allocations to fail is asked for each.
        s = self._caches[cache]
        cpu = kernel.engine.cpu_index
        if kernel.engine.is_exploring:
            self._touch(s, cpu)
        thing = self._objects.alloc_local(s, cpu, gfp)
        if thing and kernel.probe.on:
            tell_kmem_cache_alloc(kernel.probe, s, thing, gfp, site)
        return thing

    def free_local(self, cache: int, thing: int, site: str) -> bool:
        """Take an object back, unless a list of a node has to change; say whether it was done."""
        return self._free_local(self._kernel.engine.cpu_index, cache, thing, site)

    def _free_local(self, cpu: int, cache: int, thing: int, site: str) -> bool:
        kernel = self._kernel
        s = self._caches[cache]
        head, own = self._objects.slab_of(thing)
        if own is not s:
            return False  # Somebody has freed what was not its own.
        if kernel.engine.is_exploring:
            self._touch(s, cpu, head)
        is_done = self._objects.free_local(s, cpu, head, thing)
        if is_done and kernel.probe.on:
            tell_kmem_cache_free(kernel.probe, s.name, thing, site)
        return is_done

    @property
    def in_grace(self) -> Iterable[int]:
        """The objects that go back when those that read them under RCU have left."""
        return self._in_grace

    def free_by_rcu(self, cache: int, thing: int, site: str, *, nr_periods: int = 1) -> None:
        """Take an object back when all that may be reading it have left (call_rcu).

        `nr_periods`: the callback that frees it is called by another one. It is freed on this CPU,
        of whom the callback interrupts; a thread does it if a list of a node has to change, or
        interrupts are off there then.
        """
        self._in_grace[thing] = None
        self._call_rcu(self._cpu(), cache, thing, site, nr_periods)

    def _call_rcu(self, cpu: Cpu, cache: int, thing: int, site: str, nr_periods: int) -> None:
        if nr_periods:
            arguments = cpu, cache, thing, site, nr_periods - 1
            self._kernel.rcu.call(partial(self._call_rcu, *arguments))
        elif cpu.irqs_enabled and self._free_local(cpu.index, cache, thing, site):
            del self._in_grace[thing]
        else:
            who = partial(SlabCaller, site=site)
            done = partial(self._in_grace.pop, thing)
            self._allocator.free_later(cpu, self._caches[cache], thing, who, done)

    def kfree_by_rcu(self, thing: int, site: str) -> None:
        """Let a worker free what kmalloc has given, when all that may be reading it have left."""
        self._in_grace[thing] = None
        cpu, who = self._cpu(), partial(SlabCaller, site=site)

        async def free(own: Cpu) -> None:
            del self._in_grace[thing]
            await self._allocator.kfree(own, thing, who)

        self._kernel.rcu.call(partial(self._allocator.start_worker, cpu, free))

    def generation_of(self, thing: int) -> int:
        """Return how often the page of an object was allocated or freed."""
        return self._kernel.pages.generation_view[thing >> PAGE_SHIFT]

    async def alloc(self, request: AllocObject) -> int:
        """Return the address of an object, 0: there is no memory."""
        cpu, s = self._cpu(), self._caches[request.cache]
        who = partial(SlabCaller, site=request.site)
        try:
            return await self._allocator.alloc_object(cpu, s, request.gfp, who, node=request.node)
        except KernelOopsError as error:
            self._oops(error)
            return 0

    async def free(self, request: FreeObject) -> None:
        """Take an object back."""
        cpu, s = self._cpu(), self._caches[request.cache]
        who = partial(SlabCaller, site=request.site)
        try:
            await self._allocator.free_object(cpu, s, request.thing, who)
        except KernelOopsError as error:
            self._oops(error)

    def _oops(self, error: KernelOopsError) -> None:
        """Let the thread die that met what a module had broken, once it has put all in order."""
        self._allocator.oops(error)
        self._kernel.kill_current()

    def _cpu(self) -> Cpu:
        return self._kernel.cpus[self._kernel.engine.cpu_index]

    def _touch(self, s: KmemCacheLike, cpu: int, freed_to: int = 0) -> None:
        """Tell a search what a CPU is about to touch."""
        for name, mode in self._objects.touched(s, cpu, freed_to):
            self._kernel.engine.touch(name, mode)
