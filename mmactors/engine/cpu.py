"""CPUs, the threads that borrow them, and their interrupts.

A CPU has one clock, which whoever runs on it shares, and a stack of contexts of which the top one
runs: a thread or the idle loop at the bottom, interrupt handlers above it. A handler runs on the
stack of whom it interrupts, so "only the top one runs" holds by construction. Interrupts are taken
at the boundaries the engine names: between steps, inside `spend`, while spinning.

A thread keeps its CPU while it runs or spins and gives it away when it sleeps. A woken thread runs
at once if the CPU is idle and the time has come, else from the run queue, in order of wake time.

Invariants: `current` is the one actor of the CPU that others may make ready; the run queue holds
threads only, none of them `current`; a CPU that runs idle has nothing in its run queue whose time
has come.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from operator import itemgetter
from typing import Any

from attrs import define, field, frozen

from mmactors.engine.actor import NEVER, Actor, Awaited, Clock, Waitable
from mmactors.engine.baton import Engine
from mmactors.engine.cpu_times import CpuTimes
from mmactors.engine.report import SleepInAtomicContext, time_is_up
from mmactors.engine.sched.computing import Computing
from mmactors.engine.trace.span import Span
from mmactors.engine.trace.tracer import (
    EXIT_DEAD,
    TASK_INTERRUPTIBLE,
    TASK_RUNNING,
    TASK_UNINTERRUPTIBLE,
)
from mmactors.label import cpu_context


@frozen(eq=False)
class Interrupt:
    """Something that a CPU does on behalf of another; `vector` is its row of /proc/interrupts."""

    vector: str
    handler: "Callable[[Cpu], Awaitable[None]]"
    span: Span | None = None
    """What the handler does, and for whom; None: no events are recorded."""


@define(eq=False)
class _Idle:
    """What an idle CPU waits for."""

    cpu_index: int

    def describe(self) -> str:
        return f"an interrupt or a thread for cpu{self.cpu_index}"


@define(eq=False, repr=False)
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
    on_run: "Callable[[Cpu, Actor], Awaitable[None]] | None" = field(default=None, kw_only=True)
    """Awaited by a thread that has the CPU again, before it does anything else."""
    name: str = field(init=False)
    """What steps that touch this CPU call it."""
    clock: Clock = field(factory=Clock, kw_only=True)
    times: CpuTimes = field(factory=CpuTimes, init=False)
    interrupts: Counter[str] = field(factory=Counter, init=False)
    """Interrupts taken, by vector."""
    context_switches: int = field(default=0, init=False)
    """From one thread to another, to idle and from idle (rq->nr_switches)."""
    nr_iowait: int = field(default=0, init=False)
    """Threads that sleep in io_schedule() (rq->nr_iowait)."""
    contexts: list[str] = field(factory=list, init=False)
    """Names of the interrupt contexts above the thread, innermost last."""
    spinlocks_held: int = field(default=0, init=False)
    """Held or spun for."""
    rcu_nesting: int = field(default=0, init=False)
    """Open RCU read sections."""
    current: Actor = field(init=False)
    """Who is on the CPU: a thread, or the idle actor."""
    idle: Actor = field(init=False)
    interrupt_ns: int = field(default=NEVER, init=False)
    """When the next interrupt can be taken; NEVER if none is pending or they are off."""
    _irqs_off: int = field(default=0, init=False)
    _pending: list[tuple[int, int, Interrupt]] = field(factory=list, init=False)
    run_queue: list[tuple[int, int, Actor]] = field(factory=list, init=False)
    """A heap: when the thread may run, order of arrival, thread."""
    _starts_ns: int = field(default=0, init=False)
    """When `current` runs its first instruction; its slice begins then."""
    _last_thread: Actor | None = field(default=None, init=False)
    put_ns: int = field(default=0, init=False)
    """When `current` was put on the CPU: the switch to it began."""
    computing: Computing = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.name = cpu_context(self.index)
        self.computing = Computing(self)
        self.start()

    def start(self) -> None:
        """Give the CPU its idle actor; once more if the actors before are gone and it was idle."""
        self.idle = self.engine.spawn(self.name, self._idle_loop(), clock=self.clock)
        self.idle.cpu = self
        self.current = self.idle
        self._last_thread = None

    async def _idle_loop(self) -> None:
        waitable = _Idle(self.index)
        while True:
            if self.current is self.idle:
                self._put_next(TASK_RUNNING)
            await self.engine.wait(waitable, "idle")

    # -- interrupts ----------------------------------------------------------------------------

    @property
    def irqs_enabled(self) -> bool:
        """Whether interrupts are taken."""
        return self._irqs_off == 0

    def has_interrupt(self) -> bool:
        """Whether an interrupt can be taken now."""
        return self.interrupt_ns <= self.clock.now

    def _interrupts_changed(self) -> None:
        """Note that what is pending, or whether it may be taken, has changed."""
        if self._irqs_off or not self._pending:
            self.interrupt_ns = NEVER
        else:
            # The switch to a thread runs with interrupts off.
            self.interrupt_ns = max(self._pending[0][0], self._starts_ns)

    def raise_interrupt(self, interrupt: Interrupt, *, latency_ns: int) -> None:
        """Queue an interrupt that arrives `latency_ns` after the sender's present time."""
        engine = self.engine
        self.computing.end_laps()
        arrival_ns = engine.current.clock.now + latency_ns
        heappush(self._pending, (arrival_ns, engine.next_send_order(self.name), interrupt))
        engine.messages[f"interrupt {interrupt.vector}"] += 1
        self._interrupts_changed()
        if self.interrupt_ns < NEVER and self.current is not engine.running:
            engine.make_ready(self.current, self.interrupt_ns)
        engine.refresh_limit()

    def cancel_interrupt(self, interrupt: Interrupt) -> None:
        """Take back an interrupt that has not been taken."""
        self._pending = [each for each in self._pending if each[2] is not interrupt]
        heapify(self._pending)
        self._interrupts_changed()
        self.engine.refresh_limit()

    async def take_interrupts(self) -> None:
        """Run the handlers of all interrupts that have arrived, with interrupts off.

        Who may be preempted here is, then, if there is a reason (preempt_schedule_irq).
        """
        while self.has_interrupt():
            _, _, interrupt = heappop(self._pending)
            self._account(self.clock.now, is_iowait=self.nr_iowait > 0)
            self.interrupts[interrupt.vector] += 1
            self.contexts.append(interrupt.vector)
            # The handler is on the stack of whom it interrupts, who goes on with its own doing.
            actor = self.engine.current
            interrupted, actor.span = actor.span, interrupt.span
            with self.irqs_off():
                await interrupt.handler(self)
                self.contexts.pop()
            actor.span = interrupted
            self.times.account_irq(self.clock.now)
        actor = self.engine.current
        if actor.is_preemptible and actor.preempt is not None:
            await actor.preempt()

    @contextmanager
    def irqs_off(self) -> Iterator[None]:
        """local_irq_save ... local_irq_restore; nests."""
        self.disable_irqs()
        try:
            yield
        finally:
            self.enable_irqs()

    def disable_irqs(self) -> None:
        """Take no interrupts until `enable_irqs` was called as often."""
        self._irqs_off += 1
        if self._irqs_off == 1 and self.engine.lock_observer is not None:
            self.engine.lock_observer.irqs_disabled(self)
        if self.interrupt_ns < NEVER:
            self.interrupt_ns = NEVER
            self.engine.refresh_limit()

    def enable_irqs(self) -> None:
        """Undo one `disable_irqs`; what arrived meanwhile is taken at the next boundary."""
        assert self._irqs_off > 0, f"cpu{self.index}: interrupts are on already"
        self._irqs_off -= 1
        if not self._irqs_off and self.engine.lock_observer is not None:
            self.engine.lock_observer.irqs_enabled(self)
        if self._pending:
            self._interrupts_changed()
            self.engine.refresh_limit()

    # -- threads -------------------------------------------------------------------------------

    def spawn_thread(
        self,
        name: str,
        coro: Coroutine[Any, Any, None],
        *,
        pid: int | None = None,
        tid: int | None = None,
        daemon: bool = False,
        at_ns: int = 0,
    ) -> Actor:
        """Make a thread that runs on this CPU, from `at_ns` or as soon as the CPU is free."""
        thread = self.engine.spawn(
            name, coro, clock=self.clock, daemon=daemon, pid=pid, is_ready=False
        )
        thread.tid = tid
        thread.cpu = self
        if self.engine.tracer is not None:
            self.engine.tracer.woken_new(thread)
        self._schedule(thread, at_ns)
        return thread

    async def sleep(
        self, waitable: Waitable, label: str, *, state: int = TASK_INTERRUPTIBLE
    ) -> None:
        """Give the CPU away until `wake` is called for the running thread."""
        self.assert_may_sleep(waitable)
        self._put_next(state)
        await self.engine.wait(waitable, label)
        if self.on_run is not None:
            await self.on_run(self, self.engine.current)

    def assert_may_sleep(self, waitable: Waitable) -> None:
        """Raise SleepInAtomicContext unless the running thread may give its CPU away."""
        if self.spinlocks_held or self._irqs_off or self.contexts or self.rcu_nesting:
            raise SleepInAtomicContext(
                f"{self.engine.running} went to sleep waiting for {waitable.describe()}, with "
                f"{self.spinlocks_held} spinlocks held, {self.rcu_nesting} RCU read sections, "
                "interrupts "
                f"{'off' if self._irqs_off else 'on'}, in "
                f"{'interrupt ' + ' > '.join(self.contexts) if self.contexts else 'no interrupt'}"
            )
        assert self.current is self.engine.running, f"{self.engine.running} is not on {self.index}"

    def wake(self, thread: Actor, at_ns: int) -> None:
        """Let a thread that sleeps run again, from `at_ns` or as soon as the CPU is free."""
        assert thread.cpu is self, f"{thread.name} belongs to another CPU"
        if self.engine.tracer is not None:
            self.engine.tracer.waking(thread)
        self._schedule(thread, at_ns)

    async def accept(self, thread: Actor, at_ns: int) -> None:
        """Let the running thread, which has come from elsewhere, go on here from `at_ns` on."""
        self._schedule(thread, at_ns)
        await self.engine.wait(_Turn("its turn on", self.index), "migrate")

    def exit_thread(self, state: int = EXIT_DEAD) -> None:
        """Give the CPU away for good; the running thread's coroutine returns next."""
        self._put_next(state)

    async def cond_resched(self) -> None:
        """Let the next thread of the run queue have the CPU if the slice is used up."""
        queue = self.run_queue
        if not queue:
            return
        now = self.clock.now
        is_over = queue[0][0] <= now and now - self._starts_ns >= self.slice_ns
        if self.engine.is_exploring:  # Where nobody knows the time, it may be over or not.
            is_over = await self.engine.is_preempted(f"the slice of {self.name} is over")
        if is_over:
            waitable = _Turn("its next slice of", self.index)
            self.assert_may_sleep(waitable)
            self._enqueue(self.current, now)
            self._put_next(TASK_RUNNING)
            await self.engine.wait(waitable, "preempted")
            if self.on_run is not None:
                await self.on_run(self, self.engine.current)

    async def compute(self, ns: int, *, goes_on: bool = False, grain_ns: int | None = None) -> int:
        """Let the running thread compute for `ns`, or to the end of a slice when it is wanted.

        That is when another thread waits for the CPU or a signal has come. Return what is left, in
        ns. One step, however long (sched/computing.py): ENDLESS, until a signal comes. `goes_on`:
        it is what was left before. A signal is seen every `grain_ns`, or else at the end of a
        slice. Raises TimeIsUp if virtual time ends before.
        """
        engine, clock = self.engine, self.clock
        if engine.is_exploring:  # Nobody knows the time, and what is computed touches nothing.
            if clock.now + ns >= NEVER:
                raise time_is_up(engine.current, clock.now + ns)
            await engine.spend(ns)
            return 0
        grain_ns = self.slice_ns if grain_ns is None else grain_ns
        return await self.computing.compute(ns, goes_on=goes_on, grain_ns=grain_ns)

    def signal(self, thread: Actor, at_ns: int) -> None:
        """Let a thread that computes here look at the end of its slice whether it has to end."""
        self.computing.signal(thread, at_ns)

    def catch_up(self, now_ns: int) -> None:
        """Let what is computed here be accounted as far as it is at `now_ns`, before one looks."""
        self.computing.catch_up(now_ns)

    def skip(self, now_ns: int, passed_ns: int, *, nr_switches: int) -> None:
        """Be at `now_ns`, with the same threads in the same order, `passed_ns` later."""
        self.clock.now = now_ns
        self._starts_ns += passed_ns
        self.context_switches += nr_switches
        self.run_queue = [
            (at_ns + passed_ns, order, thread) for at_ns, order, thread in self.run_queue
        ]

    def nr_running(self, now_ns: int) -> int:
        """Return how many threads run or could run here at `now_ns` (rq->nr_running)."""
        nr_queued = sum(at_ns <= now_ns for at_ns, _, _ in self.run_queue)
        return nr_queued + (self.current is not self.idle)

    def queued(self) -> list[Actor]:
        """Return the threads of the run queue, in their order."""
        return [thread for _, _, thread in sorted(self.run_queue, key=itemgetter(0, 1))]

    def has(self, thread: Actor) -> bool:
        """Return whether a thread runs here, or waits for its turn."""
        return thread is self.current or any(each is thread for _, _, each in self.run_queue)

    def pending_vectors(self) -> list[str]:
        """Return the vectors of the interrupts that have not been taken, in their order."""
        pending = sorted(self._pending, key=itemgetter(0, 1))
        return [interrupt.vector for _, _, interrupt in pending]

    def _enqueue(self, thread: Actor, at_ns: int) -> None:
        self.computing.end_laps()
        heappush(self.run_queue, (at_ns, self.engine.next_send_order(self.name), thread))
        self.computing.tell()

    def _schedule(self, thread: Actor, at_ns: int) -> None:
        """Let `thread` run from `at_ns`, or as soon as the CPU is free after that."""
        if self.current is not self.idle or self.contexts:
            self._enqueue(thread, at_ns)  # A handler on idle's stack ends before idle looks.
        elif at_ns <= self.clock.now or at_ns <= self.engine.now_ns:
            self._put(thread, at_ns, TASK_RUNNING)
        else:
            self._enqueue(thread, at_ns)
            self.engine.make_ready(self.idle, at_ns)

    def _put_next(self, state: int) -> None:
        """Put the next thread on the CPU whose time has come, or else nobody.

        `state`: what the present one becomes.
        """
        queue = self.run_queue
        if queue and queue[0][0] <= self.clock.now:
            at_ns, _, thread = heappop(queue)
            self._put(thread, at_ns, state)
            return
        if self.current is not self.idle:
            self._switch_to(self.idle, self.clock.now, state)
            self._starts_ns = self.clock.now
            self._interrupts_changed()
            self.on_switch(self, None)
        wake_ns = min(self.interrupt_ns, queue[0][0] if queue else NEVER)
        if wake_ns < NEVER:
            self.engine.make_ready(self.idle, wake_ns)

    def _put(self, thread: Actor, at_ns: int, state: int) -> None:
        start_ns = self.put_ns = max(at_ns, self.clock.now)
        self._switch_to(thread, start_ns, state)
        if self._last_thread is not None and self._last_thread is not thread:
            start_ns += self.switch_ns
        self._last_thread = thread
        self._starts_ns = start_ns
        self._interrupts_changed()
        self.idle.withdraw()  # An interrupt that idle was to take is the thread's now.
        self.engine.make_ready(thread, start_ns)
        self.on_switch(self, thread)

    def _switch_to(self, actor: Actor, at_ns: int, state: int) -> None:
        """Let `actor` be who is on the CPU; who was becomes `state`, and a switch is counted."""
        before = self.current
        self._account(at_ns)
        if before is actor:
            return
        if self.engine.tracer is not None:
            self.engine.tracer.switch(self, actor, state=state, at_ns=at_ns)
        self.context_switches += 1
        if before is not self.idle:
            if state == TASK_RUNNING:
                before.times.nivcsw += 1
            else:
                before.times.nvcsw += 1
        self.current = actor

    def _account(self, until_ns: int, *, is_iowait: bool = False) -> None:
        """Account the time up to now as that of who was on the CPU."""
        if self.current is self.idle:
            self.times.account_idle(until_ns, is_iowait=is_iowait)
        else:
            self.times.account_thread(self.current.times, until_ns)


@define(eq=False)
class _Turn:
    """What a thread waits for whose slice is used up, or that has come from another CPU."""

    what: str
    cpu_index: int

    def describe(self) -> str:
        return f"{self.what} cpu{self.cpu_index}"


async def sleep_for(engine: Engine, awaited: Awaited, label: str) -> None:
    """Sleep until `awaited.at_ns` is set and `wake_at` called, whatever signals come.

    Who has no CPU to give away, or knows the time already, just waits for it.
    """
    actor = engine.current
    if actor.cpu is None or awaited.at_ns < NEVER:
        await engine.wait_for(awaited, label)
    else:
        await actor.cpu.sleep(awaited, label, state=TASK_UNINTERRUPTIBLE)


def wake_at(engine: Engine, actor: Actor, at_ns: int) -> None:
    """Let an actor that is in `sleep_for` go on at `at_ns`."""
    if actor.cpu is None:
        engine.make_ready(actor, at_ns)
    else:
        actor.cpu.wake(actor, at_ns)
