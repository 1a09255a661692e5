"""Operations on reference counts with counters of CPUs', as a kernel module does them (v6.1).

All processes of a program know its counts by their names; a module keeps them when the program
ends. The release function of a module gives back one object. A callback of RCU's is a thread of its
own on the CPU of who asked for it, as callbacks that free slabs are (actors/slab/slab.py).
"""

import errno
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar, assert_never

from attrs import define, field, frozen

from mmactors.actors.program.module.module_call import as_module
from mmactors.actors.program.thread import UserThread
from mmactors.actors.slab.caller import printk, warn
from mmactors.actors.slab.slab import SlabAllocator, Who
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.engine.wait_queue import WaitQueue
from mmactors.label import Label, Mode
from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.percpu_ref.percpu_ref import SIZEOF_PERCPU_REF_DATA, PercpuRef
from mmactors.mm.percpu_ref.request import (
    Bug,
    NullPointer,
    PrintkError,
    RefAsks,
    RefRequest,
    RefSteps,
    Warn,
)
from mmactors.mm.slab.alloc_site import PERCPU_REF_EXIT, PERCPU_REF_INIT
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.oops import bug, oops, wild_pointer
from mmactors.mm.slab.slab_common import PAGE_OFFSET
from mmactors.units import JIFFY_NS
from mmactors.workload.operation import all as op
from mmactors.workload.operation.percpu_ref import PercpuRefOperation

T = TypeVar("T")


@frozen
class _Release:
    """What a count's release function gives back."""

    owner: int
    """The process whose name it is."""
    site: str
    """The function."""
    name: str
    thing: int
    """Its address; 0: there is none."""


