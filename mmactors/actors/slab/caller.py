"""Who is on a path of an object allocator: its locks, and what it asks for, answered (v6.1).

A thread that may be preempted is, at a step with interrupts on, unless it stays on its CPU
(slub_get_cpu_ptr); it may go on on another one. Who dies of an oops lets go of what it holds, where
Linux's list_lock would stay held. What is freed and was never, or is no more, of these allocators
stays with who has it, where Linux would take its page away. Pages that an interrupt gives back, a
worker does, as interrupts ask nobody here.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar, assert_never

from attrs import define, field

from mmactors.actors.alloc.page_alloc import alloc_pages, free_pages
from mmactors.actors.slab.tell import tell_alloc, tell_free
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.actors.state.preempt import preemptible_step
from mmactors.engine.chance import ALLOCATION_FAILS
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.events import Console
from mmactors.label import Label
from mmactors.mm.page_alloc.alloc_site import ALLOC_SLAB_PAGE
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.request import (
    AlienLock,
    AlienTryLock,
    AlienUnlock,
    AllocSlabPages,
    CallRcu,
    FlushCpus,
    FreeSlabPages,
    GetCpu,
    ListLock,
    ListUnlock,
    LocalLock,
    LocalUnlock,
    Printk,
    PutCpu,
    RcuBarrier,
    ShouldFailslab,
    SlabRequest,
    SlabSteps,
    SlobLock,
    SlobUnlock,
    TellAlloc,
    TellFree,
)
from mmactors.mm.slab.warning import warning, warning_once

T = TypeVar("T")
SlabLock = ListLock | AlienLock | SlobLock
AsksOthers = CallRcu | RcuBarrier | FlushCpus | FreeSlabPages


@define(eq=False, kw_only=True)
class SlabThread:
    """A thread, a worker or an interrupt that drives paths of the allocator on its CPU."""

    kernel: Kernel
    cpu: Cpu
    """The one that it is on."""
    lock_of: Callable[[SlabLock], Spinlock]
    ask_others: "Callable[[Cpu, AsksOthers], Awaitable[None]]"
    """Answers what other CPUs, or later times, have to do."""
    _irqs_off: int = field(default=0, init=False)
    _stays: int = field(default=0, init=False)
    """So often it was told to stay on its CPU."""
    _held: list[Spinlock] = field(factory=list, init=False)

    async def perform(self, steps: SlabSteps[T]) -> T:
        """Drive a path to its end; raise KernelOopsError if the kernel dies of it."""
        try:
            return await perform(steps, self._answer)
        finally:
            while self._held:
                await self._held.pop().release()
            while self._irqs_off:
                self._enable_irqs()

    def _enable_irqs(self) -> None:
        self._irqs_off -= 1
        self.cpu.enable_irqs()

    def _disable_irqs(self) -> None:
        self._irqs_off += 1
        self.cpu.disable_irqs()

    async def _step(self, label: Label) -> None:
        """Take a step that ordinary runs do not wait for; there nobody is preempted before it."""
        engine = self.kernel.engine
        actor = engine.current
        if not engine.is_exploring:
            engine.guard.begin(actor, label)
        elif actor.preempt is None or self._stays or self._irqs_off or self.cpu.contexts:
            await engine.step(label)
        else:
            self.cpu = await preemptible_step(self.kernel, self.cpu, label)

    async def _answer(self, request: SlabRequest) -> int | None:
        kernel, cpu = self.kernel, self.cpu
        match request:
            case Label():
                await self._step(request)
            case ShouldFailslab(allocation=allocation):
                fails = await kernel.engine.may(ALLOCATION_FAILS, allocation)
                if fails:
                    kernel.refuse_page(cpu)
                return int(fails)
            case TellAlloc():
                if kernel.probe.on:
                    tell_alloc(kernel.probe, request)
            case TellFree():
                if kernel.probe.on:
                    tell_free(kernel.probe, request)
            case AllocSlabPages(order=order, gfp=gfp, node=node):
                pfn = await alloc_pages(kernel, cpu, order, gfp, node=node, site=ALLOC_SLAB_PAGE)
                if pfn is not None:
                    kernel.slab_pages[pfn] = order
                return pfn
            case FreeSlabPages(pfn=pfn, order=order):
                if kernel.slab_pages.pop(pfn, None) is None:
                    pass
                elif cpu.contexts:
                    await self.ask_others(cpu, request)
                else:
                    await free_pages(kernel, cpu, pfn, order)
            case ListLock() | AlienLock() | SlobLock():
                lock = self.lock_of(request)
                self._disable_irqs()
                if not lock.acquire_nowait():
                    await lock.acquire()
                self._held.append(lock)
            case AlienTryLock(wanted):
                lock = self.lock_of(wanted)
                self._disable_irqs()
                if not await lock.trylock():
                    self._enable_irqs()
                    return 0
                self._held.append(lock)
                return 1
            case ListUnlock() | AlienUnlock() | SlobUnlock():
                lock = self._held.pop()
                if not lock.release_nowait():
                    await lock.release()
                self._enable_irqs()
            case LocalLock():
                self._disable_irqs()
            case LocalUnlock():
                self._enable_irqs()
            case GetCpu():
                self._stays += 1
            case PutCpu():
                self._stays -= 1
            case CallRcu() | RcuBarrier() | FlushCpus():
                await self.ask_others(cpu, request)
            case Printk(lines=lines):
                printk(kernel, lines)
            case _:
                assert_never(request)
        return None


def warn(kernel: Kernel, place: str, *text: str, is_once: bool = False) -> None:
    """Write a warning of who runs into the kernel's log (WARN, WARN_ON_ONCE)."""
    engine = kernel.engine
    say = warning_once if is_once else warning
    caller = SlabCaller(pid=engine.current.tid or 0)
    printk(kernel, say(kernel.slab.memory, engine.cpu_index, caller, place, *text))


def printk(kernel: Kernel, lines: tuple[str, ...]) -> None:
    """Write into the kernel's log, which the log of events shows."""
    if kernel.probe.on:
        for line in lines:
            kernel.probe.emit(Console(msg=line))
