"""Who is on a path of per-CPU memory: its locks, and what it asks for, answered (v6.1).

Who dies of an oops lets go of what it holds, where Linux's locks would stay held.
"""

from typing import Final, Protocol, TypeVar, assert_never

from attrs import define, field

from mmactors.actors.alloc.page_alloc import alloc_pages, free_pages
from mmactors.actors.percpu.chunk_memory import ChunkMemory, signed
from mmactors.actors.percpu.tell import tell
from mmactors.actors.slab.caller import printk, warn
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.actors.tlb.tlb import flush_tlb_kernel_range
from mmactors.actors.vmalloc.mapping import vmap_pages_range, vunmap_range_noflush
from mmactors.arch.pte import PRESENT, pte_pfn
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.spinlock import Mutex, Spinlock
from mmactors.label import PAGE_TABLES, PCPU_CHUNKS, Label, Mode
from mmactors.mm.page_alloc.alloc_site import PCPU_POPULATE_CHUNK
from mmactors.mm.page_table.page_table import PTE_LEVEL
from mmactors.mm.percpu.percpu import Percpu
from mmactors.mm.percpu.request import (
    AllocMutexLock,
    AllocMutexUnlock,
    AllocUnitPage,
    FlushTlbKernelRange,
    FreeUnitPage,
    FreeVmAreas,
    GetVmAreas,
    MapPages,
    MemFree,
    MemZalloc,
    PcpuLock,
    PcpuUnlock,
    PercpuAnswer,
    PercpuPrintk,
    PercpuRequest,
    PercpuSteps,
    PercpuWarn,
    ScheduleBalance,
    TellAllocPercpu,
    TellAllocPercpuFail,
    TellCreateChunk,
    TellDestroyChunk,
    TellFreePercpu,
    UnmapPages,
    ZeroUnits,
)
from mmactors.units import PAGE_SHIFT

T = TypeVar("T")
_READ_TABLES: Final = Label("read kernel page tables", ((PAGE_TABLES, Mode.READ),))


class Work(Protocol):
    """What paths share, and leave for later (`PercpuAllocator`)."""

    lock: Spinlock
    alloc_mutex: Mutex
    memory: ChunkMemory

    @property
    def percpu(self) -> Percpu:
        """All chunks."""
        ...

    def schedule_balance(self, cpu: Cpu) -> None:
        """Let a worker do the balance work, unless one is about to."""
        ...


