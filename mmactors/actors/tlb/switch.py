"""Context switches: which address space a CPU's TLB and page walker work on.

Going idle keeps the address space loaded (lazy TLB): the next thread is often of the same process.
A thread that has got the CPU loads its own address space itself, before it does anything else.
"""

from collections.abc import Coroutine
from typing import Any, Protocol

from attrs import define, field

from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.tlb.switch_mm import enter_lazy_tlb, switch_mm
from mmactors.engine.actor import Actor
from mmactors.engine.cpu import Cpu
from mmactors.label import Mode, cpu_context


class Owner(Protocol):
    """Whose threads are switched to: a process."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def space(self) -> AddressSpace | None:
        """What its threads run in; None: nothing yet, or no more."""


@define(eq=False)
class Switcher:
    """Knows whose thread an actor is, and loads its address space when it has got a CPU."""

    kernel: Kernel
    _owners: dict[int, Owner] = field(factory=dict, init=False)
    _exiting: set[int] = field(factory=set, init=False)
    """Threads that have let go of their address space."""

    def spawn(
        self,
        process: Owner,
        cpu: Cpu,
        *,
        name: str,
        tid: int,
        coro: Coroutine[Any, Any, None],
        at_ns: int,
    ) -> Actor:
        """Make a thread of `process` that runs on `cpu`."""
        actor = cpu.spawn_thread(name, coro, pid=process.pid, tid=tid, at_ns=at_ns)
        self._owners[actor.index] = process
        return actor

    def forget_actors(self) -> None:
        """Note that all threads' actors are gone."""
        self._owners.clear()
        self._exiting.clear()

    def on_switch(self, cpu: Cpu, thread: Actor | None) -> None:
        """Note that `thread`, or nobody, has been put on `cpu`: a thread sees to itself."""
        if thread is None:
            self.kernel.engine.touch(cpu_context(cpu.index), Mode.WRITE)
            enter_lazy_tlb(self.kernel, cpu)

    async def on_run(self, cpu: Cpu, thread: Actor) -> None:
        """Load the address space of a thread that has got its CPU (context_switch)."""
        process = self._owners.get(thread.index)
        if process is None or thread.index in self._exiting:
            return
        if process.space is not None:
            await switch_mm(self.kernel, cpu, process.space.mm)

    def exit_mm(self, cpu: Cpu, thread: Actor) -> None:
        """Let what is left of a thread borrow the address space that is loaded, as idle does."""
        self._exiting.add(thread.index)
        enter_lazy_tlb(self.kernel, cpu)
