"""alloc_percpu and free_percpu for the threads of a machine (mm/percpu.c, Linux 6.1).

Nothing of it is there before somebody asks: then the chunks are made as boot leaves them, with
nothing in use. The balance work is done by a worker of the CPU that schedules it, once however
often that is before it begins.
"""

from collections.abc import Sequence

from attrs import define, field

from mmactors.actors.percpu.caller import PercpuThread
from mmactors.actors.percpu.chunk_memory import ChunkMemory
from mmactors.actors.slab.slab import SlabAllocator
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.vmalloc.vmalloc import Vmalloc
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.spinlock import Mutex, Spinlock
from mmactors.mm.percpu.alloc import alloc_percpu
from mmactors.mm.percpu.balance import balance
from mmactors.mm.percpu.boot import setup_first_chunk
from mmactors.mm.percpu.free import free_percpu
from mmactors.mm.percpu.percpu import Percpu
from mmactors.mm.slab.slab_common import PAGE_OFFSET

_BALANCE_SITE = "pcpu_balance_workfn"


@define(eq=False, kw_only=True)
class PercpuAllocator:
    """Per-CPU memory of a machine."""

    kernel: Kernel
    slab: SlabAllocator
    vmalloc: Vmalloc
    areas: Sequence[int]
    """By group of near CPUs: the physical address at which its units begin."""
    cpu_node: tuple[int, ...]
    """By possible CPU: its node."""
    lock: Spinlock = field(init=False)
    """pcpu_lock."""
    alloc_mutex: Mutex = field(init=False)
    """pcpu_alloc_mutex."""
    memory: ChunkMemory = field(init=False)
    _is_scheduled: bool = field(default=False, init=False)
    """A worker is about to begin the balance work."""

    @property
    def percpu(self) -> Percpu:
        """All chunks, made when they are first asked for (setup_per_cpu_areas)."""
        kernel = self.kernel
        if kernel.percpu is None:
            engine, locks = kernel.engine, kernel.locks
            self.lock = Spinlock(engine, locks.of("pcpu_lock"), name="pcpu_lock")
            self.alloc_mutex = Mutex(engine, locks.of("pcpu_alloc_mutex"), name="pcpu_alloc_mutex")
            self.memory = ChunkMemory(kernel=kernel, slab=self.slab, vmalloc=self.vmalloc)
            areas = [PAGE_OFFSET + area for area in self.areas]
            kernel.percpu = setup_first_chunk(areas, self.cpu_node, wants_step=engine.wants_step)
        return kernel.percpu

    async def alloc(
        self, cpu: Cpu, size: int, align: int, gfp: int, *, site: str, reserved: bool = False
    ) -> int:
        """Return the per-CPU pointer of an area, NO_POINTER: there is none."""
        steps = alloc_percpu(self.percpu, size, align, gfp, reserved=reserved)
        return await self._thread(cpu, site).perform(steps)

    async def free(self, cpu: Cpu, pointer: int, *, site: str) -> None:
        """Give an area back; raise KernelOopsError if its chunk is gone."""
        await self._thread(cpu, site).perform(free_percpu(self.percpu, pointer))

    async def access(
        self, cpu: Cpu, pointer: int, of: int, offset: int, nr_bytes: int, *, value: int | None
    ) -> int | None:
        """Write bytes to the copy of a CPU, or read them; None: there is no such CPU.

        Return the first ones as they are then. Raise KernelOopsError where nothing is mapped.
        """
        units = self.percpu.units
        if of >= len(units.unit_offsets):
            return None
        address = units.base_addr + pointer + units.unit_offsets[of] + offset
        return await self.memory.access(cpu, address, nr_bytes, value=value)

    def schedule_balance(self, cpu: Cpu) -> None:
        """Let a worker do the balance work, unless one is about to (schedule_work)."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.slab.start_worker(cpu, self._balance)

    async def _balance(self, cpu: Cpu) -> None:
        self._is_scheduled = False
        await self._thread(cpu, _BALANCE_SITE).perform(balance(self.percpu))

    def _thread(self, cpu: Cpu, site: str) -> PercpuThread:
        return PercpuThread(kernel=self.kernel, cpu=cpu, work=self, site=site)