@define(eq=False, kw_only=True)
class PercpuThread:
    """A thread or a worker that drives paths of per-CPU memory."""

    kernel: Kernel
    cpu: Cpu
    """The one that it is on."""
    work: Work
    site: str
    """The function that asks."""
    _has_lock: bool = field(default=False, init=False)
    _has_mutex: bool = field(default=False, init=False)

    async def perform(self, steps: PercpuSteps[T]) -> T:
        """Drive a path to its end; raise KernelOopsError if the kernel dies of it."""
        try:
            return await perform(steps, self._answer)
        finally:
            if self._has_lock:
                await self._unlock()
            if self._has_mutex:
                await self.work.alloc_mutex.release()

    async def _lock(self) -> None:
        self.cpu.disable_irqs()
        if not self.work.lock.acquire_nowait():
            await self.work.lock.acquire()
        self._has_lock = True
        if self.kernel.engine.is_exploring:
            self.kernel.engine.touch(PCPU_CHUNKS, Mode.WRITE)

    async def _unlock(self) -> None:
        self._has_lock = False
        if not self.work.lock.release_nowait():
            await self.work.lock.release()
        self.cpu.enable_irqs()

    async def _answer(self, request: PercpuRequest) -> PercpuAnswer:
        kernel, cpu, work = self.kernel, self.cpu, self.work
        match request:
            case Label():
                await kernel.engine.step(request)
            case PcpuLock():
                await self._lock()
            case PcpuUnlock():
                await self._unlock()
            case AllocMutexLock(is_killable=is_killable):
                return await self._lock_mutex(is_killable=is_killable)
            case AllocMutexUnlock():
                self._has_mutex = False
                await work.alloc_mutex.release()
            case MemZalloc(nr_bytes=nr_bytes, gfp=gfp):
                return await work.memory.zalloc(cpu, nr_bytes, gfp)
            case MemFree(address=address):
                await work.memory.free(cpu, address)
            case GetVmAreas():
                return await work.memory.get_areas(cpu, work.percpu.units)
            case FreeVmAreas(base_addr=base_addr):
                await work.memory.free_areas(cpu, base_addr)
            case (
                AllocUnitPage() | FreeUnitPage() | MapPages() | UnmapPages()
                | FlushTlbKernelRange()
            ):  # fmt: skip
                return await self._pages(request)
            case ZeroUnits(address=address, nr_bytes=nr_bytes):
                for offset in work.percpu.units.unit_offsets:
                    await work.memory.access(cpu, address + offset, nr_bytes, value=0)
            case ScheduleBalance():
                work.schedule_balance(cpu)
            case PercpuPrintk(line=line):
                printk(kernel, (line,))
            case PercpuWarn(line=line):
                warn(kernel, "mm/percpu.c:1764 pcpu_alloc", line)
            case (
                TellAllocPercpu() | TellAllocPercpuFail() | TellFreePercpu()
                | TellCreateChunk() | TellDestroyChunk()
            ):  # fmt: skip
                if kernel.probe.on:
                    tell(kernel.probe, request, self.site)
            case _:
                assert_never(request)
        return None

    async def _lock_mutex(self, *, is_killable: bool) -> bool:
        """Take pcpu_alloc_mutex; who is to die does not wait for it, if it may be killed."""
        context = self.kernel.fault_contexts.get(self.cpu.current.index) if is_killable else None
        mutex = self.work.alloc_mutex
        if not mutex.acquire_nowait():
            if context is not None and context.task.fatal_signal_pending:
                return False
            await mutex.acquire()
        self._has_mutex = True
        return True

    async def _pages(
        self,
        request: AllocUnitPage | FreeUnitPage | MapPages | UnmapPages | FlushTlbKernelRange,
    ) -> PercpuAnswer:
        kernel, cpu = self.kernel, self.cpu
        match request:
            case AllocUnitPage(cpu=number, gfp=gfp):
                node = self.work.percpu.units.cpu_node[number]
                return await alloc_pages(kernel, cpu, 0, gfp, node=node, site=PCPU_POPULATE_CHUNK)
            case FreeUnitPage(pfn=pfn):
                await free_pages(kernel, cpu, pfn, 0)
            case MapPages(address=address, pfns=pfns):
                return await vmap_pages_range(kernel, cpu, signed(address), pfns)
            case UnmapPages(address=address, nr_pages=nr_pages):
                start = signed(address)
                if kernel.engine.wants_step():
                    await kernel.engine.step(_READ_TABLES)
                pfns = mapped_pages(kernel, start, nr_pages)
                await vunmap_range_noflush(kernel, start, start + (nr_pages << PAGE_SHIFT))
                return pfns
            case FlushTlbKernelRange(start=start, end=end):
                await flush_tlb_kernel_range(kernel, cpu, start=signed(start), end=signed(end))
            case _:
                assert_never(request)
        return None


def mapped_pages(kernel: Kernel, start: int, nr_pages: int) -> tuple[int, ...]:
    """Return the pages that are mapped from a signed address on (vmalloc_to_page)."""
    table = kernel.init_mm.page_table
    pfns = []
    for nth in range(nr_pages):
        level, index = table.walk(start + (nth << PAGE_SHIFT))
        entry = table.memory.view[index]
        assert level == PTE_LEVEL, "what is populated has its tables"
        assert entry & PRESENT, "what is populated is mapped"
        pfns.append(pte_pfn(entry))
    return tuple(pfns)
