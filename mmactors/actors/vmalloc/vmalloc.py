"""vmalloc, vmap, vm_map_ram for the threads of a machine (mm/vmalloc.c, Linux 6.1).

Nothing of it is there before somebody asks: then the address space is made as boot leaves it, with
nothing in use. Two works belong to it, which a worker of the CPU does that schedules them, once
however often that is before it begins: purging what was freed lazily, and freeing what interrupts
have freed. Left out: areas that boot and drivers have.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from attrs import define, field

from mmactors.actors.slab.caller import printk
from mmactors.actors.slab.slab import SlabAllocator
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.vmalloc.access import KernelMemory
from mmactors.actors.vmalloc.caller import VmallocThread
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.lock.spinlock import Mutex, Spinlock
from mmactors.engine.timer import Timer
from mmactors.label import FREE_VMAP_AREAS, PURGE_VMAP_AREAS, Mode, vmap_block
from mmactors.mm.page_alloc import gfp as gfp_bits
from mmactors.mm.page_alloc.buddy import MANAGED_PAGES
from mmactors.mm.vmalloc import pcpu_areas, purge, vfree, vm_area, vmalloc, vmap_ram
from mmactors.mm.vmalloc.area_tree import find_area
from mmactors.mm.vmalloc.request import VB_LOCK, VBQ_LOCK, VmallocSteps
from mmactors.mm.vmalloc.space import FREE, LAZY, VmallocSpace, block_index, page_of
from mmactors.units import JIFFY_NS

T = TypeVar("T")
_WARN_INTERVAL_NS: Final = 10_000_000_000
"""Of two failures so close together one is told of (nopage_rs)."""
_GFP_NAMES: Final = (
    (gfp_bits.GFP_KERNEL_ACCOUNT, "GFP_KERNEL_ACCOUNT"),
    (gfp_bits.GFP_KERNEL, "GFP_KERNEL"),
    (gfp_bits.GFP_ZERO, "__GFP_ZERO"),
    (gfp_bits.GFP_THISNODE, "__GFP_THISNODE"),
)
_OF_EACH: Final = {VBQ_LOCK: "&vbq->lock", VB_LOCK: "&vb->lock"}
"""Locks that there are several of: what they are called together."""


@define(eq=False, kw_only=True)
class Vmalloc:
    """The kernel's own mappings on a machine."""

    kernel: Kernel
    slab: SlabAllocator
    timer: Timer
    memory: KernelMemory = field(init=False)
    purge_lock: Mutex = field(init=False)
    """vmap_purge_lock."""
    _locks: dict[tuple[str, int], Spinlock] = field(factory=dict, init=False)
    _scheduled: set[str] = field(factory=set, init=False)
    """Works that a worker is about to begin."""
    _warned_ns: int | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.memory = KernelMemory(kernel=self.kernel)

    @property
    def space(self) -> VmallocSpace:
        """The addresses, made when they are first asked for (vmalloc_init)."""
        kernel = self.kernel
        if kernel.vmalloc_space is None:
            engine = kernel.engine
            self.purge_lock = Mutex(
                engine, kernel.locks.of("vmap_purge_lock"), name="vmap_purge_lock"
            )
            kernel.vmalloc_space = VmallocSpace(
                nr_cpus=len(kernel.cpus),
                node_of_cpu=kernel.cpu_node,
                totalram_pages=self._totalram_pages,
                rules=kernel.rules,
                wants_step=engine.wants_step,
            )
        return kernel.vmalloc_space

    def has(self, address: int) -> bool:
        """Say whether an address is where this maps, and it has mapped anything."""
        is_there = self.kernel.vmalloc_space is not None
        return is_there and vfree.is_vmalloc_address(address)

    # What modules call. Addresses are signed words; 0: it could not be had.

    async def vmalloc(
        self, cpu: Cpu, size: int, gfp: int, *, caller: str, align: int = 1, node: int | None = None
    ) -> int:
        """Return where so many bytes lie (__vmalloc_node)."""
        steps = vmalloc.vmalloc(
            self.space, self._this_cpu, size, caller=caller, gfp=gfp, align=align, node=node
        )
        return await self._perform(cpu, steps)

    async def vfree(self, cpu: Cpu, address: int) -> None:
        """Give back what vmalloc has given; in an interrupt, let a worker do so."""
        await self._perform(cpu, vfree.vfree(self.space, self._this_cpu, address))

    async def vmap(self, cpu: Cpu, pfns: Sequence[int], *, caller: str) -> int:
        """Return where pages are mapped one after the other."""
        steps = vmalloc.vmap(self.space, self._this_cpu, pfns, caller=caller)
        return await self._perform(cpu, steps)

    async def vunmap(self, cpu: Cpu, address: int) -> None:
        """Unmap what vmap has mapped."""
        await self._perform(cpu, vfree.vunmap(self.space, self._this_cpu, address))

    async def vm_map_ram(self, cpu: Cpu, pfns: Sequence[int], node: int | None) -> int:
        """Return where pages are mapped for a short time."""
        steps = vmap_ram.vm_map_ram(self.space, self._this_cpu, pfns, node)
        return await self._perform(cpu, steps)

    async def vm_unmap_ram(self, cpu: Cpu, address: int, nr_pages: int) -> None:
        """Unmap what vm_map_ram has mapped."""
        await self._perform(cpu, vmap_ram.vm_unmap_ram(self.space, address, nr_pages))

    async def vm_unmap_aliases(self, cpu: Cpu) -> None:
        """Let no CPU know a translation of what was unmapped."""
        checks = self.kernel.area_checks
        if checks is not None:
            checks.forget_begins(self._is_given_back)
        await self._perform(cpu, purge.vm_unmap_aliases(self.space))
        if checks is not None:
            checks.forget_ended(lambda _address: True)

    async def get_vm_area(self, cpu: Cpu, size: int, flags: int, *, caller: str) -> int:
        """Return where so many bytes of addresses are reserved."""
        steps = vm_area.get_vm_area(self.space, self._this_cpu, size, flags, caller=caller)
        return await self._perform(cpu, steps)

    async def free_vm_area(self, cpu: Cpu, address: int) -> None:
        """Give reserved addresses back."""
        await self._perform(cpu, vm_area.free_vm_area(self.space, address))

    async def pcpu_get_vm_areas(
        self, cpu: Cpu, offsets: Sequence[int], sizes: Sequence[int], align: int
    ) -> int:
        """Return where a chunk of per-CPU memory may lie; amounts are pages."""
        steps = pcpu_areas.pcpu_get_vm_areas(self.space, self._this_cpu, offsets, sizes, align)
        return await self._perform(cpu, steps)

    async def pcpu_free_vm_areas(self, cpu: Cpu, address: int) -> None:
        """Give its addresses back."""
        await self._perform(cpu, pcpu_areas.pcpu_free_vm_areas(self.space, address))

    # What is left for later.

    def lock_of(self, name: str, number: int) -> Spinlock:
        """Return one of vmalloc's spinlocks."""
        lock = self._locks.get((name, number))
        if lock is None:
            is_one = name not in _OF_EACH
            lock_class = self._lock_class(name if is_one else _OF_EACH[name])
            own_name = name if is_one else f"{name}[{number}]"
            lock = self._locks[name, number] = Spinlock(
                self.kernel.engine, lock_class, name=own_name
            )
        return lock

    def schedule_drain(self, cpu: Cpu) -> None:
        """Let a worker purge, unless one is about to (schedule_work)."""
        self._schedule("drain_vmap_work", cpu, self._drain)

    def schedule_vfree(self, cpu: Cpu) -> None:
        """Let a worker free what interrupts have left on a CPU, unless one is about to."""
        self._schedule(f"vfree_deferred of cpu{cpu.index}", cpu, self._free_deferred)

    def warn_alloc(self, gfp: int, text: str) -> None:
        """Say that an allocation has failed, not too often (warn_alloc)."""
        now_ns = self.kernel.engine.current.clock.now
        if gfp & gfp_bits.GFP_NOWARN:
            return
        if self._warned_ns is not None and now_ns - self._warned_ns < _WARN_INTERVAL_NS:
            return
        self._warned_ns = now_ns
        nodes = sorted(set(self.kernel.zone_node))
        allowed = f"{nodes[0]}-{nodes[-1]}" if len(nodes) > 1 else "0"
        mode = f"mode:{gfp:#x}({_gfp_names(gfp)})"
        where = f"nodemask=(null),cpuset=/,mems_allowed={allowed}"
        printk(self.kernel, (f"{self.kernel.engine.current.name}: {text}, {mode}, {where}",))

    async def sleep_jiffies(self, cpu: Cpu, jiffies: int) -> None:
        """Sleep for some ticks (schedule_timeout_uninterruptible)."""
        await self.timer.sleep_ns(cpu, jiffies * JIFFY_NS)

    def purge_begins(self) -> None:
        """Note what TLBs know of what is unmapped, for who checks."""
        if self.kernel.area_checks is not None:
            self.kernel.area_checks.forget_begins(self._is_given_back)

    def purge_ended(self) -> None:
        """Hold what they still know against which addresses are free now."""
        if self.kernel.area_checks is not None:
            self.kernel.area_checks.forget_ended(self._is_free)

    def _is_free(self, address: int) -> bool:
        self.kernel.engine.touch(FREE_VMAP_AREAS, Mode.READ)
        return find_area(self.space.areas, FREE, page_of(address)) != 0

    def _is_given_back(self, address: int) -> bool:
        """Say whether an address was unmapped for good, for who checks what TLBs know of it."""
        space, engine, page = self.space, self.kernel.engine, page_of(address)
        engine.touch(PURGE_VMAP_AREAS, Mode.READ)
        engine.touch(FREE_VMAP_AREAS, Mode.READ)
        if find_area(space.areas, LAZY, page) or find_area(space.areas, FREE, page):
            return True
        block = space.blocks.get(block_index(page))
        if block is None:
            return False
        engine.touch(vmap_block(block.index), Mode.READ)
        return block.dirty_min <= page - block.first < block.dirty_max

    def _this_cpu(self) -> int:
        return self.kernel.engine.cpu_index

    def _lock_class(self, name: str) -> LockClass:
        return self.kernel.locks.of(name)

    def _totalram_pages(self) -> int:
        return sum(zone.view[MANAGED_PAGES] for zone in self.kernel.allocator.zones)

    async def _perform(self, cpu: Cpu, steps: VmallocSteps[T]) -> T:
        thread = VmallocThread(kernel=self.kernel, cpu=cpu, slab=self.slab, work=self)
        return await thread.perform(steps)

    def _schedule(
        self, name: str, cpu: Cpu, work: Callable[[Cpu], Coroutine[Any, Any, None]]
    ) -> None:
        if name in self._scheduled:
            return
        self._scheduled.add(name)

        async def begin(own: Cpu) -> None:
            self._scheduled.discard(name)
            await work(own)

        self.slab.start_worker(cpu, begin)

    async def _drain(self, cpu: Cpu) -> None:
        await self._perform(cpu, purge.drain_vmap_area_work(self.space))

    async def _free_deferred(self, cpu: Cpu) -> None:
        await self._perform(cpu, vfree.free_work(self.space, self._this_cpu, cpu.index))


def _gfp_names(gfp: int) -> str:
    """Return the names of flags, as far as vmalloc is asked with them."""
    names = []
    for flags, name in _GFP_NAMES:
        if gfp & flags == flags:
            names.append(name)
            gfp &= ~flags
    return "|".join(names)
