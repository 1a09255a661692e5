"""Context switches: which address space a CPU's TLB and page walker work on.

Going idle keeps the address space loaded (lazy TLB): the next thread is often of the same process.
"""

from collections.abc import Coroutine
from typing import Any

from attrs import define, field

from mmactors.actors.kernel import Kernel
from mmactors.actors.process import Process
from mmactors.engine.actor import Actor
from mmactors.engine.cpu import Cpu
from mmactors.events import SchedSwitch


@define(eq=False)
class Switcher:
    """Knows whose thread an actor is, and loads its address space when it gets a CPU."""

    kernel: Kernel
    previous_comm: list[str] = field(init=False)
    """By CPU: the thread before the present one, for sched_switch."""
    _comm: list[str] = field(init=False)
    _processes: dict[int, Process] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        nr_cpus = len(self.kernel.tlb_states)
        self.previous_comm = [f"swapper/{cpu}" for cpu in range(nr_cpus)]
        self._comm = list(self.previous_comm)

    def spawn(
        self,
        process: Process,
        cpu: Cpu,
        *,
        name: str,
        coro: Coroutine[Any, Any, None],
        at_ns: int,
    ) -> Actor:
        """Make a thread of `process` that runs on `cpu`."""
        actor = cpu.spawn_thread(name, coro, pid=process.pid, at_ns=at_ns)
        self._processes[actor.index] = process
        if cpu.current is actor:
            self.on_switch(cpu, actor)
        return actor

    def forget_actors(self) -> None:
        """Note that all threads' actors are gone."""
        self._processes.clear()

    def on_switch(self, cpu: Cpu, thread: Actor | None) -> None:
        """Note that `thread`, or nobody, has been put on `cpu`.

        Going idle is announced here; a thread announces itself when it runs.
        """
        index = cpu.index
        self.previous_comm[index] = self._comm[index]
        if thread is None:
            self._comm[index] = f"swapper/{index}"
            if self.kernel.probe.on:
                self.kernel.probe.emit(
                    SchedSwitch(prev_comm=self.previous_comm[index], next_comm=self._comm[index])
                )
        elif thread.index in self._processes:
            self._comm[index] = thread.name
            self.load_mm(cpu, self._processes[thread.index])

    def load_mm(self, cpu: Cpu, process: Process) -> None:
        """Make the hardware of `cpu` translate through the process's page tables (switch_mm)."""
        space = process.space
        if space is None:
            return
        switched = self.kernel.tlb_states[cpu.index].switch_mm(space.mm)
        hardware = self.kernel.hardware
        if switched.needs_flush:
            hardware.flush_pcid(cpu.index, switched.pcid)
        hardware.load_cr3(cpu.index, space.mm.page_table.pgd_pfn, switched.pcid)
