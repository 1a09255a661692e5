"""User threads: they run a program's operations on the CPU they are scheduled on.

The accesses of an operation go through the hardware's access path in batches; a batch ends at a
page fault, at the end of what the CPU may run ahead, or with the trace. A hit is never a message.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from attrs import define, field

from mmactors.actors.address_space import alloc_table
from mmactors.actors.fault import SIGKILL, Signal, handle_page_fault
from mmactors.actors.memory import TransferLines
from mmactors.actors.process import Process
from mmactors.arch.trace import Trace
from mmactors.engine.actor import Actor
from mmactors.engine.cpu import Cpu, WaitQueue
from mmactors.events import SchedSwitch, SignalGenerate
from mmactors.hw.hardware import (
    ELAPSED_NS,
    END,
    ERROR_CODE,
    FAULT,
    FAULT_ADDRESS,
    MEMORY_READS,
    MEMORY_WRITES,
    REASON,
)
from mmactors.workload.operation import Operation

BATCH_NS: Final = 100_000
"""A batch ends after so much time even if nobody else wants to run."""


@define(eq=False, kw_only=True)
class UserThread:
    """One thread of a process."""

    process: Process
    name: str
    cpu: Cpu
    program: tuple[Operation, ...]
    """What it does on its own; a thread without a program takes operations from `inbox`."""
    is_leader: bool
    actor: Actor = field(init=False)
    inbox: deque[Operation] = field(factory=deque, init=False)
    work: WaitQueue = field(init=False)
    """Where it sleeps when its inbox is empty."""
    idle: WaitQueue = field(init=False)
    """Where others sleep until it has done its operations."""
    is_busy: bool = field(default=False, init=False)
    is_stopping: bool = field(default=False, init=False)
    """A `spin` ends."""
    _batch_began_ns: int = field(default=0, init=False)
    _lines: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        engine = self.process.kernel.engine
        self.work = WaitQueue(engine, f"an operation for {self.name}")
        self.idle = WaitQueue(engine, f"{self.name} to be done")

    def start(self, at_ns: int) -> None:
        """Let the thread run on its CPU."""
        process = self.process
        process.threads[self.name] = self
        process.nr_live_threads += 1
        comm = process.comm if self.is_leader else f"{process.comm}/{self.name}"
        self.actor = process.switcher.spawn(
            process, self.cpu, name=comm, coro=self._run(), at_ns=at_ns
        )

    async def _run(self) -> None:
        process = self.process
        kernel = process.kernel
        self.announce()
        if self.is_leader:
            process.started_ns = self.cpu.clock.now
            pgd_pfn = await alloc_table(kernel, self.cpu)
            if pgd_pfn is None:
                self.receive_signal(Signal(SIGKILL, 0, 0))
            else:
                process.exec(pgd_pfn)
                process.switcher.load_mm(self.cpu, process)
            await self._run_program(self.program)
        else:
            await self._serve()
        await process.end_thread(self.cpu)
        self.cpu.exit_thread()

    async def _run_program(self, program: Iterable[Operation]) -> None:
        for operation in program:
            if self.process.killed_by is not None:
                return
            await self.process.interpreter.perform(self, operation)

    async def _serve(self) -> None:
        """Do what the inbox says until the leader has ended."""
        while not self.is_stopping:
            while not self.inbox and not self.is_stopping:
                await self.work.sleep()
                self.announce()
            await self._run_program(tuple(self.inbox))
            self.inbox.clear()
            self.is_busy = False
            self.idle.wake_all(at_ns=self.cpu.clock.now)

    def announce(self) -> None:
        """Emit sched_switch: the thread has just been put on its CPU."""
        kernel = self.process.kernel
        if kernel.probe.on:
            before = self.process.switcher.previous_comm[self.cpu.index]
            kernel.probe.emit(SchedSwitch(prev_comm=before, next_comm=self.actor.name))

    async def migrate(self, cpu: Cpu) -> None:
        """Go on on another CPU (sched_setaffinity)."""
        old = self.cpu
        if cpu is old:
            return
        old.exit_thread()
        self.cpu = cpu
        self.actor.cpu = cpu
        self.actor.clock = cpu.clock
        cpu.wake(self.actor, old.clock.now)
        await self.process.kernel.engine.wait(self, "migrate")
        self.announce()

    def describe(self) -> str:
        """Say what a migrating thread waits for."""
        return f"its turn on cpu{self.cpu.index}"

    def receive_signal(self, signal: Signal) -> None:
        """Take a signal: SIGKILL ends the process, others end the operation that caused them."""
        kernel = self.process.kernel
        if kernel.probe.on:
            kernel.probe.emit(
                SignalGenerate(sig=signal.number, code=signal.code, address=signal.address)
            )
        if signal.number == SIGKILL:
            self.process.killed_by = signal.number

    async def access(self, trace: Trace) -> Signal | None:
        """Run all accesses of a trace; return the signal that stopped them, None: none did."""
        process = self.process
        kernel = process.kernel
        engine = kernel.engine
        hardware = kernel.hardware
        stop = hardware.stop
        cpu = self.cpu
        clock = cpu.clock
        space = process.space
        assert space is not None, f"{self.name} has no address space"
        row = 0
        while True:
            budget_ns = min(engine.limit - clock.now, BATCH_NS)
            row = hardware.run(cpu.index, trace, row, max(budget_ns, 1))
            elapsed_ns = stop[ELAPSED_NS]
            clock.now += elapsed_ns
            cpu.times.user_ns += elapsed_ns
            process.user_ns += elapsed_ns
            self._lines += stop[MEMORY_READS] + stop[MEMORY_WRITES]
            reason = stop[REASON]
            if reason == FAULT:
                process.minor_faults += 1
                signal = await handle_page_fault(
                    kernel, cpu, space, stop[FAULT_ADDRESS], stop[ERROR_CODE]
                )
                if signal is not None:
                    self.receive_signal(signal)
                    return signal
            elif reason == END:
                return None
            else:
                await self.yield_cpu()

    async def yield_cpu(self) -> None:
        """Let the others catch up: account the batch's memory transfers, then take turns."""
        kernel = self.process.kernel
        clock = self.cpu.clock
        if self._lines:
            delay_ns = await kernel.dram.ask(
                TransferLines(
                    nr_lines=self._lines, since_ns=self._batch_began_ns, until_ns=clock.now
                )
            )
            self._lines = 0
            await kernel.engine.spend(delay_ns)
        else:
            await kernel.engine.pause("run")
        before = self.cpu.context_switches
        await self.cpu.cond_resched()
        if self.cpu.context_switches != before:
            self.announce()
        self._batch_began_ns = clock.now
