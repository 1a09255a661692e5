"""CPUs, the threads that borrow them, and their interrupts.

A CPU has one clock, which whoever runs on it shares, and a stack of contexts of which the top one
runs: a thread or the idle loop at the bottom, interrupt handlers above it. A handler runs on the
stack of whom it interrupts, so "only the top one runs" holds by construction. Interrupts are taken
at the boundaries the engine names: between steps, inside `spend`, while spinning.

A thread keeps its CPU while it runs or spins and gives it away when it sleeps.
"""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import Any

from attrs import define, field, frozen

from mmactors.engine.actor import NEVER, Actor, Clock, Waitable
from mmactors.engine.baton import Engine
from mmactors.engine.report import SleepInAtomicContext


@frozen(eq=False)
class Interrupt:
    """Something that a CPU does on behalf of another; `vector` is its row of /proc/interrupts."""

    vector: str
    handler: "Callable[[Cpu], Awaitable[None]]"


@define(eq=False)
class _Idle:
    """What an idle CPU waits for."""

    cpu_index: int

    def describe(self) -> str:
        return f"an interrupt or a thread for cpu{self.cpu_index}"


@define(eq=False, kw_only=True)
class CpuTimes:
    """Where a CPU's time went, in ns, as the fields of /proc/stat."""

    user_ns: int = 0
    idle_ns: int = 0
    irq_ns: int = 0