@define(eq=False, kw_only=True)
class PercpuRefCalls:
    """Runs operations on reference counts for all threads of a machine."""

    kernel: Kernel
    slab: SlabAllocator
    switch_lock: Spinlock = field(init=False)
    """Held by who changes the mode of a count (percpu_ref_switch_lock)."""
    switch_waitq: WaitQueue = field(init=False)
    """Where sleeps who waits until all CPUs see a mode (percpu_ref_switch_waitq)."""
    confirm_waitq: WaitQueue = field(init=False)
    """Where sleeps who has killed a count and waits to be told that all CPUs see it."""
    _confirmed: set[int] = field(factory=set, init=False)
    """Numbers of counts of which that was told."""
    _refs: dict[tuple[int, str], PercpuRef] = field(factory=dict, init=False)
    """By program, and name."""
    _releases: dict[int, _Release] = field(factory=dict, init=False)
    """By number of a count."""
    _nr_callbacks: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        kernel, name = self.kernel, "percpu_ref_switch_lock"
        self.switch_lock = Spinlock(kernel.engine, kernel.locks.of(name), name=name)
        self.switch_waitq = WaitQueue(kernel.engine, "percpu_ref_switch_waitq")
        self.confirm_waitq = WaitQueue(kernel.engine, "confirm_kill")

    def perform(self, thread: UserThread, call: PercpuRefOperation) -> Coroutine[Any, Any, int]:
        """Do one operation and return its result; an oops ends the process."""
        work = partial(self._perform, thread, call)
        return as_module(self.kernel, thread, work, may_preempt=False)

    async def _perform(self, thread: UserThread, call: PercpuRefOperation) -> int:
        if isinstance(call, op.PercpuRefInit):
            return await self._init(thread, call)
        ref = self._refs.get((thread.process.family.root.pid, call.ref))
        if ref is None:
            return -errno.EINVAL  # There was no memory for it.
        cpu = thread.cpu
        number = cpu.index
        match call:
            case op.PercpuRefGet():
                await self._drive(cpu, ref, ref.get(number))
            case op.PercpuRefTryget():
                return int(await self._drive(cpu, ref, ref.tryget(number)))
            case op.PercpuRefTrygetLive():
                return int(await self._drive(cpu, ref, ref.tryget_live(number)))
            case op.PercpuRefPut():
                await self._drive(cpu, ref, ref.put(number))
            case op.PercpuRefKill():
                await self._drive(cpu, ref, ref.kill_and_confirm(number, confirms=False))
            case op.PercpuRefKillAndConfirm():
                self._confirmed.discard(ref.number)
                await self._drive(cpu, ref, ref.kill_and_confirm(number, confirms=True))
                await self._wait(self.confirm_waitq, lambda: ref.number in self._confirmed)
            case op.PercpuRefSwitchToAtomicSync():
                await self._drive(cpu, ref, ref.switch_to_atomic(number))
                await self._wait(self.switch_waitq, lambda: not ref.is_switching)
            case op.PercpuRefSwitchToPercpu():
                await self._drive(cpu, ref, ref.switch_to_percpu(number))
            case op.PercpuRefReinit():
                await self._drive(cpu, ref, ref.reinit(number))
            case op.PercpuRefExit():
                data = await self._drive(cpu, ref, ref.exit())
                if data:
                    await self.slab.kfree(cpu, data, self._who(cpu, PERCPU_REF_EXIT))
            case _:
                assert_never(call)
        return 0

    async def _init(self, thread: UserThread, call: op.PercpuRefInit) -> int:
        kernel, cpu, family = self.kernel, thread.cpu, thread.process.family
        who = self._who(cpu, PERCPU_REF_INIT)
        data = await self.slab.kmalloc(cpu, SIZEOF_PERCPU_REF_DATA, GFP_KERNEL | GFP_ZERO, who)
        if not data:
            return -errno.ENOMEM
        owner, site = family.root.pid, f"{family.root.comm}.release"
        ref = kernel.percpu_refs.init(call.name, data, flags=int(call.flags), release=site)
        name = call.release or ""
        self._refs[owner, call.name] = ref
        self._releases[ref.number] = _Release(owner, site, name, family.objects.get(name, 0))
        return 0

    async def _wait(self, queue: WaitQueue, is_done: Callable[[], bool]) -> None:
        engine = self.kernel.engine
        if engine.wants_step():
            await engine.step(Label("look whether it is done", ((queue.name, Mode.READ),)))
        while not is_done():
            await queue.sleep(unless=is_done)

    def _who(self, cpu: Cpu, site: str) -> Who:
        tid = self.kernel.engine.current.tid or 0
        return lambda: SlabCaller(site=site, pid=tid, jiffies=cpu.clock.now // JIFFY_NS)

    # How a path is driven.

    async def _drive(self, cpu: Cpu, ref: PercpuRef, steps: RefSteps[T]) -> T:
        return await _Run(self, cpu, ref).perform(steps)

    def call_rcu(self, cpu: Cpu, ref: PercpuRef) -> None:
        """Let the counters of a count be summed after a grace period."""
        self.kernel.rcu.call(partial(self._start_callback, cpu, ref))

    def _start_callback(self, cpu: Cpu, ref: PercpuRef) -> None:
        self._nr_callbacks += 1
        name = f"rcuc/{cpu.index}:percpu_ref{self._nr_callbacks}"
        work = self.slab.work_of(cpu, partial(self._callback, ref))
        cpu.spawn_thread(name, work, at_ns=self.kernel.engine.current.clock.now)

    async def _callback(self, ref: PercpuRef, cpu: Cpu) -> None:
        await self._drive(cpu, ref, ref.switch_to_atomic_rcu(cpu.index))

    def confirm(self, cpu: Cpu, ref: PercpuRef) -> None:
        """Tell who has killed a count that all CPUs see it."""
        self._confirmed.add(ref.number)
        self.confirm_waitq.wake_all(at_ns=cpu.clock.now)

    async def release(self, cpu: Cpu, ref: PercpuRef) -> None:
        """Call a count's release function."""
        release = self._releases[ref.number]
        checks = self.slab.allocator.memory.checks
        if not release.thing:
            return
        if checks is not None:
            checks.name_freed(release.owner, release.name)
        await self.slab.kfree(cpu, release.thing, self._who(cpu, release.site))


@define(eq=False)
class _Run:
    """A path on its way, and what its driver holds for it."""

    calls: PercpuRefCalls
    cpu: Cpu
    ref: PercpuRef
    _is_locked: bool = False
    _nr_sections: int = 0

    async def perform(self, steps: RefSteps[T]) -> T:
        """Drive it to its end; raise KernelOopsError if the kernel dies of it."""
        try:
            return await perform(steps, self._answer)
        finally:
            for _ in range(self._nr_sections):
                self.calls.kernel.rcu.leave(self.cpu)
            if self._is_locked:
                await self._unlock()

    async def _lock(self) -> None:
        self.cpu.disable_irqs()
        lock = self.calls.switch_lock
        if not lock.acquire_nowait():
            await lock.acquire()
        self._is_locked = True

    async def _unlock(self) -> None:
        lock = self.calls.switch_lock
        self._is_locked = False
        if not lock.release_nowait():
            await lock.release()
        self.cpu.enable_irqs()

    async def _answer(self, request: RefAsks) -> None:
        calls, cpu = self.calls, self.cpu
        kernel = calls.kernel
        memory = calls.slab.allocator.memory
        match request:
            case Label():
                await kernel.engine.step(request)
            case RefRequest.RCU_READ_LOCK:
                await kernel.rcu.read_lock(cpu)
                self._nr_sections += 1
            case RefRequest.RCU_READ_UNLOCK:
                await kernel.rcu.read_unlock(cpu)
                self._nr_sections -= 1
            case RefRequest.LOCK:
                await self._lock()
            case RefRequest.UNLOCK:
                await self._unlock()
            case RefRequest.SLEEP:
                await self._unlock()
                await calls.switch_waitq.sleep(unless=lambda: not self.ref.is_switching)
                await self._lock()
            case RefRequest.WAKE_ALL:
                calls.switch_waitq.wake_all(at_ns=cpu.clock.now)
            case RefRequest.CALL_RCU:
                calls.call_rcu(cpu, self.ref)
            case RefRequest.CONFIRM:
                calls.confirm(cpu, self.ref)
            case RefRequest.RELEASE:
                await calls.release(cpu, self.ref)
            case Warn(place=place, text=text):
                warn(kernel, place, *text, is_once=True)
            case PrintkError(line=line):
                printk(kernel, (line,))
            case NullPointer(offset=offset):
                oops(memory, *wild_pointer(offset - PAGE_OFFSET))
            case Bug(file=file, line=number):
                oops(memory, *bug(file, number))
            case _:
                assert_never(request)