@define(eq=False)
class Cpu:
    """One processor: clock, contexts, interrupt queue, run queue."""

    engine: Engine
    index: int
    switch_ns: int = field(kw_only=True)
    """What going from one thread to another costs."""
    slice_ns: int = field(kw_only=True)
    """How long a thread runs while another waits for the CPU."""
    on_switch: "Callable[[Cpu, Actor | None], None]" = field(kw_only=True)
    """Called when a thread, or nobody (None: idle), is put on the CPU."""
    clock: Clock = field(factory=Clock, init=False)
    times: CpuTimes = field(factory=CpuTimes, init=False)
    interrupts: Counter[str] = field(factory=Counter, init=False)
    """Interrupts taken, by vector."""
    context_switches: int = field(default=0, init=False)
    contexts: list[str] = field(factory=list, init=False)
    """Names of the interrupt contexts above the thread, innermost last."""
    spinlocks_held: int = field(default=0, init=False)
    current: Actor = field(init=False)
    """Who is on the CPU: a thread, or the idle actor."""
    idle: Actor = field(init=False)
    _irqs_off: int = field(default=0, init=False)
    _pending: list[tuple[int, int, Interrupt]] = field(factory=list, init=False)
    _run_queue: deque[tuple[int, Actor]] = field(factory=deque, init=False)
    _idle_since_ns: int = field(default=0, init=False)
    _slice_began_ns: int = field(default=0, init=False)
    _last_thread: Actor | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        engine = self.engine
        name = f"cpu{self.index}"
        self.idle = engine.spawn(name, self._idle_loop(), clock=self.clock)
        self.idle.cpu = self
        self.current = self.idle

    async def _idle_loop(self) -> None:
        waitable = _Idle(self.index)
        while True:
            await self.engine.wait(waitable, "idle")

    # -- interrupts ----------------------------------------------------------------------------

    @property
    def irqs_enabled(self) -> bool:
        """Whether interrupts are taken."""
        return self._irqs_off == 0

    def next_interrupt_ns(self) -> int:
        """Return when the next interrupt can be taken; NEVER if none is pending or they are off."""
        return NEVER if self._irqs_off or not self._pending else self._pending[0][0]

    def has_interrupt(self) -> bool:
        """Whether an interrupt can be taken now."""
        return not self._irqs_off and bool(self._pending) and self._pending[0][0] <= self.clock.now

    def raise_interrupt(self, interrupt: Interrupt, *, latency_ns: int) -> None:
        """Queue an interrupt that arrives `latency_ns` after the sender's present time."""
        engine = self.engine
        arrival_ns = engine.current.clock.now + latency_ns
        heappush(self._pending, (arrival_ns, engine.next_send_order(), interrupt))
        engine.messages[f"interrupt {interrupt.vector}"] += 1
        if self.irqs_enabled and self.current is not engine.current:
            engine.make_ready(self.current, arrival_ns)
        engine.refresh_limit()

    async def take_interrupts(self) -> None:
        """Run the handlers of all interrupts that have arrived, with interrupts off."""
        while self.has_interrupt():
            _, _, interrupt = heappop(self._pending)
            began_ns = self.clock.now
            if self.current is self.idle:
                self._account_idle()
            self.interrupts[interrupt.vector] += 1
            self.contexts.append(interrupt.vector)
            with self.irqs_off():
                await interrupt.handler(self)
            self.contexts.pop()
            self.times.irq_ns += self.clock.now - began_ns
            self._idle_since_ns = self.clock.now

    @contextmanager
    def irqs_off(self) -> Iterator[None]:
        """local_irq_save ... local_irq_restore; nests."""
        self._irqs_off += 1
        try:
            yield
        finally:
            self._irqs_off -= 1
            if not self._irqs_off and self._pending:
                self.engine.refresh_limit()

    # -- threads -------------------------------------------------------------------------------

    def spawn_thread(
        self,
        name: str,
        coro: Coroutine[Any, Any, None],
        *,
        pid: int | None = None,
        daemon: bool = False,
        at_ns: int = 0,
    ) -> Actor:
        """Make a thread that runs on this CPU, from `at_ns` or as soon as the CPU is free."""
        thread = self.engine.spawn(
            name, coro, clock=self.clock, daemon=daemon, pid=pid, is_ready=False
        )
        thread.cpu = self
        self._enqueue(thread, at_ns)
        return thread

    async def sleep(self, waitable: Waitable, label: str) -> None:
        """Give the CPU away until `wake` is called for the running thread."""
        thread = self.current
        if self.spinlocks_held or self._irqs_off or self.contexts:
            raise SleepInAtomicContext(
                f"{thread.name} went to sleep on {waitable.describe()} with "
                f"{self.spinlocks_held} spinlocks held, interrupts "
                f"{'on' if self.irqs_enabled else 'off'}, contexts {self.contexts}"
            )
        self._put_next()
        await self.engine.wait(waitable, label)

    def wake(self, thread: Actor, at_ns: int) -> None:
        """Let a thread that sleeps run again, from `at_ns` or as soon as the CPU is free."""
        assert thread.cpu is self, f"{thread.name} belongs to another CPU"
        self._enqueue(thread, at_ns)

    def exit_thread(self) -> None:
        """Give the CPU away for good; the running thread's coroutine returns next."""
        self._put_next()

    async def cond_resched(self) -> None:
        """Let the next thread of the run queue have the CPU if the slice is used up."""
        if self._run_queue and self.clock.now - self._slice_began_ns >= self.slice_ns:
            thread = self.current
            self._run_queue.append((self.clock.now, thread))
            self._put_next()
            await self.engine.wait(_Preempted(self.index), "preempted")

    @property
    def nr_running(self) -> int:
        """How many threads run or want to run here."""
        return len(self._run_queue) + (self.current is not self.idle)

    def _enqueue(self, thread: Actor, at_ns: int) -> None:
        if self.current is self.idle:
            self._put(thread, at_ns)
        else:
            self._run_queue.append((at_ns, thread))

    def _put_next(self) -> None:
        if self._run_queue:
            at_ns, thread = self._run_queue.popleft()
            self._put(thread, at_ns)
        else:
            self.current = self.idle
            self._idle_since_ns = self.clock.now
            if self.next_interrupt_ns() < NEVER:
                self.engine.make_ready(self.idle, self.next_interrupt_ns())
            self.on_switch(self, None)

    def _put(self, thread: Actor, at_ns: int) -> None:
        start_ns = max(at_ns, self.clock.now)
        if self.current is self.idle:
            self.times.idle_ns += start_ns - self._idle_since_ns
        if self._last_thread is not None and self._last_thread is not thread:
            start_ns += self.switch_ns
            self.context_switches += 1
        self._last_thread = thread
        self.current = thread
        self._slice_began_ns = start_ns
        self.engine.make_ready(thread, start_ns)
        self.on_switch(self, thread)

    def _account_idle(self) -> None:
        self.times.idle_ns += max(self.clock.now - self._idle_since_ns, 0)
        self._idle_since_ns = self.clock.now


@define(eq=False)
class _Preempted:
    """What a thread waits for whose slice is used up."""

    cpu_index: int

    def describe(self) -> str:
        return f"its next slice of cpu{self.cpu_index}"


@define(eq=False)
class WaitQueue:
    """Threads that sleep until they are woken, in order of arrival (kernel/sched/wait.c)."""

    engine: Engine
    name: str
    _sleepers: deque[Actor] = field(factory=deque, init=False)

    async def sleep(self) -> None:
        """Sleep until woken; the caller checks its condition again."""
        thread = self.engine.current
        assert thread.cpu is not None, f"{thread.name} has no CPU that it could give away"
        self._sleepers.append(thread)
        await thread.cpu.sleep(self, "sleep")

    def wake(self, nr_threads: int, *, at_ns: int) -> None:
        """Wake the first `nr_threads` sleepers."""
        for _ in range(min(nr_threads, len(self._sleepers))):
            thread = self._sleepers.popleft()
            assert thread.cpu is not None, f"{thread.name} sleeps but has no CPU"
            thread.cpu.wake(thread, at_ns)

    def wake_all(self, *, at_ns: int) -> None:
        """Wake every sleeper."""
        self.wake(len(self._sleepers), at_ns=at_ns)

    def describe(self) -> str:
        """Say what is waited for."""
        return f"{self.name}"
